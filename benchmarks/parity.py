"""The same random weights in open_clip, transformers and keshin: how far apart are the features?

Each peer writes its own files, keshin's readers read them, and each engine sees the same pixels and
token ids. The peers' own initialisation is kept; what it sets to zero or one (biases, gains, batch
statistics) is randomised, so that a wrong place or a missing term shows.

    python benchmarks/parity.py            # all models; writes benchmarks/results/parity.json
    python benchmarks/parity.py ViT-B/32
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no peer may fetch anything
import numpy as np

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "parity.json"
LIMIT = 1e-5
MODELS = {  # paper's name -> OpenCLIP's
    "RN50": "RN50-quickgelu",
    "ViT-B/32": "ViT-B-32-quickgelu",
    "ViT-B/16": "ViT-B-16-quickgelu",
    "ViT-B/32 (gelu)": "ViT-B-32",
    "ViT-L/14": "ViT-L-14-quickgelu",
    "RN101": "RN101-quickgelu",
    "RN50x4": "RN50x4-quickgelu",
    "RN50x16": "RN50x16-quickgelu",
    "RN50x64": "RN50x64-quickgelu",
    "ViT-L/14@336": "ViT-L-14-336-quickgelu",
    "ViT-H/14": "ViT-H-14",
    "ViT-g/14": "ViT-g-14",
}
TEXTS = (
    "a",
    "a photo of a cat.",
    "A photo of a very small — hand-drawn — diagram, 1234 & more!",
    "化身と武士の絵巻",
    "a photo of a dog " * 9,
    "one word after another " * 60,  # longer than the context: cut
)
PICTURES = 4


@dataclass(frozen=True)
class Distance:
    """How far one engine's features are from a peer's."""

    model: str
    files: str
    """Whose files keshin read."""
    engine: str
    tower: str
    unit: float
    """Largest absolute difference of unit vectors."""
    raw: float
    """Largest absolute difference of raw features, over the largest absolute feature."""


Features = dict[str, Any]  # "image" and "text" -> (n, d) arrays


def randomise(model: Any, seed: int) -> None:
    """Move what initialisation leaves at zero or one; the model stays well behaved."""
    import torch

    norms = (torch.nn.LayerNorm, torch.nn.BatchNorm2d)

    dice = torch.Generator().manual_seed(seed)

    def noise(like: Any, scale: float) -> Any:
        return scale * torch.randn(like.shape, generator=dice)

    module: Any
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, norms):
                module.weight.copy_(1 + noise(module.weight, 0.2))
                module.bias.copy_(noise(module.bias, 0.2))
            if getattr(module, "running_var", None) is not None:
                module.running_mean.copy_(noise(module.running_mean, 0.2))
                module.running_var.copy_(
                    1 + 0.5 * torch.rand(module.running_var.shape, generator=dice)
                )
        for name, parameter in model.named_parameters():
            if name.endswith("bias") and not parameter.any():
                parameter.copy_(noise(parameter, 0.1))


def open_clip_model(name: str, folder: Path, seed: int) -> Any:
    """A random OpenCLIP model, written to ``folder`` by OpenCLIP's own writer."""
    import open_clip
    import torch

    torch.manual_seed(seed)
    logging.getLogger().setLevel(logging.ERROR)
    model = open_clip.create_model(MODELS[name], pretrained=None).eval()
    randomise(model, seed)

    class NoTokenizer:
        def save_pretrained(self, directory: Path) -> None:
            """OpenCLIP's own tokenizer is part of OpenCLIP: it has no file."""

    importlib.import_module("open_clip.push_to_hf_hub").save_for_hf(
        model, NoTokenizer(), open_clip.get_model_config(MODELS[name]), folder, True
    )
    return model


def open_clip_features(model: Any, pixels: Any, ids: Any) -> Features:
    import torch

    with torch.no_grad():
        return {
            "image": model.encode_image(torch.from_numpy(pixels)).numpy(),
            "text": model.encode_text(torch.from_numpy(ids)).numpy(),
        }


def transformers_model(ours: Any, folder: Path) -> Any:
    """The weights of ``ours`` in a transformers model, written to ``folder`` by transformers."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

    from keshin.core.foreign.transformers import TRANSFORMERS_KEYS

    def tower(facts: Any) -> dict[str, Any]:
        return {
            "hidden_size": facts.width,
            "intermediate_size": facts.mlp_width,
            "num_hidden_layers": facts.layers,
            "num_attention_heads": facts.heads,
            "hidden_act": facts.activation,
            "layer_norm_eps": facts.layer_norm_eps,
        }

    vision, text = ours.config.vision, ours.config.text
    side = vision.image_size[0]
    config = CLIPConfig(
        text_config={**tower(text), "max_position_embeddings": text.context_length},
        vision_config={**tower(vision), "image_size": side, "patch_size": vision.patch_size},
        projection_dim=ours.config.embed_dim,
    )
    model = CLIPModel(config).eval()
    exported = TRANSFORMERS_KEYS.export_tensors(ours.tensors)
    state = {name: torch.from_numpy(np.array(array)) for name, array in exported.items()}
    model.load_state_dict(state, strict=True)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side).save_pretrained(folder)
    backend = json.loads(ours.tokenizer.backend.to_str())["model"]
    CLIPTokenizer(
        vocab=backend["vocab"], merges=[tuple(m) for m in backend["merges"]]
    ).save_pretrained(folder)
    return model


def transformers_features(model: Any, pixels: Any, ids: Any) -> Features:
    import torch

    def array(output: Any) -> Any:
        return getattr(output, "pooler_output", output).numpy()

    with torch.no_grad():
        return {
            "image": array(model.get_image_features(pixel_values=torch.from_numpy(pixels))),
            "text": array(model.get_text_features(input_ids=torch.from_numpy(ids))),
        }


def keshin_features(folder: Path, scratch: Path, pixels: Any, tokens: Any) -> dict[str, Features]:
    """The features of every engine of keshin, and text at the batch's own and at full length."""
    from keshin.core.checkpoint import load_checkpoint
    from keshin.core.foreign import convert
    from keshin.encode.torch_towers import TorchTowers, load_model

    checkpoint = load_checkpoint(convert(folder, scratch))
    engines: dict[str, Any] = {"PyTorch": lambda: TorchTowers(load_model(checkpoint))}
    try:
        from keshin.encode.runtime import OnnxTowers

        engines["ONNX Runtime"] = lambda: OnnxTowers(checkpoint)
    except ImportError as error:
        print(f"no ONNX towers: {error}", file=sys.stderr)
    found: dict[str, Features] = {}
    full = tokens.pad_to(checkpoint.config.text.context_length)
    short = [i for i, length in enumerate(tokens.lengths) if length < 20]
    width = int(tokens.lengths[short].max())
    for name, make in engines.items():
        towers = make()
        trimmed = towers.text_features(
            np.ascontiguousarray(tokens.ids[short, :width]), tokens.ends[short]
        )
        found[name] = {
            "image": towers.image_features(pixels),
            "text": towers.text_features(full, tokens.ends),
            "text, trimmed": (short, trimmed),
        }
        del towers
        gc.collect()
    return found


def compare(model: str, files: str, theirs: Features, ours: dict[str, Features]) -> list[Distance]:
    rows = []
    for engine, features in ours.items():
        for tower, value in features.items():
            places, mine = value if isinstance(value, tuple) else (slice(None), value)
            reference = theirs[tower.split(",")[0]][places]
            raw = np.abs(mine - reference).max() / np.abs(reference).max()
            unit = np.abs(_unit(mine) - _unit(reference)).max()
            rows.append(Distance(model, files, engine, tower, float(unit), float(raw)))
    return rows


def _unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def measure(name: str, seed: int = 2021) -> list[Distance]:
    """All distances of one model. Raises if token ids differ or a reader refuses a peer's files."""
    from open_clip.tokenizer import SimpleTokenizer

    from keshin.core.foreign import read_foreign

    work = Path(tempfile.mkdtemp(prefix="keshin-parity-"))
    try:
        peer = open_clip_model(name, work / "open_clip", seed)
        ours = read_foreign(work / "open_clip")
        tokens = ours.tokenizer(TEXTS)
        ids = SimpleTokenizer(context_length=77)(list(TEXTS)).numpy()
        if not np.array_equal(ids, tokens.pad_to(77)):
            raise AssertionError("OpenCLIP's token ids differ from keshin's.")
        height, width = ours.config.vision.image_size
        pixels = np.random.default_rng(seed).standard_normal((PICTURES, 3, height, width))
        pixels = pixels.astype(np.float32)
        reference = open_clip_features(peer, pixels, ids)
        del peer
        gc.collect()
        features = keshin_features(work / "open_clip", work / "a", pixels, tokens)
        rows = compare(name, "open_clip", reference, features)
        if not name.startswith("RN"):
            other = transformers_model(ours, work / "transformers")
            second = transformers_features(other, pixels, ids)
            _check_transformers_ids(work / "transformers")
            del other, ours
            gc.collect()
            rows += compare(name, "open_clip", reference, {"transformers": second})
            features = keshin_features(work / "transformers", work / "b", pixels, tokens)
            rows += compare(name, "transformers", second, features)
        return rows
    finally:
        shutil.rmtree(work, ignore_errors=True)


def sensitivity(name: str, wrong: list[dict[str, Any]], seed: int = 2021) -> list[float]:
    """How far a ViT's text features go for each fact stated wrongly: what the comparison sees."""
    import torch

    from keshin.core.foreign import OPENAI_FACTS, read_foreign
    from keshin.encode.torch_model import CLIP
    from keshin.encode.torch_towers import TorchTowers

    features = []
    with tempfile.TemporaryDirectory(prefix="keshin-parity-") as work:
        open_clip_model(name, Path(work) / "open_clip", seed)
        for facts in ({}, *wrong):
            weights = Path(work) / "open_clip" / "open_clip_model.safetensors"
            ours = read_foreign(weights, {**OPENAI_FACTS, **facts})
            with torch.device("meta"):
                model = CLIP(ours.config)
            state = {n: torch.from_numpy(np.array(array)) for n, array in ours.tensors.items()}
            model.load_state_dict(state, assign=True)
            tokens = ours.tokenizer(TEXTS)
            features.append(_unit(TorchTowers(model).text_features(tokens.pad_to(77), tokens.ends)))
    return [float(np.abs(features[0] - other).max()) for other in features[1:]]


def _check_transformers_ids(folder: Path) -> None:
    """Its tokenizer, saved by itself, read by keshin; on text that both clean alike."""
    from transformers import CLIPTokenizer

    from keshin.core.foreign import read_foreign

    theirs = CLIPTokenizer.from_pretrained(folder)
    ours = read_foreign(folder).tokenizer
    for text in TEXTS[:5]:
        if theirs(text)["input_ids"] != list(ours([text]).ids[0]):
            raise AssertionError(f"transformers' token ids of {text!r} differ from keshin's.")


def table(rows: list[Distance]) -> str:
    lines = [
        "| model | files of | engine | tower | unit vectors | raw, relative |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.model} | {r.files} | {r.engine} | {r.tower} | {r.unit:.1e} | {r.raw:.1e} |"
        for r in rows
    ]
    return "\n".join(lines)


def packages() -> dict[str, str]:
    names = ("open_clip_torch", "transformers", "torch", "onnxruntime", "numpy")
    return {name: version(name) for name in names}


def kept(path: Path, models: list[str]) -> list[Distance]:
    """What an earlier run with the same packages found for the models not measured now."""
    if not path.is_file():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["packages"] != packages():
        return []
    return [Distance(**row) for row in record["distances"] if row["model"] in models]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = kept(arguments.out, [name for name in MODELS if name not in arguments.models])
    for name in arguments.models:
        rows += measure(name)
        print(table([row for row in rows if row.model == name]), flush=True)
        record = {
            "what": "largest difference of features, same random weights, float32",
            "limit": LIMIT,
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "packages": packages(),
            "pictures": PICTURES,
            "texts": len(TEXTS),
            "distances": [asdict(row) for row in rows],
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    worst = max(max(row.unit, row.raw) for row in rows)
    print(f"largest difference: {worst:.1e} (limit {LIMIT:.0e})")
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
