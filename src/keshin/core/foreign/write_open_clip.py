"""A model as ``open_clip`` 3 saves and loads it: the inverse of ``open_clip.py``.

Loaded by ``open_clip.create_model_and_transforms("local-dir:FOLDER")``. Every option is written out
that could change an answer, though it has OpenCLIP's usual value.
"""

from __future__ import annotations

from typing import Any

from keshin.core.config import (
    Config,
    ModifiedResNet,
    PooledVisionTransformer,
    ResNet,
    RobertaText,
    TextTransformer,
    VisionTransformer,
)
from keshin.core.foreign.open_clip import CONFIG, WEIGHTS
from keshin.core.foreign.open_clip_keys import TextPart, VisionPart, open_clip_keys
from keshin.core.foreign.open_clip_options import CLEANING, INTERPOLATION, RESIZE, TIMM
from keshin.core.foreign.open_clip_towers import ROBERTA_EPS, TIMM_EPS
from keshin.core.foreign.outward import Outward, refuse
from keshin.core.foreign.write_vocabulary import SETTINGS, is_openai, tokenizer_settings
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError

LAYOUT = "OpenCLIP"
USUAL_EPS = 1e-5
TIMM_SIZES = {  # width, layers, width of the MLP; timm 1.0.31
    "base": (768, 12, 3072),
    "large": (1024, 24, 4096),
    "so400m": (1152, 27, 4304),
    "giantopt": (1536, 40, 6144),
}
"""Of timm's SigLIP towers ``vit_SIZE_patchP_siglip_PIXELS``."""
XLM_R: dict[str, tuple[int, int, int, int, int, int, int]] = {
    "xlm-roberta-base": (768, 12, 12, 3072, 250002, 514, 1),
    "xlm-roberta-large": (1024, 24, 16, 4096, 250002, 514, 1),
}
"""Width, layers, heads, width of the MLP, vocabulary, positions and padding of the text towers that
OpenCLIP makes by the name of their configuration on a hub."""
CLEAN = {cleaning: name for name, cleaning in CLEANING.items()}


def to_open_clip(config: Config, tokenizer: Tokenizer) -> Outward:
    """Raises ``CheckpointError`` for what OpenCLIP does not have."""
    vision, text = config.vision, config.text
    image_options = _vision(config)
    own = [part for part in (vision, text) if isinstance(part, VisionTransformer | TextTransformer)]
    quick = {part.activation == "quick_gelu" for part in own}
    if len(quick) > 1:
        raise _no(
            config,
            "it has one 'quick_gelu' for both towers, and here "
            f"{' and '.join(part.activation for part in own)} stand side by side",
            "transformers, onnx, keshin" if isinstance(vision, VisionTransformer) else "onnx",
        )
    part: TextPart = "own"
    if isinstance(text, RobertaText):
        part, words = "hugging-face", _roberta(config, text, tokenizer)
    else:
        words = _text(config, text, tokenizer)
        if text.projection_bias or words["pool_type"] != "argmax":
            part = "custom"
    model: dict[str, Any] = {
        "embed_dim": config.embed_dim,
        "quick_gelu": quick == {True},
        "vision_cfg": image_options,
        "text_cfg": words,
    }
    if part != "own":
        model["custom_text"] = True
    if config.score.kind == "sigmoid":
        model["init_logit_bias"] = -10.0  # of training; the weights hold the real one
    sheets: dict[str, Any] = {CONFIG: {"model_cfg": model, "preprocess_cfg": _pictures(config)}}
    if "hf_tokenizer_name" in words:
        sheets[SETTINGS] = tokenizer_settings(config, tokenizer, "PreTrainedTokenizerFast")
    image: VisionPart = "timm" if isinstance(vision, PooledVisionTransformer) else "own"
    return Outward(
        table=open_clip_keys(image, part),
        weights=WEIGHTS[0],
        sheets=sheets,
        vocabulary=SETTINGS in sheets,
        notes=(
            "OpenCLIP ignores the EXIF rotation of photographs, which keshin applies.",
            *(
                ("The tokenizer lies in this folder and needs the package transformers.",)
                if SETTINGS in sheets
                else ()
            ),
            *(
                ("OpenCLIP fetches the text tower's configuration from a hub when it loads this.",)
                if part == "hugging-face"
                else ()
            ),
        ),
    )


def _no(config: Config, reason: str, others: str) -> CheckpointError:
    return refuse(config, LAYOUT, reason, others)


def _vision(config: Config) -> dict[str, Any]:
    vision = config.vision
    if isinstance(vision, ResNet):
        raise _no(config, "it has no residual network of basic blocks on patches", "onnx, keshin")
    height, width = vision.image_size
    size = height if height == width else [height, width]
    if isinstance(vision, PooledVisionTransformer):
        name = _timm_name(config, vision)
        return {
            "image_size": size,
            "timm_model_name": name,
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
        }
    if isinstance(vision, ModifiedResNet):
        if height != width:
            raise _no(config, "its ResNets take square pictures only", "onnx, keshin")
        return {
            "image_size": size,
            "layers": list(vision.layers),
            "width": vision.width,
            "head_width": vision.width * 32 // vision.heads,
            "patch_size": None,
        }
    return {
        "image_size": size,
        "patch_size": vision.patch_size,
        "width": vision.width,
        "layers": vision.layers,
        "head_width": vision.width // vision.heads,
        **_blocks(vision),
    }


def _timm_name(config: Config, vision: PooledVisionTransformer) -> str:
    """The tower of timm that is this one: OpenCLIP can ask for those only that have a name."""
    shape = (vision.width, vision.layers, vision.mlp_width)
    for name, (heads, activation) in TIMM.items():
        _, size, patch, _, pixels = name.split("_")
        same = (
            TIMM_SIZES[size] == shape
            and int(patch.removeprefix("patch")) == vision.patch_size
            and vision.image_size == (int(pixels), int(pixels))
            and (heads, activation, TIMM_EPS)
            == (vision.heads, vision.activation, vision.layer_norm_eps)
        )
        if same:
            return name
    raise _no(
        config,
        "it takes image towers with attention pooling from timm by name, and none there has "
        f"{vision.layers} layers of width {vision.width}, patches of {vision.patch_size}, "
        f"{vision.image_size[0]} x {vision.image_size[1]} pixels and {vision.activation}",
        "transformers, onnx, keshin",
    )


def _text(config: Config, text: TextTransformer, tokenizer: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "context_length": text.context_length,
        "vocab_size": text.vocab_size,
        "width": text.width,
        "heads": text.heads,
        "layers": text.layers,
        **_blocks(text),
        "no_causal_mask": not text.causal,
        "pool_type": "argmax",
    }
    end = tokenizer.facts.end
    if text.pool != "end-of-text":
        found["pool_type"] = text.pool
    elif end != tokenizer.vocab_size - 1:
        found |= {"pool_type": "eos", "eos_id": end}
    if text.projection_bias:
        found["proj_bias"] = True
    if not is_openai(tokenizer):
        cleaning = tokenizer.facts.cleaning
        if cleaning not in CLEAN:
            raise _no(config, f"it has no text cleaning like '{cleaning}'", "onnx, keshin")
        found["hf_tokenizer_name"] = config.name
        found["tokenizer_kwargs"] = {"clean": CLEAN[cleaning]}
    return found


def _roberta(config: Config, text: RobertaText, tokenizer: Tokenizer) -> dict[str, Any]:
    shape = (
        text.width,
        text.layers,
        text.heads,
        text.mlp_width,
        text.vocab_size,
        text.positions,
        text.pad,
    )
    name = next((name for name, known in XLM_R.items() if known == shape), None)
    inner = (text.width + config.embed_dim) // 2  # as its HFTextEncoder has it
    same = (text.activation, text.layer_norm_eps, text.projection_width)
    if name is None or same != ("gelu", ROBERTA_EPS, inner):
        raise _no(
            config,
            f"of text towers like this one it has {' and '.join(XLM_R)} as they were published, "
            f"with a projection over {inner} numbers, and this is another",
            "onnx, keshin",
        )
    if tokenizer.facts.cleaning not in ("mend", "canonical"):
        cleaning = tokenizer.facts.cleaning
        raise _no(config, f"it has no text cleaning like '{cleaning}' there", "onnx, keshin")
    return {
        "context_length": text.context_length,
        "hf_model_name": name,
        "hf_model_pretrained": False,
        "hf_pooler_type": "mean_pooler",
        "hf_proj_type": "mlp",
        "hf_tokenizer_name": name,
        "tokenizer_kwargs": {"clean": CLEAN[tokenizer.facts.cleaning]},
    }


def _blocks(part: VisionTransformer | TextTransformer) -> dict[str, Any]:
    ratio = part.mlp_width / part.width
    if int(part.width * ratio) != part.mlp_width:  # rounded down by a hair
        ratio = (part.mlp_width + 0.5) / part.width
    found: dict[str, Any] = {"mlp_ratio": ratio}
    if part.layer_norm_eps != USUAL_EPS:
        found["norm_kwargs"] = {"eps": part.layer_norm_eps}
    if part.activation == "gelu_tanh":
        found["act_kwargs"] = {"approximate": "tanh"}
    return found


def _pictures(config: Config) -> dict[str, Any]:
    facts = config.preprocess
    height, width = facts.size
    if facts.interpolation not in INTERPOLATION:
        raise _no(config, f"it does not resize by '{facts.interpolation}'", "transformers, onnx")
    if facts.resize == "shorter-side" and height != width:
        raise _no(
            config, "it cuts pictures that are not square by a rule of its own", "onnx, keshin"
        )
    return {
        "size": height if height == width else [height, width],
        "mode": "RGB",
        "mean": list(facts.mean),
        "std": list(facts.std),
        "interpolation": facts.interpolation,
        "resize_mode": {ours: theirs for theirs, ours in RESIZE.items()}[facts.resize],
    }
