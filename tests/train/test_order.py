"""Every sample comes exactly once an epoch, whoever reads it, and any step can be gone on from."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.errors import RecipeError
from keshin.train.order import Extent, Order, even_pieces

PIECES = st.lists(st.integers(1, 40), min_size=1, max_size=12)
EXTENTS = st.lists(
    st.tuples(PIECES, st.sampled_from([0.0, 0.3, 1.0, 1.0, 1.5, 2.0])), min_size=1, max_size=3
).filter(lambda found: any(sum(pieces) * repeat >= 1 for pieces, repeat in found))


def extents(drawn: list[tuple[list[int], float]]) -> list[Extent]:
    return [Extent(np.array(pieces, np.int64), repeat) for pieces, repeat in drawn]


@settings(max_examples=150, deadline=None)
@given(EXTENTS, st.integers(1, 6), st.integers(1, 4), st.integers(1, 200), st.integers(0, 99))
def test_each_sample_once_an_epoch(drawn, part, lanes, window, seed) -> None:
    sources = extents(drawn)
    order = Order(sources, part * lanes, seed, window=window, lanes=lanes)
    for epoch in range(2):
        places = order.places(epoch * order.length, (epoch + 1) * order.length)
        assert len(set(places)) == len(places) == order.length
        assert {place[0] for place in places} == {epoch}
        counts = Counter((source, row) for _, source, row, _ in places)
        for index, extent in enumerate(sources):
            of_source = [counts[index, row] for row in range(extent.size)]
            assert sum(of_source) == extent.seen
            assert all(int(extent.repeat) <= n <= int(extent.repeat) + 1 for n in of_source)
        assert all(row < sources[source].size for source, row in counts)


@settings(max_examples=100, deadline=None)
@given(
    EXTENTS, st.integers(1, 3), st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 4), st.integers(1, 100)
)  # fmt: skip
def test_processes_share_without_repeats_or_gaps(drawn, part, world, workers, window) -> None:
    """Processes take slices of batches, workers take batches in turn: together, the order alone."""
    size = 12 * part
    order = Order(extents(drawn), size, 5, window=window)
    batches = max(1, 2 * order.length // size)
    whole = order.places(0, batches * size)
    share = size // world
    shared: dict[int, list] = {}
    for rank in range(world):
        for worker in range(workers):
            own = Order(extents(drawn), size, 5, window=window)  # knows of no other
            for batch in range(worker, batches, workers):
                start = batch * size + rank * share
                shared[batch * world + rank] = own.places(start, start + share)
    assert list(chain.from_iterable(shared[key] for key in sorted(shared))) == whole


@settings(max_examples=100, deadline=None)
@given(EXTENTS, st.integers(1, 12), st.integers(1, 100), st.integers(0, 500))
def test_any_position_gives_the_same_rest(drawn, size, window, start) -> None:
    whole = Order(extents(drawn), size, 3, window=window).places(0, start + 50)
    assert Order(extents(drawn), size, 3, window=window).places(start, start + 50) == whole[start:]


def test_seeds_and_epochs_differ() -> None:
    sources = [Extent(even_pieces(1000))]
    order = Order(sources, 10, 0)
    first, second = (
        [row for _, _, row, _ in order.places(start, start + 1000)] for start in (0, 1000)
    )
    other = [row for _, _, row, _ in Order(sources, 10, 1).places(0, 1000)]
    assert first != second != other != first


def test_sources_are_mixed_in_their_proportion() -> None:
    """A table of 20,000 rows and a source of 200 shards of 1,000, in windows of 10,000."""
    sources = [Extent(even_pieces(20_000)), Extent(np.full(200, 1000, np.int64))]
    order = Order(sources, 100, 0, window=10_000)
    for window in range(22):
        places = order.places(window * 10_000, (window + 1) * 10_000)
        assert sum(source == 0 for _, source, _, _ in places) == pytest.approx(909, abs=520)
    assert sum(s == 0 for _, s, _, _ in order.places(0, 110_000)) == pytest.approx(10_000, abs=520)


def test_a_lane_reads_its_own_shards() -> None:
    sources = [Extent(np.full(64, 100, np.int64))]
    order = Order(sources, 80, 0, window=1600, lanes=4)
    shards: list[set[int]] = [set(), set(), set(), set()]
    for batch in range(20):  # one window: 16 shards
        for rank in range(4):
            start = batch * 80 + rank * 20
            shards[rank] |= {row // 100 for _, _, row, _ in order.places(start, start + 20)}
    assert [len(found) for found in shards] == [4, 4, 4, 4]
    assert len(set.union(*shards)) == 16
    with pytest.raises(RecipeError, match="does not divide"):
        Order(sources, 80, 0, lanes=3)


def test_a_part_of_a_source_is_drawn_anew() -> None:
    order = Order([Extent(np.array([1000], np.int64), 0.5)], 10, 0)
    first, second = (
        {row for _, _, row, _ in order.places(start, start + 500)} for start in (0, 500)
    )
    assert len(first) == len(second) == 500
    assert 180 < len(first & second) < 320


def test_an_epoch_in_one_window_keeps_the_order_of_earlier_versions() -> None:
    """One permutation of all rows, drawn from (seed, epoch): what small runs were trained with."""
    order = Order([Extent(even_pieces(700)), Extent(np.array([30, 20]), 1.5)], 5, 3)
    rng = np.random.default_rng((3, 1))
    places = [(1, 0, row, 0) for row in range(700)]
    rng.permutation(700)
    places += [(1, 1, row, 0) for row in range(50)]
    places += [(1, 1, int(row), 1) for row in rng.permutation(50)[:25]]
    expected = [places[i] for i in rng.permutation(len(places))]
    assert order.places(order.length, 2 * order.length) == expected
