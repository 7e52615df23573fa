"""How long a search takes: a folder of 100,000 unchanged files, a query over 1,000,000 vectors.

    python benchmarks/search.py make /scratch/search     # some minutes; not measured
    python benchmarks/search.py measure /scratch/search  # on a quiet machine

``make`` writes 100,000 small files and an index that knows them, with made vectors (what the model
would give does not matter for an update that finds nothing new), and 1,000,000 x 512 vectors with
the statistics of real ones: the mean of real image embeddings of ViT-B/32, and around it the
directions of its text embeddings (``--reference``, a folder with clip_vitb32_reference.npz and
clip_vitb32_text_vocab.npz). Queries are the real text embeddings.

``measure`` runs each part in a process of its own and writes results/search.json: medians, the
slowest, the peak of resident memory. Each answer is compared with a full scan of the float16
vectors in float64, for the first queries.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import keshin
from keshin.encode.embedded import Embedded
from keshin.search.lock import writing
from keshin.search.rows import append, open_rows
from keshin.search.scan import best
from keshin.search.table import open_table
from keshin.search.update import Update

FILES, FOLDERS, VECTORS, WIDTH = 100_000, 500, 1_000_000, 512
STEP = 20_000
RESULTS = Path(__file__).parent / "results/search.json"


def make_files(place: Path) -> None:
    """Files, and an index that knows them as the embedded model's."""
    photos, old = place / "photos", time.time() - 1000
    for number in range(FILES):
        path = photos / f"{number % FOLDERS:03}" / f"IMG_{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
        os.utime(path, (old, old))
    index = keshin.Index.open(photos, "mini", index=place / "index", rebuild=True)
    pictures, dice = index.encoder.pictures(), np.random.default_rng(0)
    with writing(index.folder):
        table = open_table(index.folder, write=True)
        facts = index._chosen[1]
        with table.transaction(write=True):
            table.set_facts(facts)

        def embed(paths: Any, also: Any) -> Any:
            for number, path in enumerate(paths):
                item = Embedded(number, path, pictures, also)
                item.content = hashlib.sha256(path.encode()).digest()
                vector = dice.normal(size=pictures.width).astype(np.float32)
                item.vector = vector / np.linalg.norm(vector)
                yield item

        print(Update(table, index.folder, photos, pictures.width).run(embed))
        table.close()


def made_vectors(reference: Path) -> Any:
    """(images' mean, directions) of real embeddings; the text embeddings are the queries."""
    real = np.load(reference / "clip_vitb32_reference.npz")
    images = [real[name].reshape(-1, WIDTH) for name in real.files
              if "image" in name and real[name].shape[-1:] == (WIDTH,)]  # fmt: skip
    images = unit(np.concatenate(images).astype(np.float32))
    vocabulary = np.load(reference / "clip_vitb32_text_vocab.npz")
    texts = unit(np.concatenate([vocabulary[name].astype(np.float32) for name in vocabulary.files
                                 if vocabulary[name].ndim == 2]))  # fmt: skip
    return images.mean(axis=0), images, texts


def unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def make_rows(place: Path, reference: Path, count: int) -> None:
    """Pictures around the mean of real ones: a few topics each, and noise, scaled so that two of
    them have the cosine of two real ones and a text scores as real ones do."""
    middle, images, texts = made_vectors(reference)
    topics = texts - texts.mean(axis=0)
    spread = float(np.linalg.norm(images - middle, axis=1).mean())
    dice, folder = np.random.default_rng(0), place / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, count, STEP):
        mixed = sum(topics[dice.integers(len(topics), size=STEP)] for _ in range(3))
        noise = dice.normal(size=(STEP, WIDTH)).astype(np.float32)
        around = unit(unit(mixed) + unit(noise)) * spread
        append(folder, 0, start, np.arange(start + 1, start + STEP + 1),
               unit(middle + around).astype(np.float32))  # fmt: skip
    np.save(place / "queries.npy", texts[:: max(1, len(texts) // 64)][:64])


def measure_query(place: Path, count: int) -> dict[str, Any]:
    """One query at a time, warm."""
    queries = np.load(place / "queries.npy").astype(np.float32)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    rows = open_rows(place / "rows", 0, count, WIDTH)
    opened = time.perf_counter() - began
    began = time.perf_counter()
    best(rows, queries[:1], 100)
    first = time.perf_counter() - began
    seconds = []
    for query in queries:
        began = time.perf_counter()
        best(rows, query[None], 100)
        seconds.append(time.perf_counter() - began)
    began = time.perf_counter()
    best(rows, queries, 100)
    together = (time.perf_counter() - began) / len(queries)
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) * 1024
    same = [exact_top(rows, query, best(rows, query[None], 10)[0][0]) for query in queries[:3]]
    return {
        "vectors": count, "width": WIDTH, "queries": len(queries), "open_ms": 1e3 * opened,
        "first_ms": 1e3 * first, "median_ms": 1e3 * float(np.median(seconds)),
        "slowest_ms": 1e3 * max(seconds), "together_ms": 1e3 * together,
        "peak_over_vectors": peak / (count * WIDTH * 2), "exact": same,
    }  # fmt: skip


def exact_top(rows: Any, query: Any, places: Any) -> bool:
    products = np.concatenate(
        [rows.vectors[s : s + STEP].astype(np.float64) @ query for s in range(0, len(rows), STEP)]
    )
    order = np.lexsort((np.arange(len(rows)), -products))[: len(places)]
    return bool(np.array_equal(order, places))


def measure_update(place: Path) -> dict[str, Any]:
    """An update that finds nothing new, as a function."""
    index = keshin.Index.open(place / "photos", index=place / "index")
    index.encoder  # noqa: B018 - loaded before
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        changes = index.update()
        seconds.append(time.perf_counter() - began)
    assert changes.unchanged == FILES
    return {"files": FILES, "median_s": float(np.median(seconds)), "slowest_s": max(seconds)}


def measure_command(place: Path) -> dict[str, Any]:
    """The command, from the shell to the answer."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        command = [sys.executable, "-m", "keshin", "search", str(place / "photos"), "a red boat",
                   "--index", str(place / "index"), "--min-relevance", "0"]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    return {"files": FILES, "first_s": seconds[0], "median_s": float(np.median(seconds))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["make", "measure", "query", "update", "command"])
    parser.add_argument("place", type=Path)
    parser.add_argument("--reference", type=Path, default=Path("../shared/data/reference"))
    parser.add_argument("--vectors", type=int, default=VECTORS)
    options = parser.parse_args()
    if options.work == "make":
        make_rows(options.place, options.reference, options.vectors)
        make_files(options.place)
        return
    if options.work != "measure":
        work = {"update": measure_update, "command": measure_command}
        found = (measure_query(options.place, options.vectors) if options.work == "query"
                 else work[options.work](options.place))  # fmt: skip
        print(json.dumps(found))
        return
    results: dict[str, Any] = {"machine": f"{platform.processor()}, {os.cpu_count()} cores"}
    for name in ("query", "update", "command"):
        command = [sys.executable, __file__, name, str(options.place),
                   "--vectors", str(options.vectors)]  # fmt: skip
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        results[name] = json.loads(run.stdout)
        print(name, results[name], flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
