import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from keshin.evaluate.results import read_evaluation

COLOURS = {"cat": (220, 30, 30), "dog": (30, 220, 30)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled") / "colours"
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for n in range(8):
            pixels = rng.normal(colour, 50, (18, 18, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{n}.png")
    return root


def test_folder_to_report(invoke, folder, tmp_path):
    result = invoke("eval", folder, "--report", tmp_path / "out.html")
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.stdout
    assert "95 % interval" in result.stdout
    assert "Written" in result.stderr
    page = (tmp_path / "out.html").read_text()
    assert "How good is tiny on colours?" in page
    assert "keshin" in page


def test_machine_readable_goes_to_standard_output(invoke, folder, tmp_path):
    content = json.loads(invoke("eval", folder, "--format", "json").stdout)
    assert content["scores"][0]["count"] == 16
    rows = list(csv.DictReader(io.StringIO(invoke("eval", folder, "-f", "csv").stdout)))
    assert rows[0]["name"] == "accuracy"
    assert invoke("eval", folder, "-f", "csv", "-o", tmp_path / "x.csv").stdout == ""
    assert (tmp_path / "x.csv").read_text().startswith("dataset,split")


def test_options_reach_the_evaluation(invoke, folder, tmp_path):
    labels = tmp_path / "labels.txt"
    labels.write_text("kitten\nhound\n")
    result = invoke(
        "eval", folder, "--labels-file", labels, "--templates", "a drawing of a {}.", "--limit", 9,
        "--seed", 3, "--probe", "-f", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert list(content["prompts"]["names"]) == ["kitten", "hound"]
    assert content["prompts"]["templates"] == ["a drawing of a {}."]
    assert (content["data"]["pictures"], content["run"]["seed"]) == (9, 3)
    assert content["probe"]["crossed"]


def test_figures_are_not_computed_twice(invoke, folder, tmp_path):
    out = tmp_path / "figures"
    first = invoke("eval", folder, "--figures", out, "--templates", "imagenet7")
    assert first.exit_code == 0, first.output
    names = {path.name for path in out.iterdir()}
    assert {"index.html", "colours.html", "colours.json", "results.csv"} <= names
    before = read_evaluation(out / "colours.json")
    again = invoke("eval", folder, "--figures", out, "--templates", "imagenet7")
    assert "as it was in" in again.stderr
    assert read_evaluation(out / "colours.json") == before
    changed = invoke("eval", folder, "--figures", out, "--templates", "a {}")
    assert "as it was in" not in changed.stderr
    more = invoke("eval", folder, "--figures", out, "--templates", "a {}", "--probe")
    assert "as it was in" not in more.stderr


def test_list_says_what_is_here(invoke):
    result = invoke("eval", "--list")
    assert result.exit_code == 0, result.output
    assert "CIFAR-10" in result.stdout
    assert "0 of" in result.stderr
    rows = json.loads(invoke("eval", "--list", "-f", "json").stdout)
    assert sum(row["in_paper"] for row in rows) == 27
    some = invoke("eval", "--list", "mnist", "-f", "csv").stdout
    assert [row["key"] for row in csv.DictReader(io.StringIO(some))] == ["mnist"]
    assert invoke("eval", "--list", "nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say what to evaluate on"),
        (["nowhere/"], "There is no"),
        (["cifar10"], "CIFAR-10 is not in"),
        (["cifar11"], "Did you mean"),
        (["all"], "None of the known data sets is here"),
        (["{folder}", "{folder}", "--report", "x.html"], "Use --figures"),
        (["{folder}", "--language", "xx"], "'xx' is not one of 'en', 'ja'"),
    ],
)
def test_wrong_use_is_one_sentence(invoke, folder, arguments, said):
    result = invoke("eval", *[a.format(folder=folder) for a in arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_what_could_not_be_read_is_named_and_the_exit_code_says_so(invoke, folder, tmp_path):
    import shutil

    other = shutil.copytree(folder, tmp_path / "broken")
    (other / "cat" / "bad.png").write_bytes(b"\x89PNG no")
    result = invoke("eval", other)
    assert result.exit_code == 1
    assert "1 of 17 pictures" in result.stderr


def test_of_several_one_that_is_missing_does_not_end_the_others(invoke, folder, tmp_path):
    result = invoke("eval", folder, tmp_path / "nowhere", "-f", "json")
    assert result.exit_code == 1
    assert "nowhere" in result.stderr
    assert json.loads(result.stdout)["data"]["title"] == "colours"


def test_help_shows_examples(invoke):
    result = invoke("eval", "--help", model=False)
    assert "keshin eval photos/ --report photos.html" in result.stdout


def test_all_goes_on_past_a_broken_set_and_draws_the_figures(invoke, tmp_path):
    """Three sets that are here, one of them unreadable, the others of the table not here at all."""
    pytest.importorskip("torch")
    from miniatures import MINIATURES
    from resnets import stored, timm_config, weights

    data, out = tmp_path / "data", tmp_path / "figures"
    for key in ("caltech101", "gtsrb"):
        MINIATURES[key](data / key)
    (data / "fer2013").mkdir()
    (data / "fer2013" / "fer2013.csv").write_text("no,table\n1,2\n")
    stored(tmp_path / "resnet", weights())
    (tmp_path / "resnet" / "config.json").write_text(timm_config())
    result = invoke(
        "eval", "all", "--data-dir", data, "--resnet50", tmp_path / "resnet",
        "--figures", out, "-f", "json",
    )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "fer2013" in result.stderr
    found = {one["data"]["key"]: one for one in json.loads(result.stdout)}
    assert set(found) == {"caltech101", "gtsrb"}
    for one in found.values():
        assert one["baseline"]["versus"]["first"] == "ResNet-50 probe"
    # Figure 5 shows the difference measured here, not one with the paper's value of the probe.
    numbers = json.loads((out / "figures.json").read_text())["figure5"]
    assert {row["kind"] for row in numbers} == {0}
    for row in numbers:
        one = next(o for o in found.values() if o["data"]["title"] == row["name"])
        assert row["value"] == pytest.approx(-100 * one["baseline"]["versus"]["difference"])
        assert row["low"] <= row["value"] <= row["high"]
        assert row["paper"] is not None
    assert (out / "index.html").is_file()
    assert {f"{key}.html" for key in found} <= {path.name for path in out.iterdir()}
