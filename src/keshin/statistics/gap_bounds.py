"""A 95 % interval for a calibration error: the mean over bins of |share right - mean confidence|.

The estimate is too high by nature: where the true gap of a bin is near 0, its absolute value is
still noise. So the bootstrap, which takes the estimate for the truth, adds the noise a second time
and misses. The interval here is made of the true errors t that the estimate does not refute: for
each t the gaps are moved until they come to t, noise as large as that of the data is added, and t
stays if the estimate lies within the middle 95 % of what comes out.

Many sets of gaps come to the same t. They are moved in two ways: towards 0 by the squared standard
error (the nearest to the estimate in its own units; small gaps vanish first), or all by the same
factor (none vanishes). The lower bound takes the first, the upper the higher of both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
LOW, HIGH = 0.025, 0.975
HALVINGS = 30
MOST = 64.0
"""The factor up to which gaps are stretched in search of the upper bound."""


def gap_bounds(gaps: FloatArray, shares: FloatArray, noise: FloatArray) -> tuple[float, float]:
    """The interval of ``shares @ |gaps|``.

    Arguments:
        gaps: (b,) share right minus mean confidence.
        shares: (b,) of the pictures; they sum to 1.
        noise: (r, b) draws of what the gaps vary by around the truth.
    """
    value = float(np.abs(gaps) @ shares)
    pull = shares * noise.var(axis=0)

    def quantile(moved: FloatArray, at: float) -> float:
        return float(np.quantile(np.abs(moved + noise) @ shares, at))

    def shrunk(by: float) -> FloatArray:
        return np.asarray(np.copysign(np.maximum(np.abs(gaps) - by * pull, 0), gaps))

    def scaled(by: float) -> FloatArray:
        return gaps * by

    def turns(moved: Callable[[float], FloatArray], at: float, far: float, near: float) -> float:
        """The error at which the quantile passes the value, between two moves."""
        for _ in range(HALVINGS):
            middle = (far + near) / 2
            if quantile(moved(middle), at) > value:
                far = middle
            else:
                near = middle
        return float(np.abs(moved((far + near) / 2)) @ shares)

    reach = float((np.abs(gaps) / pull).max())
    low = 0.0
    if quantile(np.zeros_like(gaps), HIGH) < value:
        low = turns(shrunk, HIGH, -reach, reach)
    factor, grown = 1.0, -max(reach, 1.0)
    while quantile(scaled(factor), LOW) < value and factor < MOST:
        factor *= 2
    while quantile(shrunk(grown), LOW) < value and grown > -MOST * max(reach, 1.0):
        grown *= 2
    high = max(turns(scaled, LOW, factor, 0.0), turns(shrunk, LOW, grown, reach))
    return min(low, high), min(high, 1.0)
