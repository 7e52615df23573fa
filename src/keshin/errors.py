"""Every exception that keshin raises on purpose.

    KeshinError                  base class; ``except keshin.KeshinError`` catches them all
    ├── CheckpointError          a checkpoint is missing, damaged, incomplete or contradicts itself
    ├── DownloadError            a model that cannot be fetched, or must not be
    ├── TokenizerError           a text or a vocabulary that cannot be tokenised
    ├── PictureError             a picture that cannot be read or should not be decoded
    ├── LabelError               labels, templates or a saved classifier that make no sense
    ├── RecipeError              a training recipe that is wrong
    ├── DataError                training or evaluation data that cannot be used
    ├── TrainingError            training that cannot go on (for example a loss that is not finite)
    ├── SearchError              an index or a query that cannot be used
    │   └── IndexBusy            another process is updating the index
    └── MissingExtra             an optional dependency is not installed

Messages are sentences: what is wrong, with which file or value, what to do.
"""

from __future__ import annotations

import importlib
from typing import Any


class KeshinError(Exception):
    """Base class of all errors that keshin raises on purpose."""


class CheckpointError(KeshinError):
    """A checkpoint is missing, damaged, incomplete or contradicts itself."""


class DownloadError(KeshinError):
    """A model that cannot be fetched, or must not be."""


class TokenizerError(KeshinError):
    """A text or a vocabulary that cannot be tokenised."""


class PictureError(KeshinError):
    """A picture that cannot be read or should not be decoded."""


class LabelError(KeshinError):
    """Labels, templates or a saved classifier that make no sense."""


class RecipeError(KeshinError):
    """A training recipe that is wrong."""


class DataError(KeshinError):
    """Training or evaluation data that cannot be used."""


class TrainingError(KeshinError):
    """Training that cannot go on."""


class SearchError(KeshinError):
    """An index or a query that cannot be used."""


class IndexBusy(SearchError):
    """Another process is updating the index."""


class MissingExtra(KeshinError, ImportError):
    """An optional dependency is not installed."""


def require(module: str, *, extra: str) -> Any:
    """Import ``module``, or raise ``MissingExtra`` with the line that installs it.

    Only a module that is not there is reported so; one that is there and fails to import says why
    itself.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingExtra(
            f"This needs the package '{module}', which is not installed. "
            f"Install it with: pip install 'keshin[{extra}]'"
        ) from error
