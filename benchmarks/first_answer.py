"""Time from command to first answer, and to import, against open_clip and transformers.

    python benchmarks/first_answer.py [--runs 7]

Run it with an interpreter that has keshin, open_clip_torch and transformers. All three answer the
same question about the same picture with the same random ViT-B/32, from files on this disk, each as
its own documentation says; whole processes, in turn, after one that is not counted. keshin keeps
class weights: the first row is with labels that it has not seen, the second asks the same again.
The medians, their ratios and the peak memory go to results/first_answer.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
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


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of a whole process that must succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"This failed: {command}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def compare(
    what: str,
    commands: dict[str, list[str]],
    environment: dict[str, str],
    runs: int,
    forget: Path | None = None,
) -> dict[str, str]:
    """A row of medians, of commands run in turn; ``forget`` is removed before each."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            if forget is not None:
                shutil.rmtree(forget, ignore_errors=True)
            measured = timed(command, environment)
            if run:
                found[name].append(measured)
    seconds, memory = (
        {name: statistics.median(each[index] for each in rows) for name, rows in found.items()}
        for index in (0, 1)
    )
    row = {"what": what}
    row |= {name: f"{value:.2f} s, {memory[name]:.0f} MB" for name, value in seconds.items()}
    others = [name for name in commands if name != "keshin"]
    row["ratios"] = ", ".join(f"{seconds[name] / seconds['keshin']:.1f} x" for name in others)
    row["memory"] = ", ".join(f"{memory['keshin'] / memory[name]:.2f} x" for name in others)
    print(row)
    return row


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
        embedded, _ = timed(
            [python, "-m", "keshin", "classify", str(PICTURE), "--labels", ", ".join(LABELS)],
            environment,
        )
        forget = Path(folder) / "cache" / "classifiers"
        rows = [
            compare("command to first answer", answers, environment, options.runs, forget),
            compare("the same labels again", answers, environment, options.runs),
            compare("import", imports, environment, options.runs),
        ]
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
