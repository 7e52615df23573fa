"""Metrics: known values, scikit-learn and a plain NumPy version on random inputs, edge cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.errors import DataError
from keshin.statistics import metrics, rankings, retrieval
from keshin.statistics.metrics import METRICS, accuracy, balanced_accuracy, measure

pytest.importorskip("scipy")
sk = pytest.importorskip("sklearn.metrics")
few = settings(max_examples=40, deadline=None)


@st.composite
def questions(draw, tied=False, classes=(2, 9)):
    """Targets (n,) and scores (n, k); with ``tied`` scores are coarse."""
    n, k = draw(st.integers(2, 60)), draw(st.integers(*classes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = rng.integers(0, k, n)
    scores = rng.normal(size=(n, k)) + rng.uniform(0, 3) * (targets[:, None] == np.arange(k))
    return targets, np.round(scores) if tied else scores


# --- the plain NumPy (indeed plain Python) versions --------------------------------------------


def plain_top(targets, scores, k):
    """Rank by score, the first class first among equals."""
    hits = []
    for target, row in zip(targets, scores, strict=True):
        ranked = sorted(range(len(row)), key=lambda c: (-row[c], c))
        hits.append(target in ranked[:k])
    return float(np.mean(hits))


def plain_per_class(targets, scores):
    best = [int(np.argmax(row)) for row in scores]
    recalls = []
    for c in set(targets.tolist()):
        own = [b == c for b, t in zip(best, targets, strict=True) if t == c]
        recalls.append(sum(own) / len(own))
    return sum(recalls) / len(recalls)


def plain_area(truth, scores):
    pairs = [
        (p > n) + 0.5 * (p == n)
        for p in scores[truth == 1] for n in scores[truth == 0]
    ]  # fmt: skip
    return float(np.mean(pairs))


def plain_curve(truth, scores):
    """(recall * P, P, precision) at each threshold."""
    points = []
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        points.append((int(truth[taken].sum()), taken.sum()))
    return [(found, found / seen) for found, seen in points]


def plain_precision(truth, scores):
    total, last, area = truth.sum(), 0, 0.0
    for found, precision in plain_curve(truth, scores):
        area += (found - last) / total * precision
        last = found
    return area


def plain_eleven(truth, scores):
    total, curve = int(truth.sum()), plain_curve(truth, scores)
    return sum(max(p for f, p in curve if 10 * f >= t * total) for t in range(11)) / 11


# --- equal to scikit-learn and to the plain versions --------------------------------------------


@few
@given(questions(tied=True))
def test_accuracy_and_means_per_class(case):
    targets, scores = case
    best = scores.argmax(axis=1)
    assert measure("accuracy", targets, scores).value == pytest.approx(
        sk.accuracy_score(targets, best)
    )
    assert measure("accuracy", targets, scores).value == pytest.approx(
        plain_top(targets, scores, 1)
    )
    found = measure("mean per class", targets, scores).value
    expected = sk.recall_score(
        targets, best, average="macro", labels=np.unique(targets), zero_division=0
    )
    assert found == pytest.approx(expected)
    assert found == pytest.approx(plain_per_class(targets, scores))
    assert balanced_accuracy(targets, best, scores.shape[1]).value == pytest.approx(found)
    top = measure("mean(top1, top5)", targets, scores).value
    assert top == pytest.approx((plain_top(targets, scores, 1) + plain_top(targets, scores, 5)) / 2)


@few
@given(questions(classes=(6, 9)))
def test_top_five_as_scikit_learn(case):
    targets, scores = case
    labels = np.arange(scores.shape[1])
    expected = (
        sk.top_k_accuracy_score(targets, scores, k=1, labels=labels)
        + sk.top_k_accuracy_score(targets, scores, k=5, labels=labels)
    ) / 2
    assert measure("mean(top1, top5)", targets, scores).value == pytest.approx(expected)


@few
@given(questions(tied=True, classes=(2, 2)), st.booleans())
def test_rankings_of_one_question(case, coarse):
    targets, scores = case
    targets[:2] = 0, 1
    margin = scores[:, 1] - scores[:, 0] if coarse else scores[:, 1]
    given_scores = scores if coarse else margin
    area = measure("ROC AUC", targets, given_scores)
    assert area.value == pytest.approx(sk.roc_auc_score(targets, margin))
    assert area.value == pytest.approx(plain_area(targets, margin))
    precision = measure("average precision", targets, given_scores)
    assert precision.value == pytest.approx(sk.average_precision_score(targets, margin))
    assert precision.value == pytest.approx(plain_precision(targets, margin))
    eleven = measure("11-point mAP", targets, given_scores)
    assert eleven.value == pytest.approx(plain_eleven(targets, margin))
    for found in (area, precision, eleven):
        assert found.low <= found.value <= found.high


@few
@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.integers(1, 5))
def test_rankings_of_several_classes_a_picture(seed, n, k):
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (n, k))
    targets[0], targets[1] = 0, 1
    scores = np.round(rng.normal(size=(n, k)), 1)
    for metric, plain, learned in (
        ("ROC AUC", plain_area, sk.roc_auc_score),
        ("average precision", plain_precision, sk.average_precision_score),
        ("11-point mAP", plain_eleven, None),
    ):
        counted = [(targets[:, c] >= 0) for c in range(k)]
        columns = [(targets[rows, c], scores[rows, c]) for c, rows in enumerate(counted)]
        found = measure(metric, targets, scores).value
        assert found == pytest.approx(np.mean([plain(*column) for column in columns]))
        if learned:
            assert found == pytest.approx(np.mean([learned(*column) for column in columns]))


@few
@given(questions(classes=(3, 5)))
def test_area_of_many_classes_is_one_against_the_rest(case):
    targets, scores = case
    k = scores.shape[1]
    targets = np.r_[np.arange(k), targets]
    scores = np.r_[np.zeros((k, k)), scores]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = sk.roc_auc_score(targets, shares, multi_class="ovr", average="macro")
    assert measure("ROC AUC", targets, shares).value == pytest.approx(expected)


@few
@given(questions(tied=True), st.sampled_from(list(METRICS)))
def test_weights_are_repetitions(case, metric):
    """A bootstrap draw of a picture twice equals the metric with the picture there twice."""
    targets, scores = case
    k = scores.shape[1]
    targets = np.r_[np.arange(k), targets]
    scores = np.r_[np.zeros((k, k)), scores]
    weights = np.r_[np.ones(k, int), np.random.default_rng(0).integers(0, 4, len(targets) - k)]
    repeated = np.repeat(np.arange(len(targets)), weights)
    expected = metrics.study(metric, targets[repeated], scores[repeated]).value
    found = metrics.study(metric, targets, scores).weighted(weights[None].astype(float))
    assert found == pytest.approx([expected])


@few
@given(questions(tied=True, classes=(2, 2)))
def test_jackknife_of_precision_leaves_each_picture_out(case):
    targets, scores = case
    truth, margin = np.r_[1, 1, 0, targets], np.r_[1.0, 0.0, 0.5, scores[:, 0]]
    n = len(truth)
    left = np.array([plain_precision(np.delete(truth, i), np.delete(margin, i)) for i in range(n)])
    expected = (left.mean() - left) * np.sqrt((n - 1) / n)
    np.testing.assert_allclose(
        rankings.precision_ranked(truth, margin).influence, expected, atol=1e-12
    )


# --- chance ---------------------------------------------------------------------------------------


def test_chance_is_what_random_scores_get():
    rng = np.random.default_rng(0)
    single, binary = rng.integers(0, 8, 40), np.repeat([0, 1], [45, 5])
    several = (rng.random((60, 4)) < 0.2).astype(int)
    for metric, targets, k in (
        ("accuracy", single, 8), ("mean per class", single, 8), ("mean(top1, top5)", single, 8),
        ("ROC AUC", binary, 2), ("average precision", binary, 2), ("11-point mAP", several, 4),
        ("ROC AUC", several, 4), ("average precision", single, 8),
    ):  # fmt: skip
        values = [
            metrics.study(metric, targets, rng.random((len(targets), k))).value for _ in range(200)
        ]
        chance = metrics.study(metric, targets, rng.random((len(targets), k))).chance
        assert np.mean(values) == pytest.approx(chance, abs=4 * np.std(values) / 14), metric


# --- edge cases -----------------------------------------------------------------------------------


def test_absent_small_and_tied_are_said():
    targets = np.array([0] * 10 + [1] * 3)
    scores = np.eye(4)[targets]
    found = measure("mean per class", targets, scores)
    assert found.value == 1
    assert found.low < 0.9
    assert found.notes == (
        "2 of 4 classes have no pictures and are not counted.",
        "1 of 4 classes have fewer than 5 pictures.",
    )
    tied = measure("accuracy", targets, np.zeros((13, 4)))
    assert tied.value == pytest.approx(10 / 13)
    assert "13 of 13 pictures have several best classes" in tied.notes[0]


def test_one_class_only():
    zeros = np.zeros(6, int)
    assert measure("accuracy", zeros, np.ones((6, 1))).chance == 1
    with pytest.raises(DataError, match="no class here has both"):
        measure("ROC AUC", zeros, np.random.default_rng(0).random((6, 2)))


@pytest.mark.parametrize(
    ("metric", "targets", "scores", "said"),
    [
        ("accuracy", np.zeros(0, int), np.zeros((0, 3)), "no pictures"),
        ("accuracy", np.zeros(2, int), np.array([[1, np.nan], [0, 1]]), "first is number 0"),
        ("accuracy", np.array([0, 5]), np.zeros((2, 3)), "from 0 to 5; with 3 classes"),
        ("accuracy", np.array([0, -1]), np.zeros((2, 3)), "from -1"),
        ("accuracy", np.zeros((2, 3), int), np.zeros((2, 3)), "do not go with"),
        ("ROC AUC", np.full((2, 3), 2), np.zeros((2, 3)), "between -1 and 1"),
        ("accuracies", np.zeros(2, int), np.zeros((2, 3)), "There is no metric 'accuracies'"),
    ],
)
def test_refused_with_a_sentence(metric, targets, scores, said):
    with pytest.raises(DataError, match=said):
        measure(metric, targets, scores)


def test_groups_must_fit_and_widen():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 10)
    right = np.repeat(rng.random(20) < 0.6, 10)
    scores = np.stack([right, ~right], axis=1).astype(float)
    targets = np.zeros(200, int)
    alone, together = (measure("accuracy", targets, scores, groups=g) for g in (None, groups))
    assert together.value == alone.value
    assert together.high - together.low > 2.5 * (alone.high - alone.low)
    assert "20 groups" in together.method
    with pytest.raises(DataError, match="3 groups were given for 200"):
        measure("accuracy", targets, scores, groups=groups[:3])
    with pytest.raises(DataError, match="one group"):
        measure("accuracy", targets, scores, groups=targets)


def test_no_answer_is_wrong():
    assert accuracy(np.array([0, 1]), np.array([0, -1]), 2).value == 0.5
    assert balanced_accuracy(np.array([0, 1]), np.array([-1, 1]), 2).value == 0.5


def test_balanced_accuracy_gives_each_class_the_same_weight():
    targets = np.array([0] * 90 + [1] * 10)
    always = balanced_accuracy(targets, np.zeros(100, np.int64), 2)
    assert always.value == 0.5
    assert always.low < 0.5 < always.high  # ten wrong pictures do not prove that all are
    half = balanced_accuracy(targets, np.array([0] * 90 + [1] * 5 + [0] * 5), 2)
    assert half.value == pytest.approx(0.75)
    assert half.low < 0.75 < half.high


def test_known_ranking():
    area, precision = metrics.ranking(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    assert area.value == pytest.approx(0.75)
    assert precision.value == pytest.approx(0.8333, abs=1e-4)
    assert area.chance == 0.5
    assert precision.chance == pytest.approx(0.6806, abs=1e-4)  # the mean over all orders
    assert "ROC AUC" in str(area)


# --- retrieval ------------------------------------------------------------------------------------


@few
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
def test_retrieval_as_plain_sorting(seed, n, captions):
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.r_[np.arange(n), rng.integers(0, n, n * (captions - 1))])
    pictures = np.round(rng.normal(size=(n, 3)))
    texts = np.round(pictures[owners] + rng.normal(size=(len(owners), 3)))
    found = retrieval.retrieval(pictures, texts, owners)
    near = pictures @ texts.T
    for k in (1, 5, 10):
        images = [
            any(
                owners[t] == i
                for t in sorted(range(len(texts)), key=lambda t: (-near[i, t], t))[:k]
            )
            for i in range(n)
        ]
        captions_found = [
            owners[t] in sorted(range(n), key=lambda i: (-near[i, t], i))[:k]
            for t in range(len(texts))
        ]
        assert found[f"image to text recall@{k}"].value == pytest.approx(np.mean(images))
        assert found[f"text to image recall@{k}"].value == pytest.approx(np.mean(captions_found))


def test_retrieval_in_blocks_chance_and_refusals(monkeypatch):
    rng = np.random.default_rng(0)
    pictures, texts, owners = (
        rng.normal(size=(20, 4)),
        rng.normal(size=(100, 4)),
        np.arange(100) // 5,
    )
    whole = retrieval.retrieval(pictures, texts, owners)
    monkeypatch.setattr(retrieval, "CELLS", 300)
    assert retrieval.retrieval(pictures, texts, owners) == whole
    assert whole["image to text recall@1"].chance == pytest.approx(0.05)
    assert whole["text to image recall@5"].chance == pytest.approx(0.25)
    assert "20 groups" in whole["text to image recall@5"].method
    with pytest.raises(DataError, match="1 of 20 pictures have no caption"):
        retrieval.retrieval(pictures, texts[:95], owners[:95])
    with pytest.raises(DataError, match="0 to 19"):
        retrieval.retrieval(pictures, texts, owners + 1)
