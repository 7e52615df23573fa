"""The command ``weaknesses``."""

import csv
import io
import json

import pytest
from PIL import Image

import keshin

FEW = ("--count", "20", "--task", "near")


def test_json_is_what_python_gives(run_keshin, tiny_folder):
    done = run_keshin("weaknesses", "--model", tiny_folder, *FEW, "--format", "json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    model = keshin.load(tiny_folder, threads=1)
    report = keshin.weaknesses(model, count=20, tasks=["near"])
    assert content["findings"][0]["verdict"] == report.findings[0].verdict
    assert content["findings"][0]["said"].keys() == {"en", "ja"}
    assert content["findings"][0]["main"]["value"] == pytest.approx(report.findings[0].main.value)
    assert content["fingerprint"] == model.encoder.fingerprint != ""
    assert done.stderr.decode() == "near: 80 pictures\n"


def test_labels_pictures_table_and_page(run_keshin, tiny_folder, tmp_path):
    for name, colour in (("cat", (250, 0, 0)), ("dog", (0, 250, 0))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9), colour).save(tmp_path / "pictures" / name / "a.png")
    (tmp_path / "pictures" / "dog" / "b.png").write_bytes(b"no picture")
    page = tmp_path / "out.html"
    done = run_keshin(
        "weaknesses", "--model", tiny_folder, *FEW, "--pictures", tmp_path / "pictures",
        "--labels", "cat, dog, 猫", "--language", "ja", "--report", page,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # a picture could not be read
    assert "b.png" in done.stderr.decode()
    shown = done.stdout.decode()
    assert "ほぼ同じ図形" in shown
    assert "cat / dog" in shown
    assert "<html" in page.read_text(encoding="utf-8")


def test_csv_has_a_row_for_every_figure(run_keshin, tiny_folder):
    done = run_keshin("weaknesses", "-m", tiny_folder, *FEW, "-f", "csv", "-l", "cat, dog")
    rows = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert {row["role"] for row in rows} == {"main", "control", "other", "kind"}
    assert {row["task"] for row in rows} == {"near", "labels"}
    assert all(float(row["low"]) <= float(row["value"]) <= float(row["high"]) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "chess"), "There is no task 'chess'. There are: counting"),
        (("--count", "3"), "--count"),
        (("--labels", "cat"), "1 labels cannot be compared"),
        (("--labels", "a, b", "--labels-file", __file__), "not with both"),
        (("--model", "nix"), "no model 'nix'"),
    ],
)
def test_wrong_use_is_a_sentence(run_keshin, arguments, said):
    options = ("--count", "20", "--task", "near") if arguments[0] == "--labels" else ()
    done = run_keshin("weaknesses", *options, *arguments)
    assert done.returncode == 2
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""


def test_help_has_an_example_and_loads_nothing_heavy(run_keshin):
    done = run_keshin("weaknesses", "--help")
    assert done.returncode == 0
    assert "keshin weaknesses --pictures photos/" in done.stdout.decode()
