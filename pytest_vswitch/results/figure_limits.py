"""Which figure of which measurement each threshold is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_vswitch.measure.outcome import Figure
from pytest_vswitch.results.record import Measurement


@dataclass(frozen=True, slots=True)
class FigureLimit:
    """A threshold on one figure of a measurement that is no search."""

    measurement: str
    """`Measurement.search` begins so."""
    figure: str
    """The figure's name begins so."""
    least: bool
    """Whether the figure must be at least the threshold, not at most."""
    per_unit: float = 1.0
    """So many of the threshold's units are one of the figure's, e.g. 1000 ms of a second."""

    def figure_of(self, measurement: Measurement) -> Figure | None:
        """None if that is another measurement, or did not come to its end."""
        if measurement.outcome is None or not measurement.search.startswith(self.measurement):
            return None
        figures = measurement.outcome.figures
        return next((one for one in figures if one.name.startswith(self.figure)), None)

    def value_of(self, measurement: Measurement) -> float | None:
        """The figure's value, in its own unit.

        Where none was found and nothing limits it, it is not below its lower end: a buffer
        that was never full, a knee beyond the last point.
        """
        figure = self.figure_of(measurement)
        if figure is None:
            return None
        if figure.value is None and self.least and figure.high is None:
            return figure.low
        return figure.value

    def derived_from(self, measurement: Measurement) -> float | None:
        """What a threshold is made from: the value, or what could not be told from 0."""
        figure = self.figure_of(measurement)
        value = self.value_of(measurement)
        return figure.high if figure and not value and not self.least else value


FIGURE_LIMITS: Mapping[str, FigureLimit] = {
    "mrr_pps": FigureLimit("MRR", "maximum receive rate", least=True),
    "back_to_back_frames": FigureLimit("back-to-back", "longest burst without loss", least=True),
    "buffer_us": FigureLimit("back-to-back", "corrected buffer time", least=True, per_unit=1e6),
    "recovery_ms": FigureLimit("system recovery", "system recovery", least=False, per_unit=1e3),
    "reset_ms": FigureLimit("reset", "reset time by lost frames", least=False, per_unit=1e3),
    "soak_loss_ratio": FigureLimit("soak", "loss", least=False),
    "learning_per_s": FigureLimit("learning", "flows learned per second", least=True),
    "learned": FigureLimit("learning", "flows held", least=True),
    "addresses_per_s": FigureLimit("address learning", "addresses learned per second", least=True),
    "addresses": FigureLimit("address learning", "addresses held", least=True),
    "knee": FigureLimit("scalability", "knee", least=True),
    "scaling_ratio": FigureLimit("scalability", "last over first", least=True),
    "cpu_ns_per_frame": FigureLimit("cost", "CPU time per frame", least=False, per_unit=1e9),
    "cycles_per_frame": FigureLimit("cost", "cycles per frame", least=False),
    "memory_mb": FigureLimit("cost", "memory in use", least=False, per_unit=1 / 1024),
    "overlay_pps": FigureLimit("overlay", "throughput in VXLAN", least=True),
    "neighbour_ratio": FigureLimit("noisy neighbour", "throughput kept", least=True),
}
"""By the name of the threshold, as in `lab.limits`."""


def held_against(limit: FigureLimit, measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """The measurements of a case that have the figure."""
    return [one for one in measurements if limit.figure_of(one) is not None]
