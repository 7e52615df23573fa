"""Which languages a model was trained on, for warnings about labels that it cannot read."""

from __future__ import annotations

TRAINED: dict[str, tuple[str, ...]] = {"mini": ("en", "ja")}
"""The embedded models; ISO 639-1."""


def languages_of(model: str) -> tuple[str, ...]:
    """The languages of a model by its name; empty if nothing is known."""
    return TRAINED.get(model, ())


def models_that_read(language: str) -> tuple[str, ...]:
    """Names that ``keshin.load`` takes, of models that were trained on a language."""
    return tuple(name for name, known in TRAINED.items() if language in known)
