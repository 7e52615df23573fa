"""The command search."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:02}.png")
    return tmp_path / "photos"


def test_all_formats_say_the_same(invoke, photos):
    common = ("search", photos, "a cat", "-k", 3, "--min-relevance", 0)
    result = invoke(*common, "-f", "json")
    assert result.exit_code == 0
    assert "40 added; 40 pictures" in result.stderr
    answer = json.loads(result.stdout)
    assert (answer["model"], answer["searched"], answer["failed"]) == ("tiny", 40, [])
    files = [one["file"] for one in answer["results"]]
    assert len(files) == 3
    assert all(0 <= one["relevance"] <= 1 for one in answer["results"])
    lines = invoke(*common, "-f", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == answer["results"]
    assert invoke(*common, "-f", "paths", model=False).stdout.splitlines() == files
    rows = list(csv.DictReader(io.StringIO(invoke(*common, "-f", "csv").stdout)))
    assert [row["file"] for row in rows] == files
    table = invoke(*common, "--no-update")
    assert "relevance" in table.stdout
    folded = "".join(table.stdout.split())
    assert all("".join(name.split()) in folded for name in files)
    assert table.stderr == ""


def test_that_nothing_matches_is_an_answer(invoke, photos):
    result = invoke("search", photos, "a cat", "--min-relevance", 1)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Nothing here matches: of 40 pictures" in result.stderr


def test_pictures_minus_and_files(invoke, photos, tmp_path):
    out = tmp_path / "out.json"
    like = ("search", photos, "--like", photos / "07.png", "-k", 1, "--min-relevance", 0)
    assert invoke(*like, "-f", "json", "-o", out).stdout == ""
    assert json.loads(out.read_text())["results"][0]["file"] == str(photos / "07.png")
    assert invoke(*like, "a dog -cat", "--without", "a bird").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to look for"),
        (("-cat",), "No such option"),
        (("--", "-cat"), "nothing to look for"),
        (("a", "--like", "none.png"), "does not exist"),
    ],
)
def test_wrong_use(invoke, photos, arguments, message):
    result = invoke("search", "--model", "mini", photos, *arguments, model=False)
    assert result.exit_code == 2
    assert message in result.stderr


def test_broken_pictures_and_another_model(invoke, photos):
    (photos / "bad.jpg").write_bytes(b"no picture")
    result = invoke("search", photos, "a cat", "-f", "json", "--min-relevance", 0)
    assert result.exit_code == 1
    assert "bad.jpg" in json.loads(result.stdout)["failed"][0]["file"]
    assert "Warning: Cannot read" in result.stderr
    other = invoke("search", photos, "a cat", "--model", "mini", model=False)
    assert other.exit_code == 2
    assert "of the model 'tiny', not 'mini'" in other.stderr
    assert invoke("search", photos.parent / "none", "a cat").exit_code == 2
    rebuilt = invoke("search", photos, "a cat", "-m", "mini", "--rebuild", model=False)
    assert "40 added" in rebuilt.stderr
