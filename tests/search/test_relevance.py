"""What a relevance promises."""

import dataclasses

import numpy as np
import pytest

from keshin.search.background import Background, captions, kind_of
from keshin.search.query import Parts, joined
from keshin.search.relevance import Null, best_scores, made_queries


def test_queries_like_the_background_are_answered_as_often_as_is_said():
    dice = np.random.default_rng(0)
    rates = {0.5: 0, 0.8: 0, 0.9: 0}
    for _ in range(400):
        pictures = dice.normal(size=(60, 8))
        queries = dice.normal(size=(100, 8)) * dice.gamma(2, size=(100, 1))  # not alike
        tops = np.sort(queries @ pictures.T, axis=1)[:, ::-1]
        relevance = Null(tops[1:]).relevance(tops[0])
        for least in rates:
            rates[least] += relevance[0] >= least
    for least, answered in rates.items():
        # At most, and the 99.9 % quantile of a binomial above it.
        share = 1 - least
        assert answered / 400 <= share + 3.1 * (share * least / 400) ** 0.5


def test_the_share_of_chance_is_what_the_background_finds():
    tops = np.array([[0.9, 0.5, 0.1], [0.3, 0.2, 0.1], [0.4, 0.3, 0.0], [0.2, 0.1, 0.0]])
    null = Null(tops)
    np.testing.assert_allclose(null.by_chance([1.0, 0.9, 0.3, 0.0]), [0, 0.25, 1.25, 3])
    assert null.false_alarm(0.95) == pytest.approx(1 / 5)
    assert null.false_alarm(0.35) == pytest.approx(3 / 5)
    # 1 - max(p, E / r), the E / r made monotone from the end
    np.testing.assert_allclose(null.relevance([0.95, 0.9, 0.85]), [0.8, 0.8, 0.8])
    np.testing.assert_allclose(null.relevance([0.95, 0.3, 0.2]), [0.8, 1 - 1.75 / 3, 1 - 1.75 / 3])
    assert null.relevance([]).size == 0
    relevance = null.relevance(np.linspace(1, -1, 3))
    assert (np.diff(relevance) <= 0).all()
    assert ((relevance >= 0) & (relevance <= 1)).all()


def test_the_pictures_a_query_is_made_of_do_not_count():
    dice = np.random.default_rng(0)
    sample = dice.normal(size=(50, 6)).astype(np.float32)
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)

    def nearest(queries, k):
        scores = queries @ sample.T
        orders = np.argsort(-scores, axis=1)[:, :k]
        return [
            (order, line[order].astype(float)) for order, line in zip(orders, scores, strict=True)
        ]

    nothing = np.empty((0, 6), np.float32)
    parts = Parts(nothing, sample[:1], nothing)
    made, shown = made_queries(parts, nothing, sample)
    np.testing.assert_array_equal(made, sample[shown[:, 0]])
    tops = best_scores(made, nearest, shown)
    assert tops.shape == (50, 49)
    assert tops.max() < 0.999
    mixed = Parts(sample[:2], sample[:1], sample[:1])
    made, shown = made_queries(mixed, sample, sample)
    assert (made.shape, shown.shape) == ((50, 6), (50, 1))
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)


def test_parts_count_alike():
    dice = np.random.default_rng(0)
    sample = dice.normal(size=(500, 4)) * [10, 1, 1, 1]
    wide, narrow = np.eye(4, dtype=np.float32)[:2]
    nothing = np.empty((0, 4), np.float32)
    query = joined(Parts(np.stack([wide, narrow]), nothing, nothing), sample.astype(np.float32))
    assert query[1] / query[0] == pytest.approx(10, rel=0.1)
    query = joined(Parts(wide[None], nothing, narrow[None]), sample.astype(np.float32))
    assert query[1] / query[0] == pytest.approx(-5, rel=0.1)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["a red boat"], ("en", True)),
        (["a red boat at dusk"], ("en", False)),
        (["a boat", "two people on a beach"], ("en", False)),
        (["赤い船"], ("ja", True)),
        (["夕暮れの海に浮かぶ船"], ("ja", False)),
    ],
)
def test_a_query_is_compared_with_its_own_kind(texts, kind):
    assert kind_of(texts) == kind
    assert len(captions(kind)) >= 50
    assert all(kind_of([caption]) == kind for caption in captions(kind))


@dataclasses.dataclass
class Counting:
    fingerprint: str = "one"
    computed: str = "fp32"
    on_truncation: object = None
    calls: list = dataclasses.field(default_factory=list)

    def encode_texts(self, texts):
        self.calls.append(len(texts))
        return np.ones((len(texts), 4), np.float32)


def test_background_is_encoded_once(tmp_path):
    encoder = Counting()
    for _ in range(2):
        vectors = Background(tmp_path, encoder).vectors(("en", True))
        assert vectors.shape == (len(captions(("en", True))), 4)
    assert len(encoder.calls) == 1
    Background(tmp_path, Counting("two", calls=encoder.calls)).vectors(("en", True))
    assert len(encoder.calls) == 2
    (tmp_path / "background-en-short-vectors.npz").write_bytes(b"damaged")
    Background(tmp_path, encoder).vectors(("en", True))
    assert len(encoder.calls) == 3
    tops = [
        Background(tmp_path, encoder).tops(("en", True), state, lambda: vectors)
        for state in (1, 1, 2)
    ]
    assert all(np.array_equal(one, vectors) for one in tops)
    missing = Background(tmp_path / "not there", encoder)
    assert missing.vectors(("ja", False)).shape[1] == 4
