"""One pytest session against one lab: its host, its directory, its wired topology."""

from __future__ import annotations

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

from pytest_vswitch import registry
from pytest_vswitch.errors import InputError, VswitchError
from pytest_vswitch.hosts import leftovers
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import wait_until_forwarding
from pytest_vswitch.results import host_facts, record, run_directory
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.journal import Journal, RunBegun

_FIRST_FRAME_S = 30.0


def preflight(lab: Lab, topologies: list[str]) -> None:
    """Raise InputError for what the lab or the machine lacks; nothing is started or changed."""
    host = LocalHost("preflight", Transcript(Path()))
    if lab.dut.host != "sim":
        for owner in leftovers.owners():
            raise InputError(
                f"{host.name} is in use by {owner}: wait for its end, or end that process"
            )
    for name in topologies:
        registry.topology(_wiring(lab, name)).preflight(lab, host)


class Run:
    """An open run; closing it ends every program and undoes every change."""

    def __init__(self, lab: Lab, facts: record.Run, reports: Path) -> None:
        """Makes the run's directory and begins its journal. Undoes what dead runs left.

        `cleaned` says, a sentence each, what that was. Raises HostError when another run
        has begun since `preflight`.
        """
        self.lab = lab
        self._wiring = contextlib.ExitStack()
        self._wired: Wired | None = None
        with contextlib.ExitStack() as opening:
            state = leftovers.STATE
            if facts.simulated:  # needs nothing, so not root either
                state = Path(opening.enter_context(TemporaryDirectory(prefix="vswitch-sim-")))
            self.cleaned = _clean(state)
            self.directory = run_directory.create(reports, facts.id)
            transcript = Transcript(self.directory.path)
            self.host = opening.enter_context(LocalHost(facts.id, transcript, state))
            self.host_facts = host_facts.collect(self.host)
            self.journal = opening.enter_context(Journal(self.directory.journal))
            self.journal.append(RunBegun(facts, lab.model_dump(mode="json"), self.host_facts))
            self._stack = opening.pop_all()

    def wired(self, name: str) -> Wired:
        """The topology of that name, forwarding; brought up anew if it is not or died."""
        if self._wired and self._wired.name == name:
            with contextlib.suppress(VswitchError):
                self._wired.topology.check_alive()
                return self._wired
        self.unwire()
        kind = _wiring(self.lab, name)
        try:
            # The generator leaves last: DPDK 22.11 crashes when a memif peer goes while it
            # forwards, and a crash on every way out would hide the one that matters.
            last = self._wiring.enter_context(contextlib.ExitStack())
            topology = self._wiring.enter_context(
                registry.topology(kind).provision(self.lab, self.host)
            )
            attach = registry.generator(self.lab.generator.kind)
            generator = last.enter_context(attach(self.lab, self.host, topology))
            wait_until_forwarding(topology, generator, _FIRST_FRAME_S)
        except BaseException:
            self.unwire()
            raise
        self._wired = Wired(name, topology, generator)
        return self._wired

    def unwire(self) -> None:
        """End the topology, if there is one; the next test gets a fresh one."""
        self._wired = None
        self._wiring.close()

    def close(self) -> None:
        try:
            self.unwire()
        finally:
            self._stack.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _wiring(lab: Lab, name: str) -> str:
    return "sim" if lab.dut.host == "sim" else name


def _clean(state: Path) -> list[str]:
    told = []
    for left in leftovers.find(state):
        leftovers.clean(left)
        what = [f"{name} ({pid})" for pid, name in left.processes] + list(map(str, left.changes))
        told.append(f"removed what run {left.run} left: {', '.join(what) or 'its directory'}")
    return told
