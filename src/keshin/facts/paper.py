"""Values that the paper prints (``paper.toml``), to stand beside what is measured. In per cent."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from keshin.errors import DataError

TABLE = Path(__file__).with_name("paper.toml")


def zero_shot(model: str) -> dict[str, float]:
    """Key of a set -> score of a model (``RN50`` to ``ViT-L/14@336px``), Table 11."""
    return _row("zero_shot", model)


def zero_shot_models() -> tuple[str, ...]:
    """The nine models of Table 11."""
    return tuple(_table()["zero_shot"])


def linear_probe(model: str) -> dict[str, float]:
    """Key of a set -> score of a linear probe on a model's features, Table 10."""
    return _row("linear_probe", model)


def probed_models() -> tuple[str, ...]:
    """The models of Table 10 that are kept here."""
    return tuple(_table()["linear_probe"])


def figure5() -> dict[str, float]:
    """Key of a set -> zero-shot CLIP minus the linear probe on ResNet-50, as Figure 5 prints it."""
    return dict(zip(_table()["keys"], _table()["figure5"], strict=True))


def disagreements() -> Mapping[str, str]:
    """Key of a set -> a sentence, where Figure 5 and the tables differ by more than rounding."""
    found: dict[str, str] = _table()["disagreements"]
    return found


def training() -> list[dict[str, Any]]:
    """The runs of which the paper says what they took (section 2.5), with their towers."""
    found: list[dict[str, Any]] = _table()["training"]
    return found


def _row(table: str, model: str) -> dict[str, float]:
    rows: dict[str, list[float]] = _table()[table]
    if model not in rows:
        raise DataError(
            f"The paper's values have no model '{model}'. They have: {', '.join(rows)}."
        )
    return dict(zip(_table()["keys"], rows[model], strict=True))


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))
