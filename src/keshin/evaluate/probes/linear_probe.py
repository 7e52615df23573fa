"""The linear probe: logistic regression on features, by the paper's protocol (appendix A.3).

Multinomial logistic regression with L-BFGS, at most 1,000 iterations; the strength of the L2
penalty from 96 steps in [1e-6, 1e6] on a validation split; then a fit on train and validation
together. Features are taken as they are, without standardisation, as in the
paper.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.errors import DataError, require
from keshin.evaluate.probes.logistic import (
    Array,
    Link,
    Rotated,
    Solution,
    Targets,
    probabilities,
    rotate,
    solve,
)
from keshin.evaluate.probes.strength import SEARCHES, Value, find_strength
from keshin.statistics.point_values import Metric, point_value

_base = require("sklearn.base", extra="eval")
_checks = require("sklearn.utils.validation", extra="eval")

IntArray = npt.NDArray[np.int64]
UNSEARCHED = 1.0
"""The strength where there is too little to search with: scikit-learn's default."""


class LinearProbe(_base.ClassifierMixin, _base.BaseEstimator):  # type: ignore[misc, name-defined]  # untyped
    """A linear classifier on features, with scikit-learn's contract.

    n counts pictures, d features, k classes. ``y`` is (n,) with one label a picture, or (n, k) with
    1, 0 and -1 (not counted) where a picture shows several classes; then there is one regression a
    class, all of the same strength. Two classes are one regression, as in scikit-learn.

    Arguments:
        C: the inverse of the penalty, as in scikit-learn; None: the paper's search.
        metric: what the search goes by and ``score`` gives: a key of ``METRICS``, or a function of
            targets (n,) or (n, k) and scores (n, k).
        search: ``sweep``, a fit at each of the 96 steps, which the paper's search stands in for to
            save time; or ``parametric``, that search: 15 fits, which may miss the peak where few
            validation pictures make the metric noisy.
        validation: the share of the pictures, of each class, that the search sets aside.
        max_iter, tol: of each fit; ``tol`` is the largest slope left, in units of the step.
        random_state: of the split.

    After ``fit``: ``classes_`` (k,), ``coef_`` (k, d) or (1, d), ``intercept_``, ``C_``,
    ``trials_`` (strength, metric, loss and iterations of each fit of the search), ``n_iter_``.
    """

    def __init__(
        self,
        C: float | None = None,  # noqa: N803 - scikit-learn's name
        *,
        metric: Metric = "accuracy",
        search: str = "sweep",
        validation: float = 0.2,
        max_iter: int = 1000,
        tol: float = 1e-4,
        random_state: int | None = 0,
    ) -> None:
        self.C = C
        self.metric = metric
        self.search = search
        self.validation = validation
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(
        self,
        X: npt.ArrayLike,  # noqa: N803
        y: npt.ArrayLike,
        validation: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    ) -> LinearProbe:
        """Fit to (n, d) features, float32 or float64, and their labels.

        ``validation``: features and labels for the search; default: a split of ``X``. Either way
        the last fit is on all. Raises ``ValueError`` for arrays that make no sense and
        ``DataError`` for validation labels that are not among those of ``y``.
        """
        given: Any = y  # what scikit-learn's checks say of None is theirs
        if self.search not in SEARCHES:
            raise ValueError(f"search is {self.search!r}. There are: {', '.join(SEARCHES)}.")
        labels: Any = given if given is None else np.asarray(given)
        several = labels is not None and labels.ndim == 2 and labels.shape[1] > 1
        fitted: Array
        fitted, labels = _checks.validate_data(
            self,
            X,
            labels,
            dtype=[np.float64, np.float32],
            multi_output=several,
            ensure_min_samples=2,
        )
        targets = self._learn_classes(labels)
        features, more = fitted, None
        if validation is not None:
            seen = _checks.check_array(validation[0], dtype=fitted.dtype)
            if seen.shape[1] != fitted.shape[1]:
                raise DataError(
                    f"The validation features have {seen.shape[1]} columns, those to fit "
                    f"{fitted.shape[1]}. Take both from the same network."
                )
            more = self._targets(np.asarray(validation[1]))
            if len(more) != len(seen):
                raise DataError(f"There are {len(seen)} validation features, {len(more)} labels.")
            features = np.concatenate([fitted, seen])
            targets = _joined(targets, more)
        start: tuple[Rotated, Solution] | None = None
        if self.C is None:
            self.C_, self.trials_, start = self._search(
                features, targets, len(fitted), more is None
            )
        else:
            self.C_, self.trials_ = float(self.C), ()
        rotated = rotate(features)
        found = solve(
            rotated,
            targets,
            self.C_,
            start=None if start is None else _moved(*start, rotated),
            iterations=self.max_iter,
            tolerance=self.tol,
        )
        if not found.converged:
            exceptions = require("sklearn.exceptions", extra="eval")
            warnings.warn(
                f"L-BFGS stopped after {found.iterations} iterations. Raise max_iter, or lower C.",
                exceptions.ConvergenceWarning,
                stacklevel=2,
            )
        weights, intercept = found.unrotated(rotated)
        self.coef_ = weights.T.astype(fitted.dtype)
        self.intercept_ = intercept.astype(fitted.dtype)
        self.n_iter_ = max(found.iterations, 1)
        return self

    def decision_function(self, X: npt.ArrayLike) -> Array:  # noqa: N803
        """(n, k) scores; (n,) with two classes, positive for the second."""
        scores = self._scores(X)
        return scores[:, 0] if self._binary else scores

    def predict_proba(self, X: npt.ArrayLike) -> Array:  # noqa: N803
        """(n, k); rows sum to 1 unless a picture may show several classes."""
        p = probabilities(self._scores(X), self._link)
        return np.hstack([1 - p, p]) if self._binary else p

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:  # noqa: N803
        """(n,) labels; or (n, k) of 0 and 1."""
        scores = self._scores(X)
        if self._several:
            return (scores > 0).astype(np.int64)
        best = (scores[:, 0] > 0).astype(np.int64) if self._binary else scores.argmax(axis=1)
        return np.asarray(self.classes_[best])

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:  # noqa: N803
        """The metric."""
        targets = self._targets(np.asarray(y))
        return point_value(self.metric)(*self._shown(targets, self._scores(X)))

    def _learn_classes(self, y: npt.NDArray[Any]) -> Targets:
        multiclass = require("sklearn.utils.multiclass", extra="eval")
        self._several = y.ndim == 2
        if self._several:
            if not np.isin(y, (-1, 0, 1)).all():
                raise ValueError("With several labels a picture, y holds 1, 0 and -1 only.")
            self.classes_ = np.arange(y.shape[1])
            self._binary = False
        else:
            multiclass.check_classification_targets(y)
            self.classes_ = np.unique(y)
            self._binary = len(self.classes_) == 2
            if len(self.classes_) < 2:
                raise ValueError(
                    f"y holds one class only ({self.classes_[0]!r}). A probe tells classes apart: "
                    "give at least two."
                )
        self._link: Link = "sigmoid" if self._several or self._binary else "softmax"
        return self._targets(y)

    def _targets(self, y: npt.NDArray[Any]) -> Targets:
        """Labels as the solver wants them."""
        if self._several:
            if y.ndim != 2 or y.shape[1] != len(self.classes_):
                raise DataError(f"Expected labels (n, {len(self.classes_)}), not {y.shape}.")
            return Targets("sigmoid", y.shape[1], y.astype(np.int64))
        y = _checks.column_or_1d(y)
        places = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if len(unknown := np.unique(y[self.classes_[places] != y])):
            raise DataError(
                f"The labels {unknown[:5].tolist()} are not among those of the pictures to fit. "
                "Give every class to the fit, or leave these pictures out."
            )
        if self._binary:
            return Targets("sigmoid", 1, places[:, None].astype(np.int64))
        return Targets("softmax", len(self.classes_), places.astype(np.int64))

    def _search(
        self, features: Array, targets: Targets, count: int, split: bool
    ) -> tuple[float, tuple[Any, ...], tuple[Rotated, Solution] | None]:
        """The strength by the validation pictures: those from ``count`` on, or some of all."""
        rows = np.arange(len(features))
        kept, held = rows[:count], rows[count:]
        if split:
            rng = np.random.default_rng(self.random_state)
            kept, held = stratified_split(targets, self.validation, rng)
        if not len(held):
            warnings.warn(
                "No class has two pictures, so none can be set aside to choose the strength: "
                f"C is {UNSEARCHED}.",
                stacklevel=3,
            )
            return UNSEARCHED, (), None
        rotated = rotate(features[kept])
        validation = targets.take(held)
        metric = point_value(self.metric)

        def value(scores: Array) -> float:
            return metric(*self._shown(validation, scores))

        found: Value = value
        strength, trials, solution = find_strength(
            rotated,
            targets.take(kept),
            features[held],
            validation,
            found,
            search=self.search,
            iterations=self.max_iter,
            tolerance=self.tol,
        )
        return strength, trials, (rotated, solution)

    def _shown(self, targets: Targets, scores: Array) -> tuple[npt.NDArray[Any], Array]:
        """Targets and scores as metrics take them: of two classes, a column for each."""
        if not self._binary:
            return targets.right.astype(np.int64), scores
        return targets.right[:, 0].astype(np.int64), np.hstack([-scores / 2, scores / 2])

    def _scores(self, X: npt.ArrayLike) -> Array:  # noqa: N803
        _checks.check_is_fitted(self)
        kinds = [np.float64, np.float32]
        features: Array = _checks.validate_data(self, X, dtype=kinds, reset=False)
        weights, intercept = self.coef_.T, self.intercept_
        kind = features.dtype
        return np.asarray(features @ weights.astype(kind) + intercept.astype(kind))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def stratified_split(
    targets: Targets, share: float, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Rows to fit and rows held back: ``share`` of each class, at least one where there are two.

    Where pictures show several classes, the rows are split at random.
    """
    if not 0 < share < 1:
        raise ValueError(f"validation is {share}. It is a share of the pictures: between 0 and 1.")
    held: list[IntArray] = []
    single = targets.right.ndim == 1 or targets.columns == 1
    labels = targets.right.ravel() if single else np.zeros(len(targets), np.int64)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            held.append(rows[: min(max(round(share * len(rows)), 1), len(rows) - 1)])
    chosen = np.sort(np.concatenate(held)) if held else np.zeros(0, np.int64)
    return np.setdiff1d(np.arange(len(targets)), chosen), chosen


def _joined(first: Targets, second: Targets) -> Targets:
    return Targets(first.link, first.columns, np.concatenate([first.right, second.right]))


def _moved(old: Rotated, solution: Solution, new: Rotated) -> Solution:
    """The same scores in other coordinates: where the fit on all pictures starts."""
    weights, intercept = solution.unrotated(old)
    turned = new.basis.astype(np.float64).T @ weights
    shift = new.mean.astype(np.float64) @ weights
    return Solution(turned, intercept + shift, 0, converged=False)
