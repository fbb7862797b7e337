"""A server with a PF, or with both: files, `ip`, QEMU, and the undoing of all of it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NoReturn, cast

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed, Process
from pytest_vswitch.hosts.undo import Change
from tests.emulated.migration_qemu import Qemu, Refused, sockets
from tests.emulated.migration_world import Pf, Vf, World, packed
from tests.emulated.ovdk_terminal import Terminal

_PCI = "/sys/bus/pci/devices"
_NONSENSE = "\x07 what?\n"
OWN = ("02:00:00:00:0a:00", "02:00:00:00:0b:00")
"""Addresses of the VFs, by PF, before anybody gives them another."""


class Host:
    """See `hosts.host.Host`."""

    cache = "/var/cache/emulated"

    def __init__(self, world: World, name: str, numbers: Sequence[int]) -> None:
        self.world = world
        self.name = name
        self.scratch = f"/run/vswitch/{name}"
        self.pfs: list[Pf] = [world.pfs[number] for number in numbers]
        self.links: set[str] = set()
        """Bridges and tap devices."""
        self.masters: dict[str, str] = {}
        """By port: its bridge."""
        self.qemus: list[Qemu] = []
        self.modules = ["uio_pci_generic", "igb_uio"]
        """Of the guest's kernel."""
        self.bound: dict[str, str] = {pf.bdf: pf.kind for pf in self.pfs}
        self.files = {
            "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-7\n",
            "/proc/meminfo": "MemAvailable: 9999999 kB\n",
            "/lib/modules/6.1.0-37-amd64/kernel": "",
        }
        for pf in self.pfs:
            self.files |= {
                f"{_PCI}/{pf.bdf}/sriov_numvfs": "0\n",
                f"{_PCI}/{pf.bdf}/sriov_totalvfs": "63\n",
                f"{_PCI}/{pf.bdf}/sriov_drivers_autoprobe": "1\n",
                f"/sys/class/net/{pf.name}/flags": "0x1003\n",
            }

    def state(self) -> object:
        """What a run must leave as it was."""
        running = [qemu.process.name for qemu in self.qemus if not qemu.process.ended]
        bridges = [(pf.up, pf.bridge, pf.tap, pf.vf) for pf in self.pfs]
        return dict(self.files), dict(self.bound), sorted(self.links), bridges, running

    def gone(self, what: str) -> HostError:
        """A connection that is lost."""
        self.world.lost.add(self.name)
        return HostError(f"{self.name}: the connection is lost: {what}")

    # --- commands ---

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        line = " ".join(argv)
        fault = self._step(line)
        if fault == "time-out":
            raise HostError(f"{self.name}: `{line}` did not end within {timeout_s:g} s")
        if fault == "nonsense":
            return Completed(tuple(argv), 0, _NONSENSE)
        status, output = self._answer(line) if not fault else (1, "Operation not permitted\n")
        if check and status:
            raise HostError(f"{self.name}: `{line}` failed ({status}): {output.strip()}")
        return Completed(tuple(argv), status, output)

    ask = run

    def _step(self, what: str) -> str:
        if self.name in self.world.lost:
            raise self.gone(what)
        fault = self.world.step(f"{self.name}: {what}")
        if fault == "lost":
            raise self.gone(what)
        return fault

    def _answer(self, line: str) -> tuple[int, str]:
        for pattern, answer in _LANGUAGE:
            if found := re.fullmatch(pattern, line):
                return answer(self, *found.groups()) or (0, "")
        raise AssertionError(f"nobody says `{line}` to this host")

    def pf(self, name: str) -> Pf | None:
        return next((pf for pf in self.pfs if pf.name == name), None)

    def enslave(self, port: str, bridge: str) -> tuple[int, str] | None:
        if bridge not in self.links or not (self.pf(port) or port in self.links):
            return 1, f'Cannot find device "{port}"\n'
        self.masters[port] = bridge
        self._join()
        return None

    def _join(self) -> None:
        """Bridges have the ports that are there still."""
        for pf in self.pfs:
            bridge = self.masters.get(pf.name, "")
            pf.bridge = bridge if bridge in self.links else ""
            taps = [port for port in self.links if self.masters.get(port) == bridge]
            pf.tap = taps[0] if pf.bridge and taps else ""

    def switch_port(self, port: str, state: str) -> tuple[int, str] | None:
        if pf := self.pf(port):
            pf.up = state == "up"
            self.files[f"/sys/class/net/{port}/flags"] = "0x1003\n" if pf.up else "0x1002\n"
            return None
        return None if port in self.links else (1, f'Cannot find device "{port}"\n')

    def set_address(self, name: str, mac: str) -> tuple[int, str] | None:
        pf = self.pf(name)
        if pf is None or pf.vf is None:
            return 2, "RTNETLINK answers: Invalid argument\n"
        self.give(pf, packed(mac))
        return None

    def give(self, pf: Pf, mac: bytes) -> None:
        """The PF's driver sets the VF's address."""
        assert pf.vf is not None
        pf.vf.given = mac

    def show(self, name: str) -> tuple[int, str]:
        if name in self.links or self.pf(name):
            return 0, f"2: {name}: <BROADCAST,MULTICAST>\n"
        return 1, f'Device "{name}" does not exist.\n'

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Process:
        fault = self._step(f"spawn {name}")
        if fault in ("refusal", "nonsense"):
            failed = Terminal(name)
            failed.say("cannot start\n" if fault == "refusal" else _NONSENSE)
            failed.ended = True
            return cast(Process, failed)
        if fault:
            raise HostError(f"{self.name}: {name} did not start within 30 s")
        try:
            qemu = Qemu(self, list(argv), name)
        except Refused as error:
            failed = Terminal(name)
            failed.say(f"{error}\n")
            failed.ended = True
            return cast(Process, failed)
        self.qemus.append(qemu)
        return cast(Process, _Running(qemu))

    @contextlib.contextmanager
    def console(self, path: str, name: str) -> Iterator[Console]:
        if self._step(f"console {path}"):
            raise HostError(f"{self.name}: cannot connect to {path}")
        for qemu in self.qemus:
            if path in sockets(qemu) and not qemu.process.ended:
                terminal = sockets(qemu)[path]
                terminal.name = name
                yield cast(Console, terminal)
                return
        raise HostError(f"{self.name}: nobody listens on {path}")

    # --- files ---

    def write_text(self, path: str, text: str) -> None:
        if self._step(f"write {path} {text.strip()}"):
            raise PermissionError(13, "Permission denied", path)
        if path.endswith("/driver/unbind"):
            self.bound[text.strip()] = ""
        elif path.endswith("/drivers_probe"):
            bdf = text.strip()
            self.bound[bdf] = self.files[f"{_PCI}/{bdf}/driver_override"].strip()
        else:
            self.files[path] = text
        for pf in self.pfs:
            if path == f"{_PCI}/{pf.bdf}/sriov_numvfs":
                self._give_functions(pf, int(text))

    def _vf(self, pf: Pf) -> str:
        return pf.bdf.replace(":00.0", ":10.0")

    def _give_functions(self, pf: Pf, count: int) -> None:
        bdf = self._vf(pf)
        self.bound.pop(bdf, None)
        self.files.pop(f"{_PCI}/{bdf}/driver_override", None)
        pf.vf = None
        if count:
            pf.vf = Vf(bdf, packed(OWN[pf.number]))
            probes = self.files[f"{_PCI}/{pf.bdf}/sriov_drivers_autoprobe"].strip() == "1"
            self.bound[bdf] = f"{pf.kind}vf" if probes else ""
            self.files[f"{_PCI}/{bdf}/driver_override"] = "(null)\n"

    def write_bytes(self, path: str, data: bytes) -> None:
        self.write_text(path, data.decode())

    def read_text(self, path: str) -> str:
        if found := re.fullmatch(r"/sys/class/net/([^/]+)/statistics/(\w+)", path):
            fault = self._step(f"read {path}")
            pf = next((p for p in self.pfs if found[1] in (p.name, p.tap)), None)
            if pf is None or fault == "refusal":
                raise FileNotFoundError(2, "No such file or directory", path)
            if fault:
                return "what?" if fault == "nonsense" else ""
            return f"{pf.counters.get(found[1], 0) if found[2] == 'rx_packets' else 0}\n"
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def read_bytes(self, path: str) -> bytes:
        return self.read_text(path).encode()

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        return {}

    def read_link(self, path: str) -> str:
        if found := re.fullmatch(rf"{_PCI}/([^/]+)/driver", path):
            return f"/sys/bus/pci/drivers/{self.bound[found[1]]}"
        if found := re.fullmatch(rf"{_PCI}/([^/]+)/virtfn0", path):
            pf = next(pf for pf in self.pfs if pf.bdf == found[1])
            return f"{_PCI}/{self._vf(pf)}"
        return path

    def exists(self, path: str) -> bool:
        if found := re.fullmatch(rf"{_PCI}/([^/]+)(/driver)?", path):
            return bool(self.bound.get(found[1])) if found[2] else found[1] in self.bound
        listening = any(path in sockets(q) for q in self.qemus if not q.process.ended)
        return listening or path in self.files or path == "/sys/bus/pci/drivers/vfio-pci"

    def glob(self, pattern: str) -> list[str]:
        there = [f"{_PCI}/{pf.bdf}/virtfn0" for pf in self.pfs if pf.vf]
        there += [f"{_PCI}/{pf.bdf}/net/{pf.name}" for pf in self.pfs]
        there += ["/boot/vmlinuz-6.1.0-37-amd64"]
        return [path for path in there if fnmatch(path, pattern)]

    def is_root(self) -> bool:
        return True

    def which(self, program: str) -> str | None:
        return program if program.startswith("/") else f"/usr/bin/{program}"

    def check_reserved(self) -> None: ...

    def python(self, module: str) -> list[str]:
        return ["python3", "-m", module]

    def connect(self, address: str | int) -> NoReturn:
        raise HostError(f"nobody listens at {address}")

    # --- undo ---

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        try:
            yield
        finally:  # what is on the host undoes it, also without a connection
            self._undo(change)

    def _undo(self, change: Change) -> None:
        kind, path, before = change.kind, change.path, change.before
        if kind == "rewrote":
            if path in self.files:
                self.files[path] = before or ""
                for pf in self.pfs:
                    if path == f"/sys/class/net/{pf.name}/flags":
                        pf.up = before == "0x1003\n"
        elif kind == "bound":
            if path in self.bound:
                self.bound[path] = before or ""
        elif kind == "functions":
            pf = next(pf for pf in self.pfs if pf.bdf == path)
            self.files[f"{_PCI}/{path}/sriov_numvfs"] = f"{before}\n"
            self._give_functions(pf, int(before or 0))
        elif kind == "linked":
            self.links.discard(path)
            self._join()
        else:
            assert kind == "made"
            for other in list(self.files):
                if other == path or other.startswith(f"{path}/"):
                    del self.files[other]


class _Running:
    """A QEMU as a process; see `hosts.host.Process`."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu

    def __getattr__(self, name: str) -> Any:
        return getattr(self._qemu.process, name)

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None:
        assert re.fullmatch(r"CPU \d+/(TCG|KVM)", thread)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._qemu.end()


def _link(host: Host, name: str) -> None:
    host.links.add(name)


def _make(host: Host, path: str) -> None:
    host.files[path] = ""


_LANGUAGE: tuple[tuple[str, Callable[..., tuple[int, str] | None]], ...] = (
    (r"ip link show dev (\S+)", Host.show),
    (r"ip -o address show dev (\S+) scope global", lambda host, name: None),
    (
        r"ip link add name (\S{1,15}) index \d+ type bridge forward_delay 0 mcast_snooping 0",
        _link,
    ),
    (r"ip tuntap add dev (\S{1,15}) mode tap", _link),
    (r"ip link set dev (\S+) vf 0 mac ([0-9a-f:]{17})", Host.set_address),
    (r"ip link set dev (\S+) master (\S+)", Host.enslave),
    (r"ip link set dev (\S+) (up|down)", Host.switch_port),
    (r"sysctl -q -w net\.ipv6\.conf\.\S+\.disable_ipv6=1", lambda host: None),
    (r"mkdir -p (\S+)", _make),
    (r"uname -n", lambda host: (0, f"{host.name}\n")),
    (
        r"find /lib/modules/\S+ -name \*\.ko\*",
        lambda host: (0, "".join(f"/lib/modules/x/{name}.ko\n" for name in host.modules)),
    ),
    (r"qemu-system-x86_64 --version", lambda host: (0, "QEMU 7.2\n")),
    # What keeps the host reachable: nothing that goes through these ports.
    (r"ip(?: -6)? -j .*", lambda host: (0, "[]\n")),
    (r"ss -Htnp state established|printenv SSH_CONNECTION", lambda host: None),
)
