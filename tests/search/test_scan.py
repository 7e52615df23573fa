"""The exact scan: the answer of a full scan of the float16 vectors, whatever the vectors are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.search.rows import append, open_rows, quantised, rewrite, spaced
from keshin.search.scan import best


def made(folder, vectors, generation=0):
    append(folder, generation, 0, np.arange(1, len(vectors) + 1), vectors)
    return open_rows(folder, generation, len(vectors), vectors.shape[1])


def full(rows, query, k, gone=()):
    products = rows.vectors.astype(np.float64) @ query.astype(np.float64)
    places = np.setdiff1d(np.arange(len(rows)), gone)
    order = np.lexsort((places, -products[places]))[:k]
    return places[order], products[places[order]]


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [1, 15, 16, 1024, 1025, 5000])
def test_it_is_exact(tmp_path, count, threads):
    dice = np.random.default_rng(count)
    rows = made(tmp_path, unit(dice.normal(size=(count, 48)) + 2))  # a cone, as CLIP's vectors
    queries = unit(dice.normal(size=(19, 48)) + 1)
    for k in (1, 10, 7000):
        found = best(rows, queries, k, threads=threads)
        for query, (places, products) in zip(queries, found, strict=True):
            expected, values = full(rows, query, k)
            np.testing.assert_array_equal(places, expected)
            np.testing.assert_allclose(products, values, rtol=1e-12)


def test_what_is_gone_does_not_count(tmp_path):
    dice = np.random.default_rng(0)
    rows = made(tmp_path, unit(dice.normal(size=(3000, 32))))
    query = unit(dice.normal(size=(1, 32)))
    gone = np.sort(dice.permutation(3000)[:2990])
    ((places, _),) = best(rows, query, 100, gone=gone)
    np.testing.assert_array_equal(places, full(rows, query[0], 100, gone)[0])
    assert len(places) == 10
    ((places, _),) = best(rows, query, 3, gone=np.arange(3000))
    assert len(places) == 0


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["normal", "one", "copies", "spiky", "zero", "near"]),
    k=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_it_is_exact_for_odd_vectors(tmp_path_factory, seed, kind, k):
    dice = np.random.default_rng(seed)
    vectors = dice.normal(size=(2100, 24))
    if kind == "one":
        vectors[:] = vectors[0]
    elif kind == "copies":
        vectors = vectors[dice.integers(30, size=2100)]
    elif kind == "spiky":
        vectors = dice.standard_cauchy(size=(2100, 24))
    elif kind == "near":
        vectors = vectors[0] + 1e-4 * vectors
    vectors = unit(vectors)
    if kind == "zero":
        vectors[::2] = 0
    rows = made(tmp_path_factory.mktemp("rows"), vectors)
    query = (dice.normal(size=(1, 24)) * 10 ** dice.uniform(-3, 3)).astype(np.float32)
    ((places, products),) = best(rows, query, k, threads=2)
    expected, values = full(rows, query[0], k)
    np.testing.assert_allclose(products, values, rtol=1e-9, atol=1e-12 * np.abs(query).sum())
    if kind in ("normal", "spiky"):
        np.testing.assert_array_equal(places, expected)


def test_codes_keep_their_bound():
    dice = np.random.default_rng(3)
    vectors = unit(dice.standard_cauchy(size=(500, 40))).astype(np.float16)
    center = dice.normal(size=40).astype(np.float32)
    codes, scales, off = quantised(vectors, center)
    real = vectors.astype(np.float64) - center - codes * scales.astype(np.float64)[:, None]
    assert (np.linalg.norm(real, axis=1) <= off).all()
    assert np.abs(codes).max() == 127


def test_rows_are_rewritten_and_sampled(tmp_path):
    rows = made(tmp_path, unit(np.random.default_rng(0).normal(size=(9000, 8))))
    kept = np.arange(9000) % 3 == 0
    assert rewrite(tmp_path, rows, kept, 1) == 3000
    fewer = open_rows(tmp_path, 1, 3000, 8)
    np.testing.assert_array_equal(fewer.vectors, rows.vectors[kept])
    np.testing.assert_array_equal(fewer.ids, rows.ids[kept])
    np.testing.assert_array_equal(fewer.places(np.array([1, 2, 4, 99999])), [0, 1])
    places = spaced(rows, np.arange(100), 500)
    assert (len(places), places[0], places[-1]) == (500, 100, 8999)
    assert len(spaced(rows, np.arange(9000), 500)) == 0
