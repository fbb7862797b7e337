"""Which interfaces are wired to each other: frames are sent from each, and heard or not."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import changes
from pytest_vswitch.hosts.host import Host, Process
from pytest_vswitch.machine.management import ask_json

WINDOW_S = 2.0
"""How long frames are sent, ten a second [s]: one that is lost does not matter."""

LINK_S = 8.0
"""How long an interface that was brought up may take to find its link [s]: 10GBASE-T takes five."""

_NET = "/sys/class/net"
_IFF_UP = 1

_PROBE = r"""
import json, select, socket, struct, sys, time
token, end, window = sys.argv[1], sys.argv[2], float(sys.argv[3])
names = {}
for name in sys.argv[4:]:
    door = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    door.bind((name, 0x88B5))
    index = socket.if_nametoindex(name)
    # Until the socket is closed: PACKET_ADD_MEMBERSHIP of PACKET_MR_PROMISC.
    door.setsockopt(263, 1, struct.pack("iHH8x", index, 1, 0))
    door.setblocking(False)
    names[door] = name
print("vswitch: listening", flush=True)
sys.stdin.readline()
heard, now = set(), time.monotonic()
stop, due = now + window, now
while now < stop:
    if now >= due:
        due += 0.1
        for door, name in names.items():
            said = json.dumps([token, end, name]).encode()
            # Bridges and switches must not forward what is sent to this address.
            frame = b"\x01\x80\xc2\0\0\x0e" + door.getsockname()[4] + b"\x88\xb5"
            try:
                door.send((frame + len(said).to_bytes(2, "big") + said).ljust(60, b"\0"))
            except OSError:
                pass
    for door in select.select(list(names), [], [], max(0.0, min(due, stop) - now))[0]:
        try:
            frame, where = door.recvfrom(2048)
            said = json.loads(frame[16:16 + int.from_bytes(frame[14:16], "big")])
        except (OSError, ValueError):
            continue
        # What is heard twice, once as sent by itself, is of kind 4 (PACKET_OUTGOING).
        if where[2] != 4 and isinstance(said, list) and len(said) == 3 and said[0] == token:
            heard.add((names[door], said[1], said[2]))
    now = time.monotonic()
print("vswitch: heard " + json.dumps(sorted(heard)), flush=True)
"""
"""Standard library only, Python 3.8. EtherType 0x88B5 is IEEE 802's for experiments."""

_LISTENING = re.compile(r"vswitch: listening\n")
_HEARD = re.compile(r"vswitch: heard (.*)\n")


@dataclass(frozen=True, slots=True)
class End:
    """Interfaces of one host, in one network namespace."""

    host: Host
    interfaces: Sequence[str]
    """That may send: none that carries management."""
    netns: str = ""


@dataclass(frozen=True, slots=True)
class Wires:
    """What is wired to what."""

    wired: Mapping[str, str]
    """From the near end's interfaces to the far end's: each heard the other, and only it."""
    doubtful: Mapping[str, str]
    """Why others of the near end are not among them, by interface."""


def interfaces(host: Host, netns: str) -> list[str]:
    """The Ethernet interfaces of a network namespace that are up. Raises HostError."""
    argv = ["ip", "-n", netns, "-j", "link"]
    return [
        link["ifname"]
        for link in ask_json(host, argv, f"which interfaces are in {netns}")
        if link.get("link_type") == "ether" and "LOWER_UP" in link.get("flags", [])
    ]


@contextlib.contextmanager
def up(host: Host, interfaces: Sequence[str]) -> Iterator[None]:
    """Interfaces that are down are up; at the end they are down again. Raises HostError."""
    with contextlib.ExitStack() as stack:
        for name in interfaces:
            flags = int(host.read_text(f"{_NET}/{name}/flags"), 16)
            stack.enter_context(
                changes.rewriting(host, f"{_NET}/{name}/flags", f"{flags | _IFF_UP:#x}\n")
            )
        yield


def wait_for_links(host: Host, interfaces: Sequence[str]) -> None:
    """Until each has a link, or `LINK_S` are over: one may have no cable."""
    deadline = time.monotonic() + LINK_S
    while time.monotonic() < deadline:
        found = host.read_texts(f"{_NET}/*/carrier")
        if all(found.get(f"{_NET}/{name}/carrier", "").strip() == "1" for name in interfaces):
            return
        time.sleep(0.1)  # polls


def find(near: End, far: End | None) -> Wires:
    """Send from every interface of both ends and listen on all; no `far`: wires of `near`.

    Changes nothing that outlasts it: the interfaces hear all frames while it runs. Of a
    wire between two interfaces of `near`, the first one is the near end.
    Raises HostError for a host that cannot do it.
    """
    if not near.interfaces:
        return Wires({}, {})
    ends = [end for end in (near, far) if end is not None and end.interfaces]
    token = secrets.token_hex(16)
    heard: set[tuple[str, str]] = set()
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(_probe(end, str(i), token)) for i, end in enumerate(ends)]
        for probe in probes:
            probe.read_until(_LISTENING, timeout_s=30.0, what="the wiring probe listening")
        for probe in probes:
            probe.write("go\n")
        for i, probe in enumerate(probes):
            said = probe.read_until(_HEARD, timeout_s=WINDOW_S + 30.0, what="what it heard")
            found = _HEARD.search(said)
            assert found
            heard |= {
                (f"{sender} {there}", f"{i} {here}") for here, sender, there in json.loads(found[1])
            }
    names = [f"{i} {name}" for i, end in enumerate(ends) for name in end.interfaces]
    return _judge(heard, names, between_ends=far is not None)


def _judge(heard: set[tuple[str, str]], names: Sequence[str], between_ends: bool) -> Wires:
    """`heard` is of (sender, listener), each `END INTERFACE`."""
    wired: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        if name in taken or (between_ends and name[0] != "0"):
            continue
        others = {b for a, b in heard if a == name} | {a for a, b in heard if b == name}
        short = name.partition(" ")[2]
        told = ", ".join(sorted(other.partition(" ")[2] for other in others))
        (other,) = others if len(others) == 1 else ("",)
        if not others:
            doubtful[short] = "no frame of it was heard, and it heard none"
        elif not other or len({a for pair in heard if other in pair for a in pair}) > 2:
            doubtful[short] = f"it is on one wire with several: {told}"
        elif (name, other) not in heard or (other, name) not in heard:
            doubtful[short] = f"frames go one way only between it and {told}"
        elif between_ends and other[0] == "0":
            doubtful[short] = f"it is wired to {told} of the same host"
        else:
            wired[short] = other.partition(" ")[2]
            taken.add(other)
    return Wires(wired, doubtful)


def _probe(end: End, number: str, token: str) -> Process:
    host = end.host
    if not host.is_root():
        raise HostError(f"{host.name}: sending frames to find the wiring needs root")
    into = ["ip", "netns", "exec", end.netns] if end.netns else []
    program = ["python3", "-I", "-c", _PROBE]
    argv = [*into, *program, token, number, f"{WINDOW_S:g}", *end.interfaces]
    return host.spawn(argv, name=f"wiring probe {number}", why="which ports are wired together")
