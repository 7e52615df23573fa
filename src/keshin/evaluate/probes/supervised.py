"""The paper's yardstick: a ResNet-50 that was trained on ImageNet's labels, whose features a linear
probe reads (section 3.1, figure 5).

The weights are not part of keshin. timm's repositories on the hub have them as safetensors, with
the facts of their preprocessing: ``keshin pull hf:timm/resnet50.tv_in1k`` fetches torchvision's own
(BSD 3-Clause), which is the classic network that the paper means. docs/guides/probe.md has others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from keshin.api import records_folder
from keshin.core.config import PreprocessFacts
from keshin.core.hashes import sha256_of
from keshin.core.kept import CONVERTED
from keshin.core.library import how_to_get, on_this_machine, target
from keshin.core.tensors import TensorFile, write_tensors
from keshin.core.writing import whole
from keshin.encode.picture_encoder import PictureEncoder
from keshin.errors import CheckpointError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pictures."""


def _facts(shorter: int) -> PreprocessFacts:
    return PreprocessFacts(
        size=(224, 224),
        resize="shorter-side",
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        shorter=shorter,
    )


PREPROCESSING = {"torchvision-v1": _facts(256), "torchvision-v2": _facts(232)}
"""What torchvision's files do not say: its ``IMAGENET1K_V1`` and ``IMAGENET1K_V2`` weights."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
BATCH = 16


class _Trained(msgspec.Struct):
    """What timm's ``config.json`` says of the preprocessing; other fields are not needed."""

    input_size: tuple[int, int, int]
    interpolation: Literal["bicubic", "bilinear", "nearest", "lanczos"]
    crop_pct: float
    crop_mode: Literal["center"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class _Timm(msgspec.Struct):
    pretrained_cfg: _Trained


def load_supervised(
    source: str | os.PathLike[str],
    *,
    preprocess: str | PreprocessFacts | None = None,
    output: Literal["features", "logits"] = "features",
    threads: int | None = None,
) -> PictureEncoder:
    """A supervised ResNet-50, -101 or -152, which ``extract`` takes in place of a model.

    Arguments:
        source: ``hf:OWNER/NAME`` of what was pulled from the hub, a folder in timm's layout
            (``config.json``, ``model.safetensors``), or a file of weights in torchvision's names:
            ``.safetensors``, or ``.pth``, which is read without running anything it contains.
        preprocess: how pictures are prepared, where no ``config.json`` says it: a name of
            ``PREPROCESSING`` or the facts.
        output: ``features``: (n, 2048) after the average pool; ``logits``: (n, 1000).
        threads: of ONNX Runtime, and as many that read pictures.

    Raises ``CheckpointError`` for what is not here, is another network, or says too little.
    """
    from keshin.encode.graph_supervised import supervised_graph, supervised_width
    from keshin.encode.runtime import picture_session

    weights, stated = _find(source)
    facts = PREPROCESSING.get(preprocess) if isinstance(preprocess, str) else preprocess
    if facts is None and (preprocess is not None or stated is None):
        asked = f"There is no '{preprocess}'" if preprocess else "Nothing beside it says how"
        raise CheckpointError(
            f"{weights}: {asked}: pictures were resized and normalised in different ways for "
            f"different weights. Pass preprocess={' or '.join(map(repr, PREPROCESSING))}, or the "
            "facts as a PreprocessFacts."
        )
    tensors = TensorFile(_as_safetensors(weights))
    model = supervised_graph(tensors, output)
    name = Path(source).stem if weights == Path(source) else str(source).rpartition("/")[2]
    return PictureEncoder(
        name=name or "resnet",
        preprocess=facts or _known(stated),
        width=supervised_width(tensors, output),
        encode=picture_session(model, tensors.path, threads),
        batch_size=BATCH,
        threads=threads,
        kind=output,
        identify=lambda: sha256_of(tensors.path).hex(),
    )


def _known(stated: PreprocessFacts | None) -> PreprocessFacts:
    assert stated is not None  # noqa: S101 - refused above
    return stated


def _find(source: str | os.PathLike[str]) -> tuple[Path, PreprocessFacts | None]:
    """The file of weights, and what is said beside it of the preprocessing."""
    path = Path(source)
    if not path.exists() and (wanted := target(os.fspath(source))) is not None:
        pulled = on_this_machine(wanted, records_folder())
        if pulled is None:
            raise CheckpointError(how_to_get(wanted))
        path = Path(pulled.folder)
    if path.is_file():
        return path, None
    for name in WEIGHTS:
        if (path / name).is_file():
            return path / name, _stated(path / "config.json")
    raise CheckpointError(
        f"There are no weights of a ResNet at {path}: give a folder with {WEIGHTS[0]}, a file, or "
        "the name of what was pulled, such as hf:timm/resnet50.tv_in1k."
    )


def _stated(path: Path) -> PreprocessFacts | None:
    """timm's facts; its resize is ``floor(size / crop_pct)``."""
    if not path.is_file():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Timm).pretrained_cfg
        _, height, width = found.input_size
        return PreprocessFacts(
            size=(height, width),
            resize="shorter-side",
            interpolation=found.interpolation,
            mean=found.mean,
            std=found.std,
            shorter=int(height / found.crop_pct),
        )
    except (msgspec.MsgspecError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"{path} does not say how timm prepares pictures ({error}). Pass preprocess=."
        ) from error


def _as_safetensors(path: Path) -> Path:
    """The same weights in a file that can be mapped; a pickled one is converted once."""
    if path.suffix == ".safetensors":
        return path
    from keshin.core.foreign.pickled import read_pickled

    digest = sha256_of(path).hex()
    converted = CONVERTED.folder / f"supervised-{digest[:16]}" / "model.safetensors"
    if not converted.is_file():
        arrays: dict[str, Any] = {
            name: array.astype(np.float32)
            for name, array in read_pickled(path).items()
            if not name.endswith("num_batches_tracked")
        }
        converted.parent.mkdir(parents=True, exist_ok=True)
        with whole(converted) as scratch:
            write_tensors(scratch, arrays)
    return converted
