"""A planned host: it reads what is there, changes nothing, and writes down what would be."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes, hugepages
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.plan import PlanHost, Unanswered, script_for
from pytest_vswitch.hosts.shell_script import Script
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.hosts.undo import Change
from tests.hosts.machine import DEADLINE_S


class Untouchable(LocalHost):
    """This machine, which only looks may reach."""

    def ask(self, argv: Sequence[str], **how: Any) -> Completed:
        return super().run(argv, **how)

    def run(self, argv: Sequence[str], **how: Any) -> Completed:
        raise AssertionError(f"a plan has run {argv}")

    def _touched(self, *given: object, **how: object) -> Any:
        raise AssertionError(f"a plan has touched {given}")

    spawn = write_text = write_bytes = changing = connect = console = _touched


@pytest.fixture
def real(tmp_path: Path) -> Untouchable:
    return Untouchable("plan-test", Transcript(tmp_path / "log"), tmp_path / "state")


@pytest.fixture
def script(real: Untouchable, tmp_path: Path) -> Script:
    made = script_for(real, "A test's.")
    made.run = f"{tmp_path}/run"
    return made


@pytest.fixture
def host(real: Untouchable, script: Script) -> PlanHost:
    return PlanHost(real, script)


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "state").exists()


def lines(script: Script) -> list[str]:
    """What is done, without the reasons, each on one line."""
    return [step.text.replace(" \\\n        ", " ") for step in script.up]


def test_what_is_there_is_read_and_what_was_written_is_read_back(
    host: PlanHost, script: Script, tmp_path: Path
) -> None:
    (tmp_path / "there").write_text("there\n")
    assert host.read_text(f"{tmp_path}/there") == "there\n"
    assert host.exists(f"{tmp_path}/there")
    assert host.glob(f"{tmp_path}/the*") == [f"{tmp_path}/there"]
    assert not host.exists(f"{tmp_path}/then")
    with pytest.raises(OSError, match="No such file"):
        host.read_text(f"{tmp_path}/then")

    host.write_text(f"{tmp_path}/then", "then")
    host.write_bytes(f"{tmp_path}/there", b"changed\n")
    assert host.read_bytes(f"{tmp_path}/then") == b"then"
    assert host.exists(f"{tmp_path}/then")
    assert host.glob(f"{tmp_path}/the*") == [f"{tmp_path}/then", f"{tmp_path}/there"]
    assert host.read_texts(f"{tmp_path}/the*") == {
        f"{tmp_path}/then": "then",
        f"{tmp_path}/there": "changed\n",
    }
    assert (tmp_path / "there").read_text() == "there\n"
    assert lines(script) == [
        f"printf %s then >{tmp_path}/then",
        f"cat >{tmp_path}/there <<'END'\nchanged\nEND",
    ]


def test_looks_are_carried_out_and_commands_are_not(host: PlanHost, script: Script) -> None:
    assert host.ask(["echo", "seen"]).output == "seen\n"
    assert host.run(["touch", "/nowhere/x"], why="a reason") == Completed(
        ("touch", "/nowhere/x"), 0, ""
    )
    host.run(["cat"], stdin="given\n", check=False)
    assert script.up[0].why == "a reason"
    assert lines(script) == ["touch /nowhere/x", "cat <<'END' || true\ngiven\nEND"]


def test_what_commands_are_known_to_make_is_there(host: PlanHost, tmp_path: Path) -> None:
    paths = (f"{tmp_path}/a", f"{host.scratch}/b", "/sys/bus/pci/drivers/no-such-driver")
    assert not any(map(host.exists, paths))
    host.run(["mkdir", "-p", *paths[:2]])
    host.run(["modprobe", "no-such-driver"])
    assert all(map(host.exists, paths))
    assert not (tmp_path / "a").exists()


def test_why_something_is_looked_at_is_told(real: Untouchable, script: Script) -> None:
    told: list[str] = []
    PlanHost(real, script, note=told.append).ask(["true"], why="is it true?")
    assert told == ["is it true?"]


def test_a_program_is_started_talked_to_and_stopped(host: PlanHost, script: Script) -> None:
    with host.spawn(["cat", "-u"], name="the cat", stop_with="quit\n", why="for company") as cat:
        assert cat.status() is None
        cat.write("hello\n", why="to be polite")
        said = cat.read_until(re.compile("hello\n"), timeout_s=5, what="an answer")
        assert said == ""
        cat.pin("CPU 0/KVM", 3)
        cat.signal(signal.SIGHUP)
        with pytest.raises(HostError, match="the cat on local is planned only: it has no pid"):
            cat.pid  # noqa: B018
        host.up()
    assert [(step.text, step.why) for step in script.up] == [
        ("start the-cat cat -u", "for company"),
        (r"tell the-cat $'hello\n'", "to be polite"),
        (r"await the-cat 5 'an answer' $'hello\\n'", ""),
        ("pin the-cat 'CPU 0/KVM' 3", ""),
        ('kill -HUP "${pids[the-cat]}"', ""),
    ]
    assert [step.text for step in script.undo] == [r"stop the-cat $'quit\n'"]


def test_a_program_that_is_not_there_is_told_at_once(host: PlanHost) -> None:
    with pytest.raises(HostError, match="local: there is no program `no-such-program`"):
        host.spawn(["no-such-program"], name="it")


def test_what_a_program_is_told_to_make_will_be_there(host: PlanHost, script: Script) -> None:
    path = f"{host.scratch}/socket"
    assert not host.exists(path)
    with host.spawn(["cat", f"unix:{path},server=on"], name="a server"):
        assert host.exists(path)
        assert not host.exists(f"{host.scratch}/other")
        with host.console(path, "its shell") as shell:
            shell.write("true\n")
    assert lines(script)[1:] == [
        f"appears {path} a-server",
        f"connect its-shell {path}",
        r"tell its-shell $'true\n'",
        "stop its-shell ''",
        "stop a-server ''",
    ]
    with pytest.raises(HostError, match="planned only"):
        host.connect(path)


def test_where_an_answer_is_needed_the_plan_ends(real: Untouchable, script: Script) -> None:
    host = PlanHost(real, script, needs_answers=True)
    with pytest.raises(Unanswered), host.spawn(["cat"], name="it") as program:
        program.read_until(re.compile("ready"), timeout_s=5, what="its word")
    assert lines(script) == ["start it cat", "await it 5 'its word' ready"]
    assert [step.text for step in script.undo] == ["stop it ''"]


def test_a_setting_of_the_kernel_is_held_to_what_was_planned(
    host: PlanHost, script: Script
) -> None:
    knob = "/proc/sys/vm/swappiness"
    before = Path(knob).read_text().strip()
    with changes.sysctl(host, "vm.swappiness", "7") as now:
        assert now == "7"
        assert host.read_text(knob) == "7"
    assert Path(knob).read_text().strip() == before
    steps = lines(script)
    assert steps[:3] == [f"expect {knob} {before}", f"echo 7 >{knob}", f"expect {knob} 7"]
    assert steps[-1] == f"put_back {knob} {before} 7"


def test_what_the_kernel_tells_in_its_own_words_is_not_compared(
    host: PlanHost, script: Script
) -> None:
    mask = "/proc/irq/default_smp_affinity"
    with changes.rewriting(host, mask, "1"):
        host.up()
    assert lines(script) == [f"expect {mask} {Path(mask).read_text().strip()}", f"echo 1 >{mask}"]


def test_hugepages_are_planned_as_they_are_taken(host: PlanHost, script: Script) -> None:
    pool = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
    free, had = (int((pool / f"{name}_hugepages").read_text()) for name in ("free", "nr"))
    with hugepages.reserve(host, "2M", [2 * (free + 5)]) as pages:
        assert pages.size_kb == 2048
    assert f"echo {had + 5} >{pool}/nr_hugepages" in lines(script)
    assert int((pool / "nr_hugepages").read_text()) == had


class Nic(Untouchable):
    """This machine with a NIC port in it, bound to a driver of the kernel."""

    bdf = "0000:01:00.0"
    root = Path()

    def under(self, path: str) -> str:
        return path.replace("/sys/bus/pci", str(self.root))

    def exists(self, path: str) -> bool:
        return super().exists(self.under(path))

    def read_link(self, path: str) -> str:
        link = Path(self.under(path))
        return str(link.resolve()).replace(str(self.root), "/sys/bus/pci")

    def read_bytes(self, path: str) -> bytes:
        return super().read_bytes(self.under(path))


def test_a_nic_is_bound_and_given_back(script: Script, tmp_path: Path) -> None:
    nic = Nic("plan-test", Transcript(tmp_path / "log"), tmp_path / "state")
    nic.root = tmp_path / "pci"
    for name in ("devices/0000:01:00.0", "drivers/e1000e", "drivers/vfio-pci"):
        (nic.root / name).mkdir(parents=True)
    device = nic.root / "devices/0000:01:00.0"
    (device / "driver_override").write_text("(null)\n")
    (device / "driver").symlink_to("../../drivers/e1000e")
    host = PlanHost(nic, script)
    with changes.binding(host, nic.bdf, "vfio-pci"):
        host.up()
    pci = "/sys/bus/pci"
    assert lines(script) == [
        f"expect {pci}/devices/{nic.bdf}/driver_override '(null)'",
        f"echo vfio-pci >{pci}/devices/{nic.bdf}/driver_override",
        f"expect {pci}/devices/{nic.bdf}/driver_override vfio-pci",
        f"echo {nic.bdf} >{pci}/devices/{nic.bdf}/driver/unbind",
        f"echo {nic.bdf} >{pci}/drivers_probe",
        f"expect_driver {nic.bdf} vfio-pci",
    ]
    assert [step.text for step in script.undo] == [
        f"rebind {nic.bdf} e1000e vfio-pci",
        f"put_back {pci}/devices/{nic.bdf}/driver_override '(null)' vfio-pci ''",
    ]


def test_every_change_is_undone_newest_first(host: PlanHost, script: Script) -> None:
    with (
        host.changing(Change("made", "/one")),
        host.changing(Change("mounted", "/two")),
        host.changing(Change("linked", "three")),
    ):
        host.up()
    assert [step.text for step in script.undo] == [
        "delete_interface three",
        "unmount /two 0",
        "rm -rf -- /one",
    ]


def test_what_was_planned_works(host: PlanHost, script: Script, tmp_path: Path) -> None:
    """Steps: plan a program, a file and a dialogue; hand the script to bash.

    Verify: it does what a host that is not planned would have done, and undoes it.
    """
    made = tmp_path / "made"
    with (
        host.changing(Change("made", str(made))),
        host.spawn(["cat", "-u"], name="it", stop_with="") as program,
    ):
        host.write_text(str(made), "it's\n")
        program.write("one\ntwo $x\n")
        program.read_until(re.compile(r"^two \$x\n", re.M), timeout_s=DEADLINE_S, what="it back")
        host.run(["cp", str(made), f"{tmp_path}/kept"])
        program.signal(signal.SIGKILL)
        host.up()
    ended = subprocess.run(
        ["bash"], input=script.text(), stderr=subprocess.PIPE, text=True, timeout=DEADLINE_S
    )
    assert "plan: it has ended" in ended.stderr
    assert (tmp_path / "kept").read_text() == "it's\n"
    assert not made.exists()
