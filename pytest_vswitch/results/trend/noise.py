"""How the nights of one case scatter when nothing has changed, learnt from those nights.

The density is a kernel estimate (Gaussian kernels, Silverman's bandwidth) mixed with a broad
Student t that stands for what was not seen yet; the fewer nights, the more of it. So a second
mode, a skewed tail or nights that are often 10 % low are part of the usual.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_UNSEEN_NIGHTS = 5.0
"""The broad part weighs as many nights."""
_BROAD = 2.0
"""Its width, in robust standard deviations."""
_LEAST_SCATTER = 0.002
"""Nights never scatter less [relative]: a search's steps may hide what scatter there is."""
_REACH = 40.0
"""The density is tabulated so many deviations beyond the farthest night; it ends flat."""
_MOST_SURPRISE = 5.0
"""No night is less likely than the likeliest by more than that [log]: so three nights at least
must bear a change out, however far off they are."""
_STEPS_PER_DEVIATION = 8


class Noise:
    """The scatter of a case's nights around their level, as log densities."""

    def __init__(self, residuals: Floats) -> None:
        """`residuals`: logarithms of nights without a change between them, less their level."""
        self.nights = len(residuals)
        deviation = max(1.4826 * float(np.median(np.abs(residuals))), _LEAST_SCATTER)
        width = 0.9 * deviation * len(residuals) ** -0.2
        reach = float(np.abs(residuals).max()) + _REACH * deviation
        self._step = deviation / _STEPS_PER_DEVIATION
        self._half = int(reach / self._step) + 1
        at: Floats = self._step * np.arange(-self._half, self._half + 1, dtype=np.float64)
        broad = _student3(at / (_BROAD * deviation)) / (_BROAD * deviation)
        density = _UNSEEN_NIGHTS * broad
        # The farther out, the fewer nights there are to tell the shape from.
        widths = width * (1 + np.abs(residuals) / (3 * deviation))
        for residual, wide in zip(residuals, widths, strict=True):
            low, high = np.searchsorted(at, (residual - 6 * wide, residual + 6 * wide))
            density[low:high] += _gauss((at[low:high] - residual) / wide) / wide
        log_density = np.log(density / (len(residuals) + _UNSEEN_NIGHTS))
        self._log_density: Floats = np.maximum(log_density, log_density.max() - _MOST_SURPRISE)

        self._deviation = deviation

    def median_error(self, nights: int) -> float:
        """Standard error of the median of so many nights, if they scatter normally."""
        return 1.25 * self._deviation / math.sqrt(nights)

    def log_density(self, residuals: Floats) -> Floats:
        """Of each residual, to the nearest eighth of a deviation."""
        index = np.rint(residuals / self._step) + self._half
        found: Floats = self._log_density[np.clip(index, 0, 2 * self._half).astype(np.intp)]
        return found


def _gauss(z: Floats) -> Floats:
    found: Floats = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return found


def _student3(z: Floats) -> Floats:
    found: Floats = 6 * math.sqrt(3) / (math.pi * (3 + z * z) ** 2)
    return found
