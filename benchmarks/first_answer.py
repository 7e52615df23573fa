"""Time from command to first answer, and to import, against open_clip and transformers.

    python benchmarks/first_answer.py [--runs 7]

Run it with an interpreter that has keshin, open_clip_torch and transformers. All three answer the
same question about the same picture with the same random ViT-B/32, from files on this disk, each as
its own documentation says; whole processes, in turn, after one that is not counted. The medians and
their ratios go to results/first_answer.json.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "examples" / "cat.jpg"
LABELS = ["cat", "dog", "bird"]

MAKE = """
import sys, torch, open_clip
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizerFast, CLIPImageProcessor
folder = sys.argv[1]
torch.manual_seed(0)
config = CLIPConfig()
model = CLIPModel(config)
model.save_pretrained(folder + "/transformers")
from keshin.core.tokenizer import Tokenizer
tokenizer = Tokenizer.clip()
tokenizer.save(folder + "/tokenizer.json")
fast = CLIPTokenizerFast(tokenizer_file=folder + "/tokenizer.json", bos_token="<|startoftext|>",
    eos_token="<|endoftext|>", pad_token="<|endoftext|>", unk_token="<|endoftext|>",
    model_max_length=77)
CLIPProcessor(image_processor=CLIPImageProcessor(), tokenizer=fast).save_pretrained(
    folder + "/transformers")
peer = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
from safetensors.torch import save_file
save_file(peer.state_dict(), folder + "/open_clip.safetensors")
"""

OPEN_CLIP = """
import sys, torch
from PIL import Image
import open_clip
model, _, preprocess = open_clip.create_model_and_transforms(
    "ViT-B-32-quickgelu", pretrained=sys.argv[1])
model.eval()
tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
image = preprocess(Image.open(sys.argv[2])).unsqueeze(0)
labels = sys.argv[3:]
text = tokenizer([f"a photo of a {label}." for label in labels])
with torch.no_grad():
    a, b = model.encode_image(image), model.encode_text(text)
    a /= a.norm(dim=-1, keepdim=True)
    b /= b.norm(dim=-1, keepdim=True)
    print(dict(zip(labels, (100.0 * a @ b.T).softmax(dim=-1)[0].tolist())))
"""

TRANSFORMERS = """
import sys
from transformers import pipeline
ask = pipeline("zero-shot-image-classification", model=sys.argv[1])
print(ask(sys.argv[2], candidate_labels=sys.argv[3:], hypothesis_template="a photo of a {}."))
"""


def timed(command: list[str], environment: dict[str, str]) -> float:
    """Wall seconds of a whole process that must succeed."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def compare(commands: dict[str, list[str]], environment: dict[str, str], runs: int) -> list[float]:
    """The median of each command, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            seconds = timed(command, environment)
            if run:
                times[name].append(seconds)
    return [statistics.median(values) for values in times.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/first_answer.json")
    options = parser.parse_args()
    python = sys.executable
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(os.cpu_count()),
    }
    with tempfile.TemporaryDirectory() as folder:
        environment["KESHIN_CACHE"] = f"{folder}/cache"
        subprocess.run([python, "-c", MAKE, folder], env=environment, check=True)
        ask = [str(PICTURE), *LABELS]
        answers = {
            "keshin": [
                *(python, "-m", "keshin", "classify", str(PICTURE)),
                *("--labels", ", ".join(LABELS), "--model", f"{folder}/transformers"),
            ],
            "open_clip": [python, "-c", OPEN_CLIP, f"{folder}/open_clip.safetensors", *ask],
            "transformers": [python, "-c", TRANSFORMERS, f"{folder}/transformers", *ask],
        }
        imports = {
            "keshin": [python, "-c", "import keshin"],
            "open_clip": [python, "-c", "import open_clip"],
            "transformers": [python, "-c", "from transformers import pipeline"],
        }
        embedded = timed(
            [python, "-m", "keshin", "classify", str(PICTURE), "--labels", ", ".join(LABELS)],
            environment,
        )
        rows = []
        for what, commands in (("command to first answer", answers), ("import", imports)):
            medians = compare(commands, environment, options.runs)
            first, *others = medians
            row = {"what": what} | {
                name: f"{value:.2f} s" for name, value in zip(commands, medians, strict=True)
            }
            row["ratios"] = ", ".join(f"{other / first:.1f} x" for other in others)
            rows.append(row)
            print(row)
    print(f"the embedded model: {embedded:.2f} s")
    content = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "runs": options.runs,
        "embedded_seconds": round(embedded, 2),
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
