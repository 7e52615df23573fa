"""What a model finds among some fixed pairs, again at each validation.

For a few pictures the nearest captions and for a few captions the nearest pictures, as one page
that is written anew each time, with all validations before in it. What it says of earlier ones
lies in ``samples.jsonl``; a run that goes on from a checkpoint forgets what came after that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from keshin.core.pictures import Picture, open_picture, to_rgb
from keshin.core.writing import whole
from keshin.encode.encoder import Encoder
from keshin.errors import DataError, PictureError
from keshin.watch.samples_page import Sample, samples_page

PAGE, HISTORY = "samples.html", "samples.jsonl"
TILE, GAP, BORDER = 72, 4, 3
RIGHT, PAPER = (0, 140, 90), (255, 255, 255)
Show = Callable[[str, npt.NDArray[np.uint8], str, int], None]
"""(name, pixels (h, w, 3), text, step): where else the pictures go."""


class Samples:
    """A viewer of a run: see ``train.loop``.

    Arguments:
        pictures: (n,) those searched; what cannot be read is left out with its caption.
        captions: (n,) theirs.
        folder: of the run.
        shown: the first so many pictures and captions are shown with what they find.
        top: how many are found for each.
        language: of the page.
        show: told the same as one picture, for TensorBoard.

    Raises ``DataError`` if fewer than two pairs can be used.
    """

    def __init__(
        self,
        pictures: Iterable[Picture],
        captions: Iterable[str],
        folder: Path,
        *,
        shown: int = 8,
        top: int = 5,
        language: str = "en",
        show: Show | None = None,
    ) -> None:
        usable = [(p, c) for p, c in zip(pictures, captions, strict=True) if c and _can_be_read(p)]
        if len(usable) < 2:
            raise DataError(
                f"[samples] has {len(usable)} pairs that can be used, and a search needs two or "
                "more. Correct its path or columns in the recipe."
            )
        self.pictures, self.captions = [p for p, _ in usable], [c for _, c in usable]
        self.folder, self.language, self.show = folder, language, show
        self.shown, self.top = min(shown, len(usable)), min(top, len(usable))
        self.key = hashlib.sha256("\n".join(self.captions).encode()).hexdigest()[:16]

    def __call__(self, encoder: Encoder, step: int) -> Iterable[tuple[str, float]]:
        """Search, write the page, and yield how often the right one was found first."""
        near = encoder.encode_images(self.pictures) @ encoder.encode_texts(self.captions).T
        sample = self.search(near, step)
        history = [*self._history(step), sample]
        with whole(self.folder / HISTORY) as scratch:
            lines = b"".join(msgspec.json.encode(each) + b"\n" for each in history)
            scratch.write_bytes(lines)
        with whole(self.folder / PAGE) as scratch:
            page = samples_page(history, self.pictures, self.captions, language=self.language)
            scratch.write_text(page, encoding="utf-8")
        if self.show is not None:
            self.show("samples", self.sheet(sample), self._listed(sample), step)
        yield "samples_image_to_text_first", sample.image_recall
        yield "samples_text_to_image_first", sample.text_recall
        chance = float(self._equal().mean())
        yield "samples_image_to_text_chance", chance
        yield "samples_text_to_image_chance", chance

    def _equal(self) -> npt.NDArray[np.bool_]:
        """(n, n) which pairs have the same caption; neither is then wrong for the other."""
        _, kinds = np.unique(self.captions, return_inverse=True)
        return np.asarray(kinds[:, None] == kinds[None, :])

    def search(self, near: npt.NDArray[np.float32], step: int) -> Sample:
        """What cosines (n, n) of pictures (rows) and captions say."""
        equal = self._equal()
        ranks = []
        for cosines in (near, near.T):
            better = (cosines > cosines.diagonal()[:, None]) & ~equal
            ranks.append(better.sum(axis=1))
        for_pictures, for_captions = (
            np.argsort(-c[: self.shown], axis=1, kind="stable")[:, : self.top]
            for c in (near, near.T)
        )
        return Sample(
            step,
            self.key,
            for_pictures.tolist(),
            for_captions.tolist(),
            [int(rank) + 1 for rank in ranks[0][: self.shown]],
            [int(rank) + 1 for rank in ranks[1][: self.shown]],
            float((ranks[0] == 0).mean()),
            float((ranks[1] == 0).mean()),
        )

    def _history(self, step: int) -> list[Sample]:
        """Earlier searches of the same pairs."""
        try:
            lines = (self.folder / HISTORY).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                sample = msgspec.json.decode(line, type=Sample)
            except msgspec.DecodeError:
                continue
            if sample.step < step and sample.pairs == self.key:
                found.append(sample)
        return found

    def sheet(self, sample: Sample) -> npt.NDArray[np.uint8]:
        """Captions' own pictures, and the pictures found for them in a row; right ones framed."""
        side = TILE + 2 * BORDER + GAP
        sheet = Image.new("RGB", (side * (self.top + 1) + 2 * GAP, side * self.shown), PAPER)
        for row, found in enumerate(sample.for_captions):
            for column, place in enumerate([row, *found]):
                x = column * side + (2 * GAP if column else 0)
                right = column > 0 and self.captions[place] == self.captions[row]
                frame = (TILE + 2 * BORDER,) * 2
                sheet.paste(
                    RIGHT if right else PAPER, (x, row * side, x + frame[0], row * side + frame[1])
                )
                tile = to_rgb(open_picture(self.pictures[place]))
                tile.thumbnail((TILE, TILE))
                left, top = (BORDER + (TILE - s) // 2 for s in tile.size)
                sheet.paste(tile, (x + left, row * side + top))
        return np.asarray(sheet)

    def _listed(self, sample: Sample) -> str:
        """The same in words, as Markdown."""
        rows = [
            f"| {self._cell(row)} | {self._cell(found[0])} | {sample.picture_ranks[row]} "
            f"| {sample.caption_ranks[row]} |"
            for row, found in enumerate(sample.for_pictures)
        ]
        head = (
            "| caption | first caption for its picture | place of its own | place of the picture |"
        )
        return "\n".join([head, "|---|---|---|---|", *rows])

    def _cell(self, place: int) -> str:
        return " ".join(self.captions[place].split()).replace("|", "\\|").replace("<", "&lt;")[:80]


def _can_be_read(picture: Picture) -> bool:
    try:
        open_picture(picture)
    except (PictureError, OSError):
        return False
    return True


def evenly(total: int, count: int) -> Sequence[int]:
    """So many places of ``total``, evenly drawn."""
    count = min(total, count)
    return [place * total // count for place in range(count)]
