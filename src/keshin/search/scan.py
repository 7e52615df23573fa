"""The best rows of an index, exactly, in one pass over their codes.

A query q and a row x have the product q.x. With the centre m of the rows, the row's code c (int8,
with a scale a) gives q.m + a.q.c, and by Cauchy and Schwarz

    |q.x - (q.m + a.q.c)| <= |q| |x - m - a.c|,

where the last length is stored with the row. So every row has a lower and an upper bound of its
product, and only rows whose upper bound reaches the k-th best lower bound can be among the k best:
some hundreds of a million. Their products are computed from the float16 vectors in float64. The
answer is that of a full scan of the float16 vectors, ties broken by the older row; the codes only
save reading half of the bytes, and the slow conversion of float16.

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

BLOCK, PIECE, LONG = 2048, 16, 65536
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
    gone = np.empty(0, np.int64) if gone is None else gone
    k = min(k, len(rows) - len(gone))
    if k <= 0:
        return [(np.empty(0, np.int64), np.empty(0)) for _ in queries]
    found: list[tuple[Ints, Doubles]] = []
    for start in range(0, len(queries), QUERIES):
        some = np.ascontiguousarray(queries[start : start + QUERIES], np.float32)
        upper, lower = _bounds(rows, some, gone, threads or available_cores())
        for query, highest, least in zip(some, upper, lower, strict=True):
            found.append(_exact(rows, query, highest, least, k, gone))
        rows.forget()
    return found


def _bounds(rows: Rows, queries: Floats, gone: Ints, threads: int) -> tuple[Floats, Floats]:
    """(m, n) upper bounds of the products, and (m, n / GROUP) the highest lower bound of each group
    of rows; -inf for what is gone."""
    count, groups = len(rows), -(-len(rows) // GROUP)
    upper = np.empty((len(queries), count), np.float32)
    lower = np.empty((len(queries), groups), np.float32)
    columns = np.ascontiguousarray(queries.T)
    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)[:, None]
    # What float32 may lose in a sum of d products of a difference that is hardly longer than 2.
    slack = (1.1 * (rows.width + 16) * 2.0**-24 * 2 * lengths).astype(np.float32)
    middle = (queries.astype(np.float64) @ rows.center)[:, None].astype(np.float32)
    reach = (lengths * (1 + 1e-6)).astype(np.float32)

    def work(begin: int, end: int) -> None:
        buffer = np.empty((BLOCK, rows.width), np.float32)
        for start in range(begin, end, BLOCK):  # as few calls as can be: threads take turns in each
            stop = min(start + BLOCK, end)
            block = buffer[: stop - start]
            np.copyto(block, rows.codes[start:stop])
            upper[:, start:stop] = _products(block, columns)
        for start in range(begin, end, LONG):
            stop = min(start + LONG, end)
            about = rows.about[start:stop]
            margin = about["off"] * reach + slack
            part = upper[:, start:stop]
            part *= about["scale"]
            part += middle
            low = part - margin
            part += margin
            missing = gone[np.searchsorted(gone, start) : np.searchsorted(gone, stop)] - start
            low[:, missing] = -np.inf
            edges = range(0, stop - start, GROUP)
            np.maximum.reduceat(
                low, edges, axis=1, out=lower[:, start // GROUP : start // GROUP + len(edges)]
            )

    if threads == 1 or count <= BLOCK:
        work(0, count)
    else:
        share = -(-count // (threads * BLOCK)) * BLOCK
        with ThreadPoolExecutor(threads, "keshin-search") as pool:
            starts = range(0, count, share)
            list(pool.map(work, starts, [min(start + share, count) for start in starts]))
    upper[:, gone] = -np.inf
    return upper, lower


def _products(block: Floats, columns: Floats) -> Floats:
    """(m, b) products of (b, d) rows and (d, m) columns, in pieces."""
    whole = len(block) // PIECE * PIECE
    found = np.empty((len(block), columns.shape[1]), np.float32)
    if whole:
        pieces = block[:whole].reshape(-1, PIECE, block.shape[1])
        found[:whole] = np.matmul(pieces, columns).reshape(whole, -1)
    if whole < len(block):
        found[whole:] = block[whole:] @ columns
    return found.T


def _exact(
    rows: Rows, query: Floats, upper: Floats, lower: Floats, k: int, gone: Ints
) -> tuple[Ints, Doubles]:
    """The k best of a query. The highest lower bounds of groups are lower bounds of different rows,
    so the k-th highest of them is reached by at least k rows; where there are too few groups, all
    rows are candidates."""
    least = -np.inf
    if len(lower) >= k:
        least = float(np.partition(lower, len(lower) - k)[len(lower) - k])
    places = np.flatnonzero(upper >= least)
    if least == -np.inf and len(gone):
        places = np.setdiff1d(places, gone, assume_unique=True)
    products = np.empty(len(places))
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK]
        products[start : start + BLOCK] = rows.vectors[some].astype(np.float64) @ query
    order = np.lexsort((places, -products))[:k]
    return np.asarray(places[order], np.int64), products[order]
