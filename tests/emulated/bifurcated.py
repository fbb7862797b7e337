"""A host whose port is split: PF with the kernel, two VFs with testpmd, and the wire's other end.

It keeps state, answers `ip`, `ethtool` and testpmd in their words, and refuses all others. Its
undo is told by what it holds afterwards: `state()`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.undo import Change
from tests.emulated.ethtool import PF, USAGE, Filters, Kind, fields_of
from tests.emulated.vf_testpmd import Testpmd, packed

BDF, VF_BDFS = "0000:01:00.0", ("0000:01:10.0", "0000:01:10.2")
NAME = "ens1f0"
MAC = "68:05:ca:24:03:8b"
_PCI = "/sys/bus/pci/devices"
_DOWN, _UP = "0x1002\n", "0x1003\n"
_SPACE = r"ip (?:netns exec|-n) (\S+) (.*)"


class Host:
    """See `hosts.host.Host`. A mutant overrides one method, of this, of its kernel or filters."""

    name = "emulated"
    scratch = "/run/vswitch/emulated"
    cache = "/var/cache/emulated"

    def __init__(self, kind: Kind, filters: type[Filters] = Filters) -> None:
        self.filters = filters(kind, ntuple=kind != "ixgbe")
        self.driver = kind.split()[0]
        self.version = {"ixgbe": "6.1.0-13-amd64", "i40e": "6.1.0-13-amd64"}.get(kind, "1.5.16")
        self.kernel = Kernel(self)
        self.space = ""
        """Network namespace that the PF is in."""
        self.spaces: set[str] = set()
        self.files = {
            "/proc/self/status": "Name: x\nCpus_allowed_list:\t0-7\n",
            "/proc/meminfo": "MemAvailable: 9999999 kB\n",
            f"{_PCI}/{BDF}/sriov_numvfs": "0\n",
            f"{_PCI}/{BDF}/sriov_totalvfs": "63\n",
            f"{_PCI}/{BDF}/sriov_drivers_autoprobe": "1\n",
            f"/sys/class/net/{NAME}/address": f"{MAC}\n",
            f"/sys/class/net/{NAME}/flags": _UP,
        }
        self.bound: dict[str, str] = {BDF: self.driver}
        self.vf_macs: dict[int, bytes] = {}
        self.testpmd: Testpmd | None = None
        self.commands: list[str] = []
        """Everything that was carried out, on one line each."""
        self.on_step: Callable[[str], None] = lambda step: None
        """Called before each; may raise, as a host that breaks there."""

    def state(self) -> object:
        """What a run must leave as it was."""
        changed = ("/sys/", "/proc/sys/")
        kept = {path: text for path, text in self.files.items() if path.startswith(changed)}
        return (
            kept,
            dict(self.bound),
            self.space,
            set(self.spaces),
            self.filters.ntuple,
            set(self.filters.table),
            self.testpmd is None,
        )

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
        del stdin, timeout_s, why
        line = " ".join(argv)
        self.commands.append(line)
        self.on_step(line)
        status, output = self._answer(line)
        if check and status:
            raise HostError(f"{self.name}: `{line}` failed ({status}): {output.strip()}")
        return Completed(tuple(argv), status, output)

    ask = run

    def _answer(self, line: str) -> tuple[int, str]:
        space = ""
        if found := re.fullmatch(_SPACE, line):
            space, rest = found.groups()
            if space not in self.spaces:
                return 1, f'Cannot open network namespace "{space}": No such file or directory\n'
            line = rest if "netns exec" in line else f"ip {rest}"
        for pattern, answer in _LANGUAGE:
            if found := re.fullmatch(pattern, line):
                if NAME in line and space != self.space and "netns" not in line:
                    return 1, f'Device "{NAME}" does not exist.\n'
                return answer(self, *found.groups()) or (0, "")
        raise AssertionError(f"nobody says `{line}` to this host")

    def ethtool(self, option: str, words: str = "") -> tuple[int, str]:
        if option == "-i":
            return 0, f"driver: {self.driver}\nversion: {self.version}\n"
        if option == "-S":
            return 0, self.kernel.queue_statistics()
        if option not in ("-N", "-n", "-K", "-k"):
            return 1, USAGE
        return self.filters.command(option, words.split())

    def move(self, space: str) -> None:
        self.space = space
        self.files[f"/sys/class/net/{NAME}/flags"] = _DOWN
        self.kernel.up = False
        self.kernel.addresses.clear()
        self.kernel.neighbours.clear()
        self.filters.tunnel_ports.clear()

    def delete_namespace(self, space: str) -> None:
        self.spaces.discard(space)
        if self.space == space:
            self.move("")

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Testpmd:
        del stop_with, why
        self.on_step(f"spawn {name}")
        taken = [argv[n + 1] for n, word in enumerate(argv) if word == "-a"]
        for bdf in taken:
            if self.bound.get(bdf) != "vfio-pci":
                raise HostError(f"EAL: Cannot find driver for {bdf}")
        self.testpmd = Testpmd(self, list(argv), name)
        return self.testpmd

    # --- files ---

    def write_text(self, path: str, text: str) -> None:
        self.on_step(f"write {path} {text.strip()}")
        if path.endswith("/driver/unbind"):
            self.bound[text.strip()] = ""
        elif path.endswith("/drivers_probe"):
            self.bound[text.strip()] = self.files[f"{_PCI}/{text.strip()}/driver_override"].strip()
        else:
            self.files[path] = text
        if path == f"{_PCI}/{BDF}/sriov_numvfs":
            self._give_functions(int(text))

    def _give_functions(self, count: int) -> None:
        for bdf in VF_BDFS:
            self.bound.pop(bdf, None)
            self.files.pop(f"{_PCI}/{bdf}/driver_override", None)
        for bdf in VF_BDFS[:count]:
            self.bound[bdf] = ""
            self.files[f"{_PCI}/{bdf}/driver_override"] = "(null)\n"

    def write_bytes(self, path: str, data: bytes) -> None:
        self.write_text(path, data.decode())

    def read_text(self, path: str) -> str:
        if path not in self.files or (path.startswith("/sys/class/net") and self.space):
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def read_bytes(self, path: str) -> bytes:
        return self.read_text(path).encode()

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        return {}

    def read_link(self, path: str) -> str:
        if found := re.fullmatch(rf"{_PCI}/([^/]+)/driver", path):
            return f"/sys/bus/pci/drivers/{self.bound[found[1]]}"
        if found := re.fullmatch(rf"{_PCI}/{BDF}/virtfn(\d)", path):
            return f"{_PCI}/{VF_BDFS[int(found[1])]}"
        return path

    def exists(self, path: str) -> bool:
        if found := re.fullmatch(rf"{_PCI}/([^/]+)(/driver)?", path):
            return bool(self.bound.get(found[1])) if found[2] else found[1] in self.bound
        return (
            path in self.files
            or path == "/sys/bus/pci/drivers/vfio-pci"
            or path.removeprefix("/run/netns/") in self.spaces
        )

    def glob(self, pattern: str) -> list[str]:
        there = [f"{_PCI}/{BDF}/virtfn{n}" for n, bdf in enumerate(VF_BDFS) if bdf in self.bound]
        there += [f"{_PCI}/{BDF}/net/{NAME}"] * (not self.space)
        return [path for path in there if fnmatch(path, pattern)]

    def is_root(self) -> bool:
        return True

    def which(self, program: str) -> str | None:
        return f"/usr/bin/{program}"

    def python(self, module: str) -> list[str]:
        return ["python3", "-m", module]

    def check_reserved(self) -> None: ...

    def connect(self, address: str | int) -> Any:
        raise HostError(f"nobody listens at {address}")

    console = connect

    # --- undo ---

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        try:
            yield
        finally:
            self._undo(change)

    def _undo(self, change: Change) -> None:
        kind, path, before = change.kind, change.path, change.before
        if kind == "rewrote":
            if path in self.files:
                self.files[path] = before
        elif kind == "bound":
            if path in self.bound:
                self.bound[path] = before
        elif kind == "functions":
            self._give_functions(int(before))
            self.files[f"{_PCI}/{path}/sriov_numvfs"] = f"{before}\n"
        elif kind == "namespace":
            self.delete_namespace(path)
        elif kind == "filtered":
            _, _, location = path.split(" ")
            if int(location) in self.filters.table:
                self.filters.delete(int(location))
        elif kind == "feature":
            self.filters.command("-K", ["ntuple", before])
        else:
            assert kind == "made", change

    # --- the data plane ---

    def receive(self, frame: bytes) -> list[bytes]:
        """A frame comes in from the wire; what goes out."""
        if frame[:6] not in (packed(MAC), b"\xff" * 6):
            return self.receive_foreign(frame)
        target = self.filters.direct(frame)
        if target is None or target[0] == PF:
            queue = self.spread(frame) if target is None else self.put(frame, *target)
            return self.beside(frame) + self.kernel.receive(frame, queue)
        if self.testpmd is None:
            return []
        function, queue = target
        return self.leaked(frame) + self.testpmd.receive(frame, function, self.put(frame, *target))

    def receive_foreign(self, frame: bytes) -> list[bytes]:
        """No function has that address."""
        return []

    def put(self, frame: bytes, function: int, queue: int) -> int:
        """The queue that a directed frame gets into."""
        return queue

    def beside(self, frame: bytes) -> list[bytes]:
        """Where else the kernel's frames go: nowhere."""
        return []

    def leaked(self, frame: bytes) -> list[bytes]:
        """Where else a VF's frames go: nowhere."""
        return []

    def spread(self, frame: bytes) -> int:
        """Receive side scaling, over the PF's queues."""
        fields = fields_of(frame)
        return (fields.get("src-port", 0) ^ fields.get("dst-port", 0)) % self.filters.pf_queues


class Kernel:
    """What the PF's driver and the IPv4 stack behind it do."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.up = False
        self.addresses: set[str] = set()
        self.neighbours: dict[str, bytes] = {}
        self.received = 0
        self.queues: dict[int, int] = {}

    def receive(self, frame: bytes, queue: int) -> list[bytes]:
        if not self.up:
            return []
        self.count_queue(queue)
        if frame[12:14] != b"\x08\x00":
            return []
        self.count()
        return self.answer(frame)

    def count(self) -> None:
        self.received += 1

    def count_queue(self, queue: int) -> None:
        self.queues[queue] = self.queues.get(queue, 0) + 1

    def answer(self, frame: bytes) -> list[bytes]:
        """Echo replies, from its own addresses to neighbours that it knows (RFC 792)."""
        source, target = (".".join(map(str, frame[at : at + 4])) for at in (26, 30))
        if frame[23] != 1 or frame[34] != 8 or target not in self.addresses:
            return []
        if source not in self.neighbours:
            return []
        icmp = b"\0\0" + self.checksum(frame[34:]) + frame[38:]
        header = frame[14:22] + b"\x40" + frame[23:26] + frame[30:34] + frame[26:30]
        return [self.neighbours[source] + packed(MAC) + b"\x08\x00" + header + icmp]

    @staticmethod
    def checksum(request: bytes) -> bytes:
        """Of the reply: the request's, less its type (RFC 1624)."""
        total = int.from_bytes(request[2:4], "big") + 0x0800
        return ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")

    def snmp(self) -> str:
        return (
            "Ip: Forwarding DefaultTTL InReceives InHdrErrors\n"
            f"Ip: 2 64 {self.received} 0\nIcmp: InMsgs\nIcmp: 0\n"
        )

    def queue_statistics(self) -> str:
        form = {"ixgbe": "rx_queue_{}_packets"}.get(self.host.driver, "rx-{}.rx_packets")
        counts = range(self.host.filters.pf_queues)
        lines = [f"     {form.format(n)}: {self.queues.get(n, 0)}\n" for n in counts]
        return "NIC statistics:\n     rx_packets: 5\n" + "".join(lines)


# --- the words of `ip`, by what each does ---------------------------------------------------

Answer = tuple[int, str] | None


def _add_namespace(host: Host, space: str) -> Answer:
    host.spaces.add(space)
    return None


def _move(host: Host, space: str) -> Answer:
    if space not in host.spaces:
        return 1, 'Error: argument "vswitch-pf" is wrong: Invalid "netns" value\n'
    host.move(space)
    return None


def _address(host: Host, address: str) -> Answer:
    host.kernel.addresses.add(address)
    return None


def _up(host: Host) -> Answer:
    host.kernel.up = True
    return None


def _neighbour(host: Host, address: str, mac: str) -> Answer:
    host.kernel.neighbours[address] = packed(mac)
    return None


def _vxlan(host: Host, port: str) -> Answer:
    host.filters.tunnel_ports.add(int(port))
    return None


def _vf_mac(host: Host, number: str, mac: str) -> Answer:
    if int(number) >= len(host.bound) - 1:
        return 2, "RTNETLINK answers: Invalid argument\n"
    host.vf_macs[int(number)] = packed(mac)
    return None


def _nothing(host: Host, *_: str) -> Answer:
    return None


_LANGUAGE: tuple[tuple[str, Callable[..., Answer]], ...] = (
    (
        rf"ethtool (-\w) {NAME}(?: (.+))?",
        lambda host, option, words: host.ethtool(option, words or ""),
    ),
    (r"ip netns add (\S+)", _add_namespace),
    (r"ip link set dev lo up", _nothing),
    (rf"ip link set dev {NAME} netns (\S+)", _move),
    (rf"ip address add (\S+)/24 dev {NAME}", _address),
    (rf"ip link set dev {NAME} up", _up),
    (rf"ip neighbour replace (\S+) lladdr (\S+) dev {NAME}", _neighbour),
    (rf"ip link set dev {NAME} vf (\d+) mac (\S+)", _vf_mac),
    (
        r"ip link add vxlan0 type vxlan id 42 group 239\.1\.1\.1 local \S+ dstport (\d+)"
        rf" dev {NAME}",
        _vxlan,
    ),
    (r"ip link set dev vxlan0 up", _nothing),
    (r"sysctl -q -w net\.\S+=\d", _nothing),
    (r"cat -- /proc/net/snmp", lambda host: (0, host.kernel.snmp())),
    (r"uname -r", lambda host: (0, "6.1.0-13-amd64\n")),
    (rf"ip -o address show dev {NAME} scope global", _nothing),
    # What keeps the host reachable: nothing that goes through this port.
    (r"ip( -6)? -j .*", lambda host, _: (0, "[]\n")),
    (r"ss -Htnp state established|printenv SSH_CONNECTION", _nothing),
)
