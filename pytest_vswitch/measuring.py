"""What a suite asks of a wired topology: every measurement, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pytest_vswitch.errors import DutError
from pytest_vswitch.measure import bonded, migration
from pytest_vswitch.measure.address_learning import AddressLearning, address_learning
from pytest_vswitch.measure.back_to_back import BackToBack, back_to_back
from pytest_vswitch.measure.bonded import BondedMove
from pytest_vswitch.measure.cost import Cost, Metered, Usage, cost
from pytest_vswitch.measure.frame_loss import FrameLoss, frame_loss
from pytest_vswitch.measure.functional import check_functional
from pytest_vswitch.measure.latency import LatencyAtShares, latency_at_shares
from pytest_vswitch.measure.learning import Learning, learning
from pytest_vswitch.measure.migration import Migration
from pytest_vswitch.measure.mrr import Mrr, mrr
from pytest_vswitch.measure.neighbour import Neighbour, Neighboured, neighbour
from pytest_vswitch.measure.overlay import Overlay, overlay
from pytest_vswitch.measure.recovery import SystemRecovery, system_recovery
from pytest_vswitch.measure.refusal import check_refusal
from pytest_vswitch.measure.reset import Resettable, ResetTime, reset_time
from pytest_vswitch.measure.runner import TrialRunner
from pytest_vswitch.measure.scalability import Scalability, of_each, of_flows
from pytest_vswitch.measure.soak import SHARE, Soak, soak
from pytest_vswitch.measure.trial import Trial
from pytest_vswitch.measure.vf_migration import VfMove
from pytest_vswitch.results import scaling, usage
from pytest_vswitch.results.certification import Certification, Doing, Wired
from pytest_vswitch.results.run import Run
from pytest_vswitch.results.scaling import Over
from pytest_vswitch.topologies.move import Move
from pytest_vswitch.traffic.generator import require
from pytest_vswitch.traffic.profile import PLAIN, Profile

VNI = 4242
"""Network identifier of an overlay, unless `--vxlan` names another."""
_BUSY = re.compile("busy\n")


class Measure:
    """What a test asks of a wired topology."""

    def __init__(
        self,
        begin: Callable[[Wired, dict[str, Any]], Certification],
        *,
        run: Run,
        known: dict[str, float],
        earlier: Mapping[str, Sequence[Trial]],
        profile: Profile = PLAIN,
    ) -> None:
        """`profile` is the frames that the session was asked for.

        `known` is the NDR by topology and frame size, kept for the measurements after.

        `earlier` are the soak trials of the run that this one resumes, by case id.
        """
        self._begin = begin
        self._run = run
        self._known = known
        self._earlier = earlier
        self._profile = profile

    def functional(self, wired: Wired, *, frame_bytes: int) -> None:
        """Raise FunctionalError unless the DUT returns exact frames exactly."""
        require(wired.generator, self._profile)
        check_functional(wired.topology, wired.generator, frame_bytes, profile=self._profile)

    def refusal(
        self, wired: Wired, *, frame_bytes: int, ttl: int = 64, dst_mac: str | None = None
    ) -> None:
        """Raise FunctionalError if the DUT forwards frames of that kind, or no others."""
        check_refusal(wired.topology, wired.generator, frame_bytes, ttl=ttl, dst_mac=dst_mac)

    def throughput(self, wired: Wired, *, frame_bytes: int, **parameters: str) -> Certification:
        """NDR and PDR (RFC 2544 section 26.1) of one case, which `parameters` tell apart."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, **parameters})
        case.throughput()
        if case.ndr_pps is not None and not parameters:
            self._known[_where(wired, frame_bytes)] = case.ndr_pps
        return case

    def frame_loss(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, FrameLoss]:
        """Loss over load, from the line rate downward (RFC 2544 section 26.3)."""
        case = self._case(wired, "frame_loss", frame_bytes)
        return case, case.measured("frame loss", lambda doing: frame_loss(doing.bench))

    def back_to_back(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, BackToBack]:
        """The longest burst without loss, and the buffer behind it (RFC 9004)."""
        case = self._case(wired, "back_to_back", frame_bytes)
        ndr_pps, trial_s = self._ndr_pps(case, wired), case.plan.search.trial_duration_s
        found = case.measured(
            "back-to-back", lambda doing: back_to_back(doing.bench, ndr_pps, trial_s)
        )
        return case, found

    def mrr(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Mrr]:
        """What comes back at a fixed overload."""
        case = self._case(wired, "mrr", frame_bytes)
        return case, case.measured("MRR", lambda doing: mrr(doing.bench))

    def recovery(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, SystemRecovery]:
        """How long frames are still lost after an overload (RFC 2544 section 26.5)."""
        case = self._case(wired, "recovery", frame_bytes)
        ndr_pps = self._ndr_pps(case, wired)
        found = case.measured(
            "system recovery", lambda doing: system_recovery(doing.bench, ndr_pps)
        )
        return case, found

    def latency(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, LatencyAtShares]:
        """Delays and their variation at shares of the throughput (RFC 2544 section 26.2)."""
        case = self._case(wired, "latency", frame_bytes)
        ndr_pps = self._ndr_pps(case, wired)
        found = case.measured("latency", lambda doing: latency_at_shares(doing.bench, ndr_pps))
        return case, found

    def components(self, wired: Wired) -> Sequence[str]:
        """What of this topology can be reset; empty if nothing."""
        topology = wired.topology
        return topology.components if isinstance(topology, Resettable) else ()

    def reset(
        self, wired: Wired, component: str, *, frame_bytes: int
    ) -> tuple[Certification, ResetTime]:
        """How long no frame passes when a component restarts (RFC 2544 26.6, RFC 6201)."""
        case = self._case(wired, f"reset_{component.replace(' ', '_')}", frame_bytes)
        ndr_pps = self._ndr_pps(case, wired)
        found = case.measured(
            "reset", lambda doing: reset_time(doing.bench, component, ndr_pps, doing.record)
        )
        return case, found

    def soak(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Soak]:
        """One load for as long as `--soak` says; takes up that of the run of `--resume`."""
        case = self._case(wired, "soak", frame_bytes)
        done = [
            trial
            for trial in self._earlier.get(case.case.id, ())
            if trial.intended_pps != case.plan.rules.warm_up_pps
        ]
        rate_pps = done[0].intended_pps if done else SHARE * self._ndr_pps(case, wired)
        found = case.measured(
            "soak",
            lambda doing: soak(
                doing.bench, rate_pps, case.plan.soak_s, done=done, record=doing.record
            ),
        )
        return case, found

    def most_flows(self, wired: Wired) -> int:
        """How many flows of each direction the generator can send."""
        return wired.generator.capabilities.max_flows

    def scalability(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Scalability]:
        """NDR over the number of flows, and its knee (RFC 8204 section 3)."""
        case = self._case(wired, "scalability", frame_bytes)
        most, directions = self.most_flows(wired), len(wired.topology.ports)
        flows = [count for count in (1, 100, 10_000, 1_000_000) if count <= most]
        found = case.measured(
            "scalability over flows",
            lambda doing: of_flows(
                flows,
                lambda count: doing.runner(frame_bytes, replace(case.profile, flows=count)),
                case.plan.search,
                directions,
            ),
        )
        return case, found

    def most(self, wired: Wired, over: Over) -> int:
        """Up to how many cores, queues or guests the lab and its DUT allow; 1 for no curve."""
        return scaling.most(self._run.lab, self._run.host, wired, over)

    def scaling(
        self, wired: Wired, over: Over, *, frame_bytes: int
    ) -> tuple[Certification, Scalability]:
        """NDR over forwarding cores, queues or guests in a row (RFC 8204 section 3).

        The topology is brought up anew for each point: `wired` has ended then.
        """
        case = self._case(wired, f"scalability_{over}", frame_bytes)
        run, name = self._run, wired.name
        at = scaling.points(self.most(wired, over))

        def brought_up(doing: Doing, count: int) -> TrialRunner:
            return doing.on(run.rewired(*scaling.changed(run.lab, name, over, count)))

        try:
            found = case.measured(
                f"scalability over {over}",
                lambda doing: of_each(
                    scaling.AXES[over],
                    at,
                    lambda count: brought_up(doing, count),
                    case.plan.search,
                ),
            )
        finally:
            run.unwire()
        return case, found

    def learning(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Learning]:
        """How fast flows are learned, and how many are held (RFC 2889 5.7 and 5.8)."""
        case = self._case(wired, "learning", frame_bytes)
        ndr_pps, most = self._ndr_pps(case, wired), self.most_flows(wired)
        found = case.measured(
            "learning",
            lambda doing: learning(
                lambda count: doing.runner(frame_bytes, replace(case.profile, flows=count)),
                doing.bench.rules,
                most_flows=most,
                throughput_pps=ndr_pps,
            ),
        )
        return case, found

    def address_learning(
        self, wired: Wired, *, frame_bytes: int
    ) -> tuple[Certification, AddressLearning]:
        """How fast MAC addresses are learned, and how many are held (RFC 2889 5.7 and 5.8)."""
        case = self._case(wired, "address_learning", frame_bytes)
        ndr_pps = self._ndr_pps(case, wired)
        found = case.measured(
            "address learning",
            lambda doing: address_learning(
                lambda profile: doing.runner(frame_bytes, profile),
                throughput_pps=ndr_pps,
                profile=case.profile,
            ),
        )
        return case, found

    def cost(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Cost]:
        """CPU time per frame by load, and memory in use."""
        case = self._case(wired, "cost", frame_bytes)
        ndr_pps, dut = self._ndr_pps(case, wired), wired.topology

        def read() -> Usage:
            if isinstance(dut, Metered):
                return Usage(dut.cpu_s, 0.0)
            return usage.read(self._run.host)

        doubts = []
        if not wired.generator.simulated and self._run.generator_host is self._run.host:
            doubts.append("the generator runs on the DUT: its CPU time is counted, too")
        found = case.measured("cost", lambda doing: cost(doing.bench, ndr_pps, read, tuple(doubts)))
        return case, found

    def neighbour(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Neighbour]:
        """What a load beside the DUT leaves of its throughput."""
        case = self._case(wired, "neighbour", frame_bytes)
        dut, host = wired.topology, self._run.host

        @contextmanager
        def process() -> Iterator[None]:
            argv = host.python("pytest_vswitch.measure.neighbour_load")
            with host.spawn(argv, name="noisy neighbour", stop_with="end\n") as load:
                load.read_until(_BUSY, timeout_s=30.0, what="its beginning")
                yield

        beside = dut.beside if isinstance(dut, Neighboured) else process
        found = case.measured(
            "noisy neighbour",
            lambda doing: neighbour(
                doing.runner(frame_bytes, case.profile),
                case.plan.search,
                beside,
                "a program that copies memory on any CPU",
            ),
        )
        return case, found

    def overlay(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Overlay]:
        """Throughput of frames within VXLAN, beside plain ones as long (RFC 7348).

        Frames shorter than an overlay can be are as long as it must be.
        """
        asked = self._profile.vxlan
        within = replace(self._profile, vxlan=VNI if asked is None else asked)
        require(wired.generator, within)
        size = max(frame_bytes, within.least_bytes)
        check_functional(wired.topology, wired.generator, size, profile=within)
        case = self._case(wired, "overlay", size)
        found = case.measured(
            "overlay",
            lambda doing: overlay(
                lambda profile: doing.runner(size, profile), within, case.plan.search
            ),
        )
        return case, found

    def _case(self, wired: Wired, measurement: str, frame_bytes: int) -> Certification:
        return self._begin(wired, {"frame_bytes": frame_bytes, "measurement": measurement})

    def _ndr_pps(self, case: Certification, wired: Wired) -> float:
        """As this session found it before; else it is searched now, and kept in `case`."""
        where = _where(wired, case.frame_bytes)
        if where not in self._known:
            case.throughput()
            if case.ndr_pps is None:
                raise DutError(
                    f"{wired.name} has no throughput at {case.frame_bytes} bytes: every load that "
                    "was tried lost frames, so no load can be chosen by it"
                )
            self._known[where] = case.ndr_pps
        return self._known[where]

    def migration(self, wired: Wired, *, frame_bytes: int) -> tuple[Certification, Migration]:
        """Move the guest under traffic; raise MigrationError if it stays where it was."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": "migration"})
        found = case.event(
            "migration",
            lambda: migration.under_traffic(
                wired.topology, wired.generator, frame_bytes=frame_bytes
            ),
        )
        return case, found

    def failing_migration(self, wired: Wired, move: Move, why: str, *, frame_bytes: int) -> str:
        """Move the guest in vain, under traffic: what it failed for.

        `why` names the case. Raises FunctionalError when the source does not forward afterwards.
        """
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": why})
        return case.event(
            "failing migration",
            lambda: migration.failing(
                wired.topology, wired.generator, move, frame_bytes=frame_bytes
            ),
        )

    def bonded_migration(
        self, wired: Wired, *, frame_bytes: int
    ) -> tuple[Certification, BondedMove | VfMove]:
        """Take the VF out, move the guest, put a VF in again, all under traffic."""
        case = self._begin(wired, {"frame_bytes": frame_bytes, "event": "migration"})
        found = case.event(
            "migration",
            lambda: bonded.under_traffic(wired.topology, wired.generator, frame_bytes=frame_bytes),
        )
        return case, found


def _where(wired: Wired, frame_bytes: int) -> str:
    chosen = {**wired.topology.variant, **wired.versions}
    return f"{wired.name} {chosen} {frame_bytes}"
