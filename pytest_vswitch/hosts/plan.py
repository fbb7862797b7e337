"""A host that writes down what would be done to it, as a script, and is only looked at.

What provisions a topology cannot tell it from a real one: what it reads is read from the
real host, what it changes is recorded, and a recorded program is silent.
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

from pytest_vswitch.errors import HostError
from pytest_vswitch.hosts import knobs, shell_script
from pytest_vswitch.hosts.console import Console
from pytest_vswitch.hosts.host import Completed, Host
from pytest_vswitch.hosts.shell_script import Script, Step, command, word
from pytest_vswitch.hosts.undo import Change

RUN = "/run/vswitch-plan"
"""Scratch directory of a script that is run by hand."""

_DRIVER = re.compile(r"/sys/bus/pci/devices/([^/]+)/driver")


_ENDLESS = 500
"""Steps of one test, by which a program that says nothing is asked the same again and again."""
_BRIEF = 60
"""How much a script says of what it waits for [characters]."""


def script_for(host: Host, title: str) -> Script:
    """An empty script for a host, which will run on that one only."""
    node = host.ask(["uname", "-n"], why="which host is it?").output.strip()
    return Script(title, node, RUN)


class Unanswered(Exception):
    """A plan ends here: what comes next depends on what a program answers."""


class PlannedTerminal:
    """A program, or a console that it serves, which a script will start or connect to."""

    def __init__(self, host: PlanHost, name: str, stop_with: str = "") -> None:
        self.name = name
        self._host = host
        self._word = _identifier(name)
        self._stop_with = stop_with

    @property
    def pid(self) -> int:
        raise HostError(f"{self.name} on {self._host.name} is planned only: it has no pid")

    def write(self, text: str, *, why: str = "") -> None:
        self._host.record(f"tell {self._word} {word(text)}", why)

    def read_until(self, pattern: re.Pattern[str], *, timeout_s: float, what: str) -> str:
        """Nothing, which the script waits for. Raises Unanswered if the host `needs_answers`."""
        regex = word(shell_script.perl(pattern))
        brief = what if len(what) <= _BRIEF else f"{what[:_BRIEF]}..."
        self._host.record(f"await {self._word} {timeout_s:.0f} {word(brief)} {regex}")
        if self._host.needs_answers:
            self._host.up()
            raise Unanswered
        return ""

    def status(self, *, within_s: float = 0.0) -> int | None:
        return None

    def signal(self, number: int) -> None:
        name = signal.Signals(number).name.removeprefix("SIG")
        self._host.record(f'kill -{name} "${{pids[{self._word}]}}"')

    def pin(self, thread: str, cpu: int, *, why: str = "") -> None:
        self._host.record(f"pin {self._word} {word(thread)} {cpu}", why)

    def tail(self, lines: int = 15) -> str:
        return ""

    def start(self, argv: Sequence[str], why: str) -> None:
        self._host.record(command(["start", self._word, *argv]), why)

    def connect(self, path: str) -> None:
        why = f"what the {self.name} says and is told"
        self._host.record(command(["connect", self._word, path]), why)

    def __enter__(self) -> PlannedTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        stop_with = word(self._stop_with) if self._stop_with else "''"
        self._host.record(f"stop {self._word} {stop_with}")


class PlanHost:
    """See `hosts.host.Host`. `up` ends the part that does, and begins the one that undoes."""

    def __init__(
        self,
        real: Host,
        script: Script,
        *,
        note: Callable[[str], None] = lambda text: None,
        needs_answers: bool = False,
    ) -> None:
        """`note` is told why the real host is asked something, which may take a while."""
        self._real = real
        self._steps = script.up
        self._script = script
        self._note = note
        self._files: dict[str, bytes] = {}
        self._made: set[str] = set()
        """Paths that recorded commands make."""
        self._drivers: dict[str, str] = {}
        """By PCI address: the driver that it is bound to by now."""
        self._links: dict[str, str] = {}
        """Of virtual functions that are planned: where their symbolic links lead."""
        self._commands: dict[str, str] = {}
        """By name of a program: its command line."""
        self.needs_answers = needs_answers
        self._most: int | None = None

    @property
    def name(self) -> str:
        return self._real.name

    @property
    def scratch(self) -> str:
        return self._script.run

    @property
    def cache(self) -> str:
        return self._real.cache

    def record(self, text: str, why: str = "") -> None:
        if self._most is not None and len(self._steps) >= self._most:
            self._most = None  # what undoes it is recorded yet
            raise HostError(f"{self.name}: what is planned here never ends")
        self._steps.append(Step(text, why))

    def up(self) -> None:
        self._steps = self._script.undo

    @property
    def fresh(self) -> bool:
        """Whether nothing has been recorded but aside."""
        return not self._script.up

    @contextlib.contextmanager
    def aside(self, steps: list[Step]) -> Iterator[None]:
        """What is recorded in the block belongs to `steps`, not to the script's own.

        A question that is asked until it is answered ends with a HostError.
        """
        kept, self._steps = self._steps, steps
        self._most = len(steps) + _ENDLESS
        try:
            yield
        finally:
            self._steps, self._most = kept, None

    # --- what is recorded ---

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | bytes = "",
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        """Recorded; it said nothing, and succeeded."""
        self._made |= _makes(argv)
        data = stdin.encode() if isinstance(stdin, str) else stdin
        line, after = command(argv), "" if check else " || true"
        self.record(shell_script.fed(line, data, after) if data else f"{line}{after}", why)
        return Completed(tuple(argv), 0, "")

    def spawn(
        self, argv: Sequence[str], *, name: str, stop_with: str = "", why: str = ""
    ) -> PlannedTerminal:
        if not self.which(argv[0]):
            raise HostError(f"{self.name}: there is no program `{argv[0]}`")
        program = PlannedTerminal(self, name, stop_with)
        program.start(argv, why)
        self._commands[name] = " ".join(argv)
        return program

    def write_text(self, path: str, text: str) -> None:
        self.write_bytes(path, text.encode())

    def write_bytes(self, path: str, data: bytes) -> None:
        self._files[path] = data
        self.record(shell_script.write(path, data))

    @contextlib.contextmanager
    def changing(self, change: Change) -> Iterator[None]:
        """A setting of the kernel must be now as it was when this was planned."""
        if change.kind == "rewrote" and knobs.is_knob(change.path):
            self._expect(change.path, change.before, "changed now, put back at the end")
        bound = {change.path: change.after} if change.kind == "bound" and change.after else {}
        self._drivers |= bound
        if change.kind == "functions":
            self._plan_functions(change.path, int(change.after or 0))
        try:
            yield
        finally:
            for address in bound:
                del self._drivers[address]
            self.record(shell_script.undone(change))

    def _plan_functions(self, bdf: str, count: int) -> None:
        """Their addresses follow from what the device says (PCI Express, 9.3.3.9 and 9.3.3.10)."""
        devices = "/sys/bus/pci/devices"
        try:
            first, stride = (
                int(self._real.read_text(f"{devices}/{bdf}/sriov_{word}"))
                for word in ("offset", "stride")
            )
        except OSError:
            raise HostError(
                f"{self.name}: the addresses that virtual functions of {bdf} will have are not "
                "known: its kernel (before 4.14) does not tell sriov_offset and sriov_stride"
            ) from None
        domain, bus, place = bdf.split(":")
        device, _, function = place.partition(".")
        own = int(bus, 16) << 8 | int(device, 16) << 3 | int(function)
        for number in range(count):
            there = own + first + number * stride
            name = f"{domain}:{there >> 8:02x}:{there >> 3 & 31:02x}.{there & 7}"
            self._links[f"{devices}/{bdf}/virtfn{number}"] = f"{devices}/{name}"
            self._made.add(f"{devices}/{name}")
            self._files[f"{devices}/{name}/driver_override"] = b"(null)\n"

    def _expect(self, path: str, text: str, why: str = "") -> None:
        self.record(f"expect {word(path)} {word(text.strip())}", why)

    @contextlib.contextmanager
    def console(self, path: str, name: str) -> Iterator[Console]:
        terminal = PlannedTerminal(self, name)
        terminal.connect(path)
        with terminal:
            yield cast(Console, terminal)  # without a thread, for there is nothing to read

    def connect(self, address: str | int) -> socket.socket:
        raise HostError(f"{self.name}: cannot connect to {address}, which is planned only")

    # --- what is looked at ---

    def ask(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        check: bool = True,
        why: str = "",
    ) -> Completed:
        self._note(why)
        return self._real.ask(argv, timeout_s=timeout_s, check=check, why=why)

    def is_root(self) -> bool:
        return self._real.is_root()

    def which(self, program: str) -> str | None:
        return self._real.which(program)

    def python(self, module: str) -> list[str]:
        """As a person would, on a host where this package is installed."""
        return ["python3", "-m", module]

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode(errors="replace")

    def read_bytes(self, path: str) -> bytes:
        """What is planned to be there, to which the script holds the kernel; or what is there."""
        if path not in self._files:
            return self._real.read_bytes(path)
        data = self._files[path]
        # Masks, lists and switches the kernel tells in words of its own.
        as_written = not (knobs.same(path, "1", "01") or knobs.same(path, "1", "Y"))
        if knobs.is_knob(path) and as_written:
            self._expect(path, data.decode())
        return data

    def read_texts(self, pattern: str) -> Mapping[str, str]:
        planned = {path: self._files[path].decode(errors="replace") for path in self._files}
        matching = fnmatch.filter(planned, pattern)
        return {**self._real.read_texts(pattern), **{path: planned[path] for path in matching}}

    def read_link(self, path: str) -> str:
        if driver := self._driver(path):
            self.record(f"expect_driver {path.split('/')[-2]} {word(driver)}")
            return f"/sys/bus/pci/drivers/{driver}"
        if path in self._files:
            return path
        return self._links.get(path) or self._real.read_link(path)

    def found_driver(self, bdf: str) -> str:
        """Of a PCI device, before the plan's first step; empty: none."""
        link = f"/sys/bus/pci/devices/{bdf}/driver"
        return self._real.read_link(link).rpartition("/")[2] if self._real.exists(link) else ""

    def _driver(self, path: str) -> str | None:
        """The planned driver of a PCI device, if `path` is the link to it."""
        found = _DRIVER.fullmatch(path)
        return self._drivers.get(found[1]) if found else None

    def exists(self, path: str) -> bool:
        """A file that a program was told of, and that is not there, is for it to make."""
        if path in self._files or path in self._made or self._driver(path):
            return True
        if not path.startswith(f"{self.scratch}/"):
            return self._real.exists(path)
        for name, argv in self._commands.items():
            if path in argv:
                self.record(f"appears {word(path)} {_identifier(name)}")
                return True
        return False

    def glob(self, pattern: str) -> list[str]:
        planned = [*self._files, *self._links]
        return sorted({*self._real.glob(pattern), *fnmatch.filter(planned, pattern)})

    def check_reserved(self) -> None:
        """Nothing is changed, so nothing need be reserved."""


def _makes(argv: Sequence[str]) -> set[str]:
    """What is there after a command that is known to make it."""
    program, *words = argv
    named = {word for word in words if not word.startswith("-")}
    if program == "modprobe":
        return {f"/sys/bus/pci/drivers/{name}" for name in named}
    return named if program == "mkdir" else set()


def _identifier(name: str) -> str:
    """What a script calls a program: also the name of its log."""
    return re.sub(r"[^a-zA-Z0-9_]", "-", name)
