"""Soft labels of a teacher, and runs that start from a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

from keshin.api import load  # noqa: E402
from keshin.core.checkpoint import TensorFile  # noqa: E402
from keshin.errors import DataError, RecipeError  # noqa: E402
from keshin.train.loop import train  # noqa: E402
from keshin.train.recipe import DistillPart, read_recipe  # noqa: E402
from keshin.train.teacher import Concepts  # noqa: E402
from shapes import COLOURS, NAMES, rows, write_recipe  # noqa: E402

CONCEPTS = {"red": [0, 1], "green": [2, 3], "blue": [4, 5], "square": [0, 2, 4], "a": [0]}


def write_concepts(folder: Path) -> Path:
    table = {
        "captions": [[name] for name in CONCEPTS],
        "caption_weights": [[1.0]] * len(CONCEPTS),
        "members": list(CONCEPTS.values()),
    }
    pq.write_table(pa.table(table), folder / "concepts.parquet")
    return folder / "concepts.parquet"


def taught_recipe(folder: Path, **changes: str) -> Path:
    """Captions that say nothing, and a teacher that knows the six kinds."""
    path = write_recipe(folder, **changes)
    data = rows(120)
    logits = np.full((120, 6), -4.0, np.float16)
    logits[np.arange(120), [label for _, _, label in data]] = 4.0
    table = {
        "image": [image for image, _, _ in data],
        "captions": [["something", "some red green blue square stripe thing"]] * 120,
        "teacher": pa.FixedSizeListArray.from_arrays(pa.array(logits.ravel()), 6),
    }
    pq.write_table(pa.table(table), folder / "pairs.parquet")
    write_concepts(folder)
    text = path.read_text(encoding="utf-8").replace(
        'path = "pairs.parquet"', 'path = "pairs.parquet"\nteacher = "teacher"'
    )
    text += '[distill]\nconcepts = "concepts.parquet"\ndraw = 5\n'
    path.write_text(text, encoding="utf-8")
    return path


def test_concepts_add_up_their_classes(tmp_path: Path) -> None:
    part = DistillPart(concepts=str(write_concepts(tmp_path)), floor=1e-6)
    concepts = Concepts(part)
    logits = torch.log(torch.tensor([[0.4, 0.1, 0.2, 0.1, 0.1, 0.1]]))
    found = concepts.log_probabilities(logits).exp()[0].tolist()
    assert found == pytest.approx([0.5, 0.3, 0.2, 0.7, 0.4], abs=1e-4)
    columns, captions = concepts.draw(
        concepts.log_probabilities(logits).exp().mean(dim=0), np.random.default_rng(0)
    )
    assert sorted(columns.tolist()) == [0, 1, 2, 3, 4]
    assert [list(CONCEPTS)[c] for c in columns] == captions
    with pytest.raises(DataError, match="different teachers"):
        concepts.log_probabilities(torch.zeros(2, 9))


def test_a_teacher_teaches_words_that_no_caption_links_to_a_picture(tmp_path: Path) -> None:
    recipe = read_recipe(taught_recipe(tmp_path, epochs="25", batch_size="24"))
    model = load(train(recipe, tmp_path / "run"))
    data = rows(60)
    answers = model.classifier(list(COLOURS), templates="{}").predict([d[0] for d in data])
    right = [NAMES[label].split()[0] for _, _, label in data]
    assert (answers == np.array(right)).mean() > 0.8  # chance is 1/3


def test_a_head_is_trained_resumed_and_left_behind(tmp_path: Path) -> None:
    path = taught_recipe(tmp_path, epochs="2", batch_size="24")
    path.write_text(path.read_text("utf-8") + "head = 1.0\n", encoding="utf-8")
    recipe = read_recipe(path)
    losses: list[float] = []

    def stop(record: Mapping[str, float | int | str]) -> None:
        if "head" in record:
            losses.append(float(record["head"]))
            if len(losses) == 5:
                raise KeyboardInterrupt

    model = train(recipe, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "parts", report=stop)
    resumed = train(recipe, tmp_path / "parts")
    assert losses[-1] < losses[0]
    name = "model.safetensors"
    assert (model / name).read_bytes() == (resumed / name).read_bytes()
    assert not [key for key in TensorFile(model / name).infos if "head" in key]


def test_distillation_without_a_teacher_is_refused(tmp_path: Path) -> None:
    path = taught_recipe(tmp_path)
    text = path.read_text(encoding="utf-8").replace('teacher = "teacher"\n', "")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match="'teacher' column"):
        read_recipe(path)


def test_a_run_may_start_from_a_checkpoint(tmp_path: Path) -> None:
    path = write_recipe(tmp_path)
    folder = train(read_recipe(path), tmp_path / "first")
    text = path.read_text(encoding="utf-8")
    second = tmp_path / "second.toml"
    second.write_text(
        text.replace("[model]\n", '[model]\ninit = "first/model"\n').replace("3e-3", "0.0"),
        encoding="utf-8",
    )
    again = train(read_recipe(second), tmp_path / "second")
    pictures = [image for image, _, _ in rows(6)]
    one, two = load(folder), load(again)
    assert np.abs(one.encode_images(pictures) - two.encode_images(pictures)).max() < 1e-5
    assert np.abs(one.encode_texts(NAMES) - two.encode_texts(NAMES)).max() < 1e-5

    other = second.read_text(encoding="utf-8").replace("embed_dim = 16", "embed_dim = 8")
    second.write_text(other, encoding="utf-8")
    with pytest.raises(RecipeError, match="other towers"):
        train(read_recipe(second), tmp_path / "third")


def test_the_command_validates_and_prints(tmp_path: Path, run_keshin) -> None:
    path = write_recipe(tmp_path)
    with path.open("a", encoding="utf-8") as file:
        file.write('[[validate]]\nname = "own"\npath = "pairs.parquet"\nlimit = 12\n')
    done = run_keshin("train", path, "--output", tmp_path / "run", text=True)
    assert done.returncode == 0, done.stderr
    assert "is chance" in done.stderr
    assert "own_accuracy" in done.stderr
    assert done.stdout.strip() == str(tmp_path / "run" / "model")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    checked = [json.loads(line) for line in lines if "own_accuracy" in line]
    assert len(checked) == 4  # once an epoch
    assert checked[0]["own_chance"] == pytest.approx(1 / 6)
    again = run_keshin("train", path, "--output", tmp_path / "run", text=True)
    assert "Going on from step 12" in again.stderr
    wrong = run_keshin("train", tmp_path / "none.toml", text=True)
    assert wrong.returncode == 2
    assert "Cannot read the recipe" in wrong.stderr
