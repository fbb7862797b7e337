"""One pytest session against one lab: its host, its directory, its wired topology."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from pytest_vswitch import registry
from pytest_vswitch.errors import InputError, NotHere, VswitchError
from pytest_vswitch.hosts import labgrid
from pytest_vswitch.hosts.local import LocalHost
from pytest_vswitch.hosts.open_host import OpenHost
from pytest_vswitch.hosts.opening import LOOK, open_host
from pytest_vswitch.hosts.transcript import Transcript
from pytest_vswitch.lab.address import SIM
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure.functional import prove_clean, wait_until_forwarding
from pytest_vswitch.results import host_facts, record, run_directory
from pytest_vswitch.results.certification import Wired
from pytest_vswitch.results.journal import Journal, RunBegun
from pytest_vswitch.topologies.needs import tuned
from pytest_vswitch.topologies.topology import Topology
from pytest_vswitch.traffic import frames

_FIRST_FRAME_S = 30.0
_CLEAN_S = 5.0


def preflight(lab: Lab, topologies: list[str], *, waits: bool) -> dict[str, str]:
    """Raise InputError for what the lab or its hosts lack; nothing is started or changed.

    Returns why a topology cannot be there at all, by the names of those.

    Unless the run `waits` for it, a DUT in use is refused, too.
    """
    if lab.place:
        labgrid.preflight(lab.place, waits=waits)
    with _looking_at(lab) as host:
        for owner in [] if waits or lab.dut.host == SIM else host.in_use():
            raise InputError(
                f"{host.name} is in use by {owner}: wait for its end (`--wait 30m` does), or "
                f"see `vswitch lab release --help`"
            )
        not_here = {}
        for name in topologies:
            try:
                registry.topology(_wiring(lab, name)).preflight(lab, host)
            except NotHere as reason:
                not_here[name] = str(reason)
        return not_here


class Run:
    """An open run; closing it ends every program and undoes every change."""

    def __init__(
        self,
        lab: Lab,
        facts: record.Run,
        reports: Path,
        *,
        wait_s: float = 0.0,
        tune: bool = False,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Makes the run's directory and begins its journal. Undoes what dead runs left.

        With `tune`, the DUT is tuned until the end. `tell` is told, a sentence each, what
        was undone, waited for, tuned and brought up anew. Raises HostError when the DUT
        cannot be had within `wait_s`.
        """
        self.lab = lab
        self.facts = facts
        self._tell = tell
        self._wiring = contextlib.ExitStack()
        self._wired: Wired | None = None
        self._turn: tuple[Mapping[str, str], int] = ({}, 1)
        """Versions and turn that it was brought up for."""
        self._generator_host: OpenHost | None = None
        """Where the generator runs, if not on the DUT."""
        self._target_host: OpenHost | None = None
        """The second DUT, if there is one."""
        with contextlib.ExitStack() as opening:
            self.directory = run_directory.create(reports, facts.id)
            transcript = Transcript(self.directory.path)
            self._place = lab.place and opening.enter_context(
                labgrid.acquired(
                    lab.place, facts.id, wait_s=wait_s, tell=tell, transcript=transcript
                )
            )
            if facts.simulated:  # needs nothing, so not root either
                state = opening.enter_context(TemporaryDirectory(prefix="vswitch-sim-"))
                self.host: OpenHost = opening.enter_context(
                    LocalHost(facts.id, transcript, Path(state))
                )
            else:

                def hold(role: str) -> OpenHost:
                    return opening.enter_context(
                        open_host(
                            lab,
                            role,
                            run=facts.id,
                            transcript=transcript,
                            wait_s=wait_s,
                            tell=tell,
                        )
                    )

                self.host = hold("dut")
                if lab.generator.host not in (None, lab.dut.host):
                    self._generator_host = hold("generator")
                if lab.target and lab.target.host == lab.generator.host:
                    self._target_host = self._generator_host
                elif lab.target and lab.target.host != lab.dut.host:
                    self._target_host = hold("target")
                if tune:
                    opening.enter_context(tuned(lab, self.host, tell))
            self.host_facts = host_facts.collect(self.host)
            self.journal = opening.enter_context(Journal(self.directory.journal))
            self.journal.append(RunBegun(facts, lab.model_dump(mode="json"), self.host_facts))
            self._stack = opening.pop_all()

    def check_reserved(self) -> None:
        """Raise ReservationLost, naming who took it, when a host is no longer this run's."""
        if self._place:
            self._place.check()
        self.host.check_reserved()
        if self._generator_host is not None:
            self._generator_host.check_reserved()
        if self._target_host is not None:
            self._target_host.check_reserved()

    @property
    def generator_host(self) -> OpenHost:
        """Where the generator runs: the DUT, if the lab names no other host."""
        return self._generator_host or self.host

    def wired(
        self,
        name: str,
        lab: Lab | None = None,
        versions: Mapping[str, str] | None = None,
        turn: int = 1,
    ) -> Wired:
        """The topology of that name, forwarding; of `lab`, which has these `versions` in it.

        The one before, if it is of that name, versions and turn, and is proven clean; else it is
        brought up anew.
        """
        turns = (dict(versions or {}), turn)
        if self._wired and self._wired.name == name and self._turn == turns:
            try:
                prove_clean(self._wired.topology, self._wired.generator, _CLEAN_S)
            except VswitchError as error:
                self._tell(f"{name} is brought up anew: {error}")
            else:
                return self._wired
        self.lab = lab or self.lab
        self._turn = turns
        self.rewired(name, self.lab)
        assert self._wired is not None
        self._wired = replace(self._wired, versions=turns[0])
        return self._wired

    def rewired(self, name: str, lab: Lab) -> Wired:
        """The topology of that name brought up anew, with what `lab` says, e.g. more lcores.

        `unwire` ends it: other tests want that of the run's own lab.
        """
        self.unwire()
        kind = _wiring(lab, name)
        try:
            frames.get_ready()
            # The generator leaves last: DPDK 22.11 crashes when a memif peer goes while it
            # forwards, and a crash on every way out would hide the one that matters.
            last = self._wiring.enter_context(contextlib.ExitStack())
            topology = self._wiring.enter_context(self._provided(registry.topology(kind), lab))
            attach = registry.generator(lab.generator.kind)
            beside = self._generator_host or self.host
            generator = last.enter_context(attach(lab, beside, topology))
            wait_until_forwarding(topology, generator, _FIRST_FRAME_S)
        except BaseException:
            self.unwire()
            raise
        self._wired = Wired(name, topology, generator)
        return self._wired

    def _provided(
        self, wiring: registry.Wiring, lab: Lab
    ) -> contextlib.AbstractContextManager[Topology]:
        if self._target_host is not None and isinstance(wiring, registry.Spanning):
            return wiring.provision_between(lab, self.host, self._target_host)
        return wiring.provision(lab, self.host)

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

    def __exit__(self, *_: object) -> None:
        self.close()


def _wiring(lab: Lab, name: str) -> str:
    return "sim" if lab.dut.host == SIM else name


def _looking_at(lab: Lab) -> contextlib.AbstractContextManager[OpenHost]:
    if lab.dut.host == SIM:
        return contextlib.nullcontext(LocalHost(LOOK, Transcript(None)))
    return open_host(lab)
