"""The best rows of an index, exactly, in one pass over their codes.

A query q and a row x have the product q.x. The row's code c (int8, with a scale a) gives a.q.c, and
by Cauchy and Schwarz

    |q.x - a.q.c| <= |q| |x - a.c|,

where |x - a.c| is stored with the row. So every row has a lower and an upper bound of its product,
and only rows whose upper bound reaches the k-th best lower bound can be among the k best: some
hundreds of a million. Their products are computed from the float16 vectors in float64. The answer is
that of a full scan of the float16 vectors, ties broken by the older row; the codes only save
reading half of the bytes, and the slow conversion of float16.

NumPy converts int8 to float32 with vector instructions, block by block in the cache of a core, and
lets other threads run meanwhile: one thread a core. The products of a block are asked for in pieces
that BLAS computes in the calling thread, so that its own threads do not stand in the way.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from keshin.encode.pipeline import available_cores
from keshin.search.rows import Floats, Ints, Rows

BLOCK, PIECE = 1024, 16
QUERIES = 16
"""At once; more would make BLAS start threads of its own."""
GROUP = 64
Doubles = npt.NDArray[np.float64]


def best(
    rows: Rows, queries: Floats, k: int, *, gone: Ints | None = None, threads: int | None = None
) -> list[tuple[Ints, Doubles]]:
    """For each of (m, d) queries the places of its k best rows and their products, falling.

    Fewer than k where there are not so many. ``gone`` (g,) are places that do not count.
    """
    found: list[tuple[Ints, Doubles]] = []
    for start in range(0, len(queries), QUERIES):
        some = np.ascontiguousarray(queries[start : start + QUERIES], np.float32)
        rough = _rough(rows, some, threads or available_cores())
        for query, line in zip(some, rough, strict=True):
            found.append(_exact(rows, query, line, k, gone))
    return found


def _rough(rows: Rows, queries: Floats, threads: int) -> Floats:
    """(m, n) products with the codes."""
    out = np.empty((len(queries), len(rows)), np.float32)
    columns = np.ascontiguousarray(queries.T)
    scales = rows.about["scale"]

    def work(begin: int, end: int) -> None:
        buffer = np.empty((BLOCK, rows.width), np.float32)
        for start in range(begin, end, BLOCK):
            stop = min(start + BLOCK, end)
            block = buffer[: stop - start]
            np.copyto(block, rows.codes[start:stop])
            whole = len(block) // PIECE * PIECE
            if whole:
                pieces = block[:whole].reshape(-1, PIECE, rows.width)
                products = np.matmul(pieces, columns).reshape(whole, -1)
                out[:, start : start + whole] = products.T
            if whole < len(block):
                out[:, start + whole : stop] = (block[whole:] @ columns).T
            out[:, start:stop] *= scales[start:stop]

    if threads == 1 or len(rows) <= BLOCK:
        work(0, len(rows))
        return out
    share = -(-len(rows) // (threads * BLOCK)) * BLOCK
    with ThreadPoolExecutor(threads, "keshin-search") as pool:
        starts = range(0, len(rows), share)
        list(pool.map(work, starts, [min(s + share, len(rows)) for s in starts]))
    return out


def _exact(
    rows: Rows, query: Floats, rough: Floats, k: int, gone: Ints | None
) -> tuple[Ints, Doubles]:
    length = float(np.linalg.norm(query.astype(np.float64)))
    # What float32 may lose in a sum of d products of a row that is hardly longer than 1.
    slack = 1.1 * (rows.width + 8) * 2.0**-24 * length
    margin = rows.about["off"] * np.float32(length * (1 + 1e-6)) + np.float32(slack)
    lower = rough - margin
    if gone is not None and len(gone):
        lower[gone] = -np.inf
    alive = len(rows) - (0 if gone is None else len(gone))
    k = min(k, alive)
    if k <= 0:
        return np.empty(0, np.int64), np.empty(0)
    least = _kth(lower, k)
    places = np.flatnonzero(rough + margin >= least)
    places = places[lower[places] > -np.inf]
    products = np.empty(len(places))
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK]
        products[start : start + BLOCK] = rows.vectors[some].astype(np.float64) @ query
    order = np.lexsort((places, -products))[:k]
    return np.asarray(places[order], np.int64), products[order]


def _kth(values: Floats, k: int) -> float:
    """A value that at least k of ``values`` reach, near the k-th largest. The largest of each group
    of ``GROUP`` are values too, and they are fewer."""
    groups = len(values) // GROUP
    if groups >= 4 * k:
        values = values[: groups * GROUP].reshape(groups, GROUP).max(axis=1)
    return float(np.partition(values, len(values) - k)[len(values) - k])
