"""What can be wrong with a split port: methods that take the place of the good ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.emulated.bifurcated import Host
from tests.emulated.ethtool import PF, Filters, fields_of

Spoil = Callable[[Host], None]


def of_filters(**methods: Callable[..., Any]) -> Callable[[Host], None]:
    """Filters with other methods."""
    other = type("Spoilt", (Filters,), methods)

    def spoil(host: Host) -> None:
        old = host.filters
        host.filters = other(old.kind, ntuple=old.ntuple)

    return spoil


def of(part: str, **methods: Callable[..., Any]) -> Callable[[Host], None]:
    """Other methods of the host itself, of its kernel, or of the testpmd that it starts."""

    def spoil(host: Host) -> None:
        if part == "testpmd":
            start = host.spawn

            def spawn(*given: Any, **how: Any) -> Any:
                testpmd = start(*given, **how)
                _override(testpmd, methods)
                return testpmd

            host.spawn = spawn  # type: ignore[method-assign]
        else:
            _override(host if part == "host" else getattr(host, part), methods)

    return spoil


def _override(what: object, methods: Mapping[str, Callable[..., Any]]) -> None:
    what.__class__ = type("Spoilt", (what.__class__,), dict(methods))


def is_ping(frame: bytes) -> bool:
    return frame[23] == 1


def is_udp(frame: bytes) -> bool:
    return fields_of(frame).get("l4proto") == 17


def is_tunnel(frame: bytes) -> bool:
    return fields_of(frame).get("dst-port") == 8472


def copies_to_vf_1(self: Host, frame: bytes) -> list[bytes]:
    assert self.testpmd is not None
    self.testpmd.count(1)
    return []


def copies_pings_to_vf_1(self: Host, frame: bytes) -> list[bytes]:
    return copies_to_vf_1(self, frame) if is_ping(frame) else []


def copies_tunnels_to_vf_1(self: Host, frame: bytes) -> list[bytes]:
    return copies_to_vf_1(self, frame) if is_tunnel(frame) else []


def counts_at_kernel(self: Host, frame: bytes) -> list[bytes]:
    self.kernel.count()
    return []


def answers_half(self: Any, frame: bytes) -> Any:
    """Every second one."""
    return [] if frame[41] & 1 else super(type(self), self).answer(frame)


def answers_without_filters(self: Any, frame: bytes) -> Any:
    return [] if self.host.filters.table else super(type(self), self).answer(frame)


def loses_plain_udp(self: Any, frame: bytes, queue: int) -> Any:
    if is_udp(frame) and not is_tunnel(frame) and self.host.filters.table:
        return []
    return super(type(self), self).receive(frame, queue)


def takes_udp_at_first(self: Any, frame: bytes) -> Any:
    """Until there is a first filter, UDP goes astray."""
    self.had = getattr(self, "had", False) or bool(self.table)
    if not self.had and is_udp(frame):
        return 0, 0
    return super(type(self), self).direct(frame)


def takes_udp_of_the_refused(self: Any, frame: bytes) -> tuple[int, int] | None:
    return (0, 0) if is_udp(frame) else None


def ignored(self: Any, frame: bytes) -> None: ...


def swapped(self: Any, rule: Any) -> tuple[int, int]:
    return 1 - rule.vf, rule.queue


def shown(self: Any, location: int) -> tuple[int, str]:
    return 0, f"Filter: {location}\n\tAction: Direct to VF 0 queue 0\n"


def stays_all_the_same(self: Any, location: int) -> None: ...


def refuses_in_silence(self: Any, option: str, words: list[str]) -> tuple[int, str]:
    """It does not take a wrong filter, and does not say so."""
    status, said = super(type(self), self).command(option, words)
    return (status, "") if "Cannot insert" in said else (status, said)


def forgets_the_others(self: Any, option: str, words: list[str]) -> tuple[int, str]:
    """A refusal empties the table but for what is shown."""
    status, said = super(type(self), self).command(option, words)
    if "Cannot insert" in said:
        self.is_off = True
    return status, said


def directs_unless_off(self: Any, frame: bytes) -> Any:
    return None if getattr(self, "is_off", False) else super(type(self), self).direct(frame)


def yes(self: Any, *_: object) -> bool:
    return True


def no(self: Any, *_: object) -> bool:
    return False


def put_elsewhere(self: Host, frame: bytes, function: int, queue: int) -> int:
    return 0


def spread_instead(self: Host, frame: bytes, function: int, queue: int) -> int:
    return self.spread(frame) if function == PF else queue


def lets_foreign_in(self: Host, frame: bytes) -> list[bytes]:
    self.kernel.count()
    return []


def no_return(self: Any, frame: bytes, vf: int) -> list[bytes]:
    return []
