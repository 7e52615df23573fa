"""Logistic regression with an L2 penalty, solved fast and without approximation on a processor.

The problem, in scikit-learn's terms, for features X (n, d) and k columns of scores:

    minimise over W (d, k) and b (k,):   C sum_i loss(y_i, o_i + x_i W + b) + |W - W0|^2 / 2

``loss`` is the cross-entropy of a softmax over the columns, or the sum of k separate sigmoids;
``o`` are scores that are there already (``X W0``), 0 without a centre W0; b is not penalised.

Three changes of variables make it easy, and none changes the solution:

- b takes up any shift of the features, so they are centred;
- the penalty does not see a rotation, so W is written in the eigenvectors of ``X'X``; of n < d
  pictures there are at most n, the rest of W is zero;
- in these coordinates the curvature is nearly diagonal: the step of L-BFGS is measured in units of
  ``1 / sqrt(h s_j + 1/C)``, with the eigenvalue s_j and the mean h of ``p (1 - p)``, which is taken
  anew when the loss has fallen.

L-BFGS (SciPy) then needs tens of iterations where raw features need hundreds.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from keshin.errors import require

Array = npt.NDArray[np.floating]
Link = Literal["softmax", "sigmoid"]
NEGLIGIBLE = 1e-12
"""Of the largest eigenvalue: what lies below is rounding."""
FLATTEST = 1e-12
LESS = 0.9
"""Of the value before: where the loss fell below it, the curvature is another, and L-BFGS starts
again in its units. Without that, a separable problem would end where the first units led it."""
MEMORY = 10
"""Pairs of steps that L-BFGS remembers: SciPy's and scikit-learn's own number."""
WORTH_THREADS = 1 << 30
"""Multiplications in a product from which more than one thread of BLAS is faster: below it the
threads wait for each other longer than they work (measured: up to five times slower)."""


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
    count, rank = rotated.features.shape
    columns = targets.columns
    if start is None:
        start = Solution(np.zeros((rank, columns)), np.zeros(columns), 0, converged=False)
    problem = _Problem(rotated, targets, 1 / (strength * count), offset, intercept)
    flat = np.concatenate([start.weights, start.intercept[None]])
    used, last = 0, np.inf
    with _threads(count * rank * columns):
        while used < iterations:
            flat, value, more = problem.descend(flat, last, iterations - used, tolerance)
            used += more
            if value > LESS * last or more == 0:
                break
            last = value
    return Solution(flat[:-1], flat[-1], used, converged=used < iterations)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The mean loss with its penalty, as a function of weights and intercept (r + 1, k)."""

    rotated: Rotated
    targets: Targets
    penalty: float
    offset: Array | None
    intercept: bool

    def scores(self, moved: Array) -> Array:
        features = self.rotated.features
        scores = features @ moved[:-1].astype(features.dtype)
        scores += moved[-1].astype(features.dtype)
        if self.offset is not None:
            scores += self.offset
        return scores

    def descend(
        self, begin: Array, known: float, iterations: int, tolerance: float
    ) -> tuple[Array, float, int]:
        """L-BFGS from a point, in units of the curvature there: (point, value, iterations).

        The value is divided by the one that is ``known`` there, so that tolerances mean the same
        where next to no loss is left.
        """
        optimize = require("scipy.optimize", extra="eval")
        count = len(self.targets)
        p = probabilities(self.scores(begin), self.targets.link)
        curvature = np.maximum((p * (1 - p)).mean(axis=0, dtype=np.float64), FLATTEST)  # (k,)
        unit = np.empty_like(begin)
        spectrum = self.rotated.spectrum[:, None] / count
        unit[:-1] = 1 / np.sqrt(spectrum * curvature + self.penalty)
        unit[-1] = 1 / np.sqrt(curvature) if self.intercept else 0
        whole = 1 / known if np.isfinite(known) else 1.0
        # From units of the loss to units of what is minimised.
        unit /= np.sqrt(whole)

        def objective(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
            moved = unit * flat.reshape(unit.shape)
            scores = self.scores(moved)
            value = self.targets.loss(scores) / count
            value += 0.5 * self.penalty * float((moved[:-1] ** 2).sum())
            slope = np.empty_like(unit)
            slope[:-1] = (self.rotated.features.T @ scores) / count + self.penalty * moved[:-1]
            slope[-1] = scores.sum(axis=0, dtype=np.float64) / count
            return whole * value, whole * (unit * slope).ravel()

        first = np.zeros_like(unit)
        np.divide(begin, unit, out=first, where=unit > 0)
        single = self.rotated.features.dtype == np.float32
        options = {
            "maxiter": iterations,
            "maxcor": MEMORY,
            "maxfun": 20 * iterations,
            "maxls": 30,
            "gtol": tolerance,
            "ftol": 2e-8 if single else 1e-14,  # below it float32 decides at random
        }
        found: Any = optimize.minimize(
            objective, first.ravel(), jac=True, method="L-BFGS-B", options=options
        )
        moved = unit * found.x.reshape(unit.shape)
        return moved, float(found.fun) / whole, int(found.nit)


def _threads(work: int) -> AbstractContextManager[Any]:
    """As many threads of BLAS as are worth it for a product of this size."""
    if work >= WORTH_THREADS:
        return nullcontext()
    limited: AbstractContextManager[Any] = _pools().limit(limits=1, user_api="blas")
    return limited


@cache
def _pools() -> Any:
    """The thread pools of this process; looking for them takes a millisecond."""
    return require("threadpoolctl", extra="eval").ThreadpoolController()
