"""A teacher's soft labels, as captions of its concepts.

A concept is a set of the teacher's classes ("dog": 118 of them) with captions. In each step some
concepts are drawn, their captions encoded, and the pictures compared with all of them; the target
is the teacher's probability of each. So what the teacher half sees in a picture (a bird in the sky
is a little like an airliner) teaches words that no picture of the data carries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from keshin.errors import DataError, require
from keshin.train.data import draw_caption, fill_template
from keshin.train.pairs import Pair
from keshin.train.recipe import DistillPart


class Concepts:
    """The concepts of a recipe's ``[distill]`` part."""

    def __init__(self, recipe: DistillPart) -> None:
        parquet = require("pyarrow.parquet", extra="train")
        path = Path(recipe.concepts)
        try:
            rows = parquet.read_table(path).to_pylist()
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read the concepts {path}: {error}.") from error
        self.recipe = recipe
        self.pairs = [Pair(b"", tuple(r["captions"]), tuple(r["caption_weights"])) for r in rows]
        classes = 1 + max(max(row["members"]) for row in rows)
        self.classes = classes
        """Of the teacher."""
        self.members = torch.zeros(classes, len(rows))
        for column, row in enumerate(rows):
            self.members[row["members"], column] = 1.0

    def log_probabilities(self, logits: Tensor) -> Tensor:
        """(B, classes) teacher's logits -> (B, concepts) log-probabilities."""
        if logits.shape[1] != len(self.members):
            raise DataError(
                f"The teacher has {logits.shape[1]} classes, {self.recipe.concepts} knows "
                f"{len(self.members)}: they belong to different teachers."
            )
        return torch.log(torch.softmax(logits.float(), dim=1) @ self.members + self.recipe.floor)

    def draw(self, seen: Tensor, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Columns of the drawn concepts and a caption for each.

        ``seen`` (concepts,) is how likely the teacher takes each to be in this batch. Half are
        drawn by it, half evenly; without repeats.
        """
        likely = seen.numpy().astype(np.float64)
        share = 0.5 * likely / likely.sum() + 0.5 / len(self.pairs)
        count = min(self.recipe.draw, len(self.pairs))
        columns = rng.choice(len(self.pairs), count, replace=False, p=share / share.sum())
        captions = [
            fill_template(draw_caption(self.pairs[c], rng), self.recipe, rng) for c in columns
        ]
        return torch.from_numpy(columns), captions
