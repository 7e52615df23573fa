"""CLIP from labels to answers: pictures and texts as vectors, zero-shot classifiers, training.

>>> import keshin
>>> model = keshin.load("mini")                          # doctest: +SKIP
>>> model.classifier(["cat", "dog"]).predict(["x.jpg"])  # doctest: +SKIP
array(['cat'], dtype='<U3')

Nothing heavy is imported before it is used: names are looked up on first access (PEP 562).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keshin.api import Index, Model, load, load_classifier
    from keshin.classify import Answer, Classifier, LabelWarning, Rejection, Result
    from keshin.core.pictures import Failure
    from keshin.encode.encoder import Encoder
    from keshin.errors import (
        CheckpointError,
        DataError,
        DownloadError,
        IndexBusy,
        KeshinError,
        LabelError,
        MissingExtra,
        PictureError,
        RecipeError,
        SearchError,
        TokenizerError,
        TrainingError,
    )
    from keshin.evaluate.evaluation import evaluate
    from keshin.evaluate.weaknesses import weaknesses
    from keshin.exporting import export
    from keshin.finetune.running import finetune

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "CheckpointError",
    "Classifier",
    "DataError",
    "DownloadError",
    "Encoder",
    "Failure",
    "Index",
    "IndexBusy",
    "KeshinError",
    "LabelError",
    "LabelWarning",
    "MissingExtra",
    "Model",
    "PictureError",
    "RecipeError",
    "Rejection",
    "Result",
    "SearchError",
    "TokenizerError",
    "TrainingError",
    "__version__",
    "evaluate",
    "export",
    "finetune",
    "load",
    "load_classifier",
    "weaknesses",
]

_HOMES = {
    "Answer": "classify",
    "CheckpointError": "errors",
    "Classifier": "classify",
    "DataError": "errors",
    "DownloadError": "errors",
    "Encoder": "encode.encoder",
    "Failure": "core.pictures",
    "Index": "api",
    "IndexBusy": "errors",
    "KeshinError": "errors",
    "LabelError": "errors",
    "LabelWarning": "classify",
    "MissingExtra": "errors",
    "Model": "api",
    "PictureError": "errors",
    "RecipeError": "errors",
    "Rejection": "classify",
    "Result": "classify",
    "SearchError": "errors",
    "TokenizerError": "errors",
    "TrainingError": "errors",
    "evaluate": "evaluate",
    "export": "exporting",
    "finetune": "finetune",
    "load": "api",
    "load_classifier": "api",
    "weaknesses": "evaluate.weaknesses",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'keshin' has no attribute '{name}'")
    module = importlib.import_module(f"keshin.{home}")
    # ``keshin.evaluate`` is a package that can be called: it is both, however it is reached.
    value: object = module if home == name else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
