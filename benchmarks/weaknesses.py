"""Known weaknesses of a model, as ``keshin weaknesses`` measures them, and a sheet of examples.

    python benchmarks/weaknesses.py [--model mini] [--count 200] [--seed 0]

The labels compared are the 37 breeds of Oxford-IIIT Pets. Writes results/weaknesses.json and
docs/guides/weaknesses.png, from which scripts/docs.py makes the table of docs/guides/weaknesses.md.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import keshin
from keshin.evaluate.weaknesses.run import questions_of
from keshin.evaluate.weaknesses.sheets import sheet
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.facts import prompts

ROOT = Path(__file__).resolve().parents[1]
EACH = 3
COLOURS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/weaknesses.json")
    options = parser.parse_args()
    model = keshin.load(options.model)
    breeds = [names[0] for names in prompts.class_names("oxford_pets")]
    start = time.process_time()
    report = keshin.weaknesses(model, breeds, seed=options.seed, count=options.count)
    content = json.loads(report.to_json())
    content["processor seconds"] = round(time.process_time() - start, 1)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    options.out.write_text(text + "\n", encoding="utf-8")
    examples = []
    for task in TASKS:
        found = task.example(questions_of(task, options.seed, options.count))
        step = 3 if task.key == "counting" else 1
        examples += found[step - 1 : step * EACH : step]
    page = sheet(examples, columns=2 * EACH)
    page.quantize(COLOURS).save(ROOT / "docs/guides/weaknesses.png", optimize=True)
    for row in report.table():
        print(row)
    if report.labels:
        print(report.labels.said.en)


if __name__ == "__main__":
    main()
