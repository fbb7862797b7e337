"""A host with a built Intel DPDK vSwitch on it: files, mounts, processes, and a QEMU.

Behind the one door to a host (`hosts.host.Host`). Each command is a step that can be refused,
never end, answer nonsense, or lose the connection; what the run changed is undone as on a real
host, and `state` says whether everything is as it was.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn, cast

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed, Process
from pytest_vswitch.hosts.undo import Change
from tests.emulated.ovdk_guest import Failed, Guest
from tests.emulated.ovdk_switch import Refused, Switch
from tests.emulated.ovdk_terminal import Terminal

ROOT = "/opt/dpdk-ovs"
SOURCES = {"memnic": "/opt/memnic", "kni": "/opt/dpdk"}
NICS = {"0000:05:00.0", "0000:05:00.1"}
METADATA = "/var/run/.dpdk_ivshmem_metadata_vm_1"
NONSENSE = "?!\n"

_VSWITCH = f"{ROOT}/openvswitch"
_PROGRAMS = {
    f"{_VSWITCH}/ovsdb/ovsdb-tool",
    f"{_VSWITCH}/ovsdb/ovsdb-server",
    f"{_VSWITCH}/utilities/ovs-vsctl",
    f"{_VSWITCH}/utilities/ovs-ofctl",
    f"{_VSWITCH}/utilities/ovs-ivshm-mngr",
    f"{_VSWITCH}/datapath/dpdk/build/ovs_dpdk",
    f"{_VSWITCH}/vswitchd/ovs-vswitchd",
    f"{ROOT}/qemu/x86_64-softmmu/qemu-system-x86_64",
}
_QEMU_OPTIONS = dict.fromkeys(("-enable-kvm", "-no-reboot", "-nodefaults"), False)
_QEMU_OPTIONS |= dict.fromkeys(
    [
        "-cpu",
        "-boot",
        "-drive",
        "-m",
        "-smp",
        "-name",
        "-display",
        "-vga",
        "-serial",
        "-device",
        "-chardev",
        "-qmp",
    ],
    True,
)
"""Whether the next word belongs to it."""
_FILES = {
    **dict.fromkeys(_PROGRAMS, ""),
    f"{_VSWITCH}/vswitchd/vswitch.ovsschema": "",
    f"{ROOT}/guest/memnic/memnic_set_mac_address.patch": "linux/memnic_net.c",
    f"{ROOT}/guest/kni/rte_kni_module_1_6.patch": "lib/kni_misc.c",
    f"{ROOT}/guest/kni/kni_client/kni_client.c": "",
    "/opt/memnic/linux/memnic_net.c": "",
    "/opt/memnic/linux/Makefile": "",
    "/opt/dpdk/lib/kni_misc.c": "",
    "/images/fedora.qcow2": "",
    "/dev/kvm": "",
    "/var/cache/vswitch": "",
}


class OvdkHost:
    """See `hosts.host.Host`."""

    name = "emulated"
    scratch = "/run/vswitch/it"
    cache = "/var/cache/vswitch"

    def __init__(self, fault: tuple[int, str] | None = None) -> None:
        """`fault`: at which step, counted from 0, and which one."""
        self.broken: set[str] = set()
        self.files = dict(_FILES)
        self.memory: dict[str, bytearray] = {}
        self.mounted: set[str] = set()
        self.processes: list[Terminal] = []
        self.steps: list[str] = []
        self.lost = False
        self.switch = Switch(self.broken)
        self.guest: Guest | None = None
        self._fault = fault
        self._sockets: list[socket.socket] = []

    def state(self) -> object:
        """What a run must leave as it found it."""
        running = [process.name for process in self.processes if not process.ended]
        return dict(self.files), sorted(self.memory), sorted(self.mounted), running

    # --- steps ------------------------------------------------------------------------------

    def _step(self, what: str) -> str:
        """The fault that happens now, if any."""
        if self.lost:
            raise HostError(f"{self.name}: the connection is lost")
        self.steps.append(what)
        if self._fault is None or self._fault[0] != len(self.steps) - 1:
            return ""
        if self._fault[1] == "lost":
            self.lost = True
            raise HostError(f"{self.name}: the connection is lost: {what}")
        return self._fault[1]

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        fault = self._step(" ".join(argv))
        if fault == "time-out":
            raise HostError(f"{self.name}: `{' '.join(argv)}` did not end within {timeout_s:g} s")
        try:
            if fault == "refusal":
                raise Refused(f"{argv[0]}: {argv[-1]}: Permission denied")
            output, status = NONSENSE if fault else self._carry_out(list(argv)), 0
        except Refused as error:
            output, status = f"{error}\n", 1
        if status and check:
            raise HostError(f"{self.name}: `{' '.join(argv)}` failed with status 1: {output}")
        return Completed(tuple(argv), status, output, output.encode())

    ask = run

    def _carry_out(self, argv: list[str]) -> str:
        if argv[0] == "env":
            argv = argv[2:]
        program, *words = argv
        if program.startswith("/") and program not in _PROGRAMS:
            raise Refused(f"no such program: {program}")
        match program.rpartition("/")[2], words:
            case "mkdir", [*_, path]:
                self.files[path] = ""
            case "mount", ["-t", "hugetlbfs", "-o", "pagesize=2048K", "--", "none", path]:
                if path not in self.files:
                    raise Refused(f"mount: {path}: mount point does not exist.")
                self.mounted.add(path)
            case "cp", ["-aL", "--", source, target]:
                self._copy(source, target)
            case "od", [*_, path]:
                return self._od(path)
            case "qemu-img", ["info", "--output=json", "--", path] if path in self.files:
                return json.dumps({"format": "qcow2"})
            case "qemu-img", ["create", *_, path]:
                self.files[path] = ""
            case "genisoimage", [_, "-output", path, *_] if self._has_parent(path):
                self.files[path] = ""
            case "ovsdb-tool", ["create", path, _] if self._has_parent(path):
                self.files[path] = "database"
            case "ovs-vsctl", [database, "--retry", "--timeout=20", "--no-wait", *rest]:
                if not database.startswith("--db=unix:"):
                    raise Refused(f"ovs-vsctl: {database}: unknown database")
                return self.switch.vsctl(rest)
            case "ovs-vsctl", ["--version"]:
                return "ovs-vsctl (Open vSwitch) 2.0.0\nCompiled Mar 26 2014 10:00:00\n"
            case "qemu-system-x86_64", ["--version"]:
                return "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\n"
            case "ovs-ofctl", rest:
                return self.switch.ofctl(rest)
            case "ovs-ivshm-mngr", ["-c", "0x1", "--proc-type=secondary", "--", shared]:
                return self._share(shared)
            case _:
                raise Refused(f"{program}: bad arguments")
        return ""

    def _has_parent(self, path: str) -> bool:
        return path.rpartition("/")[0] in self.files

    def _copy(self, source: str, target: str) -> None:
        if not source.endswith("/."):
            if source not in self.files:
                raise Refused(f"cp: cannot stat '{source}': No such file or directory")
            self.files[target] = self.files[source]
            return
        below = [path for path in self.files if path.startswith(source[:-1])]
        if not below or target not in self.files:
            raise Refused(f"cp: cannot stat '{source}' or '{target}'")
        for path in below:
            self.files[f"{target}/{path.removeprefix(source[:-1])}"] = self.files[path]

    def _od(self, path: str) -> str:
        if path not in self.memory:
            raise Refused(f"od: {path}: No such file or directory")
        data = bytes(self.memory[path][:30])
        lines = [
            f"{at:07} " + " ".join(f"{byte:02x}" for byte in data[at : at + 16])
            for at in range(0, len(data), 16)
        ]
        return "\n".join([*lines, f"{len(data):07}"]) + "\n"

    def _share(self, shared: str) -> str:
        name, _, ports = shared.partition(":")
        known = {port.name for port in self.switch.ports.values() if port.kind == "dpdkkni"}
        if not self.switch.plane or not set(ports.split(",")) <= known:
            raise Refused("APP: Failed adding KNI tx_q to metadata")
        self.memory[METADATA] = bytearray(b"\xde\xc0\xad\x0b" + ports.encode())
        words = f"shm=fd:/dev/hugepages/rtemap_0:0x0:0x3ffc000:{METADATA}:0x0:0x4000"
        self.files[f"/tmp/.ovs_ivshmem_qemu_cmdline_{name}"] = words
        return f"APP: QEMU cmdline for metadata '{name}': -device ivshmem,size=64M,{words} \n"

    # --- programs -----------------------------------------------------------------------------

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> Process:
        fault = self._step(" ".join(argv))
        process = Terminal(name)
        self.processes.append(process)
        words = list(argv[2:] if argv[0] == "env" else argv)
        try:
            if fault == "refusal":
                raise Refused(f"{name}: cannot start")
            if not fault:
                process.say(self._start(words[0].rpartition("/")[2], words[1:]))
        except Refused as error:
            process.say(f"{error}\n")
            process.ended = True
        if fault == "nonsense":
            process.say(NONSENSE)
        return process

    def _start(self, program: str, words: list[str]) -> str:
        match program, words:
            case "ovsdb-server", [path, remote] if remote.startswith("--remote=punix:"):
                if self.files.get(path) != "database":
                    raise Refused(f"ovsdb-server: I/O error: {path}: open failed")
                self.switch.serving = True
            case "ovs_dpdk", _:
                for name in self.switch.start_plane(words, self.mounted, NICS):
                    mac = bytes([2, 0, 0, 0, 0, int(name[-2:])])
                    header = b"vNIC" + bytes([1, 0, 0, 0]) + bytes(16) + mac
                    self.memory[f"/dev/shm/{name}"] = bytearray(header)
                self.files["/var/run/.rte_config"] = ""
                return "APP: CPU frequency is 2600 MHz\n"
            case "ovs-vswitchd", _:
                self.switch.start_daemon(words)
            case "qemu-system-x86_64", _:
                self._boot(words)
            case _:
                raise Refused(f"{program}: bad arguments")
        return ""

    def _boot(self, words: list[str]) -> None:
        """As the release's QEMU reads its words: EAL's first, then its own."""
        if words[:1] + words[2:7] != ["-c", "--proc-type", "secondary", "-n", "4", "--"]:
            raise Refused("EAL: invalid arguments")
        if not self.switch.plane:
            raise Refused("EAL: no primary process")
        given: dict[str, list[str]] = {}
        rest = words[7:]
        while rest:
            option = rest.pop(0)
            if option not in _QEMU_OPTIONS:
                raise Refused(f"qemu: {option}: invalid option")
            given.setdefault(option, []).append(rest.pop(0) if _QEMU_OPTIONS[option] else "")
        drives = [_properties(drive) for drive in given["-drive"]]
        share = ""
        for drive in drives:
            path = drive["file"]
            if path.startswith("fat:rw:"):
                share = f"{path.removeprefix('fat:rw:')}/"
            elif path not in self.files:
                raise Refused(f"qemu: could not open disk image {path}")
        disk = {
            path.removeprefix(share).lstrip("/"): text
            for path, text in self.files.items()
            if path.startswith(share)
        }
        guest = Guest(self.broken, disk)
        for device in [word for word in given["-device"] if word.startswith("ivshmem,")]:
            values = _properties(device)
            if values["shm"].startswith("fd:"):
                guest.metadata = bytes(self.memory[values["shm"].split(":")[-3]])
                continue
            region = self.memory.get(f"/dev/shm{values['shm']}")
            if region is None or values["size"] != "16":
                raise Refused("ivshmem: could not open shared memory")
            guest.regions.append((int(values["shm"][-2:]), region))
        self.guest = guest
        self.switch.to_guest = guest.receive
        for word in [*given["-chardev"], *given["-qmp"]]:
            listens = re.search(r"(?:path=|unix:)([^,]+)", word)
            assert listens is not None
            if not self._has_parent(listens[1]):
                raise Refused(f"qemu: Failed to bind socket to {listens[1]}")
            self.files[listens[1]] = ""

    def _shell(self, text: str) -> str:
        """The guest's shell is told a command, and to echo its status after it."""
        command, echo = text.strip().split("\n")
        end = echo.removeprefix("echo ").removesuffix(":$?")
        fault = self._step(f"guest: {command}")
        assert self.guest is not None
        if fault == "time-out" or self.guest.panicked:
            return ""
        if fault == "nonsense":
            return f"{NONSENSE}{end}:0\n"
        try:
            if fault == "refusal":
                raise Failed("Operation not permitted\n")
            said = self.guest.run(command)
            return f"{said}{end}:0\n"
        except Failed as error:
            return "" if self.guest.panicked else f"{error}\n{end}:{error.status}\n"

    @contextlib.contextmanager
    def console(self, path: str, name: str) -> Iterator[Console]:
        with Terminal(name, self._shell) as terminal:
            self.processes.append(terminal)
            yield cast(Console, terminal)

    def connect(self, address: str | int) -> socket.socket:
        """QMP: a greeting, and an answer to each command."""
        if address not in self.files:
            raise HostError(f"{self.name}: nobody listens on {address}")
        ours, theirs = socket.socketpair()
        threading.Thread(target=_qmp, args=(theirs,), daemon=True).start()
        return ours

    # --- files and changes --------------------------------------------------------------------

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        try:
            yield
        finally:  # what is on the host undoes it, also without a connection
            if change.kind == "mounted":
                self.mounted.discard(change.path)
            else:
                assert change.kind == "made"
                for kept in (self.files, self.memory):
                    for path in list(kept):
                        if path == change.path or path.startswith(f"{change.path}/"):
                            del kept[path]

    def exists(self, path: str) -> bool:
        here = {*self.files, *self.memory}
        return path in here or any(other.startswith(f"{path}/") for other in here)

    def read_bytes(self, path: str) -> bytes:
        if path not in self.memory:
            raise FileNotFoundError(2, "No such file or directory", path)
        return bytes(self.memory[path])

    def write_text(self, path: str, text: str) -> None:
        self.files[path] = text

    def read_text(self, path: str) -> str:
        if path not in self.files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.files[path]

    def which(self, program: str) -> str | None:
        return program

    def is_root(self) -> bool:
        return True

    def check_reserved(self) -> None: ...

    def _none(self, *_: Any) -> NoReturn:
        raise NotImplementedError("not asked of this host")

    def python(self, module: str) -> list[str]:
        self._none(module)

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        self._none(pattern)

    def read_link(self, path: str) -> str:
        self._none(path)

    def write_bytes(self, path: str, data: bytes) -> None:
        self._none(path)

    def glob(self, pattern: str) -> list[str]:
        self._none(pattern)


def _properties(words: str) -> dict[str, str]:
    """QEMU's `a=1,b=2`."""
    return dict(word.partition("=")[::2] for word in words.split(","))


def _qmp(stream: socket.socket) -> None:
    version = {"qemu": {"major": 1, "minor": 6, "micro": 2}, "package": ""}
    answers: dict[str, object] = {
        "query-status": {"status": "running"},
        "query-version": version,
    }
    decoder, text = json.JSONDecoder(), ""
    with stream, contextlib.suppress(OSError):
        greeting = {"QMP": {"version": version, "capabilities": []}}
        stream.sendall(json.dumps(greeting).encode() + b"\r\n")
        while data := stream.recv(4096):
            text += data.decode()
            with contextlib.suppress(json.JSONDecodeError):  # the rest is still to come
                asked, end = decoder.raw_decode(text)
                text = text[end:].lstrip()
                answer = {"return": answers.get(asked["execute"], {}), "id": asked.get("id")}
                stream.sendall(json.dumps(answer).encode() + b"\r\n")
