"""Which languages a model was trained on, for warnings about labels that it cannot read."""

from __future__ import annotations

from keshin.facts import releases

TRAINED: dict[str, tuple[str, ...]] = {"mini": ("en", "ja")}
"""The embedded models; ISO 639-1."""


def reads(model: str, language: str) -> bool | None:
    """Whether a model, by its name, was trained on a language; None if nothing is known."""
    if model in TRAINED:
        return language in TRAINED[model]
    release = releases.find(model)
    return None if release is None else release.reads(language)


def models_that_read(language: str) -> tuple[str, ...]:
    """Names that ``keshin.load`` takes: embedded models, then the smallest of each family."""
    found = [name for name, known in TRAINED.items() if language in known]
    families: dict[str, releases.Release] = {}
    for row in releases.releases().values():
        smallest = families.get(row.family)
        if row.reads(language) and (smallest is None or row.parameters < smallest.parameters):
            families[row.family] = row
    return (*found, *(row.name for row in families.values()))
