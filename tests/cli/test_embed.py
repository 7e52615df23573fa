"""The command embed, and what classify keeps."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import keshin
from keshin.cli.main import main
from keshin.core.kept import EMBEDDINGS
from keshin.encode.runtime import OnnxTowers


@pytest.fixture
def encoded(monkeypatch):
    """How many pictures the image tower saw, call by call."""
    calls = []
    real = OnnxTowers.image_features
    monkeypatch.setattr(
        OnnxTowers, "image_features", lambda s, pixels: (calls.append(len(pixels)), real(s, pixels))[1]
    )  # fmt: skip
    return calls


def paths_of(pictures):
    return [str(pictures / "deep" / "green.jpg"), str(pictures / "deep" / "青.png"), str(pictures / "red.png")]  # fmt: skip


def test_npz(invoke, pictures, tiny_folder, tmp_path):
    path = tmp_path / "x.npz"
    result = invoke("embed", pictures, "-o", path)
    assert result.exit_code == 1
    assert "1 of 4 pictures could not be read" in result.stderr
    with np.load(path) as content:
        assert content["files"].tolist() == paths_of(pictures)
        vectors = content["vectors"]
        assert content["failed"].tolist() == [str(pictures / "broken.jpg")]
        assert "broken.jpg" in content["errors"][0]
        assert str(content["model"]) == "tiny"
        assert len(str(content["fingerprint"])) == 64
    assert vectors.dtype == np.float32
    model = keshin.load(tiny_folder)
    np.testing.assert_allclose(vectors, model.encode_images(paths_of(pictures)), atol=1e-6)
    assert list(tmp_path.iterdir()) == [path]


def test_all_formats_say_the_same(invoke, pictures, tmp_path):
    for name in ("x.npz", "x.parquet", "x.jsonl"):
        invoke("embed", pictures, "-o", tmp_path / name)
    printed = invoke("embed", pictures)
    lines = [json.loads(line) for line in printed.stdout.splitlines()]
    assert lines == [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert [list(line) for line in lines] == [["file", "error"]] + [["file", "vector"]] * 3
    with np.load(tmp_path / "x.npz") as content:
        vectors = content["vectors"]
    np.testing.assert_array_equal(np.array([x["vector"] for x in lines[1:]], np.float32), vectors)
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "x.parquet")
    rows = parquet.to_pylist()
    assert [row["file"] for row in rows] == [line["file"] for line in lines]
    np.testing.assert_array_equal(
        np.array([row["vector"] for row in rows[1:]], np.float32), vectors
    )
    assert rows[0]["vector"] is None
    assert parquet.schema.metadata[b"model"] == b"tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.csv"], "says no format"),
        (["-f", "npz"], "add --output"),
        (["-m", "nix"], "no model 'nix'"),
    ],
)
def test_wrong_use(invoke, pictures, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("embed", pictures, *arguments, model=False)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_it_cannot_be_done(invoke, pictures, tmp_path, monkeypatch):
    def broken(self, pixels):
        raise ZeroDivisionError

    monkeypatch.setattr(OnnxTowers, "image_features", broken)
    assert invoke("embed", pictures, "-o", tmp_path / "x.npz").exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_second_run_of_any_command_encodes_nothing(invoke, pictures, encoded):
    first = invoke("classify", pictures, "-l", "cat, dog", "-f", "json")
    assert sum(encoded) == 3
    assert invoke("classify", pictures, "-l", "cat, dog", "-f", "json").stdout == first.stdout
    invoke("classify", pictures, "-l", "bird, fish", "--format", "csv")
    invoke("embed", pictures)
    assert sum(encoded) == 3
    without = invoke("classify", pictures, "-l", "cat, dog", "-f", "json", "--no-cache")
    assert without.stdout == first.stdout
    assert sum(encoded) == 6
    invoke("embed", pictures, "--no-cache")
    assert sum(encoded) == 9


def test_fast_has_vectors_of_its_own(invoke, pictures, encoded):
    for arguments in (["--fast"], ["--fast"], []):
        assert invoke("classify", pictures, "-l", "cat, dog", *arguments).exit_code == 1
    assert sum(encoded) == 6


def test_a_mode_has_vectors_of_its_own(invoke, pictures, encoded):
    exact, faster = (
        [json.loads(line).get("vector") for line in invoke("embed", pictures, *mode).stdout.splitlines()]
        for mode in ([], ["--mode", "int8-safe"])
    )  # fmt: skip
    assert sum(encoded) == 6
    assert exact != faster
    for one, other in zip(exact[1:], faster[1:], strict=True):
        assert np.dot(one, other) > 0.99
    invoke("classify", pictures, "-l", "cat, dog", "--mode", "int8-safe")
    assert sum(encoded) == 6
    assert invoke("embed", pictures, "--mode", "fp16").exit_code == 2


def test_single_files_are_not_kept(invoke, pictures):
    invoke("classify", pictures / "red.png", "-l", "cat, dog")
    assert not EMBEDDINGS.folder.exists()


def test_a_cache_that_cannot_be_used_is_one_warning(invoke, pictures, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "file"))
    result = invoke("classify", pictures, "-l", "cat, dog", "-f", "csv")
    assert result.exit_code == 1
    assert len(list(csv.DictReader(io.StringIO(result.stdout)))) == 7
    assert result.stderr.count("Warning:") == 1
    assert "without it" in result.stderr


def test_the_library_embeds_as_the_command_does(tiny_folder, pictures, encoded):
    model = keshin.load(tiny_folder, threads=1)
    counts = []
    first = list(model.embed([pictures], progress=lambda c: counts.append(c.done)))
    assert counts == [1, 2, 3, 4]
    second = list(model.embed([pictures]))
    third = list(model.embed([pictures], cache=False))
    assert sum(encoded) == 6
    assert [item.cached for item in second] == [False, True, True, True]
    for one, two, three in zip(first, second, third, strict=True):
        assert one.path == two.path == three.path
        assert one.content == three.content
        if one.vector is not None:
            np.testing.assert_array_equal(one.vector, two.vector)
            np.testing.assert_array_equal(one.vector, three.vector)
    fast = keshin.load(tiny_folder, threads=1, decode="fast")
    assert fast.encoder.decode == "fast"


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child")
def test_an_interrupted_run_goes_on(tiny_folder, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    for number in range(600):
        noise[0, 0] = (*divmod(number, 256), 0)
        Image.fromarray(noise).save(folder / f"{number:03}.png", compress_level=0)
    environment = {**os.environ, "PYTHONPATH": str(Path(keshin.__file__).parents[1])}
    command = [sys.executable, "-m", "keshin", "embed", str(folder), "-m", str(tiny_folder)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment}
    process = subprocess.Popen([*command, "--threads", "1"], **options)
    for _ in range(40):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - began < 5
    said = errors.decode().splitlines()
    assert said[0].startswith("The vectors of ")
    assert "the same command goes on" in said[0]
    assert said[-1] == "Interrupted."
    kept = int(said[0].split()[3])
    assert 40 <= kept < 600
    content = json.loads(
        CliRunner(env={"KESHIN_CACHE": environment["KESHIN_CACHE"]})
        .invoke(main, ["cache", "info", "-f", "json"])
        .stdout
    )
    assert {row["holds"]: row["rows"] for row in content["embeddings"]}["vectors"] >= kept
