"""What every suite has measured, and what the lab asks of it, in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from pytest_vswitch.apps import migration as migration_app
from pytest_vswitch.hosts import shell_script
from pytest_vswitch.hosts.plan import PlanHost
from pytest_vswitch.lab.schema import Lab
from pytest_vswitch.measure import back_to_back, cost, recovery, soak
from pytest_vswitch.measure.options import SearchOptions
from pytest_vswitch.measure.procedure import Rules
from pytest_vswitch.rehearsal.unknown import Say, Unknown
from pytest_vswitch.topologies.topology import Topology

_BY_VF = (
    "with the VF: primary 1, slaves 0 and 1 active; RX-packets of ports 1 and 2 grow, not of 0",
    "without the VF: primary 0, the only slave; rx_packets of the PF (ip -s link) and RX-packets "
    "of ports 0 and 2 grow",
    "query-status: inmigrate at the target, postmigrate at the source, then running at the target",
    "after the move: as without the VF, but rx_packets grow at the target's PF, and not at the "
    "source's, unless the switch sends to both from the beginning",
    "one RARP frame of the guest's address at least from the switch; no frame changed; none twice "
    "but 256 for each change of slaves",
)


class Threshold:
    """Says what the lab asks of the cases of a topology."""

    def __init__(self, say: Say, topology: Topology, lab: Lab) -> None:
        self._say = say
        self._wanted = {
            case: limits
            for case, limits in lab.thresholds.items()
            if case.partition(":")[0] == topology.name
        }

    def check(self, case: object) -> None:
        for name, limits in self._wanted.items():
            asked = limits.model_dump(exclude_none=True)
            words = ", ".join(f"{key} {value:g}" for key, value in asked.items())
            self._say(f"expect of {name}: {words}")


_RULES = Rules()
_AROUND = (
    f"around it: {_RULES.warm_up_s:g} s of {_RULES.warm_up_pps:g} frames/s that do not count; "
    f"trials of {_RULES.trial_s:g} s, a rest of {_RULES.pause_s:g} s after each; "
    f"{_RULES.repeats} times, where one result may differ from the next"
)
_STEPS = {
    "latency": "offer 90, 50 and 10 % of the NDR; the time of sending is in each frame",
    "frame_loss": "offer 100, 90, 80, ... % of the line rate, until two trials lose nothing",
    "mrr": "offer the line rate; what comes back a second is the result",
    "back_to_back": (
        "send bursts at the line rate, halving between one that lost frames and one that lost "
        f"none, to {100 * back_to_back.RESOLUTION:g} % of their length; none is longer than "
        f"{back_to_back.LONGEST_S:g} s; one that loses is sent again, up to "
        f"{back_to_back.VERIFY} times"
    ),
    "recovery": (
        f"offer {recovery.OVERLOAD:g} times the NDR for {_RULES.overload_s:g} s, then "
        f"{recovery.AFTERWARDS:g} times that in short trials, until {recovery.QUIET_S:g} s pass "
        "without loss"
    ),
    "reset": "offer half the NDR; restart the component; the silence is the reset time",
    "soak": (
        f"offer {100 * soak.SHARE:g} % of the NDR in {soak.SLICES} slices, an hour unless "
        "`--soak` says otherwise"
    ),
    "scalability": "search the NDR as above with 1, 100, 10,000 and 1,000,000 flows",
    "scaling": "search the NDR as above at each point",
    "learning": "halve between the rates, then the numbers of flows, that lose and lose nothing",
    "address_learning": "as for flows, with source addresses that are then sent to",
    "overlay": "search the NDR as above of plain frames, of VXLAN frames, and of plain ones",
    "cost": (
        f"offer {', '.join(f'{100 * share:g}' for share in cost.SHARES)} % of the NDR; read the "
        "CPU time and the memory in use around each"
    ),
    "neighbour": "search the NDR as above alone, beside a program that copies memory, and alone",
}
"""What is sent, by measurement; where it needs the NDR, that is searched before."""


class Measure:
    """Says what each measurement sends, in which steps, and when it ends."""

    def __init__(self, say: Say, topology: Topology, host: PlanHost) -> None:
        self._say = say
        self._topology = topology
        self._host = host
        self._options = SearchOptions()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Of `measuring.Measure`: what it finds is not known yet."""

        def measured(*_: object, **__: object) -> tuple[Unknown, Unknown]:
            if name in _STEPS:
                self._say(_STEPS[name])
                self._say(_AROUND)
            return Unknown(), Unknown()

        return measured

    def functional(self, wired: object, *, frame_bytes: int) -> None:
        self._say(
            "send 256 frames into each port at once, each unlike all others in addresses, ports "
            "and payload; wait 5 s"
        )
        self._say(
            "expect each once, out of the port that its flow leads to, byte for byte as the "
            "steps above say; none twice, none changed, none elsewhere"
        )

    def refusal(
        self, wired: object, *, frame_bytes: int, ttl: int = 64, dst_mac: str | None = None
    ) -> None:
        self._say(f"send frames with a time to live of {ttl}" + (f" to {dst_mac}" * bool(dst_mac)))
        self._say("expect none of them back, and all of the frames that are sent between them")

    def throughput(self, wired: object, *, frame_bytes: int, **_: str) -> Unknown:
        chosen = self._options
        line = sum(port.line_rate_bps for port in self._topology.ports)
        most = line / (8 * (frame_bytes + 20))
        first, *others = chosen.goals
        self._say(
            f"search (MLRsearch; by hand, by halves) between {chosen.lowest_pps:g} and the line "
            f"rate ({most:,.0f} frames/s of {frame_bytes} bytes, both directions): a trial at the "
            "line rate, then at what came "
            "back, then halving the interval between the highest load that passed and the lowest "
            f"that failed until it is within {100 * chosen.precision:g} % of itself; trials of "
            f"{chosen.trial_duration_s:g} s, {chosen.deciding_trials} at each load that decides, "
            "by majority; all frames of a trial are waited for before they are counted"
        )
        goals = [f"{first.name}: none is lost"]
        goals += [f"{goal.name}: at most {100 * goal.loss_ratio:g} % are lost" for goal in others]
        self._say(f"a load passes for {'; for '.join(goals)}")
        self._say(
            "expect, in every trial and at every hop, entered = left + dropped by its own counters"
        )
        return Unknown()

    def most(self, wired: object, over: str) -> int:
        return 2

    def most_flows(self, wired: object) -> int:
        return 1_000_000

    def components(self, wired: object) -> Sequence[str]:
        found: Sequence[str] = getattr(self._topology, "components", ())
        return found

    def migration(self, wired: object, *, frame_bytes: int) -> tuple[Unknown, Any]:
        self._move(migration_app.Parameters())
        return Unknown(), SimpleNamespace(faults=list)

    def failing_migration(self, wired: object, move: Any, why: str, *, frame_bytes: int) -> str:
        self._say(
            "move it as above; the move must fail, for this reason, and leave the guest where it "
            f"is: {why.replace('_', ' ')}"
        )
        return ""

    def bonded_migration(self, wired: object, *, frame_bytes: int) -> tuple[Unknown, Any]:
        if hasattr(self._topology, "walk"):
            self._say(
                "its steps are above, from the first `show bonding config 2` after `start` on; "
                "meanwhile send 1000 frames/s, so that each millisecond is seen"
            )
            for expected in _BY_VF:
                self._say(f"expect {expected}")
        return Unknown(), SimpleNamespace(faults=list)

    def _move(self, chosen: migration_app.Parameters) -> None:
        """As `topologies.move` does it."""
        traveller = getattr(self._topology, "traveller", None)
        if traveller is None:
            return
        here, there = (place.host.scratch for place in (traveller.here, traveller.there))
        command = migration_app.incoming_argv(traveller.guest.machine.command, here, there)
        listens = f"{there}/migration"
        self._say("meanwhile 1000 frames/s go each way, so that each millisecond is seen")
        self._host.record(
            shell_script.command(["start", "target-qemu", *command]), "it waits, at the target"
        )
        for side, words in (
            ("target", f'migrate-incoming {{"uri": "unix:{listens}"}}'),
            ("both", f"migrate-set-parameters {json.dumps(chosen.settings())}"),
            ("source", f'migrate {{"uri": "unix:{listens}"}}'),
            ("source", "query-migrate, until its status is completed: downtime, total-time"),
            ("target", "query-status, until it is running"),
            ("source", "quit"),
        ):
            self._say(f"QMP, {side}: {words}")
