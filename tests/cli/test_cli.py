"""The command line: what it prints, where, and how it ends."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import keshin
from keshin import api
from keshin.cli import main as main_module
from keshin.cli.interrupts import Interrupts
from keshin.cli.main import COMMANDS, main
from keshin.cli.reports import printable

ROOT = str(Path(keshin.__file__).parents[1])


@pytest.fixture
def red(pictures):
    return str(pictures / "red.png")


# --- help ----------------------------------------------------------------------------------------


def test_help_lists_every_command():
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert f"{name} " in result.output
        assert text in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example_and_the_listed_help(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert f"keshin {name} " in result.output.replace("\n", " ").split("Example")[1]
    command = main.get_command(click.Context(main), name)
    assert command.get_short_help_str(200).rstrip(".") == COMMANDS[name][1].rstrip(".")
    assert "--debug" in result.output


def test_no_arguments_shows_help():
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_version():
    assert CliRunner().invoke(main, ["--version"]).output == f"keshin {keshin.__version__}\n"


def test_unknown_command():
    result = CliRunner().invoke(main, ["clasify"])
    assert result.exit_code == 2
    assert "Did you mean 'classify'?" in result.stderr
    assert "There are: classify," in CliRunner().invoke(main, ["zzz"]).stderr


# --- classify: formats ---------------------------------------------------------------------------


def test_json_is_as_designed(invoke, pictures):
    given = [str(pictures / "red.png"), str(pictures / "deep"), str(pictures / "broken.jpg")]
    result = invoke("classify", *given, "--labels", "cat, dog, bird", "--format", "json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert list(content) == ["model", "labels", "templates", "results", "failed"]
    assert content["model"] == "tiny"
    assert content["labels"] == ["cat", "dog", "bird"]
    assert content["templates"] == ["a photo of a {}."]
    files = [given[0], str(pictures / "deep" / "green.jpg"), str(pictures / "deep" / "青.png")]
    assert [entry["file"] for entry in content["results"]] == files
    for entry in content["results"]:
        assert list(entry) == ["file", "answers"]
        assert [list(answer) for answer in entry["answers"]] == [["label", "score", "cosine"]] * 3
        scores = [answer["score"] for answer in entry["answers"]]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-4)
    assert [list(entry) for entry in content["failed"]] == [["file", "error"]]
    assert content["failed"][0]["file"] == given[2]
    assert "青" in result.stdout
    assert "1 of 4 pictures could not be read" in result.stderr


def test_json_equals_the_library(invoke, pictures, red, tiny_folder):
    result = invoke("classify", red, "-l", "cat, dog", "-f", "json")
    assert result.exit_code == 0
    answers = json.loads(result.stdout)["results"][0]["answers"]
    made = keshin.load(tiny_folder).classifier(["cat", "dog"])
    expected = dict(zip(made.classes_.tolist(), made.predict_proba([red])[0], strict=True))
    for answer in answers:
        assert answer["score"] == pytest.approx(expected[answer["label"]], abs=1e-5)


def test_json_lines_and_csv(invoke, pictures):
    lines = invoke("classify", pictures, "-l", "cat, dog", "-f", "jsonl", "--top", 1)
    assert lines.exit_code == 1
    parsed = [json.loads(line) for line in lines.stdout.splitlines()]
    assert [list(entry) for entry in parsed] == [["file", "error"]] + [["file", "answers"]] * 3
    assert all(len(entry["answers"]) == 1 for entry in parsed[1:])

    table = invoke("classify", pictures, "-l", "cat, dog", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(table.stdout)))
    assert len(rows) == 1 + 3 * 2
    assert rows[0]["error"].startswith("Cannot read")
    assert [row["rank"] for row in rows[1:]] == ["1", "2"] * 3
    best = parsed[1]["answers"][0]
    assert (rows[1]["label"], float(rows[1]["score"])) == (best["label"], best["score"])
    assert rows[1]["answer"] == best["label"]


def test_table(invoke, pictures, red):
    one = invoke("classify", red, "-l", "cat, dog, 猫, bird, fish, tree, car")
    assert one.exit_code == 0
    lines = one.stdout.splitlines()
    assert lines[0].split() == ["file", "label", "score", "cosine"]
    assert len(lines) == 1 + 5
    assert red in lines[1]
    several = invoke("classify", pictures, "-l", "cat, dog")
    assert several.exit_code == 1
    assert len(several.stdout.splitlines()) == 1 + 3
    assert several.stderr.count("broken.jpg") == 1
    assert "1 of 4" in several.stderr


def test_warnings_go_to_standard_error(invoke, red):
    result = invoke("classify", red, "-l", "cat, Cat", "-f", "json")
    assert "Warning: 'Cat' of 'Cat' is the same text" in result.stderr
    json.loads(result.stdout)


# --- classify: labels, templates, rejection ------------------------------------------------------


def test_labels_from_file_and_folders(invoke, red, tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("cat: kitten\n犬\n", encoding="utf-8")
    result = json.loads(invoke("classify", red, "--labels-file", file, "-f", "json").stdout)
    assert result["labels"] == ["cat", "犬"]
    assert result["templates"] == ["a photo of a {}.", "{}の写真"]
    for name in ("red_bird", "cat"):
        (tmp_path / "classes" / name).mkdir(parents=True)
    folders = invoke("classify", red, "--labels-from-folders", tmp_path / "classes", "-f", "json")
    assert json.loads(folders.stdout)["labels"] == ["cat", "red_bird"]


def test_templates_and_aliases(invoke, red, tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("a drawing of {}\n")
    options = ["-l", "cat, dog", "-f", "json", "-t", "my {}", "--templates", "cifar10"]
    result = invoke("classify", red, *options, "--templates", file, "--alias", "cat=tabby, kitten")
    templates = json.loads(result.stdout)["templates"]
    assert templates[0] == "my {}"
    assert templates[-1] == "a drawing of {}"
    assert len(templates) == 20


def test_rejection(invoke, red):
    result = invoke("classify", red, "-l", "cat, dog", "-f", "json", "--reject-cosine", "0.99")
    entry = json.loads(result.stdout)["results"][0]
    assert entry["answer"] == "none of these"
    assert len(entry["answers"]) == 2
    table = invoke("classify", red, "-l", "cat, dog", "--reject", "1")
    assert "none of these" in table.stdout
    assert invoke("classify", red, "-l", "cat, dog", "--none-of-these").exit_code == 0


def test_save_and_use_a_classifier(invoke, red, tmp_path):
    path = tmp_path / "pets.classifier"
    first = invoke("classify", red, "-l", "cat, dog", "-f", "json", "--save-classifier", path)
    second = invoke("classify", red, "--classifier", path, "-f", "json", model=False)
    assert second.exit_code == 0
    assert first.stdout == second.stdout
    mixed = invoke("classify", red, "--classifier", path, "--reject", "0.5")
    assert mixed.exit_code == 2
    assert "keeps its own" in mixed.stderr


# --- classify: wrong use -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Say what to look for"),
        (["-l", "cat", "--labels-from-folders", "."], "Say what to look for"),
        (["-l", "cat,,dog"], "Label 2 is empty"),
        (["-l", "cat", "-t", "photo"], "no set of templates named 'photo'"),
        (["-l", "cat", "--templates", "imagenett"], "Did you mean 'imagenet'"),
        (["-l", "cat", "--alias", "dog=puppy"], "not among the labels"),
        (["-l", "cat", "--reject", "2"], "is not in the range"),
        (["-l", "cat", "--top", "0"], "is not in the range"),
        (["-l", "cat", "-f", "xml"], "'xml' is not one of"),
        (["--labels-file", "nix.txt"], "does not exist"),
    ],
)
def test_wrong_use(invoke, red, arguments, message):
    result = invoke("classify", red, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_no_such_model(invoke, red):
    result = invoke("classify", red, "-l", "cat", "-m", "nix", model=False)
    assert result.exit_code == 2
    assert "There is no model 'nix'" in result.stderr


def test_folder_without_pictures(invoke, tmp_path):
    result = invoke("classify", tmp_path, "-l", "cat, dog")
    assert result.exit_code == 2
    assert "There is no picture in" in result.stderr


def test_missing_file_is_an_input_that_failed(invoke, red, tmp_path):
    result = invoke("classify", tmp_path / "nix.jpg", red, "-l", "cat, dog", "-f", "json")
    assert result.exit_code == 1
    assert "no such file" in json.loads(result.stdout)["failed"][0]["error"]


def test_bugs_are_said_without_a_traceback(invoke, red, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(api, "load", broken)
    result = invoke("classify", red, "-l", "cat, dog")
    assert result.exit_code == 1
    assert "ZeroDivisionError: by zero" in result.stderr
    assert "--debug" in result.stderr
    for debugged in (
        invoke("classify", red, "-l", "cat, dog", "--debug"),
        CliRunner(env={"KESHIN_DEBUG": "1"}).invoke(main, ["classify", red, "-l", "cat"]),
    ):
        assert isinstance(debugged.exception, ZeroDivisionError)


# --- output --------------------------------------------------------------------------------------


def test_output_file_is_whole(invoke, red, tmp_path):
    path = tmp_path / "answers.json"
    result = invoke("classify", red, "-l", "cat, dog", "-f", "json", "-o", path)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert json.loads(path.read_text(encoding="utf-8"))["model"] == "tiny"
    assert list(tmp_path.iterdir()) == [path]


def test_output_that_cannot_be_written(invoke, red, tmp_path):
    result = invoke("classify", red, "-l", "cat, dog", "-o", tmp_path / "no" / "file.csv")
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_odd_file_names(invoke, red, tmp_path):
    odd = [os.fsdecode(b"caf\xe9.png"), "new\nline.png", "\x1b[31mred.png", 'quote",.png']
    for name in odd:
        (tmp_path / name).write_bytes(Path(red).read_bytes())
    shown = invoke("classify", tmp_path, "-l", "cat, dog", "-f", "json")
    assert shown.exit_code == 0
    files = [entry["file"] for entry in json.loads(shown.stdout)["results"]]
    assert sorted(files) == sorted(str(tmp_path / name) for name in odd)
    rows = list(
        csv.DictReader(
            io.StringIO(invoke("classify", tmp_path, "-l", "a, b", "-f", "csv", "--top", 1).stdout)
        )
    )
    assert len(rows) == 4
    table = invoke("classify", tmp_path, "-l", "cat, dog")
    assert table.exit_code == 0
    assert "\x1b" not in table.stdout
    assert len(table.stdout.splitlines()) == 1 + 4
    assert printable("a\nb") == r"a\nb"


# --- interrupts ----------------------------------------------------------------------------------


def test_an_interrupt_waits_for_the_record():
    done = []

    def work():
        with Interrupts() as interrupts:
            with interrupts.held():
                signal.raise_signal(signal.SIGINT)
                done.append("record")
            done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["record"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_does_not_wait():
    done = []

    def work():
        with Interrupts() as interrupts, interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("first")
            signal.raise_signal(signal.SIGINT)
            done.append("not reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["first"]


# --- processes -----------------------------------------------------------------------------------


def test_exit_codes_of_the_process(run_keshin, tiny_folder, pictures, red):
    model = ["--model", tiny_folder, "--labels", "cat, dog"]
    assert run_keshin("classify", red, *model).returncode == 0
    failed = run_keshin("classify", pictures, *model, "--format", "json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["failed"]
    wrong = run_keshin("classify", red, "--model", tiny_folder)
    assert wrong.returncode == 2
    assert b"Traceback" not in failed.stderr + wrong.stderr


def start(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": ROOT}
    command = [sys.executable, "-m", "keshin", *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        bufsize=0,
        **options,
    )


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Enough pictures to be interrupted among."""
    folder = tmp_path_factory.mktemp("many")
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    Image.fromarray(noise).save(folder / "0000.png")
    for number in range(1, 2000):
        (folder / f"{number:04}.png").symlink_to(folder / "0000.png")
    return folder


@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child")
def test_interrupt_keeps_what_was_done(form, many, tiny_folder):
    process = start("classify", many, "-m", tiny_folder, "-l", "cat, dog", "-f", form)
    head = [process.stdout.readline() for _ in range(4)]  # it is under way
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    text = (b"".join(head) + rest).decode()
    assert process.returncode == 130
    assert "Interrupted." in errors.decode()
    assert "Traceback" not in errors.decode()
    if form == "json":
        done = len(json.loads(text)["results"])
    elif form == "jsonl":
        done = len([json.loads(line) for line in text.splitlines()])
    else:
        done = len(list(csv.DictReader(io.StringIO(text)))) // 2
    assert 0 < done < 2000


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a child")
def test_interrupt_leaves_a_partial_file(many, tiny_folder, tmp_path):
    path = tmp_path / "out.jsonl"
    process = start(
        "classify", many, "-m", tiny_folder, "-l", "cat, dog", "-f", "jsonl", "-o", path
    )
    partial = tmp_path / "out.jsonl.partial"
    for _ in range(600):
        if partial.exists() and partial.stat().st_size:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not path.exists()
    assert str(partial) in errors.decode()
    assert all(json.loads(line) for line in partial.read_text().splitlines())


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
@pytest.mark.parametrize("form", ["jsonl", "json", "csv"])
def test_closed_pipe_is_silent(form, many, tiny_folder):
    process = start("classify", many, "-m", tiny_folder, "-l", "cat, dog", "-f", form)
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=60) == main_module.PIPE_CLOSED
    assert errors == b""
    process.stderr.close()


def test_plain_locale(run_keshin, tiny_folder, red):
    """Labels in Japanese come out as UTF-8 in machine formats whatever the locale says."""
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    options = ["classify", red, "-m", tiny_folder, "-l", "猫, 犬"]
    made = run_keshin(*options, "-f", "json", environment=environment)
    assert json.loads(made.stdout.decode())["labels"] == ["猫", "犬"]
    assert run_keshin(*options, environment=environment).returncode == 0
