"""Make the recipes and tables that train the embedded model further on KaoKore's train split.

    python recipes/kaokore/prepare.py --data KAOKORE [--output FOLDER]

Writes ``official.toml`` (all of train) and ``fold0.toml`` ... ``fold4.toml`` (train without the
works of one
fold; the folds are those of ``keshin kaokore``), each with two tables of paths and captions. No
picture
is copied.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from keshin.evaluate.kaokore.finetuned import OFFICIAL, fold_name, held_out
from keshin.evaluate.kaokore.trained import FOLDS, folds_by_work
from keshin.evaluate.sets.kaokore.faces import Faces, read_faces
from keshin.facts import kaokore as facts

HERE = Path(__file__).parent


def main() -> None:
    """Read the arguments and write everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="KaoKore, as keshin fetches it")
    parser.add_argument("--output", type=Path, default=HERE / "data")
    options = parser.parse_args()
    faces = read_faces(options.data)
    train = set(faces.rows("train").tolist())
    folds = folds_by_work(faces)
    options.output.mkdir(parents=True, exist_ok=True)
    _write(options.output, faces, OFFICIAL, sorted(train), "works held out: none")
    for number in range(FOLDS):
        rows = sorted(row for row in train if folds[row] != number)
        _write(options.output, faces, fold_name(number), rows, held_out(faces, number))


def _write(folder: Path, faces: Faces, name: str, rows: list[int], said: str) -> None:
    words = {
        entry.language: entry.classes
        for entry in facts.prompts().words["status"]
        if entry.name == "official"
    }
    tables = {"people": [], "incarnation": []}
    for row in rows:
        status = facts.STATUS[faces.faces[row].status]
        kind = "incarnation" if status == "incarnation" else "people"
        captions = (words["en"][status][0], words["ja"][status][0])
        tables[kind].append((faces.path(row).resolve(), *captions))
    text = (HERE / "recipe.toml").read_text(encoding="utf-8")
    for kind, lines in tables.items():
        file = folder / f"{name}-{kind}.csv"
        with file.open("w", newline="", encoding="utf-8") as target:
            csv.writer(target).writerows([("image", "en", "ja"), *lines])
        text = text.replace(f'"data/{kind}.csv"', json.dumps(file.name))
    for entry in facts.prompts().templates:
        if entry.name == "scroll":
            listed = json.dumps(entry.templates, ensure_ascii=False)
            key = {"en": "templates", "ja": "templates_ja"}[entry.language]
            text = text.replace(f"\n{key} = []", f"\n{key} = {listed}")
    model = (HERE / "../../src/keshin/models/mini").resolve()
    text = text.replace('"../../src/keshin/models/mini"', json.dumps(str(model)))
    text = text.replace("works held out: none", said).replace(
        'name = "kaokore"', f'name = "kaokore-{name}"'
    )
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    print(f"{folder / name}.toml: {len(rows)} faces, {said}")


if __name__ == "__main__":
    main()
