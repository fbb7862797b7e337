"""Names and bytes of any kind reach the host and come back unharmed; no shell sees them."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.open_host import OpenHost
from tests.machines import faults
from tests.machines.machine import Machine
from tests.remote.door import opened

CANARY = "/tmp/interpreted"

SNARES = [
    "", "-", "--", "-rf", "--help", "-n", "$HOME", "${PATH}", "~", "~root", "*", "?", "[a]",
    "{a,b}",
    f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY}", f"| touch {CANARY}",
    f"&& touch {CANARY}", f"\n touch {CANARY}\n", f"' ; touch {CANARY} ; '",
    f'" ; touch {CANARY} ; "', f"> {CANARY}", f"<(touch {CANARY})", f"\\; touch {CANARY}",
    "a b", " a ", "\t", "\n", "\r\n", "'", '"', "\\", "\\n", "!!", "#", "%s", "%d", "\x1b[31m",
    "\x7f",
    "ä", "日本", "\U0001f600", "\udcff", "\udc80\udcfe", "e\u0301", "\u2028", "\ufeff",
]  # fmt: skip
"""What a shell, printf, a terminal or a codec would make something of."""

bytes_ = st.characters(max_codepoint=0x7F, min_codepoint=1) | st.characters(
    min_codepoint=0x80, max_codepoint=0x10FFFF, exclude_categories=["Cs"]
)
texts = st.sampled_from(SNARES) | st.lists(
    st.sampled_from(SNARES) | st.text(bytes_, max_size=8) | st.binary(max_size=8).map(os.fsdecode),
    max_size=4,
).map("".join).filter(lambda text: "\0" not in text)
names = (
    texts.map(lambda text: text.replace("/", "|"))
    .filter(lambda name: name not in ("", ".", ".."))
    .filter(lambda name: len(os.fsencode(name)) <= 200)
)
contents = st.binary(max_size=300) | texts.map(os.fsencode)

steady = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module", params=["root", "alice"])
def door(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenHost]:
    """As root, and as a user who becomes root by sudo."""
    with Machine("dut", tmp_path_factory.mktemp("quoting")) as dut:
        if request.param != "root":
            faults.ordinary_user(dut, request.param, "nopasswd")
        with opened(dut, user=request.param) as host:
            yield host
        assert not (dut.root / CANARY[1:]).exists(), "a shell has read what is no command"


@pytest.fixture
def place(door: OpenHost) -> Iterator[str]:
    """A directory on the host, gone with the test."""
    path = f"{door.scratch}/{next(_numbers)}"
    with changes.making_directory(door, path):
        yield path


_numbers = itertools.count()


@given(arguments=st.lists(texts, max_size=4))
@steady
def test_arguments(door: OpenHost, arguments: list[str]) -> None:
    """Whatever they are, the program gets these and no others."""
    told = door.run(["python3", "-c", "import os, sys; os.write(1, b'\\0'.join("
                     "map(os.fsencode, sys.argv[1:])))", *arguments])  # fmt: skip
    assert told.raw == b"\0".join(map(os.fsencode, arguments))


@given(data=st.binary(max_size=2000) | contents)
@steady
def test_input_and_output(door: OpenHost, data: bytes) -> None:
    assert door.run(["cat"], stdin=data).raw == data


@given(name=names, data=contents)
@steady
def test_files(door: OpenHost, place: str, name: str, data: bytes) -> None:
    """Written, read, found, linked to and listed by that name."""
    path = f"{place}/{name}"
    door.write_bytes(path, data)
    assert door.read_bytes(path) == data
    assert door.exists(path)
    assert door.read_link(path) == path
    assert door.glob(f"{place}/*" if name[0] != "." else f"{place}/.*") == [path]
    listed = door.run(["find", place, "-type", "f", "-print0"])
    assert listed.raw == os.fsencode(path) + b"\0"
    door.run(["rm", "--", path])
    assert not door.exists(path)


@given(name=names, theirs=contents, ours=contents)
@steady
def test_changes(door: OpenHost, place: str, name: str, theirs: bytes, ours: bytes) -> None:
    """The undo journal brings back what was there, under whatever name."""
    path, new = f"{place}/{name}", f"{place}/{name}-new"
    door.write_bytes(path, theirs)
    with contextlib.ExitStack() as changed:
        changed.enter_context(changes.writing_file(door, path, ours))
        changed.enter_context(changes.writing_file(door, new, ours))
        assert door.read_bytes(path) == door.read_bytes(new) == ours
    assert door.read_bytes(path) == theirs
    assert not door.exists(new)
    with changes.making_directory(door, new):
        assert door.run(["stat", "-c", "%F", "--", new]).output == "directory\n"
    assert not door.exists(new)
    door.run(["rm", "--", path])


@given(words=st.lists(texts, min_size=1, max_size=3))
@steady
def test_names_of_programs(door: OpenHost, words: list[str]) -> None:
    """What is no program is not run by a shell instead."""
    if door.which(words[0]) is None:
        with pytest.raises(HostError):
            door.run(words)


def test_the_snares_would_be_seen(tmp_path: Path) -> None:
    """A shell does fall into them: this test can fail."""
    there = tmp_path / "interpreted"
    fallen = 0
    for snare in SNARES:
        line = snare.replace(CANARY, str(there)).encode("utf-8", "surrogateescape")
        subprocess.run([b"bash", b"-c", b"true " + line], capture_output=True, cwd=tmp_path)
        fallen += there.exists()
        there.unlink(missing_ok=True)
    assert fallen >= 8
