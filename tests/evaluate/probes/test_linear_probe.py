"""The linear probe: scikit-learn's contract, the paper's search, several labels a picture."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.estimator_checks import check_estimator

from keshin.errors import DataError
from keshin.evaluate.probes.linear_probe import LinearProbe, stratified_split
from keshin.evaluate.probes.logistic import Targets
from keshin.evaluate.probes.strength import STRENGTHS, Trial, parametric_search, sweep


def draw(count, width, classes, seed=0, apart=1.0):
    rng = np.random.default_rng(7)
    scale = np.arange(1, width + 1) ** -0.5
    means = apart * rng.normal(size=(classes, width)) * scale
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=count - classes)])
    features = means[labels] + rng.normal(size=(count, width)) * scale
    return features.astype(np.float32), labels


@pytest.mark.filterwarnings("ignore")  # scikit-learn's about its own checks
def test_scikit_learns_own_checks():
    results = check_estimator(LinearProbe(), on_skip=None, on_fail=None)
    failed = [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
    assert not failed
    assert len(results) > 50


def test_it_is_as_good_as_a_sweep_over_all_strengths():
    train, test = draw(400, 20, 4, apart=0.6), draw(1000, 20, 4, seed=1, apart=0.6)
    held = draw(200, 20, 4, seed=2, apart=0.6)
    probe = LinearProbe().fit(*train, validation=held)
    values = []
    for strength in STRENGTHS[::4]:
        model = LogisticRegression(C=strength, max_iter=1000)
        values.append(model.fit(*train).score(*held))
    assert max(trial.value for trial in probe.trials_) >= max(values) - 0.005
    both = [np.concatenate(pair) for pair in zip(train, held, strict=True)]
    theirs = LogisticRegression(C=probe.C_, max_iter=5000, tol=1e-8).fit(*both)
    assert abs(probe.score(*test) - theirs.score(*test)) <= 0.001
    np.testing.assert_allclose(
        probe.predict_proba(test[0]), theirs.predict_proba(test[0]), atol=2e-2
    )


def test_names_of_classes_and_two_classes():
    features, labels = draw(60, 5, 2)
    names = np.array(["dog", "cat"])[labels]
    probe = LinearProbe(C=1.0).fit(features, names)
    assert probe.classes_.tolist() == ["cat", "dog"]
    assert probe.coef_.shape == (1, 5)
    assert probe.decision_function(features).shape == (60,)
    assert set(probe.predict(features)) <= {"cat", "dog"}
    np.testing.assert_allclose(probe.predict_proba(features).sum(axis=1), 1, atol=1e-6)
    theirs = LogisticRegression(C=1.0, tol=1e-8).fit(features, names)
    np.testing.assert_allclose(probe.coef_, theirs.coef_, atol=2e-3)


def test_several_labels_a_picture():
    features, labels = draw(300, 10, 3)
    several = np.eye(3, dtype=np.int64)[labels]
    several[:, 2] |= several[:, 0]  # whatever is 0 is 2 as well
    several[:20, 1] = -1

    def mean_right(targets, scores):
        known = targets >= 0
        return float((((scores > 0) == (targets > 0)) & known).sum() / known.sum())

    probe = LinearProbe(metric=mean_right).fit(features, several)
    assert probe.predict(features).shape == (300, 3)
    assert probe.coef_.shape == (3, 10)
    assert probe.score(features, several) > 0.85
    with pytest.raises(DataError, match="Expected labels"):
        probe.score(features, several[:, :2])
    with pytest.raises(ValueError, match="1, 0 and -1"):
        LinearProbe().fit(features, several + 5)


def test_metric_leads_the_search():
    features, labels = draw(200, 8, 3)
    calls = []

    def metric(targets, scores):
        calls.append((targets.shape, scores.shape))
        return -float(scores.std(axis=0).sum())  # likes small weights

    probe = LinearProbe(metric=metric, search="parametric").fit(features, labels)
    assert STRENGTHS[0] == probe.C_
    assert len(probe.trials_) == 11
    assert len(calls) >= 12  # the best are fitted to the end
    named = LinearProbe(metric="mean per class").fit(features, labels)
    assert 0 < named.score(features, labels) <= 1
    with pytest.raises(DataError, match="no metric 'f2'"):
        LinearProbe(metric="f2").fit(features, labels)


def test_parameters_and_clone():
    probe = clone(LinearProbe(C=2.0, metric="mean per class").set_params(max_iter=50))
    assert probe.get_params()["max_iter"] == 50
    assert probe.get_params()["metric"] == "mean per class"


def test_what_cannot_be_fitted_is_said():
    features, labels = draw(30, 4, 3)
    with pytest.raises(DataError, match="not among those"):
        LinearProbe().fit(features, labels, validation=(features, labels + 1))
    with pytest.raises(DataError, match="3 columns"):
        LinearProbe().fit(features, labels, validation=(features[:, :3], labels))
    with pytest.raises(ValueError, match="one class"):
        LinearProbe().fit(features, np.zeros(30))
    with pytest.raises(DataError, match="metric gives nan"):
        LinearProbe(metric=lambda targets, scores: float("nan")).fit(features, labels)
    with pytest.warns(UserWarning, match="none can be set aside"):
        probe = LinearProbe().fit(features[:3], labels[:3])
    assert probe.C_ == 1.0


def test_too_few_iterations_are_said():
    from sklearn.exceptions import ConvergenceWarning

    features, labels = draw(200, 30, 5)
    with pytest.warns(ConvergenceWarning, match="stopped after 2"):
        LinearProbe(C=1e4, max_iter=2).fit(features, labels)


def test_split_keeps_every_class_on_both_sides():
    labels = np.array([0] * 10 + [1] * 2 + [2])
    targets = Targets("softmax", 3, labels)
    kept, held = stratified_split(targets, 0.2, np.random.default_rng(0))
    assert sorted([*kept, *held]) == list(range(13))
    assert np.bincount(labels[held], minlength=3).tolist() == [2, 1, 0]


# --- the search of the paper ---------------------------------------------------------------------


def curve(peak, *, flat=0):
    def tried(step):
        away = max(abs(step - peak) - flat, 0)
        return Trial(STRENGTHS[step], -float(away), abs(step - peak), 1)

    return tried


@pytest.mark.parametrize("peak", range(97))
def test_search_finds_every_peak_in_15_fits(peak):
    best, trials = parametric_search(curve(peak))
    assert best == peak
    assert 11 <= len(trials) <= 15


def test_search_begins_with_the_papers_strengths_in_order():
    _, trials = parametric_search(curve(50))
    first = [trial.strength for trial in trials.values()][:7]
    assert first == pytest.approx([1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6])
    assert len(STRENGTHS) - 1 == 96


def test_a_sweep_tries_all_and_finds_what_the_halving_misses():
    def two_peaks(step):
        return Trial(
            STRENGTHS[step], float(max(3 - abs(step - 50) / 20, 9 if step == 7 else 0)), 0, 1
        )

    assert parametric_search(two_peaks)[0] == 50
    best, trials = sweep(two_peaks)
    assert (best, len(trials)) == (7, 97)
    features, labels = draw(120, 6, 3)
    assert len(LinearProbe(search="sweep").fit(features, labels).trials_) == 97
    with pytest.raises(ValueError, match="parametric, sweep"):
        LinearProbe(search="all").fit(features, labels)


def test_of_equal_metrics_the_smaller_loss_wins():
    assert parametric_search(curve(50, flat=10))[0] == 50


def test_the_same_answer_every_time():
    features, labels = draw(150, 6, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        a, b = (LinearProbe().fit(features, labels) for _ in range(2))
    assert a.C_ == b.C_
    np.testing.assert_array_equal(a.coef_, b.coef_)


@pytest.mark.parametrize(("classes", "width", "seed"), [(2, 30, 5), (4, 20, 6), (9, 12, 7)])
def test_the_choice_is_that_of_scikit_learns_own_sweep(classes, width, seed):
    train = draw(240, width, classes, seed, apart=0.4)
    held = draw(100, width, classes, seed + 50, apart=0.4)
    steps = STRENGTHS[24:88]  # beyond, scikit-learn takes thousands of iterations to converge
    ranks = []
    for strength in steps:
        model = LogisticRegression(C=strength, max_iter=20000, tol=1e-8)
        model.fit(train[0].astype(np.float64), train[1])
        p = np.clip(model.predict_proba(held[0].astype(np.float64)), 1e-300, 1)
        loss = -np.log(p[np.arange(len(p)), held[1]]).mean()
        ranks.append((round(model.score(held[0], held[1]), 9), -loss))
    found = LinearProbe().fit(*train, validation=held)
    theirs = steps[max(range(len(steps)), key=lambda i: ranks[i])]
    assert pytest.approx(theirs) == found.C_
