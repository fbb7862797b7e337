"""QEMU with a guest in it, or one that waits for a guest: command line, QMP, and its move."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.emulated.migration_guest import Failed, Guest
from tests.emulated.migration_world import Pf, packed
from tests.emulated.ovdk_terminal import Terminal

if TYPE_CHECKING:
    from tests.emulated.migration_host import Host

STANDSTILL_MS = 60
COPY_MS = 200
BROADCAST = b"\xff" * 6
RARP = b"\x80\x35"
_NONSENSE = "\x07 what?\n"
_TAKES_NONE = ("-nodefaults", "-no-user-config", "-no-reboot")
_TAKES_ONE = (
    *("-display", "-name", "-machine", "-accel", "-cpu", "-smp", "-m", "-object", "-kernel"),
    *("-initrd", "-append", "-serial", "-device", "-chardev", "-netdev", "-qmp", "-incoming"),
)


class Refused(Exception):
    """What QEMU says before it ends, or the description of an error in QMP."""


def properties(text: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in text.split(","))


class Qemu:
    """See `hosts.host.Process`, too: `process` is what the host's user holds of it."""

    def __init__(self, host: Host, argv: list[str], name: str) -> None:
        """Raises Refused."""
        self.host, self.world = host, host.world
        self.process = Terminal(name)
        self.world.command_lines.append(argv)
        self.given = _options(argv[1:])
        self.shape = self._shape()
        self.status = "inmigrate" if "-incoming" in self.given else "running"
        self.settled = False
        self.shell_console = Terminal("shell", self._shell)
        self.testpmd_console = Terminal("testpmd", self._testpmd)
        self.qmp_console = Terminal("qmp", self._qmp)
        self.qmp_console.say('{"QMP": {"version": {}, "capabilities": ["oob"]}}\n')
        self.error = ""
        self.guest: Guest | None = None
        self.pf = self._tap()
        self.vf_id = ""
        self.pf.qemu = self
        if self.status == "running":
            self.guest = Guest(self, {"virtio"})
            self.world.spoil(self.guest)
            for device in self.given["-device"]:
                if device.startswith("vfio-pci,"):
                    self.plug(properties(device))
        self.world.spoil(self)

    def _shape(self) -> list[str]:
        """Devices that both ends of a move must have alike, in order."""
        devices = [word for word in self.given["-device"] if not word.startswith("vfio-pci,")]
        return [*self.given["-m"], *self.given["-smp"], *self.given["-machine"], *devices]

    def _tap(self) -> Pf:
        taps = [properties(word) for word in self.given.get("-netdev", ())]
        for pf in self.host.pfs:
            if pf.tap and pf.tap == taps[0]["ifname"]:
                assert (taps[0]["script"], taps[0]["downscript"]) == ("no", "no")
                return pf
        raise Refused(f"could not configure /dev/net/tun ({taps}): Operation not permitted")

    @property
    def mac(self) -> bytes:
        virtio = next(w for w in self.given["-device"] if w.startswith("virtio-net-pci,"))
        return packed(properties(virtio)["mac"])

    def receive(self, frame: bytes) -> None:
        """From the tap device."""
        if self.guest is not None:
            self.guest.receive("virtio", frame)

    def end(self) -> None:
        """The VF's device file is closed, the tap device stays."""
        self.process.ended = True
        self.guest = None
        for terminal in (self.shell_console, self.testpmd_console, self.qmp_console):
            terminal.ended = True
        for pf in self.host.pfs:
            if pf.qemu is self:
                pf.qemu = None
            if self.vf_id and pf.vf is not None:
                pf.vf.guest = None
                pf.vf.asked.clear()

    # --- consoles ---

    def _faulty(self, what: str, refusal: str, answer: Callable[[], str]) -> str:
        if self.host.name in self.world.lost:
            raise self.host.gone(what)
        match self.world.step(what):
            case "":
                return answer()
            case "refusal":
                return refusal
            case "nonsense":
                return _NONSENSE
            case "time-out":
                return ""
            case _:
                raise self.host.gone(what)

    def _shell(self, text: str) -> str:
        command, echo = text.strip().split("\n")
        end = echo.removeprefix("echo ").removesuffix(":$?")

        def answer() -> str:
            assert self.guest is not None
            try:
                return f"{self.guest.run(command)}{end}:0\n"
            except Failed as error:
                return f"{error}\n{end}:1\n"

        return self._faulty(command, f"Operation not permitted\n{end}:1\n", answer)

    def _testpmd(self, text: str) -> str:
        line = text.removesuffix("\n")

        def answer() -> str:
            if self.guest is None or self.guest.testpmd is None:
                return ""
            return f"{line}\n{self.guest.testpmd.answer(line)}testpmd> "

        return self._faulty(f"testpmd> {line}", f"{line}\nBad arguments\ntestpmd> ", answer)

    def _qmp(self, text: str) -> str:
        asked = json.loads(text)
        command, given = asked["execute"], asked.get("arguments", {})

        def refused(why: str) -> str:
            error = {"class": "GenericError", "desc": why}
            return json.dumps({"id": asked["id"], "error": error}) + "\n"

        def answer() -> str:
            if command not in _COMMANDS:
                return refused(f"The command {command} has not been found")
            method, words = _COMMANDS[command]
            if set(given) != set(words):
                return refused(f"Parameter {sorted(set(words) ^ set(given))} is unexpected")
            try:
                returned = method(self, **given)
            except Refused as error:
                return refused(str(error))
            return json.dumps({"return": returned or {}, "id": asked["id"]}) + "\n"

        return self._faulty(f"QMP {text.strip()}", refused("permission denied"), answer)

    def tell(self, event: str, **data: object) -> None:
        now_s = self.world.now_ms / 1e3
        timestamp = {"seconds": int(now_s), "microseconds": round(now_s % 1 * 1e6)}
        told: dict[str, Any] = {"timestamp": timestamp, "event": event}
        self.qmp_console.say(json.dumps(told | ({"data": data} if data else {})) + "\n")

    # --- QMP ---

    def plug(self, given: dict[str, str]) -> None:
        """A VF into the slot."""
        if self.vf_id:
            raise Refused(f"Duplicate device ID '{given['id']}'")
        if given["bus"] != "slot0" or not any("id=slot0" in d for d in self.given["-device"]):
            raise Refused(f"Bus '{given['bus']}' not found")
        pf = next((p for p in self.host.pfs if p.vf and p.vf.bdf == given["host"]), None)
        if pf is None or pf.vf is None or self.host.bound.get(pf.vf.bdf) != "vfio-pci":
            there = f"/sys/bus/pci/devices/{given['host']}"
            raise Refused(f"vfio {there}: no such host device: No such file or directory")
        assert self.guest is not None
        self.vf_id, pf.vf.guest = given["id"], self.guest
        self.guest.devices.add("vf")

    def device_add(self, **given: str) -> None:
        if given.pop("driver") != "vfio-pci":
            raise Refused("'driver' is not a valid device model name")
        self.plug(given)

    def device_del(self, id: str) -> None:  # QMP calls it so
        if id != self.vf_id:
            raise Refused(f"Device '{id}' not found")
        assert self.guest is not None
        testpmd = self.guest.testpmd
        if testpmd is not None and any(p.kind == "vf" for p in testpmd.ports.values()):
            return  # it is in use: the guest never lets it go
        self.release()
        self.tell("DEVICE_DELETED", device=id, path=f"/machine/peripheral/{id}")

    def release(self) -> None:
        """The guest has let the VF go."""
        assert self.guest is not None
        self.vf_id = ""
        self.guest.devices.discard("vf")
        self.guest.drivers.pop("vf", None)
        vf = self.pf.vf
        assert vf is not None
        vf.guest = None

    def query_status(self) -> dict[str, object]:
        if self.status == "postmigrate" and not self.settled:
            self.settled = True
            return {"status": "finish-migrate", "singlestep": False, "running": False}
        return {"status": self.status, "singlestep": False, "running": self.status == "running"}

    def incoming(self, uri: str) -> None:
        if self.status != "inmigrate":
            raise Refused("'-incoming' was not specified on the command line")
        self.world.listeners[uri] = self

    def migrate(self, uri: str) -> None:
        if self.vf_id:
            raise Refused("VFIO migration is not supported in kernel")
        target = self.world.listeners.pop(uri, None)
        self.tell("MIGRATION", status="setup")
        self.tell("MIGRATION", status="active")
        self.world.advance(COPY_MS)
        if target is None or target.process.ended:
            return self.fail(f"Failed to connect to '{uri}'")
        if target.shape != self.shape:
            return self.fail("Unable to write to socket: Broken pipe")
        self.pass_on(target)
        return None

    def fail(self, why: str) -> None:
        self.error = why
        self.tell("MIGRATION", status="failed")

    def pass_on(self, target: Qemu) -> None:
        assert self.guest is not None
        guest = self.guest
        self.tell("STOP")
        guest.stopped = True
        self.status = "postmigrate"
        self.world.advance(STANDSTILL_MS)
        self.guest, target.guest, guest.qemu = None, guest, target
        guest.stopped = False
        target.run_on()
        self.tell("MIGRATION", status="completed")

    def run_on(self) -> None:
        """The guest is here."""
        self.status = "running"
        self.tell("RESUME")
        self.announce()

    def announce(self) -> None:
        """RARP, as QEMU's net/announce.c has it: from the address, to all."""
        body = bytes.fromhex("000108000604 0003".replace(" ", "")) + self.mac + bytes(4)
        for _ in range(self.world.announcements):
            frame = BROADCAST + self.mac + RARP + body + self.mac + bytes(4)
            self.pf.sent_by_tap(frame.ljust(60, b"\0"))

    def query_migrate(self) -> dict[str, object]:
        if self.error:
            return {"status": "failed", "error-desc": self.error}
        ram = {"transferred": 152092810, "dirty-sync-count": 2}
        times = {"total-time": COPY_MS + STANDSTILL_MS, "downtime": STANDSTILL_MS}
        return {"status": "completed", "ram": ram, **times} if self.status != "running" else {}

    def quit(self) -> None:
        self.end()
        self.qmp_console.ended = False  # its answer is still on its way


_COMMANDS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {
    "qmp_capabilities": (lambda qemu: None, ()),
    "query-version": (lambda q: {"qemu": {"major": 7, "minor": 2, "micro": 22}, "package": ""}, ()),
    "query-status": (lambda qemu: qemu.query_status(), ()),
    "device_add": (lambda qemu, **how: qemu.device_add(**how), ("driver", "host", "id", "bus")),
    "device_del": (lambda qemu, **how: qemu.device_del(**how), ("id",)),
    "migrate-set-capabilities": (lambda qemu, capabilities: None, ("capabilities",)),
    "migrate-set-parameters": (
        lambda qemu, **how: None,
        ("max-bandwidth", "downtime-limit", "announce-rounds"),
    ),
    "migrate-incoming": (lambda qemu, uri: qemu.incoming(uri), ("uri",)),
    "migrate": (lambda qemu, uri: qemu.migrate(uri), ("uri",)),
    "query-migrate": (lambda qemu: qemu.query_migrate(), ()),
    "migrate_cancel": (lambda qemu: None, ()),
    "quit": (lambda qemu: qemu.quit(), ()),
}


def _options(words: list[str]) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        option = rest.pop(0)
        if option in _TAKES_NONE:
            given[option] = []
        elif option in _TAKES_ONE and rest:
            given.setdefault(option, []).append(rest.pop(0))
        else:
            raise Refused(f"qemu-system-x86_64: {option}: invalid option")
    return given


def sockets(qemu: Qemu) -> dict[str, Terminal]:
    """By path: what listens."""
    found = {}
    for word in qemu.given["-chardev"]:
        if path := re.search(r"id=(shell|testpmd),path=([^,]+),server=on,wait=off", word):
            found[path[2]] = {"shell": qemu.shell_console, "testpmd": qemu.testpmd_console}[path[1]]
    path = re.fullmatch(r"unix:([^,]+),server=on,wait=off", qemu.given["-qmp"][0])
    assert path is not None
    return {**found, path[1]: qemu.qmp_console}
