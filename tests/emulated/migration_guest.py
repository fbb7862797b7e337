"""A guest with a virtio port and maybe a VF: its shell, and its testpmd with a bond of the two."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.emulated.migration_world import packed, ring

if TYPE_CHECKING:
    from tests.emulated.migration_qemu import Qemu

ADDRESSES = {"virtio": "0000:00:10.0", "vf": "0000:01:00.0"}
_DRIVERS = {"virtio": ("uio_pci_generic", "igb_uio"), "vf": ("igb_uio",)}
BOND = 2
LINK_MS = 10
BAD = "Bad arguments\n"


class Failed(Exception):
    """What a command of the shell says before it fails."""


@dataclass
class Port:
    """Of testpmd."""

    kind: str
    started: bool = True
    closed: bool = False
    rx: int = 0
    tx: int = 0
    ring: deque[bytes] = field(default_factory=ring)


@dataclass
class Guest:
    """What moves: memory, with all that is in it."""

    qemu: Qemu
    """Where it runs."""
    devices: set[str]
    drivers: dict[str, str] = field(default_factory=dict)
    testpmd: Testpmd | None = None
    stopped: bool = False

    def receive(self, kind: str, frame: bytes) -> None:
        if self.testpmd is not None and not self.stopped:
            self.testpmd.receive(kind, frame)

    def send(self, kind: str, frame: bytes) -> None:
        if kind == "vf":
            self.qemu.pf.sent_by_vf(frame)
        else:
            self.qemu.pf.sent_by_tap(frame)

    # --- its shell ---

    def run(self, line: str) -> str:
        """Raises Failed."""
        for pattern, answer in _SHELL:
            if found := re.fullmatch(pattern, line):
                return answer(self, *found.groups()) or ""
        raise Failed(f"sh: {line}: not found")

    def _kind(self, address: str) -> str:
        for kind, here in ADDRESSES.items():
            if here == address and kind in self.devices:
                return kind
        return ""

    def wait_for(self, wanted: str, address: str) -> None:
        if bool(self._kind(address)) != (wanted == "-e"):
            raise Failed("it is still waiting")

    def bind(self, device: str, address: str, driver: str, *_: str) -> None:
        kind = self._kind(address)
        if not kind or driver not in _DRIVERS[kind]:
            raise Failed(f"sh: write error: No such device: {device}")
        self.drivers[kind] = driver

    def start(self, words: str) -> None:
        argv = words.split()
        assert argv[:2] == ["stdbuf", "-oL"]
        assert "--port-topology=chained" in argv
        self.testpmd = Testpmd(self, [kind for kind in ("virtio", "vf") if kind in self.drivers])
        self.qemu.world.spoil(self.testpmd)
        self.qemu.testpmd_console.say("EAL: RTE Version: 'DPDK 22.11.11'\ntestpmd> ")


_DEVICE = r"/sys/bus/pci/devices/(\S+)"
_SHELL: tuple[tuple[str, Callable[..., str | None]], ...] = (
    (r"true", lambda guest: ""),
    (r"uname -r", lambda guest: "6.1.0\n"),
    (rf"until \[ (-e) {_DEVICE} \]; do usleep 20000; done", Guest.wait_for),
    (rf"until \[ (! -e) {_DEVICE} \]; do usleep 20000; done", Guest.wait_for),
    (
        rf"\[ ! -e {_DEVICE}/driver \] \|\| echo (?:\S+) > \S+/driver/unbind; "
        r"echo () *(\S+) > \S+/driver_override; echo (\S+) > /sys/bus/pci/drivers_probe; "
        r"\[ -e \S+/driver \]",
        lambda guest, device, _, driver, address: guest.bind(device, address, driver),
    ),
    (
        r"\((stdbuf [^;]+); status=\$\?; echo; echo vswitch: testpmd ended with status "
        r"\$status\) 0<>/dev/vswitch\.testpmd >&0 2>&1 &",
        Guest.start,
    ),
)


class Testpmd:
    """testpmd 22.11 with these ports; the third is its bond."""

    __test__ = False

    def __init__(self, guest: Guest, kinds: list[str]) -> None:
        self.guest = guest
        self.ports = {number: Port(kind) for number, kind in enumerate(kinds)}
        self.slaves: list[int] = []
        self.active: list[int] = []
        self.primary: int | None = None
        self.wanted = -1
        """The primary that it was told, once that is active."""
        self.links: dict[int, float] = {}
        """By slave: when its link is seen [ms]."""
        self.running = False
        self.portlist = list(self.ports)

    # --- frames ---

    def receive(self, kind: str, frame: bytes) -> None:
        number = next((n for n, port in self.ports.items() if port.kind == kind), None)
        if number is None or not self.ports[number].started:
            return
        port = self.ports[number]
        port.ring.append(frame)
        self.poll()

    def poll(self) -> None:
        """The bond's primary is polled, and no other slave (active backup)."""
        self.become_active()
        if not self.forwards or self.primary not in self.active:
            return
        assert self.primary is not None
        port = self.ports[self.primary]
        while port.ring:
            frame = port.ring.popleft()
            port.rx += 1
            self.ports[BOND].rx += 1
            self.send(self.primary, self.forwarded(frame))

    @property
    def forwards(self) -> bool:
        bond = self.ports.get(BOND)
        return bond is not None and bond.started and self.running and BOND in self.portlist

    def forwarded(self, frame: bytes) -> bytes:
        """`macswap`."""
        return frame[6:12] + frame[:6] + frame[12:]

    def send(self, number: int, frame: bytes) -> None:
        self.ports[number].tx += 1
        self.ports[BOND].tx += 1
        self.guest.send(self.ports[number].kind, frame)

    # --- its console ---

    def answer(self, line: str) -> str:
        for pattern, method in _LANGUAGE:
            if found := re.fullmatch(pattern, line):
                self.become_active()
                said: str = getattr(self, method)(*found.groups())
                self.poll()
                return said
        return "Command not found\n" if not line.startswith(("show", "set")) else BAD

    def nothing(self) -> str:
        return ""

    def config(self) -> str:
        return f"macswap packet forwarding - ports={len(self.portlist)}\n"

    def port(self, number: str) -> Port | None:
        return self.ports.get(int(number))

    def create(self) -> str:
        if BOND in self.ports or len(self.ports) < BOND:
            return "Failed to create bonded device.\n"
        self.ports[BOND] = Port("bond", started=False)
        self.portlist.append(BOND)
        return f"Created new bonded device net_bonding_testpmd_0 on (port {BOND}).\n"

    def add(self, number: str, bond: str) -> str:
        if int(bond) != BOND or BOND not in self.ports or int(number) not in self.ports:
            return f"Failed to add slave {number} to master port = {bond}.\n"
        self.slaves.append(int(number))
        self.look_at_link(int(number))
        if self.primary is None:
            self.primary = int(number)
        return ""

    def look_at_link(self, number: int) -> None:
        """The bond does so now and then, once it is started."""
        if self.ports[BOND].started:
            self.links[number] = self.guest.qemu.world.now_ms + LINK_MS

    def become_active(self) -> None:
        """Those whose link was seen by now."""
        for number, due_ms in list(self.links.items()):
            if number not in self.slaves or self.guest.qemu.world.now_ms >= due_ms:
                del self.links[number]
                if number in self.slaves:
                    self.activate(number)

    def activate(self, number: int) -> None:
        self.active.append(number)
        if number == self.wanted:
            self.primary = number

    def remove(self, number: str, bond: str) -> str:
        if int(bond) != BOND or int(number) not in self.slaves:
            return f"Failed to remove slave {number} from master port = {bond}.\n"
        self.slaves.remove(int(number))
        if int(number) in self.active:
            self.active.remove(int(number))
        if self.primary == int(number):
            self.primary = self.slaves[0] if self.slaves else None
        return f"Port {number} must be stopped to allow reset\n"

    def set_primary(self, number: str, bond: str) -> str:
        if int(bond) != BOND or int(number) not in self.slaves:
            return f"Failed to set primary slave for port = {bond}.\n"
        self.wanted = int(number)
        if not self.active or int(number) in self.active:
            self.primary = int(number)
        return ""

    def show_bond(self, bond: str) -> str:
        if int(bond) != BOND or BOND not in self.ports:
            return f"Failed to get bonding mode for port = {bond}\n"

        def listed(name: str, ports: list[int]) -> str:
            numbers = " ".join(map(str, ports))
            return f"\t{name}" + (f" ({len(ports)}): [{numbers}]\n" if ports else ": []\n")

        primary = f"\tPrimary: [{self.primary}]\n" if self.primary is not None else ""
        return (
            "\tBonding mode: 1\n"
            + listed("Slaves", self.slaves)
            + listed("Active Slaves", self.active)
            + primary
        )

    def start_port(self, number: str) -> str:
        if (port := self.port(number)) is None or port.closed:
            return f"Invalid port {number}\n"
        port.started = True
        if int(number) == BOND:
            for slave in self.slaves:
                self.look_at_link(slave)
        return f"Port {number}: 02:00:00:00:00:00\nChecking link statuses...\nDone\n"

    def stop_port(self, number: str) -> str:
        if (port := self.port(number)) is None:
            return f"Invalid port {number}\n"
        if int(number) in self.slaves:
            return f"Please remove port {number} from bonded device.\n"
        port.started = False
        return "Stopping ports...\nChecking link statuses...\nDone\n"

    def close_port(self, number: str) -> str:
        if (port := self.port(number)) is None:
            return f"Invalid port {number}\n"
        if int(number) in self.slaves:
            return f"Please remove port {number} from bonded device.\n"
        if port.started:
            return "Please stop port first.\n"
        port.closed = True
        if port.kind == "vf":
            self.let_addresses_go()
        return "Closing ports...\nDone\n"

    def let_addresses_go(self) -> None:
        """ "Port close should remove VF MAC address" (guide, 1.3.3)."""
        vf = self.guest.qemu.pf.vf
        assert vf is not None
        vf.asked.clear()

    def attach(self, address: str) -> str:
        kind = next((kind for kind, here in ADDRESSES.items() if here == address), "")
        if self.guest.drivers.get(kind) is None or kind in {p.kind for p in self.ports.values()}:
            return "Attaching a new port...\nFailed to attach port 0000\n"
        number = next(n for n in range(4) if n not in self.ports)
        self.ports[number] = Port(kind, started=False)
        self.portlist = [*self.portlist, number]
        return (
            f"Attaching a new port...\nPort {number} is attached. Now total ports is "
            f"{len(self.ports)}\nDone\n"
        )

    def detach(self, address: str) -> str:
        for number, port in list(self.ports.items()):
            if ADDRESSES.get(port.kind) == address:
                if not port.closed:
                    return f"Port {number} not stopped\n"
                del self.ports[number]
                self.portlist = [other for other in self.portlist if other != number]
                return f"Device {address} is detached\nNow total ports is {len(self.ports)}\nDone\n"
        return "Cannot find device\n"

    def add_address(self, number: str, mac: str) -> str:
        port, pf = self.port(number), self.guest.qemu.pf
        if port is None or port.kind != "vf" or pf.vf is None:
            return "vf_mac_addr_cmd error: (No such device)\n"
        if pf.kind != "ixgbe" or pf.vf.given:
            return "vf_mac_addr_cmd error: (Operation not permitted)\n"
        pf.vf.asked.add(packed(mac))
        return ""

    def remove_address(self, number: str, mac: str) -> str:
        port, vf = self.port(number), self.guest.qemu.pf.vf
        if port is None or port.kind != "vf" or vf is None:
            return "mac_addr_cmd error: (No such device)\n"
        vf.asked.discard(packed(mac))
        return ""

    def macs(self, number: str) -> str:
        vf, port = self.guest.qemu.pf.vf, self.port(number)
        if port is None or vf is None:
            return f"Invalid port {number}\n"
        shown = "".join(f"  {mac.hex(':').upper()}\n" for mac in sorted(vf.addresses))
        return f"Number of MAC address added: {len(vf.addresses)}\n{shown}"

    def info(self, number: str) -> str:
        if number == "all":
            return "".join(map(self.info, map(str, sorted(self.ports))))
        if (port := self.port(number)) is None:
            return f"Invalid port {number}\n"
        vf = self.guest.qemu.pf.vf
        mac = (vf.given or vf.own) if vf is not None else bytes(6)
        return (
            f"\n********************* Infos for port {number}  *********************\n"
            f"MAC address: {mac.hex(':').upper()}\n"
            f"Device name: {ADDRESSES.get(port.kind, 'bond')}\n"
            f"Driver name: net_{port.kind}\n"
        )

    def set_ports(self, number: str) -> str:
        if self.running:
            return "Please stop forwarding first\n"
        before, self.portlist = len(self.portlist), [int(number)]
        return f"previous number of forwarding ports {before} - changed to number of configured 1\n"

    def start(self) -> str:
        self.running = True
        return "macswap packet forwarding - ports=1 - cores=1\n"

    def stop(self) -> str:
        self.running = False
        return "Telling cores to stop...\nDone.\n"

    def statistics(self, number: str) -> str:
        chosen = sorted(self.ports) if number == "all" else [int(number)]
        return "".join(
            f"\n  {24 * '#'} NIC statistics for port {n}  {24 * '#'}\n"
            f"  RX-packets: {self.seen(n):<10} RX-missed: 0          RX-bytes:  0\n"
            f"  RX-errors: 0\n  RX-nombuf:  0         \n"
            f"  TX-packets: {self.ports[n].tx:<10} TX-errors: 0          TX-bytes:  0\n\n"
            f"  Throughput (since last show)\n  {76 * '#'}\n"
            for n in chosen
        )

    def seen(self, number: int) -> int:
        """Frames that a port is said to have received."""
        return self.ports[number].rx

    def forward_statistics(self) -> str:
        bar = 22 * "-"
        return "".join(
            f"\n  {bar} Forward statistics for port {n}  {bar}\n"
            f"  RX-packets: {self.ports[n].rx:<14} RX-dropped: 0             RX-total: 0\n"
            f"  TX-packets: {self.ports[n].tx:<14} TX-dropped: 0             TX-total: 0\n"
            f"  {76 * '-'}\n"
            for n in self.portlist
        )


_LANGUAGE = (
    (r"create bonded device 1 0", "create"),
    (r"add bonding slave (\d) (\d)", "add"),
    (r"remove bonding slave (\d) (\d)", "remove"),
    (r"set bonding primary (\d) (\d)", "set_primary"),
    (r"show bonding config (\d)", "show_bond"),
    (r"show config fwd", "config"),
    (r"port start (\d)", "start_port"),
    (r"port stop (\d)", "stop_port"),
    (r"port close (\d)", "close_port"),
    (r"port attach (\S+)", "attach"),
    (r"device detach (\S+)", "detach"),
    (r"mac_addr add port (\d) vf 0 ([0-9a-f:]{17})", "add_address"),
    (r"mac_addr remove (\d) ([0-9a-f:]{17})", "remove_address"),
    (r"show port (\d) macs", "macs"),
    (r"show port info (\d|all)", "info"),
    (r"set portlist (\d)", "set_ports"),
    (r"start", "start"),
    (r"stop", "stop"),
    (r"show port stats (\d|all)", "statistics"),
    (r"show fwd stats all", "forward_statistics"),
    (r"", "nothing"),
)
"""A line, and the method that carries it out."""
