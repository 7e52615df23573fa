import numpy as np
import pytest

from keshin.evaluate.retrieval import caption_ranks, picture_ranks, recalls


def unit(rng, n, d=16):
    vectors = rng.normal(size=(n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_ranks_against_sorting():
    rng = np.random.default_rng(0)
    pictures, captions = unit(rng, 1100), unit(rng, 1500)
    of = rng.integers(0, 1100, 1500)
    cosines = captions @ pictures.T
    order = np.argsort(-cosines, axis=1)
    expected = np.array([np.flatnonzero(order[j] == of[j])[0] for j in range(1500)])
    assert (caption_ranks(pictures, captions, of) == expected).mean() > 0.999
    ranks = picture_ranks(pictures, captions, of)
    for i in np.unique(of)[:200]:
        best = [of[j] for j in np.argsort(-(captions @ pictures[i]))]
        assert ranks[i] == best.index(i)


def test_perfect_constant_and_chance():
    rng = np.random.default_rng(1)
    pictures = unit(rng, 50)
    of = np.repeat(np.arange(50), 5)
    perfect = recalls(pictures, pictures[of], of)
    assert [score.value for score in perfect] == [1] * 6
    assert perfect[0].chance == pytest.approx(1 / 50)
    assert perfect[0].low < 1
    constant = recalls(np.ones((50, 4), np.float32) / 2, np.ones((250, 4), np.float32) / 2, of)
    assert [score.value for score in constant] == [0] * 6
    random = recalls(pictures, unit(rng, 250), of)
    assert all(score.low <= score.chance <= score.high for score in random)
    # five captions of one picture tell less than five of five pictures
    assert perfect[0].count == 250
    assert perfect[3].count == 50
