"""Network namespaces with pairs of interfaces, each pair a wire from a generator to a DUT."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vswitch.hosts.host import Host
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.topologies.topology import NicPort
from pytest_vswitch.traffic.af_packet.generator import attach
from pytest_vswitch.traffic.worker_generator import WorkerGenerator
from tests.traffic import reflector as reflecting
from tests.traffic.crossed import Crossed

_serial = itertools.count()
_CLONE_NEWNET = 0x40000000
_SOL_PACKET = 263


def ip(*words: str) -> str:
    return subprocess.run(
        ["ip", *words], check=True, capture_output=True, text=True, timeout=30
    ).stdout


@dataclass(frozen=True)
class Wires:
    """`g0` to `d0` and `g1` to `d1`; generator and DUT have a namespace each."""

    generator: str
    dut: str

    def read(self, path: str) -> str:
        """A file as the generator's namespace sees it."""
        return subprocess.run(
            ["ip", "netns", "exec", self.generator, "cat", path],
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        ).stdout.strip()

    def state(self, name: str) -> tuple[str, str]:
        """Flags, and whether IPv6 is off, of one of the generator's interfaces."""
        return (
            self.read(f"/sys/class/net/{name}/flags"),
            self.read(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"),
        )


@contextlib.contextmanager
def wires() -> Iterator[Wires]:
    """The DUT's ends up and silent, the generator's as the kernel makes them: down."""
    number = f"{os.getpid()}-{next(_serial)}"
    made = Wires(f"vswitch-g{number}", f"vswitch-d{number}")
    with contextlib.ExitStack() as stack:
        for space in (made.generator, made.dut):
            ip("netns", "add", space)
            stack.callback(ip, "netns", "delete", space)
        for end in ("0", "1"):
            peer = ["peer", "name", f"d{end}", "netns", made.dut]
            ip("-n", made.generator, "link", "add", f"g{end}", "type", "veth", *peer)
            silent = ["addrgenmode", "none", "multicast", "off"]
            ip("-n", made.dut, "link", "set", "dev", f"d{end}", *silent)
            ip("-n", made.dut, "link", "set", "dev", f"d{end}", "up")
        yield made


@contextlib.contextmanager
def program(space: str, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A Python program in a network namespace, from its first line until its input ends."""
    command = ["ip", "netns", "exec", space, "python3", "-I", *argv]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        try:
            assert running.stdout.readline() == b"ready\n"
            yield running
        finally:
            running.stdin.close()


@contextlib.contextmanager
def reflector(where: Wires, fault: str = "none") -> Iterator[Callable[[str], None]]:
    """The DUT, see reflector.py; gives it another fault when called."""
    script = Path(__file__).with_name("reflector.py")
    with program(where.dut, str(script), fault, "d0", "d1") as running:

        def err(fault: str) -> None:
            assert running.stdin is not None
            assert running.stdout is not None
            running.stdin.write(fault.encode() + b"\n")
            running.stdin.flush()
            assert running.stdout.readline() == b"ready\n"

        yield err


@contextlib.contextmanager
def inside(space: str) -> Iterator[None]:
    """This thread in a network namespace: a socket that is opened there stays there."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{space}") as there:
        assert libc.setns(there.fileno(), _CLONE_NEWNET) == 0
        try:
            yield
        finally:
            assert libc.setns(home.fileno(), _CLONE_NEWNET) == 0


@contextlib.contextmanager
def sniffer(space: str, name: str) -> Iterator[Callable[[], Sequence[bytes]]]:
    """Tells the frames that came to an interface since it was asked last, tags in place."""
    with inside(space):
        door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with door:
        door.setsockopt(_SOL_PACKET, 23, 1)  # PACKET_IGNORE_OUTGOING
        door.setsockopt(_SOL_PACKET, 8, 1)  # PACKET_AUXDATA
        door.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
        door.setblocking(False)
        door.bind((name, 3))

        def seen() -> Sequence[bytes]:
            frames = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    frames.append(reflecting.receive(door))
            return frames

        yield seen


def swap(frame: bytes) -> bytes:
    return frame[6:12] + frame[:6] + frame[12:]


class Topology(Crossed):
    """What a generator asks of a topology of two NIC ports."""

    generator_cpu: int | None = None

    def __init__(
        self,
        wired_to: Sequence[str] = ("g0", "g1"),
        transform: Callable[[bytes], bytes] = swap,
    ) -> None:
        super().__init__(transform)
        self.ports: Sequence[NicPort] = [
            NicPort(f"nic{number}", f"0000:01:00.{number}", name, 1e9)
            for number, name in enumerate(wired_to)
        ]


def lab(netns: str | None) -> Lab:
    return Lab.model_validate(
        {
            "name": "wires",
            "dut": {"host": "local"},
            "ports": [
                {"kind": "nic", "bdf": f"0000:01:00.{number}", "line_rate_gbps": 1}
                for number in range(2)
            ],
            "generator": {"netns": netns},
        }
    )


@contextlib.contextmanager
def attached(
    host: Host, where: Wires, topology: Topology | None = None
) -> Iterator[WorkerGenerator]:
    """The generator of a lab with these wires."""
    with attach(lab(where.generator), host, topology or Topology()) as generator:
        yield generator
