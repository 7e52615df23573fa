"""OpenCLIP's layout: ``open_clip_config.json`` and its weights, as ``open_clip`` 3 saves them.

Absent options have the value that OpenCLIP gives them, since its files leave out what is usual.
Every option must be known: one that would change an answer and is not supported is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from keshin.core.foreign.assembly import ForeignModel, Layout, assemble
from keshin.core.foreign.known import Known
from keshin.core.foreign.open_clip_keys import TextPart, VisionPart, open_clip_keys
from keshin.core.foreign.open_clip_options import (
    CLEANING,
    INTERPOLATION,
    RESIZE,
    ModelOptions,
    PictureOptions,
    TextOptions,
    VisionOptions,
    check_options,
)
from keshin.core.foreign.open_clip_towers import (
    check_towers,
    text_facts,
    vision_facts,
    without_projection,
)
from keshin.core.foreign.positions import fit_positions
from keshin.core.foreign.vocabulary import VOCABULARIES, read_vocabulary
from keshin.core.foreign.weights import (
    find_weights,
    first_of,
    read_json,
    read_weights,
    sides,
    structured,
)
from keshin.core.tokenizer import SUFFIX, Tokenizer
from keshin.errors import CheckpointError

CONFIG = "open_clip_config.json"
WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_model.safetensors.index.json",
    "open_clip_pytorch_model.bin",
)
WORD_END = "end_of_word_suffix"
OpenCLIP = TypeVar("OpenCLIP", bound=msgspec.Struct)


def read_open_clip(path: Path, facts: Mapping[str, Any] | None = None) -> ForeignModel:
    """Read a folder with ``open_clip_config.json``."""
    origin = str(path / CONFIG)
    sheet = read_json(path / CONFIG)
    known = Known(path, facts)
    model = _options(sheet.get("model_cfg"), ModelOptions, f"{origin}: model_cfg")
    vision_options = _options(model.vision_cfg, VisionOptions, f"{origin}: vision_cfg")
    text_options = _options(model.text_cfg, TextOptions, f"{origin}: text_cfg")
    check_towers(vision_options, text_options, origin)
    weights = find_weights(path, WEIGHTS)
    stored = read_weights(weights)
    for name in ("logit_scale", "logit_bias"):  # 'nonscalar_logit_scale' gives them an axis
        if name in stored and stored[name].size == 1:
            stored[name] = stored[name].reshape(())
    image: VisionPart = "own" if vision_options.timm_model_name is None else "timm"
    words: TextPart = "custom" if any(name.startswith("text.") for name in stored) else "own"
    if text_options.hf_model_name is not None:
        words = "hugging-face"
    table = open_clip_keys(image, words)
    tensors = table.import_tensors(stored, origin=str(weights))
    tensors |= without_projection(text_options, tensors, model.embed_dim, f"{origin}: text_cfg")
    tokenizer = _tokenizer(path, text_options, known, f"{origin}: text_cfg")
    quick = model.quick_gelu
    vision = vision_facts(vision_options, tensors, quick, known, f"{origin}: vision_cfg")
    text = text_facts(text_options, tensors, tokenizer, quick, known, f"{origin}: text_cfg")
    _picture(
        sheet.get("preprocess_cfg", {}), vision["image_size"], known, f"{origin}: preprocess_cfg"
    )
    positions = tensors.get("visual.positional_embedding")
    if vision["kind"] == "vit" and vision["patch_size"] and positions is not None:
        rows, columns = (side // vision["patch_size"] for side in vision["image_size"])
        fitted = fit_positions(positions, (rows, columns), origin=str(weights))
        tensors["visual.positional_embedding"] = fitted
    towers = {"embed_dim": model.embed_dim, "vision": vision, "text": text}
    score = "softmax" if model.init_logit_bias is None else "sigmoid"
    return assemble(known, table, tensors, tokenizer, towers, score)


def _tokenizer(path: Path, options: TextOptions, known: Known, origin: str) -> Tokenizer:
    """OpenAI's, unless the options name another, which the folder must then hold."""
    details = dict(options.tokenizer_kwargs or {})
    name = options.hf_tokenizer_name
    clean = details.pop("clean", "whitespace") if name is not None else None
    if details or (name is not None and clean not in CLEANING):
        raise CheckpointError(
            f"{origin} sets 'tokenizer_kwargs' to {options.tokenizer_kwargs!r}; keshin supports "
            f"'clean' with {', '.join(CLEANING)}, for tokenizers of transformers."
        )
    if name is None:
        known.say("tokenizer", "clip", origin)
        return Tokenizer.clip(options.context_length)
    if first_of(path, VOCABULARIES) is None:
        raise CheckpointError(
            f"{origin} sets 'hf_tokenizer_name' to '{name}', but {path} holds no tokenizer. Put "
            "that tokenizer's tokenizer.json and tokenizer_config.json there."
        )
    cleaning = known.say("cleaning", CLEANING[str(clean)], origin)
    file = first_of(path, ("tokenizer.json",))
    model = read_json(file).get("model") if cleaning == "clip" and file is not None else None
    if cleaning == "clip" and not (isinstance(model, dict) and model.get(WORD_END) == SUFFIX):
        raise CheckpointError(
            f"{origin} sets 'clean' to 'lower', but {path} holds no tokenizer.json of OpenAI's "
            f"kind (byte pairs that end words with '{SUFFIX}'). keshin has this cleaning for those "
            "only."
        )
    return read_vocabulary(path, cleaning, options.context_length)


def _options(part: Any, kind: type[OpenCLIP], origin: str) -> OpenCLIP:
    options = structured(part, kind, origin)
    check_options(part, kind, origin)
    return options


def _picture(part: Any, image_size: list[int], known: Known, origin: str) -> None:
    options = _options(part, PictureOptions, origin)
    for fact, colours in (("mean", options.mean), ("std", options.std)):
        if colours is not None:
            known.say(fact, [colours] * 3 if isinstance(colours, float) else colours, origin)
    resize, interpolation = options.resize_mode or "shortest", options.interpolation or "bicubic"
    for name, value, choices in (
        ("resize_mode", resize, RESIZE),
        ("interpolation", interpolation, INTERPOLATION),
    ):
        if value not in choices:
            raise CheckpointError(
                f"{origin} sets '{name}' to {value!r}, which keshin does not support yet: it has "
                f"{', '.join(choices)}."
            )
    known.say("resize", RESIZE[resize], origin)
    known.say("interpolation", INTERPOLATION[interpolation], origin)
    if options.size is not None and sides(options.size) != image_size:
        raise CheckpointError(
            f"{origin} sets 'size' to {sides(options.size)}, but vision_cfg's image_size is "
            f"{image_size}. Correct the one that is wrong."
        )
    if options.mode != "RGB":
        raise CheckpointError(f"{origin} sets 'mode' to {options.mode!r}; keshin has 'RGB' only.")
    if resize == "shortest" and image_size[0] != image_size[1]:
        raise CheckpointError(
            f"{origin}: OpenCLIP resizes to an 'image_size' of {image_size} by a rule of its own, "
            "which keshin does not support yet. Square pictures and 'squash' are."
        )


OPEN_CLIP = Layout(
    "OpenCLIP", f"a folder with {CONFIG}", lambda path: (path / CONFIG).is_file(), read_open_clip
)
