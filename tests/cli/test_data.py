"""``keshin data``: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flawed import write


def test_the_command(tmp_path: Path, invoke) -> None:
    source = write(tmp_path)
    done = invoke("data", "check", source.path, "-j", "1", "--against", source.path, model=False)
    assert done.exit_code == 1, done.output
    assert "bad     leaks: 8 (100 %) are in" in done.stdout
    assert "5.png" in done.stdout
    done = invoke("data", "check", source.path, "-j", "1", "--format", "json")
    content = json.loads(done.stdout)[0]
    assert content["pairs"] == 8
    cut = {f["name"]: f for f in content["findings"]}["cut captions"]
    assert "24 tokens" in cut["says"]  # those of the model given
    done = invoke("data", "check", tmp_path / "x.zip", model=False)
    assert done.exit_code == 2
    assert "neither a folder nor" in done.stderr


def test_a_recipe_stands_for_its_sources(tmp_path: Path, invoke) -> None:
    pytest.importorskip("pyarrow")
    from shapes import write_recipe

    done = invoke("data", "check", write_recipe(tmp_path), "-j", "1", "--size", "16", model=False)
    assert done.exit_code == 0, done.output
    assert "pairs.parquet: 36 pairs" in done.stdout


def test_convert(tmp_path: Path, invoke) -> None:
    source = write(tmp_path / "in")
    out = tmp_path / "out"
    done = invoke("data", "convert", source.path, out, "-j", "1", model=False)
    assert done.exit_code == 1, done.output  # two pairs were left out
    assert "6 of 8 pairs are in 1 shards" in done.stderr
    assert "5.png" in done.stderr
    assert done.stdout == f"{out / '*.tar'}\n"
    done = invoke("data", "check", out / "*.tar", "-j", "1", model=False)
    assert "6 pairs" in done.stdout
