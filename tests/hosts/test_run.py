"""Commands that run to their end, and the transcript of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.local import LocalHost
from tests.hosts.machine import DEADLINE_S, running, wait_until


def test_output_holds_both_streams_in_order(host: LocalHost) -> None:
    done = host.run(["sh", "-c", "echo one; echo two >&2; cat"], stdin="three\n")
    assert (done.status, done.output) == (0, "one\ntwo\nthree\n")


def test_a_failure_quotes_command_status_and_output(host: LocalHost) -> None:
    with pytest.raises(HostError, match=r"`sh -c 'echo bad; exit 3'` failed with status 3:\nbad$"):
        host.run(["sh", "-c", "echo bad; exit 3"])


def test_a_failure_that_is_looked_for_is_returned(host: LocalHost) -> None:
    assert host.run(["sh", "-c", "exit 3"], check=False).status == 3
    assert host.run(["sh", "-c", "kill -9 $$"], check=False).status == -9


def test_arguments_are_not_seen_by_a_shell(host: LocalHost) -> None:
    assert host.run(["printf", "%s", "$HOME; `id` *"]).output == "$HOME; `id` *"


def test_bytes_that_are_no_text_do_not_stop_a_run(host: LocalHost) -> None:
    assert host.run(["printf", r"a\377b"]).output == "a\ufffdb"


def test_expiry_kills_the_command_and_all_it_started(host: LocalHost, tmp_path: Path) -> None:
    child = tmp_path / "child"
    # The child holds the output open: who waits for its end only, waits for an hour.
    script = f"sleep 3600 & echo $! > {child}; echo begun; wait"
    with pytest.raises(HostError, match=r"(?s)did not end within 1 s; it said:\nbegun"):
        host.run(["sh", "-c", script], timeout_s=1)
    pid = int(child.read_text())
    wait_until(lambda: not running(pid), "end of the child")
    assert "[status did not end within 1 s, " in (tmp_path / "transcript.log").read_text()


def test_a_program_that_is_not_there(host: LocalHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="local: there is no program `no-such-program`"):
        host.run(["no-such-program"])
    with pytest.raises(HostError, match="local: there is no program `no-such-program`"):
        host.spawn(["no-such-program"], name="it")
    assert "$ no-such-program\n" in (tmp_path / "transcript.log").read_text()


def test_a_file_that_is_not_executable(host: LocalHost, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    with pytest.raises(HostError, match=r"local: Permission denied: `.*/text`"):
        host.run([str(tmp_path / "text")])


def test_the_transcript_has_reason_command_output_status_and_time(
    host: LocalHost, tmp_path: Path
) -> None:
    host.run(["echo", "two words"], why="to see it")
    host.run(["sh", "-c", "printf unfinished; exit 7"], check=False)
    host.write_text(str(tmp_path / "file"), "content")
    with host.spawn(["cat"], name="the cat") as cat:
        cat.write("meow\n")
        cat.read_until(re.compile("meow"), timeout_s=DEADLINE_S, what="echo")

    stamp = r"--- \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} local\n"
    seconds = r"\d+\.\d{3} s"
    assert re.fullmatch(
        rf"{stamp}# to see it\n\$ echo 'two words'\ntwo words\n\[status 0, {seconds}\]\n"
        rf"{stamp}\$ sh -c 'printf unfinished; exit 7'\nunfinished\n\[status 7, {seconds}\]\n"
        rf"{stamp}\[writes \S+/file: 'content'\]\n"
        rf"{stamp}\$ cat\n\[the cat runs; its output: logs/local-the-cat.log\]\n"
        rf"{stamp}\[the cat ended: status -15, {seconds} to stop\]\n",
        (tmp_path / "transcript.log").read_text(),
    )
    assert (tmp_path / "logs/local-the-cat.log").read_text() == "meow\n"
