"""Zero-shot prediction on labelled pictures (paper, section 3.1), with the one classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.classify import Classifier
from keshin.core.pictures import Failure
from keshin.encode.encoder import FloatArray
from keshin.errors import DataError
from keshin.evaluate.labelled import Labelled


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of labelled pictures that could be read."""

    targets: npt.NDArray[np.int64]
    """(n,) indices of the right classes."""
    cosines: FloatArray
    """(n, k)."""
    failures: tuple[Failure, ...]

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """(n,) indices of the nearest classes."""
        return np.asarray(self.cosines.argmax(axis=1), np.int64)


def answer(classifier: Classifier, data: Labelled) -> Answers:
    """The cosines of all pictures with all classes; broken pictures are listed, not counted.

    Raises ``DataError`` if none can be read.
    """
    rows: list[FloatArray] = []
    kept: list[int] = []
    failures: list[Failure] = []
    for good, vectors, failed in classifier.encoder.try_images(data.pictures):
        kept += good
        rows.append(vectors @ classifier.weights_.T)
        failures += failed
    if not kept:
        why = f" The first: {failures[0].error}" if failures else ""
        raise DataError(f"None of the {len(data.targets)} labelled pictures could be read.{why}")
    return Answers(data.targets[kept], np.concatenate(rows), tuple(failures))
