"""The paper's Table 2 against tables that were worked out by hand."""

import numpy as np
import pytest

from keshin.evaluate.human.agreement import agreement, fleiss, krippendorff
from keshin.evaluate.human.difficulty import change, class_rows, correlation
from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.scoring import TIE, Table, _Means, compare, score, votes
from keshin.evaluate.human.sitting import DONT_KNOW, UNANSWERED
from keshin.statistics.intervals import share_bounds

X, NO = DONT_KNOW, UNANSWERED
# Three classes with 3, 2 and 1 pictures, three people.
TARGETS = [0, 0, 0, 1, 1, 2]
CHOICES = [
    [0, 0, 1, 1, X, X],
    [0, X, 1, 1, 0, X],
    [0, 2, 0, 2, X, 2],
]  # fmt: skip


def table(choices=CHOICES, targets=TARGETS, classes=3):
    choices = np.array(choices, np.int64)
    people = tuple(f"p{n}" for n in range(len(choices)))
    seconds = np.where(choices == NO, np.nan, 1.0)
    return Table(people, np.array(targets, np.int64), choices, seconds, classes)


def model_of(choices, probabilities=None):
    probabilities = [0.5] * len(choices) if probabilities is None else probabilities
    return ModelAnswers("m", "", "fp32", (), tuple(choices), tuple(probabilities))


def test_each_number_of_a_row_by_hand():
    row, same = score(table())
    assert same is None
    # by class: p0 2/3, 1/2, 0; p1 1/3, 1/2, 0; p2 2/3, 0, 1
    means = [(2 / 3 + 1 / 2 + 0) / 3, (1 / 3 + 1 / 2 + 0) / 3, (2 / 3 + 0 + 1) / 3]
    assert row.accuracy.value == pytest.approx(np.mean(means))
    assert row.accuracy.count == 18
    # without "I don't know": p0 2/3, 1/1, none; p1 1/2, 1/2, none; p2 2/3, 0/1, 1/1
    guesses = [(2 / 3 + 1) / 2, (1 / 2 + 1 / 2) / 2, (2 / 3 + 0 + 1) / 3]
    assert row.accuracy_on_guesses.value == pytest.approx(np.mean(guesses))
    assert row.accuracy_on_guesses.count == 13
    # most frequent: 0, tie (0, X, 2), 1, 1, X, X -> right: 1/3, 1/2, 0
    assert row.majority.value == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert row.majority.count == 6
    # among guesses: 0, tie (0, 2), 1, 1, 0, 2 -> of those that count 1/2, 1/2, 1/1
    assert row.majority_on_guesses.value == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert row.majority_on_guesses.count == 5


def test_votes_by_hand():
    counts, (full, guesses) = votes(table())
    assert counts[0].tolist() == [3, 0, 0, 0]
    assert counts[1].tolist() == [1, 0, 1, 1]
    assert full.tolist() == [0, TIE, 1, 1, 3, 3]
    assert guesses.tolist() == [0, TIE, 1, 1, 0, 2]


def test_nobody_guessed_and_nobody_answered():
    _, (full, guesses) = votes(table([[X, NO], [X, NO]], [0, 1], 2))
    assert full.tolist() == [2, NO]
    assert guesses.tolist() == [NO, NO]
    row, _ = score(table([[X, X]], [0, 1], 2))
    assert row.accuracy.value == 0
    assert row.accuracy.high > 0.3  # two pictures are not many
    assert np.isnan(row.accuracy_on_guesses.value)
    assert np.isnan(row.majority_on_guesses.value)


def test_unanswered_pictures_do_not_count():
    row, _ = score(table([[0, NO, NO, 1, NO, NO]]))
    assert row.accuracy.value == 1.0
    assert row.accuracy.count == 2


def test_the_model_is_judged_on_the_very_same_answers():
    model = np.array([0, 1, 1, 1, 1, 2])
    _, same = score(table(), model)
    assert same.accuracy.value == pytest.approx((1 / 3 + 1 + 1) / 3)
    # over the people's guesses: p0 1/3, 1, none; p1 1/2, 1, none; p2 1/3, 1, 1
    guesses = [(1 / 3 + 1) / 2, (1 / 2 + 1) / 2, (1 / 3 + 1 + 1) / 3]
    assert same.accuracy_on_guesses.value == pytest.approx(np.mean(guesses))
    assert same.majority_on_guesses.value == pytest.approx((1 / 2 + 1 + 1) / 3)
    _, perfect = score(table(), np.array(TARGETS))
    assert {getattr(perfect, name).value for name in perfect.__struct_fields__} == {1.0}


def test_the_shape_of_the_papers_table():
    """People as in the paper: the sure ones are mostly right, examples turn not knowing into
    knowing. The order of the numbers in Table 2 comes out."""
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(37), 20)
    rows = {}
    for shots, (guess, sure) in {0: (0.77, 0.70), 1: (0.965, 0.785), 2: (0.957, 0.792)}.items():
        shape = (5, len(targets))
        wrong = (targets + rng.integers(1, 37, shape)) % 37
        answer = np.where(rng.random(shape) < sure, targets, wrong)
        answer = np.where(rng.random(shape) < guess, answer, X)
        rows[shots] = score(table(answer, targets, 37))[0]
    zero, one, two = rows.values()
    assert zero.accuracy.value == pytest.approx(0.537, abs=0.03)
    assert zero.accuracy_on_guesses.value == pytest.approx(0.697, abs=0.03)
    assert one.accuracy.value == pytest.approx(0.757, abs=0.03)
    assert one.accuracy_on_guesses.value == pytest.approx(0.785, abs=0.03)
    for row in rows.values():
        assert row.accuracy.value < row.accuracy_on_guesses.value
        assert row.accuracy.value < row.majority.value <= row.majority_on_guesses.value
        assert row.accuracy.low < row.accuracy.value < row.accuracy.high
    gains = one.accuracy.value - zero.accuracy.value, two.accuracy.value - one.accuracy.value
    assert gains[0] > 0.15 > abs(gains[1])


# --- intervals -----------------------------------------------------------------------------------


def test_what_the_interval_is_over():
    row, same = score(table(), np.array(TARGETS))
    assert row.accuracy.method == "over pictures and people"
    assert row.majority.method == same.accuracy.method == "over pictures"
    alone, _ = score(table(CHOICES[:1]))
    assert alone.accuracy.method == "over pictures"


def test_two_people_say_less_than_five():
    rng = np.random.default_rng(1)
    targets = np.repeat(np.arange(5), 40)
    skill = np.array([0.5, 0.7, 0.55, 0.65, 0.6])
    right = rng.random((5, len(targets))) < skill[:, None]
    answers = np.where(right, targets, (targets + 1) % 5)
    five, _ = score(table(answers, targets, 5))
    two, _ = score(table(answers[:2], targets, 5))
    width = [row.accuracy.high - row.accuracy.low for row in (two, five)]
    assert width[0] > 2 * width[1]


def test_shares_have_scipys_wilson():
    stats = pytest.importorskip("scipy.stats")
    for right, count in [(0, 5), (3, 5), (5, 5), (50, 80)]:
        theirs = stats.binomtest(right, count).proportion_ci(method="wilson")
        assert share_bounds(right / count, count) == pytest.approx((theirs.low, theirs.high))
    assert share_bounds(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("sizes", [[3] * 37, [8] * 12, [1] * 20, [40] * 5])
def test_intervals_over_pictures_cover_the_truth(sizes):
    rng = np.random.default_rng(len(sizes))
    targets = np.repeat(np.arange(len(sizes)), sizes)
    chances = np.clip(rng.normal(0.75, 0.15, len(sizes)), 0.02, 0.99)
    means, all_of_them = _Means(targets, 10, draws=300), np.ones(len(targets), bool)
    covered = []
    for _ in range(300):
        right = rng.random(len(targets)) < chances[targets]
        value, draws = means.value(right, all_of_them), means.draws(right, all_of_them)
        low, high = means.interval(value, draws, all_of_them)
        covered.append(low <= chances.mean() <= high)
    assert np.mean(covered) > 0.915  # 0.95 less three standard errors


@pytest.mark.slow
@pytest.mark.parametrize("people", [3, 5, 10])
def test_intervals_over_people_and_pictures_cover_the_truth(people):
    rng = np.random.default_rng(people)
    classes, size, covered = 10, 8, []
    targets = np.repeat(np.arange(classes), size)
    means, every = _Means(targets, classes, draws=300), np.ones((people, len(targets)), bool)
    for _ in range(400):
        skill = rng.normal(0.6, 0.1, people)
        hard = rng.normal(0, 0.12, len(targets))
        right = rng.random((people, len(targets))) < np.clip(skill[:, None] + hard, 0, 1)
        found = means.score(right, every)
        covered.append(found.low <= 0.6 <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.995


def test_model_against_majority():
    targets = np.repeat(np.arange(4), 25)
    people = np.where(np.arange(100) % 5 < 3, targets, (targets + 1) % 4)  # 60 %
    model = np.where(np.arange(100) % 5 < 4, targets, (targets + 2) % 4)  # 80 %
    found = compare(table([people] * 3, targets, 4), model)
    assert found.value == pytest.approx(0.2)
    assert (found.only_model, found.only_people) == (20, 0)
    assert found.p == pytest.approx(2 * 0.5**20)
    assert 0.1 < found.low < 0.2 < found.high < 0.3
    assert found.verdict == "the model is better"
    same = compare(table([people], targets, 4), people)
    assert (same.value, same.p) == (0, 1)
    assert same.low < 0 < same.high
    assert "no difference" in same.verdict


# --- agreement -----------------------------------------------------------------------------------


def test_fleiss_of_the_usual_example():
    """Fourteen raters, ten subjects, five categories: 0.210 (Fleiss 1971, as often reprinted)."""
    counts = np.array([
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ])  # fmt: skip
    assert fleiss(counts) == pytest.approx(0.210, abs=5e-4)
    assert krippendorff(counts) == pytest.approx(0.2156, abs=2e-3)


def test_krippendorff_of_his_own_example():
    """Four observers, twelve units, with gaps: 0.743 (Krippendorff 2011, example C)."""
    gap = 0
    rated = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, gap, gap, gap],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gap, 3],
        [gap, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gap],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gap],
    ])  # fmt: skip
    counts = np.stack([(rated == value).sum(axis=0) for value in range(1, 6)], axis=1)
    assert krippendorff(counts) == pytest.approx(0.743, abs=5e-4)
    assert np.isnan(fleiss(counts))  # not as many answers to each
    found = agreement(counts)
    assert found.count == 11
    assert found.low < found.value < found.high


def test_agreement_at_its_ends():
    assert krippendorff(np.array([[3, 0], [0, 3]])) == 1
    assert fleiss(np.array([[3, 0], [0, 3]])) == 1
    assert np.isnan(krippendorff(np.array([[3, 0], [3, 0]])))  # nothing to tell apart
    assert np.isnan(krippendorff(np.array([[1, 0], [0, 1]])))  # nobody to agree with
    assert np.isnan(agreement(np.zeros((0, 3), np.int64)).value)
    rng = np.random.default_rng(0)
    random = rng.multinomial(4, [0.25] * 4, 3000)
    found = agreement(random)
    assert abs(found.value) < 0.03
    assert found.low < 0 < found.high


# --- classes -------------------------------------------------------------------------------------


def test_classes_are_sorted_by_difficulty_for_the_model_then_by_its_scores():
    model = model_of([0, 0, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    rows = class_rows(table(), ["a", "b", "c"], model)
    assert [row.name for row in rows] == ["c", "b", "a"]
    hardest, _, easiest = rows
    assert hardest.people.value == pytest.approx(1 / 3)
    assert hardest.dont_know == pytest.approx(2 / 3)
    assert (hardest.model.value, hardest.model_confused_with) == (0, "b")
    assert hardest.majority.value == 0
    assert easiest.pictures == 3
    assert easiest.people.value == pytest.approx(5 / 9)
    assert easiest.confused_with == "b"
    assert easiest.model_probability == pytest.approx(0.8)
    alone = class_rows(table(), ["a", "b", "c"], None)
    assert [row.name for row in alone] == ["c", "b", "a"]
    assert alone[0].model is None


def test_rank_correlation_is_scipys_and_knows_when_it_says_nothing():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    targets = np.repeat(np.arange(12), 20)
    hard = rng.uniform(0.1, 0.95, 12)
    right = rng.random((3, len(targets))) < hard[targets]
    machine = rng.random(len(targets)) < hard[targets]
    people = table(np.where(right, targets, (targets + 1) % 12), targets, 12)
    model = model_of(np.where(machine, targets, (targets + 1) % 12))
    rows = class_rows(people, [str(n) for n in range(12)], model)
    found = correlation(rows)
    pairs = [(row.people.value, row.model.value) for row in rows]
    assert found.value == pytest.approx(stats.spearmanr(pairs).statistic)
    assert found.low < found.value < found.high < 1
    assert found.low > 0.3
    assert correlation(rows[:4]) is None
    assert correlation([row for row in rows if False]) is None


def test_what_examples_change():
    before = table([[0, X, 1, 1, X, X], [1, X, 0, 1, 1, 2]])
    after = table([[0, 0, 0, 0, X, 2], [0, X, 0, 1, 1, X]])
    found = change(before, after, 0, 1)
    assert found.answers == 12
    assert found.from_dont_know == {"right": 2, "wrong": 0, "don't know": 2}
    assert found.from_wrong == {"right": 2, "wrong": 0, "don't know": 0}
    assert found.from_right == {"right": 4, "wrong": 1, "don't know": 1}
    assert found.gain == pytest.approx((2 + 2 - 2) / 12)
    assert found.gain_from_dont_know == pytest.approx((2 - 1) / 12)


def test_changes_are_those_of_people_who_did_both():
    before, after = table(), table(CHOICES[:1])
    assert change(before, after, 0, 1).answers == 6
    other = Table(("q",), after.targets, after.choices, after.seconds, 3)
    assert change(before, other, 0, 1) is None
