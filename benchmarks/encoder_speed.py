"""Image towers of ViT-B/32 and RN50 in every mode against open_clip and transformers.

    python benchmarks/encoder_speed.py [--runs 7] [--batches 16 1] [--threads 2]

Run it with an interpreter that has keshin, open_clip_torch and transformers, on a quiet machine.
Same shapes, random weights, the same pixels, equal threads; the engines take turns, the first round
is not counted; medians and ratios. Also the machine's measured peak of matrix products in fp32 and
8 bits, and the share of it that keshin's towers reach, and the time that the matrix products of
ViT-B/32 alone take in ONNX Runtime and in PyTorch: nothing that uses them can be faster. OpenVINO's
rows need keshin[openvino]. Writes results/encoder_speed.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from keshin.api import load  # noqa: E402
from keshin.errors import KeshinError  # noqa: E402

NAMES = {"ViT-B/32": "ViT-B-32-quickgelu", "RN50": "RN50-quickgelu"}
OPERATIONS = {"ViT-B/32": 8.73e9, "RN50": 12.2e9}
"""Multiplications and additions of one picture (twice the multiply-adds)."""
SIDES = (768, 1024, 1536, 2048)
"""Of the square matrices whose product is the measure of the machine."""
MODES = ("fp32", "int8-safe", "int8")
OPENVINO = ("fp32", "bf16")
PRODUCTS = {(49, 3072, 768): 1, (50, 768, 2304): 11, (50, 768, 768): 11,
            (50, 768, 3072): 11, (50, 3072, 768): 11}  # fmt: skip
"""(rows a picture, inputs, outputs) of ViT-B/32's products, and how many there are. Of the last
block keshin computes one token; its products are left out."""
TURN = 0.8
PEERS = ("open_clip", "transformers")
Call = Callable[[], Any]


def take_turns(calls: dict[str, Call], runs: int) -> dict[str, tuple[float, float]]:
    """Seconds of each call: the median of its turns, and the fastest single call.

    A turn repeats its call for ``TURN`` seconds: what else runs on the machine then falls on fast
    and slow calls alike, and so do PyTorch's threads, which spin for a while when it has ended.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    for run in range(runs + 1):
        for name, call in calls.items():
            turn: list[float] = []
            while not turn or sum(turn) < TURN * bool(run):
                began = time.perf_counter()
                call()
                turn.append(time.perf_counter() - began)
            if run:
                times[name].append(turn)
    return {
        name: (statistics.median(map(statistics.mean, turns)), min(map(min, turns)))
        for name, turns in times.items()
    }


def peaks(threads: int, runs: int) -> dict[str, float]:
    """Operations a second of the fastest large matrix product that the runtime was seen to do."""
    found: dict[str, float] = {}
    for side in SIDES:
        calls = products(threads, side)
        for _ in range(runs + 1):
            for name, call in calls.items():
                began = time.perf_counter()
                call()
                rate = 2 * side**3 / (time.perf_counter() - began)
                found[name] = max(rate, found.get(name, 0.0))
    return found


def products(threads: int, side: int) -> dict[str, Call]:
    """Matrix products of (side, side) matrices by ONNX Runtime."""
    dice = np.random.default_rng(0)
    floats = dice.standard_normal((side, side)).astype(np.float32)
    whole = dice.integers(0, 255, (side, side)).astype(np.uint8)
    calls: dict[str, Call] = {}
    for name, kind, x, w in (
        ("fp32", "MatMul", floats, floats),
        ("int8", "MatMulInteger", whole, (whole.astype(int) - 128).clip(-127).astype(np.int8)),
    ):
        types = [helper.np_dtype_to_tensor_dtype(a.dtype) for a in (x, w)]
        out = TensorProto.FLOAT if name == "fp32" else TensorProto.INT32
        graph = helper.make_graph(
            [helper.make_node(kind, ["x", "w"], ["y"])],
            name,
            [helper.make_tensor_value_info("x", types[0], x.shape)],
            [helper.make_tensor_value_info("y", out, None)],
            [numpy_helper.from_array(w, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # The threads of the session that waits would take the cores from the one that runs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        calls[name] = lambda session=session, x=x: session.run(None, {"x": x})
    return calls


def products_alone(batch: int, threads: int, runs: int) -> dict[str, float]:
    """Milliseconds of the products of ViT-B/32, without anything between them."""
    import torch

    dice = np.random.default_rng(0)
    total = dict.fromkeys(("onnxruntime", "torch"), 0.0)
    for (rows, inputs, outputs), count in PRODUCTS.items():
        x = dice.standard_normal((rows * batch, inputs)).astype(np.float32)
        w = dice.standard_normal((outputs, inputs)).astype(np.float32)
        b = np.zeros(outputs, np.float32)
        graph = helper.make_graph(
            [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
            "product",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        xt, wt, bt = map(torch.from_numpy, (x, w, b))
        calls = {
            "onnxruntime": lambda session=session, x=x: session.run(None, {"x": x}),
            "torch": lambda x=xt, w=wt, b=bt: torch.nn.functional.linear(x, w, b),
        }
        for engine, (seconds, _) in take_turns(calls, min(runs, 3)).items():
            total[engine] += 1000 * seconds * count
    return {engine: round(value, 1) for engine, value in total.items()}


def engines(name: str, folder: Path, threads: int) -> dict[str, Callable[[Any], Any]]:
    """Functions of pixels: keshin's modes and the peers, with the same random weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = open_clip.create_model(NAMES[name], pretrained=None).eval()
    config = open_clip.get_model_config(NAMES[name])
    folder.mkdir()
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    facts = {
        "mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": facts})
    )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")

    def without_gradients(function: Any) -> Callable[[Any], Any]:
        def call(pixels: Any) -> Any:
            with torch.inference_mode():
                return function(torch.from_numpy(pixels)).numpy()

        return call

    found: dict[str, Callable[[Any], Any]] = {}
    for mode in MODES:
        found[mode] = load(folder, mode=mode, threads=threads).encoder.towers.image_features
    if importlib.util.find_spec("openvino"):
        for mode in OPENVINO:
            with suppress(KeshinError):  # no bfloat16 on this processor
                model_ = load(folder, mode=mode, threads=threads, engine="openvino")
                found[f"openvino {mode}"] = model_.encoder.towers.image_features
    found["open_clip"] = without_gradients(model.encode_image)
    if name.startswith("ViT"):
        from transformers import CLIPConfig, CLIPModel

        peer = CLIPModel(CLIPConfig()).eval()  # the time does not depend on the values
        found["transformers"] = without_gradients(
            lambda x: peer.visual_projection(peer.vision_model(pixel_values=x).pooler_output)
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 1])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--models", nargs="+", default=list(NAMES))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/encoder_speed.json")
    options = parser.parse_args()
    peak = peaks(options.threads, options.runs)
    print({name: f"{value / 1e9:.0f} G/s" for name, value in peak.items()})
    alone = {b: products_alone(b, options.threads, options.runs) for b in options.batches}
    print("ViT-B/32, products alone, ms:", alone)
    rows = []
    if options.out.exists():  # of models that are not measured this time
        old = json.loads(options.out.read_text(encoding="utf-8"))["rows"]
        rows = [row for row in old if row["model"] not in options.models]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KESHIN_CACHE"] = f"{folder}/cache"
        for number, name in enumerate(options.models):
            functions = engines(name, Path(folder) / str(number), options.threads)
            for batch in options.batches:
                dice = np.random.default_rng(batch)
                pixels = dice.standard_normal((batch, 3, 224, 224)).astype(np.float32)
                exact = functions["open_clip"](pixels)
                calls = {n: (lambda f=f, pixels=pixels: f(pixels)) for n, f in functions.items()}
                both = take_turns(calls, options.runs)
                seconds = {n: median for n, (median, _) in both.items()}
                fastest = {n: least for n, (_, least) in both.items()}
                for mode in [n for n in functions if n not in PEERS]:
                    own = functions[mode](pixels)
                    norms = np.linalg.norm(own, axis=1) * np.linalg.norm(exact, axis=1)
                    rate = OPERATIONS[name] * batch / seconds[mode]
                    row = {
                        "model": name, "batch": batch, "mode": mode,
                        "milliseconds": round(1000 * seconds[mode], 2),
                        "ratios": {
                            peer: round(seconds[peer] / seconds[mode], 2)
                            for peer in PEERS if peer in seconds
                        },
                        "ratios of the fastest calls": {
                            peer: round(fastest[peer] / fastest[mode], 2)
                            for peer in PEERS if peer in seconds
                        },
                        "peers' milliseconds": {
                            peer: round(1000 * seconds[peer], 1)
                            for peer in PEERS if peer in seconds
                        },
                        "least cosine": round(float(((own * exact).sum(axis=1) / norms).min()), 6),
                        "share of peak": round(
                            rate / peak["int8" if mode == "int8" else "fp32"], 3
                        ),
                    }  # fmt: skip
                    rows.append(row)
                    print(row)
    content = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": options.threads,
        "runs": options.runs,
        "peak operations a second": {name: round(value) for name, value in peak.items()},
        "products of ViT-B/32 alone, milliseconds": alone,
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
