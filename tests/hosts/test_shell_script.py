"""Scripts for a person: quoted right, undone whatever happens, and leaving nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vswitch.hosts import shell_script
from pytest_vswitch.hosts.shell_script import Script, Step, command, word
from pytest_vswitch.hosts.undo import Change
from tests.hosts.machine import DEADLINE_S, running, wait_until

NASTY = [
    "",
    " ",
    "-n",
    "a b",
    "$HOME `id` $(id)",
    "it's",
    '"quoted"',
    "back\\slash\\n",
    "two\nlines\n",
    "\ttab\r",
    "*?[a]{b,c}~",
    "!history",
    "#no comment",
    "ünïcode € \U0001f600",
    "\x01\x7f\udcff\udc80f",
    "a=b;c&d|e<f>g(h)",
]


def bash(script: str) -> bytes:
    """What it prints; it must succeed."""
    given = script.encode(errors="surrogateescape")
    return subprocess.run(
        ["bash"], input=given, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_S
    ).stdout


def arbitrary(count: int) -> list[str]:
    """Texts of any bytes but NUL, as file names may be; the same each time."""
    seeded = random.Random(2544)
    return [
        bytes(seeded.randrange(1, 256) for _ in range(seeded.randrange(24))).decode(
            errors="surrogateescape"
        )
        for _ in range(count)
    ]


# --- words and commands -------------------------------------------------------------------


def test_bash_reads_each_word_as_it_was() -> None:
    texts = [*NASTY, *arbitrary(2000)]
    lines = "\n".join(f"printf '%s\\0' {word(text)}" for text in texts)
    read = bash(lines).decode(errors="surrogateescape").split("\0")[:-1]
    assert read == texts


def test_a_plain_word_stays_plain() -> None:
    assert [word(text) for text in ("a/b", "--x=1,2", "a b", "$x")] == [
        "a/b",
        "--x=1,2",
        "'a b'",
        "$'$x'",
    ]


def test_a_long_command_is_read_as_one() -> None:
    argv = ["printf", "%s\\0", *(f"{dash}{text}" for text in NASTY for dash in ("", "-"))]
    line = command([*argv, "-long", "x" * 200])
    assert len(line.splitlines()) > 3
    read = bash(line).decode(errors="surrogateescape").split("\0")[:-1]
    assert read == [*argv[2:], "-long", "x" * 200]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no newline",
        b"one\ntwo $x `y`\n",
        b"END\nEND_\n",
        b"  indented\n\n\n",
        b"\0\xff\n",
        "€\n".encode(),
        b"\xff\xfe",
        bytes(range(256)) * 30,
    ],
)
def test_input_and_files_are_given_as_they_were(data: bytes, tmp_path: Path) -> None:
    assert bash(shell_script.fed("cat", data)) == data
    assert bash(shell_script.fed("cat", data, " && printf %s more")) == data + b"more"
    path = tmp_path / "a file"
    bash(shell_script.write(str(path), data))
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (re.compile(re.escape("testpmd> ")), "x\ntestpmd> ", True),
        (re.compile(re.escape("a\nb")), "a\nb", True),
        (re.compile("start\n(.*?)end", re.DOTALL), "start\n1\n2\nend", True),
        (re.compile("start\n(.*?)end"), "start\n1\n2\nend", False),
        (re.compile(r"^two$", re.MULTILINE), "one\ntwo\nthree", True),
        (re.compile(r"(?P<status>\d+)"), "none", False),
    ],
)
def test_grep_sees_what_python_sees(pattern: re.Pattern[str], text: str, matches: bool) -> None:
    assert bool(pattern.search(text)) is matches
    regex = word(shell_script.perl(pattern))
    ended = subprocess.run(
        ["bash", "-c", f"grep -Pzqa -e {regex}"], input=text.encode(), timeout=DEADLINE_S
    )
    assert (ended.returncode == 0) is matches


# --- undoing ------------------------------------------------------------------------------


def words_for(line: str) -> str:
    """The functions that a line needs."""
    return "run=/nowhere\n" + shell_script._words(f"    {line}")


@pytest.mark.parametrize(
    ("before", "after", "now", "then"),
    [
        ("1", "5", "5", "1\n"),
        ("1", "5", "1", "1"),
        ("1", "5", "3", "1\n"),  # the kernel gave less than was asked for
        ("1", "5", "7", "7"),
        ("on", "off", "auto", "auto"),
        ("on", None, "auto", "on\n"),
    ],
)
def test_a_file_is_put_back_unless_others_changed_it(
    tmp_path: Path, before: str, after: str | None, now: str, then: str
) -> None:
    path = tmp_path / "knob"
    path.write_text(now)
    line = shell_script.undone(Change("rewrote", str(path), before, after))
    ended = subprocess.run(
        ["bash", "-c", f"{words_for(line)}{line}"], capture_output=True, text=True, check=True
    )
    assert path.read_text() == then
    others = now not in (before, after) and then == now
    assert ("someone else has changed" in ended.stderr) is others


@pytest.mark.parametrize(
    ("there", "wanted", "so"),
    [
        ("7", "7", True),
        ("7", "77", False),
        ("always [madvise] never", "madvise", True),
        ("always [madvise] never", "always", False),
        ("always [madvise] never", "always [madvise] never", True),
        ("*", "7", False),
    ],
)
def test_what_a_setting_must_be(tmp_path: Path, there: str, wanted: str, so: bool) -> None:
    (tmp_path / "knob").write_text(f"{there}\n")
    line = f"expect {tmp_path}/knob {word(wanted)}"
    ended = subprocess.run(["bash", "-c", f"{words_for(line)}{line}"], stderr=subprocess.DEVNULL)
    assert (ended.returncode == 0) is so


def test_a_choice_is_put_back_by_its_name() -> None:
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    change = Change("rewrote", path, "always [madvise] never\n", "never")
    assert shell_script.undone(change) == (
        f"put_back {path} 'always [madvise] never' never madvise"
    )
    unknown = Change("rewrote", path, "always [madvise] never\n")
    assert shell_script.undone(unknown).endswith("never' '*' madvise")


def apart(script: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run with mounts and network of its own; `tmp_path` stands for /sys/bus/pci."""
    mounted = f"mount --bind {word(str(tmp_path))} /sys/bus/pci\n{script}"
    return subprocess.run(
        ["unshare", "--mount", "--net", "bash", "-eu", "-c", mounted],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )


def pci(tmp_path: Path, driver: str) -> Path:
    device = tmp_path / "devices/0000:01:00.0"
    device.mkdir(parents=True)
    for name in ("e1000e", "vfio-pci"):
        (tmp_path / "drivers" / name).mkdir(parents=True)
        (tmp_path / "drivers" / name / "unbind").touch()
    (tmp_path / "drivers_probe").touch()
    (device / "driver_override").touch()
    if driver:
        (device / "driver").symlink_to(f"../../drivers/{driver}")
    return device


@pytest.mark.parametrize(
    ("now", "before", "unbound", "probed"),
    [
        ("vfio-pci", "e1000e", "0000:01:00.0\n", "0000:01:00.0\n"),
        ("vfio-pci", "", "0000:01:00.0\n", ""),
        ("", "e1000e", "", "0000:01:00.0\n"),
        ("e1000e", "e1000e", "", ""),
    ],
)
def test_a_device_goes_back_to_its_driver(
    tmp_path: Path, now: str, before: str, unbound: str, probed: str
) -> None:
    pci(tmp_path, now)
    line = shell_script.undone(Change("bound", "0000:01:00.0", before, "vfio-pci"))
    ended = apart(f"{words_for(line)}{line}", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "drivers/vfio-pci/unbind").read_text() == unbound
    assert (tmp_path / "drivers_probe").read_text() == probed
    assert (tmp_path / "drivers/e1000e/unbind").read_text() == ""


def test_a_device_that_others_have_bound_is_left(tmp_path: Path) -> None:
    pci(tmp_path, "e1000e")
    line = shell_script.undone(Change("bound", "0000:01:00.0", "igb", "vfio-pci"))
    ended = apart(f"{words_for(line)}{line}", tmp_path)
    assert "someone else has bound 0000:01:00.0 to 'e1000e'" in ended.stderr
    assert (tmp_path / "drivers_probe").read_text() == ""


@pytest.mark.parametrize(
    ("now", "after", "then"), [("2", "2", "0\n"), ("0", "2", "0"), ("4", "2", "4")]
)
def test_virtual_functions_go(tmp_path: Path, now: str, after: str, then: str) -> None:
    knob = pci(tmp_path, "") / "sriov_numvfs"
    knob.write_text(now)
    line = shell_script.undone(Change("functions", "0000:01:00.0", "0", after))
    assert apart(f"{words_for(line)}{line}", tmp_path).returncode == 0
    assert knob.read_text() == then


def test_mounts_and_interfaces_go(tmp_path: Path) -> None:
    mounted = shell_script.undone(Change("mounted", f"{tmp_path}/it", "1"))
    linked = shell_script.undone(Change("linked", "br7", after="77"))
    other = shell_script.undone(Change("linked", "br8", after="99"))
    (tmp_path / "it").mkdir()
    steps = [
        words_for(f"{mounted}\n{linked}\n{other}"),
        f"mount -t tmpfs first {tmp_path}/it",
        f"mount -t tmpfs second {tmp_path}/it",
        "mount -t sysfs none /sys",  # the one of this network
        "ip link add br7 index 77 type bridge",
        "ip link add br8 index 78 type bridge",
        *(mounted, mounted, linked, linked, other),
        "ip -brief link",
        "cat /proc/self/mountinfo",
    ]
    ended = apart("\n".join(steps), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "br7" not in ended.stdout
    assert "br8" in ended.stdout
    assert " - tmpfs first " in ended.stdout
    assert " - tmpfs second " not in ended.stdout


# --- whole scripts ------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Script:
    made = Script("A test's.", os.uname().nodename, f"{tmp_path}/run")
    made.up.append(Step("true", "to begin with"))
    made.undo.append(Step(f"touch {tmp_path}/undone"))
    return made


def start(script: Script) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    process = subprocess.Popen(["bash"], stdin=pipe, stderr=pipe, text=True)
    assert process.stdin
    process.stdin.write(script.text())
    process.stdin.close()
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its status, and what it said."""
    assert process.stderr
    with process.stderr:
        said = process.stderr.read()
    return process.wait(DEADLINE_S), said


def test_a_script_of_everything_is_clean(script: Script) -> None:
    changes = [
        Change("made", "/tmp/it's"),
        Change("rewrote", "/sys/a b", "1", "2"),
        Change("bound", "0000:01:00.0", "e1000e", "vfio-pci"),
        Change("bound", "0000:01:00.0"),
        Change("functions", "0000:01:00.0", "0", "2"),
        Change("linked", "br0"),
        Change("mounted", "/mnt"),
        Change("containers", "/run/it's", after="vswitch-it"),
        Change("directory", "/run/it's"),
        Change("domain", "it", after="qemu:///system"),
    ]
    script.undo = [Step(shell_script.undone(change)) for change in changes]
    for line in (
        "start it cat",
        "connect it /tmp/socket",
        f"tell it {word(chr(10).join(NASTY))}",
        "await it 5 'a word' $'\\\\d$'",
        "appears /tmp/x it",
        "pin it 'CPU 0/KVM' 3",
        "expect /proc/x 1",
        "expect_driver 0000:01:00.0 vfio-pci",
        shell_script.write("/sys/x", b"1"),
        shell_script.write("/tmp/x", b"a $x\nb\n"),
        shell_script.fed(command(["cat", "-"]), b"\0"),
    ):
        script.up.append(Step(line, "why, in more words than fit into one line " * 4))
    script.undo += [Step("stop it ''")]
    script.aside = [Step("start generator\\\nmore")]
    script.told = ["It's up: $HOME"]
    checked = subprocess.run(
        ["shellcheck", "-"], input=script.text(), stdout=subprocess.PIPE, text=True
    )
    assert checked.returncode == 0, checked.stdout
    bash(f"set -n\n{script.text()}")


def test_programs_are_talked_to_and_end(script: Script, tmp_path: Path) -> None:
    talk = "import sys; [print('said', line, end='', flush=True) for line in sys.stdin]"
    script.up += [
        Step(command(["start", "it", sys.executable, "-c", talk])),
        Step("tell it $'one\\n'"),
        Step("await it 60 'the first' $'said one\\\\n'"),
        Step("tell it $'two\\n'"),
        Step("await it 60 'the second' $'^said two\\\\n'"),
        Step(f'echo "${{pids[it]}}" >{tmp_path}/pid'),
    ]
    script.undo.insert(0, Step("stop it ''"))
    script.told = ["it is up"]
    process = start(script)
    wait_until((tmp_path / "pid").exists, "program's pid")
    pid = int((tmp_path / "pid").read_text() or "0") or wait_pid(tmp_path)
    assert running(pid)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "plan: it is up\n")
    assert not running(pid)
    assert (tmp_path / "undone").exists()
    assert not (tmp_path / "run").exists()


def wait_pid(tmp_path: Path) -> int:
    wait_until(lambda: (tmp_path / "pid").read_text().strip(), "pid in its file")
    return int((tmp_path / "pid").read_text())


def test_a_program_that_ends_too_early_is_quoted(script: Script, tmp_path: Path) -> None:
    script.up += [
        Step(command(["start", "it", "sh", "-c", "echo no memory; exit 3"])),
        Step("await it 60 'its prompt' '> '"),
    ]
    status, said = end(start(script))
    assert status == 1
    assert "    no memory\nplan: it ended before its prompt; above, the last" in said
    assert (tmp_path / "undone").exists()
    assert not (tmp_path / "run").exists()


def test_what_does_not_come_in_time_is_named(script: Script, tmp_path: Path) -> None:
    script.up += [
        Step("start it sh -c 'echo waiting; exec sleep 1000'"),
        Step("await it 0 'its prompt' '> '"),
    ]
    script.undo.insert(0, Step("stop it ''"))
    status, said = end(start(script))
    assert status == 1
    assert "plan: it: no its prompt within 0 s" in said
    assert not (tmp_path / "run").exists()


def test_a_command_that_fails_is_named_and_all_is_undone(script: Script, tmp_path: Path) -> None:
    script.up += [Step("cat /no/such/file"), Step(f"touch {tmp_path}/next")]
    status, said = end(start(script))
    assert status == 1
    assert "plan: failed: cat /no/such/file\n" in said
    assert (tmp_path / "undone").exists()
    assert not (tmp_path / "next").exists()


def test_a_program_that_dies_later_ends_the_script(script: Script, tmp_path: Path) -> None:
    script.up.append(Step("start it sh -c 'echo last words'"))
    status, said = end(start(script))
    assert status == 1
    assert "    last words\nplan: it has ended" in said
    assert (tmp_path / "undone").exists()


def test_after_a_kill_programs_end_and_the_way_back_is_there(
    script: Script, tmp_path: Path
) -> None:
    script.up += [
        Step("start it sh -c 'echo up; exec sleep 1000'"),
        Step("await it 60 'its word' up"),
        Step(f'echo "${{pids[it]}}" >{tmp_path}/pid'),
    ]
    script.undo.insert(0, Step("stop it ''"))
    process = start(script)
    wait_until((tmp_path / "pid").exists, "program's pid")
    pid = wait_pid(tmp_path)
    process.kill()
    end(process)
    wait_until(lambda: not running(pid), "end of the program")

    status, said = end(start(script))
    assert (status, (tmp_path / "undone").exists()) == (1, False)
    found = re.search(r"'bash (.+)' cleans up$", said, re.MULTILINE)
    assert found
    subprocess.run(["bash", found[1]], check=True, timeout=DEADLINE_S)
    assert (tmp_path / "undone").exists()
    assert not Path(script.run).exists()


def test_it_does_not_run_elsewhere_or_twice(script: Script, tmp_path: Path) -> None:
    Path(script.run).mkdir()
    status, said = end(start(script))
    assert (status, (tmp_path / "undone").exists()) == (1, False)
    assert "plan: one is up; " in said
    script.node = "elsewhere"
    assert end(start(script)) == (1, "plan: this was planned for the host elsewhere\n")
    assert Path(script.run).exists()


def test_only_the_words_in_use_are_explained(script: Script) -> None:
    assert "rebind" not in script.text()
    script.undo.append(Step(shell_script.undone(Change("bound", "0000:01:00.0"))))
    assert "\nrebind() {" in script.text()
    assert "\ndriver() {" in script.text()
