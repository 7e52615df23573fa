"""The command cache: every kind of what is kept is shown and cleared, and nothing else is touched."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import keshin
from keshin import api
from keshin.cli.main import main
from keshin.core.cache import cache_folder
from keshin.core.kept import CLASSIFIERS, CONVERTED, EMBEDDINGS, KINDS
from keshin.core.pulled import Pulled, hub_cache, write_record


def run(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result


def kinds():
    rows = json.loads(run("cache", "info", "-f", "json").stdout)["kinds"]
    assert [row["kind"] for row in rows] == list(KINDS)
    return {row["kind"]: row for row in rows}


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """A file of each kind, and what is not keshin's to delete."""
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "keshin"))
    for path, size in (
        ("embeddings/files.sqlite", 1),
        ("embeddings/files.sqlite-journal", 2),
        (f"classifiers/{'a' * 64}", 4),
        ("quantised/abc.safetensors", 8),
        (f"hashes/{'b' * 64}", 16),
        ("converted/openai--x-0123/keshin.json", 32),
        ("converted/openai--x-0123/model.safetensors", 64),
        ("converted/.openai--x-0123.0a1b.tmp/model.safetensors", 128),
        (f"shards/{'c' * 64}", 256),
        (f"fetched/{'d' * 64}", 512),
        (f"features/{'e' * 64}/1-0a1b.features", 1024),
    ):
        file = cache_folder() / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * size)
    foreign = [cache_folder() / name / "mine.txt" for name in KINDS]
    foreign += [cache_folder() / "mine.npz", CONVERTED.folder / "mine" / "notes.txt"]
    for file in foreign:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("keep")
    write_record(api.records_folder(), Pulled("a/b", "a/b", "0" * 40, "elsewhere", ()))
    return {*foreign, *api.records_folder().iterdir()}


def everything():
    return {path for path in cache_folder().rglob("*") if path.is_file()}


def test_every_kind_is_counted(kept):
    sizes = {name: (row["files"], row["bytes"]) for name, row in kinds().items()}
    assert sizes == {
        "embeddings": (2, 3), "classifiers": (1, 4), "quantised": (1, 8), "hashes": (1, 16),
        "converted": (3, 224), "shards": (1, 256), "fetched": (1, 512),
        "features": (1, 1024), "indexes": (0, 0),
    }  # fmt: skip
    shown = run("cache", "info")
    assert all(name in shown.stdout for name in KINDS)
    assert str(cache_folder()) in shown.stderr
    assert f"Pulled models are in {hub_cache()}" in shown.stderr


def test_clear_deletes_all_kinds_and_nothing_else(kept):
    said = run("cache", "clear").stderr.splitlines()
    assert said[0] == "embeddings: 3 bytes were deleted."
    assert "fetched: 512 bytes were deleted." in said
    assert said[-1] == "indexes: nothing was kept."
    assert everything() == kept
    assert not (CONVERTED.folder / "openai--x-0123").exists()
    assert len(list(CONVERTED.folder.iterdir())) == 2  # mine.txt and mine/


def test_clear_of_some_kinds(kept):
    run("cache", "clear", "quantised", "embeddings")
    assert {name for name, row in kinds().items() if row["files"]} == {
        "classifiers", "hashes", "converted", "shards", "features", "fetched",
    }  # fmt: skip
    wrong = CliRunner().invoke(main, ["cache", "clear", "pulled"])
    assert wrong.exit_code == 2
    assert "converted" in wrong.stderr


def test_folders_that_are_empty_go_too(kept):
    for file in kept:
        file.unlink()
    (CONVERTED.folder / "mine").rmdir()
    run("cache", "clear")
    assert [path.name for path in cache_folder().iterdir()] == ["pulled"]
    assert "Nothing is kept" in run("cache", "info").stderr
    assert "converted: nothing was kept." in run("cache", "clear").stderr


def test_what_keshin_really_keeps_is_known_to_the_table(tiny_folder, pictures, tmp_path):
    """A file that a later change puts elsewhere, or names otherwise, would show here."""
    foreign = tmp_path / "weights"
    foreign.mkdir()
    (foreign / "keshin.json").write_bytes((tiny_folder / "keshin.json").read_bytes())
    (foreign / "tokenizer.json").write_bytes((tiny_folder / "tokenizer.json").read_bytes())
    weights = foreign / "model.safetensors"
    weights.write_bytes((tiny_folder / "model.safetensors").read_bytes())
    for command in (("embed", pictures), ("classify", pictures, "-l", "cat, dog")):
        CliRunner().invoke(main, [*map(str, command), "-m", str(tiny_folder), "--mode", "int8"])
    keshin.load(weights, threads=1)
    found = {path for kind in KINDS.values() for path in kind.files()}
    assert found == everything()
    counted = kinds()
    assert counted["embeddings"]["files"] == 2
    assert counted["converted"]["files"] == 3
    assert counted["quantised"]["files"] > 0
    vectors = json.loads(run("cache", "info", "-f", "json").stdout)["embeddings"]
    assert {row["holds"]: row["rows"] for row in vectors} == {"files": 3, "vectors": 3}
    assert "tiny" in run("cache", "info").stdout
    before = keshin.load(tiny_folder, threads=1).encode_texts(["a cat"])
    run("cache", "clear")
    assert everything() == set()
    np.testing.assert_array_equal(
        keshin.load(tiny_folder, threads=1).encode_texts(["a cat"]), before
    )
    assert not EMBEDDINGS.folder.exists()
    assert not CLASSIFIERS.folder.exists()
