"""The solver: the same minimum as scikit-learn's, whatever the shape of the problem."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.linear_model import LogisticRegression

from keshin.evaluate.probes.logistic import Solution, Targets, probabilities, rotate, solve


def draw(count, width, classes, seed=0, kind=np.float64):
    rng = np.random.default_rng(seed)
    scale = np.arange(1, width + 1) ** -0.5
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=count - classes)])
    means = rng.normal(size=(classes, width)) * scale
    return ((means[labels] + rng.normal(size=(count, width)) * scale + 3).astype(kind), labels)


def objective(features, labels, weights, intercept, strength):
    scores = features.astype(np.float64) @ weights + intercept
    p = probabilities(scores, "softmax")[np.arange(len(labels)), labels]
    return -strength * np.log(p).sum() + 0.5 * (weights**2).sum()


@pytest.mark.parametrize("strength", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize(("count", "width"), [(200, 12), (20, 40)], ids=["tall", "wide"])
def test_minimum_is_scikit_learns(count, width, strength):
    features, labels = draw(count, width, 4)
    rotated = rotate(features)
    found = solve(rotated, Targets("softmax", 4, labels), strength, tolerance=1e-7)
    weights, intercept = found.unrotated(rotated)
    theirs = LogisticRegression(C=strength, tol=1e-9, max_iter=10000).fit(features, labels)
    own = objective(features, labels, weights, intercept, strength)
    other = objective(features, labels, theirs.coef_.T, theirs.intercept_, strength)
    assert own <= other * (1 + 1e-7)
    scores = features @ weights + intercept
    np.testing.assert_allclose(
        probabilities(scores, "softmax"), theirs.predict_proba(features), atol=2e-3
    )


def test_float32_is_near_float64():
    features, labels = draw(300, 20, 5)
    exact = rotate(features)
    single = rotate(features.astype(np.float32))
    targets = Targets("softmax", 5, labels)
    a = solve(exact, targets, 1.0, tolerance=1e-7).unrotated(exact)
    b = solve(single, targets, 1.0).unrotated(single)
    assert objective(features, labels, *b, 1.0) <= objective(features, labels, *a, 1.0) * 1.00001


def test_rotation_is_exact():
    for count in (50, 8):
        features, _ = draw(count, 16, 2)
        rotated = rotate(features)
        rank = rotated.basis.shape[1]
        np.testing.assert_allclose(rotated.basis.T @ rotated.basis, np.eye(rank), atol=1e-9)
        np.testing.assert_allclose(rotated.apply(features), rotated.features, atol=1e-9)
        np.testing.assert_allclose(
            rotated.features @ rotated.basis.T + rotated.mean, features, atol=1e-9
        )
        np.testing.assert_allclose((rotated.features**2).sum(0), rotated.spectrum, atol=1e-8)


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_gradient_of_the_loss(link):
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(6, 3))
    if link == "softmax":
        targets = Targets(link, 3, np.array([0, 1, 2, 0, 1, 2]))
    else:
        targets = Targets(link, 3, rng.integers(-1, 2, size=(6, 3)))
    slope = scores.copy()
    targets.loss(slope)
    for place in np.ndindex(scores.shape):
        step = np.zeros_like(scores)
        step[place] = 1e-5
        rise = (targets.loss(scores + step) - targets.loss(scores - step)) / 2e-5
        assert rise == pytest.approx(slope[place], abs=1e-6)


def test_sigmoids_are_one_regression_a_class_and_skip_what_is_not_counted():
    features, labels = draw(120, 6, 3)
    several = np.eye(3, dtype=np.int8)[labels]
    several[:10, 1] = -1
    rotated = rotate(features)
    found = solve(rotated, Targets("sigmoid", 3, several), 1.0, tolerance=1e-8)
    weights, intercept = found.unrotated(rotated)
    for column in range(3):
        known = several[:, column] >= 0
        theirs = LogisticRegression(C=1.0, tol=1e-9, max_iter=5000)
        theirs.fit(features[known], several[known, column])
        np.testing.assert_allclose(weights[:, column], theirs.coef_[0], atol=1e-4)
        assert intercept[column] == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_offset_without_intercept_ends_at_the_offset_when_held_back():
    features, labels = draw(30, 8, 3)
    rotated = rotate(features, centre=False)
    offset = np.random.default_rng(2).normal(size=(30, 3))
    targets = Targets("softmax", 3, labels)
    found = solve(rotated, targets, 1e-9, offset=offset, intercept=False)
    assert np.abs(found.weights).max() < 1e-6
    assert not found.intercept.any()
    loose = solve(rotated, targets, 1e3, offset=offset, intercept=False)
    assert (loose.scores(rotated.features) + offset).argmax(1).tolist() == labels.tolist()


def test_a_start_saves_iterations_and_does_not_change_the_end():
    features, labels = draw(300, 30, 6)
    rotated, targets = rotate(features), Targets("softmax", 6, labels)
    near = solve(rotated, targets, 10.0, tolerance=1e-7)
    fresh = solve(rotated, targets, 12.0, tolerance=1e-7)
    warm = solve(rotated, targets, 12.0, start=near, tolerance=1e-7)
    assert warm.iterations <= fresh.iterations
    np.testing.assert_allclose(warm.weights, fresh.weights, atol=1e-3)


def test_unfinished_is_said():
    features, labels = draw(300, 30, 6)
    found = solve(rotate(features), Targets("softmax", 6, labels), 1e5, iterations=2)
    assert isinstance(found, Solution)
    assert not found.converged


def test_no_warnings_on_extreme_scores():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
        assert np.isfinite(probabilities(scores, "softmax")).all()
        assert np.isfinite(probabilities(scores, "sigmoid")).all()
        targets = Targets("sigmoid", 2, np.array([[1, 0], [0, 1]], np.int8))
        assert targets.loss(scores.copy()) == 0
