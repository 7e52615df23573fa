"""A folder of large photographs to answers, against open_clip and transformers.

    python benchmarks/folder.py --picture ../shared/data/camera/DJI_0024.JPG [--runs 5]

Run it with an interpreter that has keshin, open_clip_torch and transformers, on a quiet machine.
Pictures of 12 megapixels are made from one camera JPEG (cropped, flipped, some upright, encoded
again) in a temporary folder. All programs have the same random ViT-B/32 and the same labels, each
as its documentation says, with equal threads, as processes of their own, in turn, after one round
that is not counted:

- open_clip: its transform picture by picture, its model in batches of 32; and the same transform in
  the workers of a torch DataLoader, which its documentation uses for training only.
- transformers: the pipeline "zero-shot-image-classification" with batch_size=32.
- keshin: exact and fast, by --modes; "stored" is a second run over the same folder.

Seconds are from the loaded model to the last answer; beside them stand those of the whole process
and its peak memory. Medians and ratios go to results/folder.json, and how far the probabilities are
from open_clip's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LABELS = ["cat", "dog", "house", "field", "road", "tree", "river", "car", "roof", "person"]

START = """
import json, os, sys, time
import numpy as np
model_folder, pictures, out, threads, mode, labels = sys.argv[1:7]
threads, labels = int(threads), labels.split("|")
paths = sorted(os.path.join(pictures, name) for name in os.listdir(pictures))
def done(began, probabilities):
    print(json.dumps({"seconds": time.perf_counter() - began}))
    np.save(out, np.asarray(probabilities, np.float32))
"""

MAKE = """
import sys, torch, open_clip
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast
from keshin.core.tokenizer import Tokenizer
folder = sys.argv[1]
torch.manual_seed(0)
peer = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
with torch.no_grad():
    peer.logit_scale.fill_(4.6052)
save_file(peer.state_dict(), folder + "/open_clip.safetensors")
def renamed(state):
    plain = {"visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale"}
    norms = {"visual.ln_pre": "vision_model.pre_layrnorm",
        "ln_final": "text_model.final_layer_norm",
        "visual.ln_post": "vision_model.post_layernorm"}
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    for key, value in state.items():
        stem, _, kind = key.rpartition(".")
        if key in plain:
            yield plain[key], value
        elif key in ("visual.proj", "text_projection"):
            name = "visual" if key[0] == "v" else "text"
            yield name + "_projection.weight", value.T.contiguous()
        elif stem in norms:
            yield norms[stem] + "." + kind, value
        elif "resblocks" in key:
            tower = "vision_model" if key.startswith("visual") else "text_model"
            number, _, part = key.split("resblocks.")[1].partition(".")
            at = f"{tower}.encoder.layers.{number}."
            if "in_proj" in part:
                for name, third in zip("qkv", value.chunk(3)):
                    yield f"{at}self_attn.{name}_proj.{part.split('_')[-1]}", third.contiguous()
            else:
                yield at + parts[part.rpartition(".")[0]] + "." + kind, value
model = CLIPModel(CLIPConfig())
wrong = model.load_state_dict(dict(renamed(peer.state_dict())), strict=False)
assert not wrong.unexpected_keys and all("position_ids" in k for k in wrong.missing_keys), wrong
model.save_pretrained(folder)
tokenizer = Tokenizer.clip()
tokenizer.save(folder + "/tokenizer.json")
fast = CLIPTokenizerFast(tokenizer_file=folder + "/tokenizer.json", bos_token="<|startoftext|>",
    eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>",
    model_max_length=77)
CLIPProcessor(image_processor=CLIPImageProcessor(), tokenizer=fast).save_pretrained(folder)
"""

OPEN_CLIP = (
    START
    + """
import torch, open_clip
from PIL import Image
torch.set_num_threads(threads)
model, _, preprocess = open_clip.create_model_and_transforms(
    "ViT-B-32-quickgelu", pretrained=model_folder + "/open_clip.safetensors")
model.eval()
tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return len(paths)
    def __getitem__(self, index):
        return preprocess(Image.open(paths[index]))
workers = threads if mode == "loader" else 0
began = time.perf_counter()
with torch.no_grad():
    text = model.encode_text(tokenizer([f"a photo of a {label}." for label in labels]))
    text /= text.norm(dim=-1, keepdim=True)
    rows = []
    for batch in torch.utils.data.DataLoader(Pictures(), batch_size=32, num_workers=workers):
        image = model.encode_image(batch)
        image /= image.norm(dim=-1, keepdim=True)
        rows.append((100.0 * image @ text.T).softmax(dim=-1))
done(began, torch.cat(rows))
"""
)

TRANSFORMERS = (
    START
    + """
import torch
from transformers import pipeline
torch.set_num_threads(threads)
ask = pipeline("zero-shot-image-classification", model=model_folder)
began = time.perf_counter()
found = ask(paths, candidate_labels=labels, hypothesis_template="a photo of a {}.", batch_size=32)
answers = [{answer["label"]: answer["score"] for answer in one} for one in found]
done(began, [[answer[label] for label in labels] for answer in answers])
"""
)

KESHIN = (
    START
    + """
import keshin
decode, _, mode = mode.partition("-")
options = {} if mode in ("fp32", "stored") else {"mode": mode}
model = keshin.load(model_folder, threads=threads, decode=decode, **options)
if mode == "stored":
    for _ in model.embed([pictures]):
        pass
model.encode_images([np.zeros((224, 224, 3), np.uint8)])
began = time.perf_counter()
classifier = model.classifier(labels)
if mode == "stored":
    vectors = [item.vector for item in model.embed([pictures])]
    done(began, classifier.scores(np.stack(vectors)))
else:
    results = list(classifier.results(paths))
    scores = [{answer.label: answer.score for answer in result.answers} for result in results]
    done(began, [[score[label] for label in labels] for score in scores])
"""
)
# keshin makes its session at the first picture, the peers when they load: hence one picture first.


def make_pictures(source: Path, folder: Path, count: int, size: tuple[int, int]) -> None:
    """``count`` JPEGs of ``size``, no two alike, every fourth upright."""
    from PIL import Image

    rng = np.random.default_rng(0)
    with Image.open(source) as opened:
        whole = opened.convert("RGB")
    for number in range(count):
        share = rng.uniform(0.6, 1.0)
        high = int(whole.height * share)
        wide = min(whole.width, high * size[0] // size[1])
        left = int(rng.integers(0, whole.width - wide + 1))
        top = int(rng.integers(0, whole.height - high + 1))
        box = (left, top, left + wide, top + high)
        picture = whole.resize(size, Image.Resampling.BILINEAR, box=box)
        if rng.random() < 0.5:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if number % 4 == 3:
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        picture.save(folder / f"{number:04}.jpg", quality=90, subsampling=2)


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run it: its own seconds, those of the whole process, and its peak memory in MB."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        whole = time.perf_counter() - began
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(errors.read().decode())
        seconds = json.loads(out.read().splitlines()[-1])["seconds"]
    return {"seconds": seconds, "whole": whole, "megabytes": usage.ru_maxrss / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, required=True, help="a camera's JPEG")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, nargs=2, default=[4000, 3000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument(
        "--modes", nargs="*", default=["exact-fp32", "fast-fp32", "fast-int8", "exact-stored"],
        help="decode-mode, as fast-int8; 'stored' is fp32 with stored embeddings",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/folder.json")
    options = parser.parse_args()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(options.threads),
    }
    contestants = {
        "open_clip": (OPEN_CLIP, ""),
        "open_clip with a DataLoader": (OPEN_CLIP, "loader"),
        "transformers": (TRANSFORMERS, ""),
        **{f"keshin {mode}": (KESHIN, mode) for mode in options.modes},
    }
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    with tempfile.TemporaryDirectory() as folder:
        environment["KESHIN_CACHE"] = f"{folder}/cache"
        pictures, model, out = (Path(folder) / name for name in ("pictures", "model", "out.npy"))
        pictures.mkdir()
        model.mkdir()
        make_pictures(options.picture, pictures, options.count, tuple(options.size))
        subprocess.run([sys.executable, "-c", MAKE, str(model)], env=environment, check=True)
        found: dict[str, Any] = {}
        for run in range(options.runs + 1):
            for name, (script, mode) in contestants.items():
                given = [str(model), str(pictures), str(out), str(options.threads), mode]
                command = [sys.executable, "-c", script, *given, "|".join(LABELS)]
                measured = measure(command, environment)
                print(name, {key: round(value, 2) for key, value in measured.items()}, flush=True)
                found[name] = np.load(out)
                if run:
                    runs[name].append(measured)
    rows = []
    medians = {
        name: {key: statistics.median(each[key] for each in measured) for key in measured[0]}
        for name, measured in runs.items()
    }
    peers = [name for name in medians if not name.startswith("keshin")]
    for name, row in medians.items():
        rows.append(
            {
                "what": name,
                **{key: round(value, 3) for key, value in row.items()},
                "probability_distance": float(abs(found[name] - found["open_clip"]).max()),
                "times_as_fast_as": {
                    peer: round(medians[peer]["seconds"] / row["seconds"], 2)
                    for peer in peers
                    if peer != name
                },
            }
        )
        print(rows[-1])
    packages = ("open_clip_torch", "torch", "transformers", "onnxruntime", "pillow")
    content = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "threads": options.threads,
        "runs": options.runs,
        "pictures": options.count,
        "size": options.size,
        "versions": {name: version(name) for name in packages},
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
