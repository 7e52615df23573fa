"""What a run logs, for TensorBoard: PyTorch's own writer, fed with the same records.

A run that goes on tells TensorBoard from which step, and it drops what it knew beyond
(``purge_step``); so no point is there twice.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keshin.errors import require
from keshin.train.log import Record

FOLDER = "tensorboard"
GROUPS = {
    "loss": "loss", "distill": "loss", "head": "loss", "chance_loss": "loss",
    "gradient_norm": "gradient", "gradient_norm_image": "gradient",
    "gradient_norm_text": "gradient", "pairs_per_second": "speed", "data_wait": "speed",
}  # fmt: skip
UNTOLD = {"step", "seconds_left", "steps"}


class Board:
    """Takes the records of a run as they are reported, and pictures.

    ``output`` is the folder of the run; events go to ``output/tensorboard``. Raises
    ``MissingExtra``.
    """

    def __init__(self, output: Path) -> None:
        require("tensorboard", extra="tensorboard")
        self.folder = output / FOLDER
        self._writer: Any = None

    def __call__(self, record: Record) -> None:
        """Write the numbers of a record."""
        step, event = int(record["step"] or 0), record.get("event")
        if event in ("start", "resume"):
            self._open(step, fresh=event == "start")
            return
        for key, value in record.items():
            if isinstance(value, str) or value is None or key in UNTOLD or not math.isfinite(value):
                continue
            self._writer.add_scalar(f"{_group(key, event)}/{key}", value, step)
        if event in ("left out", "put back"):
            said = ", ".join(f"{k} {v}" for k, v in record.items() if k not in ("event", "step"))
            self._writer.add_text(f"trouble/{event}", said, step)
        if event is not None:
            self._writer.flush()

    def picture(self, name: str, pixels: npt.NDArray[np.uint8], said: str, step: int) -> None:
        """Show a picture (h, w, 3) with a text (Markdown) beside it."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")
        self._writer.add_text(name, said, step)

    def close(self) -> None:
        """Write what is held back."""
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int, *, fresh: bool) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A new run may follow another one in the same folder (--restart): nothing of that counts.
        purge = 0 if fresh and self.folder.exists() else None if fresh else step + 1
        self._writer = SummaryWriter(str(self.folder), purge_step=purge, flush_secs=30)


def _group(key: str, event: object) -> str:
    return "validation" if event == "validation" else GROUPS.get(key, "trouble" if event else "run")
