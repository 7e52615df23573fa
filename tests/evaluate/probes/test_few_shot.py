"""Few-shot curves: draws, the two starts, bands, and where zero-shot is overtaken."""

import msgspec
import numpy as np
import pytest

pytest.importorskip("sklearn")

from keshin.errors import DataError
from keshin.evaluate.probes.few_shot import Examples, Text, few_shot, shuffled
from keshin.evaluate.probes.few_shot_curve import Curve, Resampled, overtaken
from keshin.evaluate.probes.few_shot_fit import ONE_SHOT, lowest

CLASSES, WIDTH = 4, 12


def draw(count, seed, apart=1.0, classes=CLASSES):
    """Unit features around class means that are the same in every call."""
    means = np.random.default_rng(3).normal(size=(classes, WIDTH))
    rng = np.random.default_rng(seed)
    targets = np.arange(count) % classes
    features = apart * means[targets] + rng.normal(size=(count, WIDTH))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Examples(features.astype(np.float32), targets)


def text(noise=0.0):
    means = np.random.default_rng(3).normal(size=(CLASSES, WIDTH))
    means += noise * np.random.default_rng(4).normal(size=means.shape)
    return Text((means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32), 20.0)


def curve(**changes):
    options = {"sizes": (1, 2, 4, 8), "draws": 6} | changes
    return few_shot(draw(200, 1), draw(400, 2), CLASSES, **options)


def test_more_examples_are_better_and_the_band_holds_the_value():
    found = curve()
    values = [point.value for point in found.points]
    assert values[-1] > values[0] + 0.1
    assert [point.shots for point in found.points] == [1, 2, 4, 8, None]
    assert [point.per_class for point in found.points] == [1, 2, 4, 8, 50]
    for point in found.points:
        assert point.low < point.value < point.high
    assert len(found.points[0].values) == 6
    assert len(found.points[-1].values) == 1
    assert found.zero_shot is None
    assert found.overtakes is None


def test_it_is_seeded_and_can_be_written():
    a, b = curve(), curve()
    assert a == b
    assert curve(seed=1) != a
    assert msgspec.json.decode(msgspec.json.encode(a), type=Curve) == a
    assert "accuracy" in str(a)


def test_started_from_text_it_begins_near_zero_shot():
    words = text(noise=0.8)
    plain = curve(start="zero", text=words, full=False)
    led = curve(start="text", text=words, full=False)
    assert led.zero_shot == plain.zero_shot
    assert led.points[0].value > plain.points[0].value
    assert led.points[0].value > led.zero_shot.value - 0.05
    assert plain.overtakes.examples > 1
    assert "examples a class" in str(plain)


def test_held_back_entirely_it_is_zero_shot_itself(monkeypatch):
    monkeypatch.setitem(ONE_SHOT, "text", 1e-9)
    found = curve(start="text", text=text(noise=0.8), sizes=(1,), full=False)
    assert set(found.points[0].values) == {found.zero_shot.value}
    assert found.overtakes.examples == 1
    assert str(found.overtakes).startswith("at most 1")


def test_a_unit_of_the_features_does_not_matter():
    train, test = draw(80, 1), draw(200, 2)
    found = []
    for unit in (1.0, 64.0):
        scaled = [
            Examples(part.features * np.float32(unit), part.targets) for part in (train, test)
        ]
        found.append(few_shot(*scaled, CLASSES, sizes=(1, 4), draws=3, full=False))
    a, b = ([p.value for p in c.points] for c in found)
    assert a == pytest.approx(b, abs=0.01)


def test_smaller_sets_are_part_of_larger_ones_and_stratified():
    targets = np.array([0, 1, 1, 2, 0, 2, 1, 0])
    order = shuffled(targets, np.random.default_rng(0))
    assert [sorted(targets[rows].tolist()) for rows in order] == [[0] * 3, [1] * 3, [2] * 2]


def test_a_class_may_have_fewer_or_none():
    train = draw(40, 1)
    train = train.take(np.flatnonzero((train.targets < 2) | (np.arange(40) < 4)))
    found = few_shot(train, draw(100, 2), CLASSES, sizes=(1, 8), draws=2, full=False)
    assert found.points[1].per_class == (8 + 8 + 1 + 1) / 4
    train = train.take(np.flatnonzero(train.targets < 3))
    for start in ("zero", "text"):
        found = few_shot(
            train, draw(100, 2), CLASSES, start=start, text=text(), sizes=(1,), draws=2, full=False
        )
        assert 0 < found.points[0].value < 1


def test_other_metrics_and_groups():
    def right(targets, scores):
        return float((scores.argmax(axis=1) == targets).mean())

    named = curve(sizes=(2,), full=False)
    own = curve(sizes=(2,), full=False, metric=right)
    assert own.points[0].value == pytest.approx(named.points[0].value)
    assert own.metric == "right"
    assert own.points[0].low == pytest.approx(named.points[0].low, abs=0.02)
    grouped = curve(sizes=(2,), full=False, groups=np.arange(400) // 40)
    assert grouped.points[0].value == pytest.approx(named.points[0].value)
    assert curve(sizes=(2,), full=False, metric="mean per class").points[0].value > 0.3


def test_resamples_of_a_sum_are_those_of_the_metric():
    rng = np.random.default_rng(0)
    targets, scores = rng.integers(3, size=60), rng.normal(size=(60, 3))
    quick = Resampled("mean per class", targets, None, np.random.default_rng(1))
    value, band = quick(scores)
    recalls = [(scores[targets == c].argmax(1) == c).mean() for c in range(3)]
    assert value == pytest.approx(np.mean(recalls))
    slow = [quick._value(targets[rows], scores[rows]) for rows in quick._rows[:50]]
    np.testing.assert_allclose(band[:50], slow, atol=1e-6)


def test_the_crossing_is_linear_in_the_logarithm():
    sizes = np.array([1.0, 2, 4, 8])
    values = np.array(
        [[0.2, 0.6, 0.1, 0.5], [0.4, 0.7, 0.2, 0.4], [0.6, 0.8, 0.3, 0.6], [0.8, 0.9, 0.4, 0.7]]
    )
    zero = np.array([0.5, 0.5, 0.5, 0.5])
    found = overtaken(sizes, values, zero)
    assert found[0] == pytest.approx(np.sqrt(8))  # half way between 2 and 4
    assert found[1] == 1  # already with the first
    assert found[2] == np.inf  # never
    assert found[3] == 1  # the first place counts


def test_what_makes_no_sense_is_said():
    train, test = draw(40, 1), draw(40, 2)
    with pytest.raises(DataError, match="ascending"):
        few_shot(train, test, CLASSES, sizes=(4, 2))
    with pytest.raises(DataError, match="needs text"):
        few_shot(train, test, CLASSES, start="text")
    with pytest.raises(DataError, match=r"weights is \(4, 12\)"):
        few_shot(train, test, 5, start="text", text=text())
    with pytest.raises(DataError, match="from 0 to 2"):
        few_shot(train, test, 3)
    with pytest.raises(DataError, match="one class a picture"):
        few_shot(Examples(train.features, np.eye(4)[train.targets]), test, CLASSES)
    with pytest.raises(DataError, match="all of one class"):
        few_shot(train.take(np.flatnonzero(train.targets == 1)), test, CLASSES)
    flat = Examples(np.ones((8, WIDTH), np.float32), np.arange(8) % 4)
    with pytest.raises(DataError, match="same features"):
        few_shot(flat, test, CLASSES, draws=1)


@pytest.mark.parametrize("least", range(7))
@pytest.mark.parametrize("start", range(7))
def test_downhill_from_anywhere_is_the_least_of_all(least, start):
    tried = []

    def loss(place):
        tried.append(place)
        return float(abs(place - least))

    assert lowest(loss, 7, start) == least
    assert len(tried) == len(set(tried))
    assert len(tried) <= abs(start - least) + 3
