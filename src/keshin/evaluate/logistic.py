"""Logistic regression with an L2 penalty, solved fast and without approximation on a processor.

The problem, in scikit-learn's terms, for features X (n, d) and k columns of scores:

    minimise over W (d, k) and b (k,):   C sum_i loss(y_i, o_i + x_i W + b) + |W - W0|^2 / 2

``loss`` is the cross-entropy of a softmax over the columns, or the sum of k separate sigmoids; ``o``
are scores that are there already (``X W0``), 0 without a centre W0; b is not penalised.

Three changes of variables make it easy, and none changes the solution:

- b takes up any shift of the features, so they are centred;
- the penalty does not see a rotation, so W is written in the eigenvectors of ``X'X``; of n < d
  pictures there are at most n, the rest of W is zero;
- in these coordinates the curvature is nearly diagonal: the step of L-BFGS is measured in units of
  ``1 / sqrt(h s_j + 1/C)``, with the eigenvalue s_j and the mean h of ``p (1 - p)``.

L-BFGS (SciPy) then needs tens of iterations where raw features need hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from keshin.errors import require

Array = npt.NDArray[np.floating]
Link = Literal["softmax", "sigmoid"]
NEGLIGIBLE = 1e-12
"""Of the largest eigenvalue: what lies below is rounding."""
MEMORY = 10
"""Pairs of steps that L-BFGS remembers: SciPy's and scikit-learn's own number."""


@dataclass(frozen=True, eq=False)
class Rotated:
    """Features in coordinates in which the regression is easy."""

    mean: Array
    """(d,) what was subtracted; zeros if b is not free."""
    basis: Array
    """(d, r) orthonormal columns."""
    spectrum: Array
    """(r,) eigenvalues of X'X."""
    features: Array
    """(n, r) of the type of the features that were given: float32 or float64."""

    def apply(self, features: Array) -> Array:
        """Other features in the same coordinates: (m, d) -> (m, r)."""
        return (features - self.mean) @ self.basis


def rotate(features: Array, *, centre: bool = True) -> Rotated:
    """Centre and rotate (n, d) features."""
    count, width = features.shape
    mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    mean = mean if centre else np.zeros_like(mean)
    moved = features - mean
    if count >= width:
        spectrum, basis = np.linalg.eigh((moved.T @ moved).astype(np.float64))
        spectrum = np.maximum(spectrum, 0)
        basis = basis.astype(features.dtype)
        return Rotated(mean, basis, spectrum, moved @ basis)
    wide = moved.astype(np.float64)
    spectrum, vectors = np.linalg.eigh(wide @ wide.T)
    kept = spectrum > NEGLIGIBLE * max(spectrum[-1], np.finfo(np.float64).tiny)
    spectrum, vectors = spectrum[kept], vectors[:, kept]
    basis = (wide.T @ (vectors / np.sqrt(spectrum))).astype(features.dtype)
    return Rotated(mean, basis, spectrum, (vectors * np.sqrt(spectrum)).astype(features.dtype))


@dataclass(frozen=True, eq=False)
class Targets:
    """What the scores of n pictures should be."""

    link: Link
    columns: int
    right: npt.NDArray[np.int64] | Array
    """Of a softmax: (n,) the right columns. Of sigmoids: (n, k) of 1, 0 and -1 (not counted)."""

    def take(self, rows: npt.NDArray[np.int64]) -> Targets:
        return Targets(self.link, self.columns, self.right[rows])

    def __len__(self) -> int:
        return len(self.right)

    def loss(self, scores: Array) -> float:
        """Summed over pictures. ``scores`` (n, k) become the gradient of the loss."""
        if self.link == "softmax":
            return self._softmax(scores)
        known = self.right >= 0
        wanted = np.asarray(self.right > 0, scores.dtype)
        terms = np.logaddexp(0, scores) - wanted * scores
        loss = float(terms.sum(where=known, dtype=np.float64))
        scores[...] = np.where(known, probabilities(scores, "sigmoid") - wanted, 0)
        return loss

    def _softmax(self, scores: Array) -> float:
        rows = np.arange(len(scores))
        scores -= scores.max(axis=1, keepdims=True)
        chosen = scores[rows, self.right].astype(np.float64)
        np.exp(scores, out=scores)
        total = scores.sum(axis=1, keepdims=True)
        scores /= total
        scores[rows, self.right] -= 1
        return float(np.log(total, dtype=np.float64).sum() - chosen.sum())


def probabilities(scores: Array, link: Link) -> Array:
    """(n, k) scores -> (n, k) probabilities."""
    if link == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * scores)), scores.dtype)
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), scores.dtype)


@dataclass(frozen=True, eq=False)
class Solution:
    """Where the minimum is, in the coordinates of ``Rotated``."""

    weights: Array
    """(r, k) float64: of W - W0."""
    intercept: Array
    """(k,) float64; zeros if it is not free."""
    iterations: int
    converged: bool
    """Whether the gradient vanished within the iterations allowed."""

    def scores(self, rotated: Array) -> Array:
        """(m, r) -> (m, k), without ``o``."""
        weights = self.weights.astype(rotated.dtype)
        return rotated @ weights + self.intercept.astype(rotated.dtype)

    def unrotated(self, rotated: Rotated) -> tuple[Array, Array]:
        """W - W0 (d, k) and b (k,) for features as they were given."""
        weights = rotated.basis.astype(np.float64) @ self.weights
        return weights, self.intercept - rotated.mean.astype(np.float64) @ weights


def solve(
    rotated: Rotated,
    targets: Targets,
    strength: float,
    *,
    start: Solution | None = None,
    offset: Array | None = None,
    intercept: bool = True,
    iterations: int = 1000,
    tolerance: float = 1e-4,
) -> Solution:
    """The minimum for ``C = strength``.

    ``start`` is a solution nearby; ``offset`` (n, k) are scores that are there already. L-BFGS ends
    when no part of the gradient, in the units of the step, is above ``tolerance`` (then the mean
    loss is within about ``tolerance ** 2`` a parameter of its minimum), when the loss falls no
    more, or after ``iterations``.
    """
    optimize = require("scipy.optimize", extra="eval")
    features, kind = rotated.features, rotated.features.dtype
    count, rank = features.shape
    columns = targets.columns
    if start is None:
        start = Solution(np.zeros((rank, columns)), np.zeros(columns), 0, converged=False)
    begin = start.scores(features) + (0 if offset is None else offset)
    p = probabilities(begin, targets.link)
    curvature = np.maximum((p * (1 - p)).mean(axis=0, dtype=np.float64), 1e-3 / columns)  # (k,)
    penalty = 1 / (strength * count)
    unit = np.empty((rank + 1, columns))
    unit[:-1] = 1 / np.sqrt(rotated.spectrum[:, None] / count * curvature + penalty)
    unit[-1] = 1 / np.sqrt(curvature) if intercept else 0

    def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        moved = unit * flat.reshape(rank + 1, columns)
        scores = features @ moved[:-1].astype(kind)
        scores += moved[-1].astype(kind)
        if offset is not None:
            scores += offset
        value = targets.loss(scores) / count + 0.5 * penalty * float((moved[:-1] ** 2).sum())
        slope = np.empty_like(unit)
        slope[:-1] = (features.T @ scores) / count + penalty * moved[:-1]
        slope[-1] = scores.sum(axis=0, dtype=np.float64) / count
        return value, (unit * slope).ravel()

    first = np.zeros_like(unit)
    first[:-1] = start.weights / unit[:-1]
    if intercept:
        first[-1] = start.intercept / unit[-1]
    single = kind == np.float32
    found: Any = optimize.minimize(
        objective,
        first.ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": iterations,
            "maxcor": MEMORY,
            "maxfun": 20 * iterations,
            "maxls": 30,
            "gtol": tolerance,
            "ftol": 2e-8 if single else 1e-14,  # below it float32 decides at random
        },
    )
    result = unit * found.x.reshape(rank + 1, columns)
    return Solution(result[:-1], result[-1], int(found.nit), converged=int(found.nit) < iterations)
