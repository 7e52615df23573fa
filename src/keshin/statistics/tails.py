"""The far tail of a distribution from a sample: a generalised Pareto distribution.

What exceeds a high threshold is nearly of that family whatever the distribution (Pickands 1975,
Balkema and de Haan 1974). Its two parameters come from probability-weighted moments (Hosking and
Wallis 1987), which are a formula and steadier than likelihood for small samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError

Floats = npt.NDArray[np.floating]
SHAPES = (-0.5, 0.5)
"""Bounds of the shape: below, the tail would end at once; above, its variance is infinite."""
FEW = 10
"""Exceedances up to which the sample itself is trusted."""

BODY = 50_000
"""Values kept at least, if there are so many, of those that are not in the tail."""


@dataclass(frozen=True, eq=False)
class Tail:
    """P(Z >= z): the sample's own share up to where ``FEW`` values are left, the fit beyond."""

    body: Floats
    """Some of the sample, rising: what tells the share of values below the threshold."""
    exceeding: Floats
    """Values above the threshold, falling."""
    count: int
    """Of the whole sample."""
    shape: float
    scale: float

    def survival(self, values: npt.ArrayLike) -> Floats:
        """(n,) shares."""
        values = np.atleast_1d(np.asarray(values, np.float64))
        rising = self.exceeding[::-1]
        left = len(rising) - np.searchsorted(rising, values, side="left")
        shares = left / self.count
        below = values < rising[0]
        at = np.searchsorted(self.body, values[below], side="left")
        shares[below] = np.maximum(1 - at / len(self.body), len(rising) / self.count)
        few = min(FEW, len(rising))
        start = self.exceeding[few - 1]
        beyond = values > start
        fitted = self._fitted(values[beyond]) / self._fitted(np.array([start]))
        shares[beyond] = few / self.count * fitted
        return np.asarray(shares)

    def _fitted(self, values: Floats) -> Floats:
        """P(Z >= z | Z >= threshold) by the fit."""
        over = np.maximum(values - self.exceeding[-1], 0) / self.scale
        if abs(self.shape) < 1e-9:
            return np.asarray(np.exp(-over))
        return np.asarray(np.maximum(1 + self.shape * over, 0) ** (-1 / self.shape))


def fit_tail(values: Floats, exceeding: int) -> Tail:
    """From a sample (n,), by its ``exceeding`` largest values. Raises ``DataError``."""
    values = np.asarray(values).ravel()
    if not 2 <= exceeding <= len(values):
        raise DataError(
            f"A tail of {exceeding} of {len(values)} values cannot be fitted. Give 2 or more."
        )
    largest = np.partition(values, len(values) - exceeding)[len(values) - exceeding :]
    falling = np.sort(largest.astype(np.float64))[::-1]
    body = np.sort(values[:: max(1, len(values) // BODY)].astype(np.float64))
    over = falling - falling[-1]
    count = len(over)
    first = float(over.mean())
    weights = np.arange(count) / (count - 1)  # of falling values: the share above each
    second = float((over * weights).mean())
    if first <= 0:
        return Tail(body, falling, len(values), 0.0, np.finfo(np.float64).tiny)
    ratio = first / max(first - 2 * second, 1e-12)
    shape = float(np.clip(2 - ratio, *SHAPES))
    return Tail(body, falling, len(values), shape, first * (1 - shape))
