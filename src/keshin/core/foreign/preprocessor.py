"""transformers' ``preprocessor_config.json``: how the pictures of a folder's model are prepared.

A file leaves no number out; the steps that it does not name are done, as its classes do.
"""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from keshin.core.config import Positive
from keshin.core.foreign.known import Colours, Known
from keshin.core.foreign.weights import first_of, read_json, structured
from keshin.errors import CheckpointError

FILES = ("preprocessor_config.json", "processor_config.json")
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


class PictureOptions(msgspec.Struct):
    """What is read of the file."""

    do_resize: bool = True
    do_rescale: bool = True
    do_normalize: bool = True
    do_center_crop: bool | None = None
    rescale_factor: float = 1 / 255
    image_mean: Colours | None = None
    image_std: Colours | None = None
    resample: int | None = None
    size: Positive | dict[str, Positive] | None = None
    crop_size: Positive | dict[str, Positive] | None = None


def read_preprocessor(path: Path, image_size: list[int], known: Known) -> None:
    """Say what the folder states of its pictures; nothing if it has no such file.

    ``image_size`` is what the tower sees, (height, width).
    """
    found = first_of(path, FILES)
    if found is None:
        return
    part = read_json(found)
    options = structured(part.get("image_processor") or part, PictureOptions, str(found))
    steps = options.do_resize and options.do_rescale and options.do_normalize
    if not steps or not math.isclose(options.rescale_factor, 1 / 255):
        raise CheckpointError(
            f"{found}: do_resize is {options.do_resize}, do_rescale {options.do_rescale} by "
            f"{options.rescale_factor}, do_normalize {options.do_normalize}. keshin resizes, "
            "divides by 255 and normalises; anything else is not supported yet."
        )
    if options.image_mean is not None:
        known.say("mean", options.image_mean, str(found))
    if options.image_std is not None:
        known.say("std", options.image_std, str(found))
    if options.resample is not None:
        name = RESAMPLE.get(options.resample, f"Pillow's filter {options.resample}")
        known.say("interpolation", name, str(found))
    if options.size is not None:
        known.say("resize", _resize(options, image_size, str(found)), str(found))


def _resize(options: PictureOptions, image_size: list[int], origin: str) -> str:
    """Which of keshin's two rules the sizes describe."""
    size, crop = options.size, options.crop_size
    scale = {"shortest_edge": size} if isinstance(size, int) else size or {}  # a number: old files
    window = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    squash = "shortest_edge" not in scale
    cropped = options.do_center_crop
    if cropped is None:
        cropped = window is not None and not squash
    target = scale if squash else dict.fromkeys(("height", "width"), scale["shortest_edge"])
    if target.keys() != {"height", "width"} or (window != target if cropped else not squash):
        raise CheckpointError(
            f"{origin}: size {size!r} with crop_size {crop!r} and do_center_crop {cropped} is a "
            "rule that keshin does not have: it scales the shorter side to the crop and cuts out "
            "the centre, or scales both sides."
        )
    if [target["height"], target["width"]] != image_size:
        raise CheckpointError(
            f"{origin} prepares pictures of {target}, but the image tower sees {image_size}. "
            "Correct the one that is wrong."
        )
    return "squash" if squash else "shorter-side"
