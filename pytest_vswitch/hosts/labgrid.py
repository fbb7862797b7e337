"""A labgrid place, acquired for a run by labgrid's own client (`labgrid-client`).

labgrid knows who holds a place as HOST/USER, and keeps it for them however their program
ended, until somebody releases it. So what tells a place that a killed run of this user left
from one that the user acquired by hand is a note of ours, in a file that is locked while a
run lives. Source: labgrid's documentation, "Usage" and "labgrid-client".
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import quote

from pytest_vswitch.errors import HostError, InputError, ReservationLost
from pytest_vswitch.hosts.host import Completed
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript

_CLIENT_S = 40.0
"""How long one command of the client may take; its own connection timeout is 20 [s]."""
_LOOK_AGAIN_S = 10.0
"""How often a run looks whether the place is still its own [s]; a look takes about 0.5 s."""
_NOT_OURS = ("LG_ENV", "LG_STATE", "LG_INITIAL_STATE", "STATE")
"""With these set the client works on the places of an environment file, not on the lab's."""


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the coordinator knows of a place."""

    acquired: str
    """HOST/USER; empty: nobody."""
    reservation: str
    """Token of the reservation that has it next; empty: none."""


class Place:
    """A place, for one run; the coordinator is found by labgrid's own variables."""

    def __init__(
        self,
        name: str,
        run: str = "look",
        tell: Callable[[str], None] = lambda text: None,
        transcript: Transcript | None = None,
    ) -> None:
        """Raises InputError without labgrid."""
        host = os.environ.get("LG_HOSTNAME", socket.gethostname())
        self.me = f"{host}/{os.environ.get('LG_USERNAME') or getpass.getuser()}"
        """This user, as labgrid calls it."""
        self.coordinator = os.environ.get("LG_COORDINATOR", "127.0.0.1:20408")
        self.name = name
        self.tell = tell
        self._host = LocalHost(run, transcript or Transcript(None))
        self._look_at = 0.0
        beside = Path(sys.executable).with_name("labgrid-client")
        program = str(beside) if beside.exists() else self._host.which(beside.name)
        if program is None:
            raise InputError(
                f"the lab has the labgrid place `{name}`, and there is no `labgrid-client` here: "
                f"pip install pytest-vswitch[labgrid]"
            )
        unset = [word for variable in _NOT_OURS for word in ("-u", variable)]
        self._client = ["env", *unset, program, "-p", name]

    def check(self) -> None:
        """Raise ReservationLost when the place is no longer ours; it looks every 10 s.

        While the coordinator does not answer nobody else can get the place: the run goes on.
        """
        if time.monotonic() < self._look_at:
            return
        try:
            now = self.show().acquired
        except InputError as error:
            raise ReservationLost(f"labgrid place {self.name} was taken away: {error}") from None
        except HostError as error:
            self.tell(f"going on, though: {error}")
            now = self.me
        if now != self.me:
            what = f"is now acquired by {now}" if now else "is free, or the coordinator restarted"
            raise ReservationLost(
                f"labgrid place {self.name} was released while this run used it: it {what}"
            )
        self._look_at = time.monotonic() + _LOOK_AGAIN_S

    def show(self) -> _Shown:
        """Raises InputError when there is no such place, HostError without a coordinator."""
        told = self._do("show")
        name = re.search(r"^Place '(.*)':$", told.output, re.MULTILINE)
        acquired = re.search(r"^  acquired: (.*)$", told.output, re.MULTILINE)
        reserved = re.search(r"^  reservation: (.*)$", told.output, re.MULTILINE)
        # The client takes an alias, or a part of a name, for the name.
        if re.search(r"pattern .* matches (nothing|multiple)", told.output):
            raise InputError(f"there is no labgrid place `{self.name}`: {_words(told)}")
        if name and name[1] != self.name:
            raise InputError(f"there is no labgrid place `{self.name}`; write `{name[1]}`")
        if told.status or not acquired:
            raise HostError(
                f"cannot ask labgrid's coordinator at {self.coordinator} (LG_COORDINATOR names "
                f"another): {_words(told)}"
            )
        by = "" if acquired[1] == "None" else acquired[1]
        return _Shown(by, reserved[1] if reserved else "")

    def refusal(self, told: str = "") -> str:
        """Why it cannot be had: who has it, else what the client `told`."""
        shown = self.show()
        if shown.acquired:
            return (
                f"labgrid place {self.name} is acquired by {shown.acquired} (if nobody works "
                f"there: `labgrid-client -p {self.name} release-from {shown.acquired}`)"
            )
        pattern = rf"Reservation '{shown.reservation}':\n +owner: (\S+)"
        if shown.reservation and (owner := re.search(pattern, self._do("reservations").output)):
            return f"labgrid place {self.name} is reserved for {owner[1]}"
        return f"labgrid place {self.name} cannot be acquired: {told}"

    def acquire(self, deadline: float, *, waits: bool) -> None:
        """By a reservation, first come first served, if it must wait. Raises HostError."""
        told = self._do("acquire")
        if not told.status:
            return
        refusal = self.refusal(_words(told))
        if not waits:
            raise HostError(f"{refusal}; `--wait 30m` queues")
        self.tell(f"waiting: {refusal}")
        reserved = self._do("reserve", f"name={self.name}")
        token = re.search(r"^  token: (\S+)$", reserved.output, re.MULTILINE)
        if not token:
            raise HostError(f"cannot queue for labgrid place {self.name}: {_words(reserved)}")
        try:
            while (left := deadline - time.monotonic()) > 0:
                with contextlib.suppress(HostError):  # the time is over
                    self._do("wait", token[1], timeout_s=left)
                if not self._do("acquire").status:
                    return
            raise HostError(f"{self.refusal()}; waited in vain")
        finally:
            # Acquired it needs none; given up it would keep the place from the next.
            self._do("cancel-reservation", token[1])

    def release(self) -> None:
        """If it is still ours. Raises HostError when that cannot be done, or known."""
        told = self._do("release-from", self.me)
        with contextlib.suppress(InputError):  # there is no such place any more
            if told.status and self.show().acquired == self.me:
                raise HostError(f"cannot release labgrid place {self.name}: {_words(told)}")

    def _do(self, *args: str, timeout_s: float = _CLIENT_S) -> Completed:
        """A command of the client, whatever its status. Raises HostError on expiry."""
        return self._host.run([*self._client, *args], timeout_s=timeout_s, check=False)


def preflight(name: str, *, waits: bool) -> None:
    """Raise InputError without labgrid, coordinator or place, or when someone else has it.

    Unless the run `waits`: then it may be taken.
    """
    place = Place(name)
    try:
        if place.show().acquired not in ("", place.me) and not waits:
            raise InputError(f"{place.refusal()}; `--wait 30m` queues")
    except HostError as error:
        raise InputError(str(error)) from None


@contextlib.contextmanager
def acquired(
    name: str,
    run: str,
    *,
    wait_s: float = 0.0,
    tell: Callable[[str], None] = lambda text: None,
    transcript: Transcript | None = None,
) -> Iterator[Place]:
    """Hold a place for a run. At its end it is released, if it was not the user's before.

    What a killed run left acquired is taken over. Raises InputError, and HostError when it
    cannot be had within `wait_s`, or not be released.
    """
    place = Place(name, run, tell, transcript)
    deadline = time.monotonic() + wait_s
    with _only_run(place, deadline) as note:
        left_by = _read(note)
        mine = place.show().acquired == place.me
        if mine and not left_by:
            tell(f"labgrid place {name} was yours before this run, and stays so")
            yield place
            return
        _write(note, run)  # first: one who is killed in the midst of acquiring is known, too
        ended = False
        try:
            if mine:
                tell(f"labgrid place {name}: taken over from run {left_by}, which was killed")
            else:
                place.acquire(deadline, waits=wait_s > 0)
            yield place
            ended = True
        finally:
            try:
                place.release()
                _write(note, "")
            except HostError as error:  # the next run knows by the note
                if ended:
                    raise
                tell(str(error))  # not to hide what went wrong


@contextlib.contextmanager
def _only_run(place: Place, deadline: float) -> Iterator[TextIO]:
    """One run of this user at a time, which labgrid cannot tell apart; its note."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    name = quote(f"{place.coordinator} {place.me} {place.name}", safe="")
    path = state / "pytest-vswitch" / "labgrid" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    told = ""
    with path.open("a+") as note:
        while True:
            try:
                # Not inherited by children, and gone with the process.
                fcntl.lockf(note, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                held = f"labgrid place {place.name} is used by your run {_read(note)}"
            if time.monotonic() >= deadline:
                how = "waited in vain" if told else "`--wait 30m` waits for its end"
                raise HostError(f"{held}; {how}")
            if told != held:
                told = held
                place.tell(f"waiting: {held}")
            time.sleep(0.5)
        yield note


def _read(note: TextIO) -> str:
    note.seek(0)
    return note.read().strip()


def _write(note: TextIO, run: str) -> None:
    note.truncate(0)
    note.write(run)
    note.flush()


def _words(told: Completed) -> str:
    """The last line that the client wrote, without its name."""
    lines = told.output.strip().splitlines() or [f"status {told.status}"]
    return re.sub(r"^((labgrid-client|Server error|Error): )+", "", lines[-1])
