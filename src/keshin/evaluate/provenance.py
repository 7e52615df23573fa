"""What it takes to do an evaluation again: hash of the data, versions, machine."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np

from keshin import __version__
from keshin.api import Model
from keshin.core.content import content_of
from keshin.core.pictures import Failure, Picture
from keshin.evaluate.reporting.shown import name_of_row
from keshin.evaluate.results import DataFacts, Failed, ModelFacts, RunFacts
from keshin.evaluate.sets.datasets import Opened
from keshin.evaluate.sets.labelled import Labelled

AT_ONCE = 64
PACKAGES = ("numpy", "onnxruntime", "pillow", "scipy", "scikit-learn")


def digest(data: Labelled) -> str:
    """SHA-256 over the content of all pictures in order, what is known of each, and the classes.

    Where pictures lie and what they are called plays no part.
    """
    whole = hashlib.sha256()
    for name in data.names:
        whole.update(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())
    whole.update(np.ascontiguousarray(data.targets, "<i8").tobytes())
    for content in _contents(data.pictures):
        whole.update(content)
    return whole.hexdigest()


def _contents(pictures: Iterable[Picture]) -> Iterator[bytes]:
    """In order, a few at a time: pictures may be made only when they are asked for."""
    source = iter(pictures)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        while some := list(islice(source, AT_ONCE)):
            yield from pool.map(_content, some)


def _content(picture: Picture) -> bytes:
    """Its digest; that of nothing where its file went away meanwhile."""
    try:
        return content_of(picture)
    except OSError:
        return hashlib.sha256(b"").digest()


def run_facts(*, command: str, seed: int, seconds: float) -> RunFacts:
    """Versions, machine and time of this run."""
    return RunFacts(
        command=command,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seed=seed,
        versions=versions(),
        system=f"{platform.system()} {platform.machine()}",
        processor=processor(),
        cores=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        seconds=round(seconds, 2),
    )


def versions() -> dict[str, str]:
    """Of Python, keshin and the packages whose version may change a number."""
    found = {"keshin": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """What the processor calls itself, or its kind."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def data_facts(opened: Opened, data: Labelled, failures: int, limited: bool) -> DataFacts:
    """Which pictures were looked at; hashes all of them."""
    dataset = opened.dataset
    return DataFacts(
        title=opened.title,
        key=dataset.key if dataset else "",
        source=str(opened.path),
        split=opened.split if dataset else "",
        metric=opened.metric,
        pictures=len(data),
        failed=failures,
        digest=digest(data),
        largest_class=largest_class(data),
        limited=limited,
        licence=dataset.licence if dataset else "",
        notes=" ".join(opened.notes),
    )


def model_facts(model: Model) -> ModelFacts:
    """Which model looks, and how."""
    encoder = model.encoder
    height, width = model.config.preprocess.size
    return ModelFacts(
        model.name, model.origin, encoder.fingerprint, encoder.mode, encoder.decode, (height, width)
    )


def failed(data: Labelled, failures: tuple[Failure, ...]) -> tuple[Failed, ...]:
    """Pictures that could not be read, under the names that the report uses."""
    return tuple(Failed(name_of_row(data, f.index), f.error) for f in failures)


def largest_class(data: Labelled) -> float:
    """Share of the pictures that show the most frequent class."""
    if data.targets.ndim == 2:
        return float((data.targets == 1).mean(axis=0).max()) if len(data) else 0.0
    return float(np.bincount(data.targets).max() / len(data)) if len(data) else 0.0
