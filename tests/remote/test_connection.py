"""The connection is lost: either nothing is, or the error says so and the host is put in order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.transcript import Transcript
from tests.hosts.machine import wait_until
from tests.machines.machine import Machine
from tests.remote.conftest import Tries
from tests.remote.door import (
    HASTY_S,
    MADE,
    Facts,
    InBackground,
    at_work,
    failing,
    looked_at,
    opened,
    wait_until_as_found,
)

pytestmark = pytest.mark.usefixtures("hasty")

Fault = Callable[[Machine], None]

SLEEP = "process sleep 1000 (uid 0)"
COUNTING = f"i=0; until test -e {MADE}/enough; do i=$((i+1)); echo $i; sleep 0.01; done; echo end"

LOSSES: dict[str, tuple[Fault, Fault]] = {
    "every packet dropped": (lambda dut: dut.cable.drop(), lambda dut: dut.cable.heal()),
    "packets to it dropped": (
        lambda dut: dut.cable.drop(from_machine=False),
        lambda dut: dut.cable.heal(),
    ),
    "packets from it dropped": (
        lambda dut: dut.cable.drop(to_machine=False),
        lambda dut: dut.cable.heal(),
    ),
    "cable pulled": (lambda dut: dut.cable.cut(), lambda dut: dut.cable.heal()),
    "long packets dropped": (
        lambda dut: dut.cable.black_hole(200),
        lambda dut: dut.cable.heal(),
    ),
    "sshd killed": (lambda dut: dut.kill_sshd(), lambda dut: dut.start_sshd()),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_is_lost_when_it_comes_back_in_time(
    dut: Machine, before: Facts, tries: Tries, tmp_path: Path, loss: str
) -> None:
    lose, restore = LOSSES[loss]
    with (
        opened(dut, transcript=Transcript(tmp_path)) as host,
        at_work(host) as program,
        host.spawn(["sh", "-c", COUNTING], name="counting") as counting,
    ):
        lose(dut)
        once = f"echo once >>{MADE}/once; cat {MADE}/once"
        ran = InBackground(lambda: host.run(["sh", "-c", once], timeout_s=60))
        said = InBackground(lambda: program.write("said meanwhile\n"))
        wait_until(lambda: tries() > 1, "try to connect again")
        restore(dut)
        assert ran.result().output == "once\n"
        said.result()
        program.read_until(re.compile("said meanwhile\n"), timeout_s=60, what="echo")
        host.run(["touch", f"{MADE}/enough"])
        counting.read_until(re.compile("end\n"), timeout_s=60, what="end")
    (log,) = tmp_path.glob("logs/*counting.log")
    counted = log.read_text().split()
    assert counted == [*map(str, range(1, len(counted))), "end"]
    wait_until_as_found(dut, before)


def test_a_restart_of_sshd_is_not_noticed(dut: Machine, before: Facts, tries: Tries) -> None:
    with opened(dut) as host, at_work(host) as program:
        dut.restart_sshd()
        program.write("still there\n")
        program.read_until(re.compile("still there\n"), timeout_s=60, what="echo")
        assert host.run(["echo", "here"]).output == "here\n"
    assert tries() == 1
    wait_until_as_found(dut, before)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ("every packet dropped", "no answer from"),
        ("cable pulled", "no answer from|No route to host"),
        ("sshd killed", r"connection refused\): is sshd running there"),
    ],
)
def test_a_host_that_is_not_found_again_puts_itself_in_order(
    dut: Machine, before: Facts, loss: str, words: str
) -> None:
    lose, restore = LOSSES[loss]
    with (
        failing(rf"root@{dut.address}: lost \d+ s ago: .*({words})"),
        opened(dut, reconnect_s=HASTY_S) as host,
        at_work(host),
    ):
        lose(dut)
        host.run(["sleep", "1000"], timeout_s=1000)
    restore(dut)
    # Nobody comes back: it is the agent by itself.
    wait_until_as_found(dut, before)
    with opened(dut) as host:
        assert host.run(["echo", "here"]).output == "here\n"


def test_one_who_only_looked_leaves_nothing(dut: Machine, before: Facts) -> None:
    with (
        failing(f"root@{dut.address}: lost"),
        looked_at(dut) as host,
    ):
        running = InBackground(lambda: host.run(["sleep", "1000"], timeout_s=1000))
        wait_until(lambda: SLEEP in dut.snapshot(), "command")
        dut.kill_sshd()
        running.result()
    wait_until_as_found(dut, before)


def test_what_was_not_waited_for_ends_with_the_session(dut: Machine, before: Facts) -> None:
    with looked_at(dut) as host:
        running = InBackground(lambda: host.run(["sleep", "1000"], timeout_s=1000))
        wait_until(lambda: SLEEP in dut.snapshot(), "command")
    with pytest.raises(HostError):
        running.result()
    wait_until_as_found(dut, before)


def test_a_host_whose_key_changed_meanwhile_is_told_nothing(dut: Machine, before: Facts) -> None:
    known = dut.run(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key"]).stdout.split()[1]
    with (
        failing(f"root@{dut.address}: lost") as said,
        opened(dut, reconnect_s=HASTY_S) as host,
        at_work(host),
    ):
        dut.kill_sshd()
        shown = dut.new_host_key()
        dut.start_sshd()
        host.run(["true"])
    assert known.decode() in said[0]
    assert shown in said[0]
    wait_until_as_found(dut, before)
