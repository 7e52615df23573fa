"""The middle frame of a video, which stands for it (paper, appendix A.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keshin.core.pictures import Picture
from keshin.errors import PictureError, require
from keshin.evaluate.sets.lazy import Lazy


def frames(files: Sequence[Path]) -> Lazy:
    """The middle frames of videos, each decoded when it is asked for.

    Raises ``MissingExtra`` at once if PyAV is not there. A video that cannot be read is its path,
    so that whoever reads it names it.
    """
    require("av", extra="video")

    def get(row: int) -> Picture:
        try:
            return middle_frame(files[row])
        except PictureError:
            return files[row]

    return Lazy(get, len(files))


def middle_frame(path: Path) -> Picture:
    """The frame n // 2 of n (from 0), as an array (h, w, 3). Raises ``PictureError``.

    Where the file does not say how many frames it has, they are counted first.
    """
    av: Any = require("av", extra="video")
    try:
        with av.open(str(path)) as video:
            count = video.streams.video[0].frames
        if not count:
            with av.open(str(path)) as video:
                count = sum(1 for _ in video.decode(video=0))
        last = None
        with av.open(str(path)) as video:
            for place, frame in enumerate(video.decode(video=0)):
                last = frame
                if place == count // 2:
                    break
        if last is None:
            raise PictureError(f"Cannot read {path}: it is a video without frames.")
        picture: Picture = last.to_ndarray(format="rgb24")  # the last one, where the count is wrong
        return picture
    except (OSError, ValueError, IndexError, av.FFmpegError) as error:
        raise PictureError(f"Cannot read {path} as a video: {error}.") from error
