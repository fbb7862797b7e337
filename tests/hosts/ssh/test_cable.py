"""A network that swallows every packet, without a reset: nobody waits for long."""

from __future__ import annotations

import threading

from pytest_vswitch.hosts.ssh.configuration import SshOptions
from pytest_vswitch.hosts.ssh.connection import Connection, ConnectionLost, connect
from tests.hosts.machine import DEADLINE_S
from tests.hosts.ssh.test_connection import SOON_S, STAYS, Reader, Writer, read_exactly
from tests.machines.fixtures import MakeMachine, dut, machines
from tests.machines.machine import Machine

__all__ = ["dut", "machines"]


def reach(machine: Machine, keepalive_s: float = SOON_S) -> Connection:
    options = SshOptions(str(machine.config), connect_timeout_s=DEADLINE_S, keepalive_s=keepalive_s)
    return connect(machine.name, options)


def test_who_reads_and_who_writes_is_released(dut: Machine) -> None:
    connection = reach(dut)
    reader = Reader(connection.open_stream(STAYS))
    writer = Writer(connection.open_stream("exec cat >/dev/null"))
    dut.cable.drop()
    for error in (reader.result(), writer.result()):
        assert isinstance(error, ConnectionLost)
        assert "nothing was heard for 1.5 s" in str(error)
    connection.close()


def test_the_kernel_notices_by_itself(dut: Machine) -> None:
    connection = reach(dut, keepalive_s=1.0)
    watch = connection._route.watch
    assert watch is not None
    watch._limit_s = 1000.0  # it is not to be what ends the connection
    reader = Reader(connection.open_stream(STAYS))
    dut.cable.drop()
    assert isinstance(reader.result(), ConnectionLost)
    assert not watch.lost
    connection.close()


def test_closing_does_not_wait_for_the_network(dut: Machine) -> None:
    connection = reach(dut, keepalive_s=1000.0)
    stream = connection.open_stream("exec cat >/dev/null")
    writer = Writer(stream)
    dut.cable.drop()

    def end() -> None:
        stream.close()
        connection.close()

    closing = threading.Thread(target=end, daemon=True)
    closing.start()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    assert writer.result() is not None


def test_a_target_behind_a_jump_host(machines: MakeMachine) -> None:
    jump = machines("jump")
    target = machines("target", behind=jump)
    connection = reach(target)
    reader = Reader(connection.open_stream(STAYS))
    target.cable.drop()
    assert "target was lost: nothing was heard for 1.5 s" in str(reader.result())
    connection.close()


def test_a_short_loss_is_survived(dut: Machine) -> None:
    connection = reach(dut, keepalive_s=DEADLINE_S)
    stream = connection.open_stream("exec cat")
    dut.cable.drop()
    stream.write(b"patience")
    dut.cable.heal()
    assert read_exactly(stream, 8) == b"patience"
    connection.close()
