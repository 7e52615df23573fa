"""Zero-shot prediction on labelled pictures (paper, section 3.1), with the one classifier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from keshin.classify import Classifier
from keshin.core.pictures import Failure
from keshin.encode.encoder import FloatArray
from keshin.evaluate.features import Progress, extract
from keshin.evaluate.sets.labelled import Labelled


@dataclass(frozen=True, eq=False)
class Answers:
    """What a classifier says of labelled pictures that could be read."""

    data: Labelled
    """Those that could be read."""
    vectors: FloatArray
    """(n, d), unit length."""
    cosines: FloatArray
    """(n, k)."""
    failures: tuple[Failure, ...]

    @property
    def targets(self) -> npt.NDArray[np.int64]:
        """(n,) indices of the right classes, or (n, k)."""
        return self.data.targets

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """(n,) indices of the nearest classes."""
        return np.asarray(self.cosines.argmax(axis=1), np.int64)


def answer(
    classifier: Classifier,
    data: Labelled,
    *,
    cache: bool = True,
    progress: Progress | None = None,
) -> Answers:
    """The cosines of all pictures with all classes; broken pictures are listed, not counted.

    Vectors are kept by content as ``extract`` says, unless ``cache`` is False. Raises ``DataError``
    if no picture can be read.
    """
    found = extract(classifier.encoder, data, cache=cache, progress=progress)
    cosines = np.asarray(found.vectors @ classifier.weights_.T, np.float32)
    return Answers(data.take(found.rows), found.vectors, cosines, found.failures)


def log_shares(cosines: FloatArray, scale: float) -> npt.NDArray[np.float64]:
    """(n, k) cosines -> logarithms of the softmax over the classes, in float64, where no score is
    so small that two become equal. Sigmoid models are read the same way: what is asked here is
    which of the classes it is."""
    logits = scale * cosines.astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))
