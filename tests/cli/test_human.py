"""``keshin human``: studies from the command line, and their report."""

import csv
import io
import json

import pytest
from click.testing import CliRunner

from human_studies import answer_all, made_folder
from keshin.cli.main import main
from keshin.cli.studies import Wanted
from keshin.errors import DataError
from keshin.evaluate.human import open_answers


@pytest.fixture
def place(tmp_path, monkeypatch):
    made_folder(tmp_path / "birds", ["crow", "red_kite", "wren"], 6)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def answered(place):
    """A study of two rounds that two people have done, and one has begun."""
    study, _, folder = Wanted("birds", None, shots="0,1", questions=9).found()
    with open_answers(folder, study) as answers:
        for name, chance in (("Ann", 2), ("Ben", 3)):
            journal = answers.journal(answers.join(name))
            answer_all(journal, lambda s, q, target, c=chance: target if q % c else None)
        answers.join("Cleo")
    return folder


def run(*arguments):
    return CliRunner().invoke(main, ["human", *map(str, arguments)])


def test_a_study_is_made_once_and_found_again(place):
    study, source, folder = Wanted("birds", None, people="Ann, 花子", questions=6).found()
    assert folder.name == "birds.study"
    assert (study.people, study.rounds, len(study.questions)) == (("Ann", "花子"), (0,), 6)
    assert source.names == ("crow", "red kite", "wren")
    for again in (Wanted("birds", None), Wanted("birds.study", None), Wanted("birds", folder)):
        assert again.found()[0] == study
    with pytest.raises(DataError, match="made with --questions 6"):
        Wanted("birds", None, questions=7).found()
    with pytest.raises(DataError, match="made with --people Ann, 花子"):
        Wanted("birds", None, people="Ben").found()


def test_a_folder_that_holds_something_else_is_left_alone(place):
    (place / "mine").mkdir()
    (place / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not empty and holds no study"):
        Wanted("birds", place / "mine").found()


def test_examples_of_a_known_dataset_come_from_its_training_split(tmp_path, monkeypatch):
    from miniatures import names, oxford_pets, save

    monkeypatch.setenv("KESHIN_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "oxford_pets"
    oxford_pets(root)
    lines = (root / "annotations/test.txt").read_text().splitlines()
    for line in lines:  # the miniature's splits share their pictures: give each its own
        breed = line.rpartition("_")[0].replace("_", " ")
        save(root / f"images/{line.split()[0]}5.jpg", names("oxford_pets").index(breed), (9, 9))
    own = [line.replace(" ", "5 ", 1) for line in lines]
    (root / "annotations/test.txt").write_text("\n".join(own) + "\n")
    study, source, folder = Wanted("oxford_pets", None, shots="0,1").found()
    assert (study.dataset, folder.name) == ("oxford_pets", "oxford_pets.study")
    assert (study.split, study.example_split) == ("test", "train")
    assert (len(study.names), len(study.questions)) == (37, 37)
    assert "Abyssinian" in study.names
    assert source.templates == ("a photo of a {}, a type of pet.",)
    found = run("report", folder)
    assert "Nobody has finished" in found.stderr


def test_a_folder_with_splits_shows_pictures_of_train(place):
    for split in ("train", "test"):
        made_folder(place / "split" / split, ["a", "b"], 3 if split == "test" else 4)
    study, source, _ = Wanted("split", None, shots="2", questions=0).found()
    assert (study.split, study.example_split) == ("test", "train")
    assert len(study.questions) == 6
    assert len(source.examples) == 8


def test_report_as_json_csv_html_and_table(answered, place, tiny_folder):
    found = run("report", answered, "--model", tiny_folder, "-f", "json", "--html", "out.html")
    assert found.exit_code == 0, found.output
    content = json.loads(found.stdout)
    assert content["model"] == "tiny"
    assert [r["name"] for r in content["rounds"]] == ["Zero-shot", "One-shot"]
    assert [p["name"] for p in content["rounds"][0]["people"]] == ["Ann", "Ben"]
    assert "out.html" in found.stderr
    page = (place / "out.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "red kite" in page
    table = run("report", answered, "--model", tiny_folder)
    assert "One-shot (tiny, same answers)" in table.stdout
    assert "paper, Pets: Two-shot human" in table.stdout
    lines = run("report", answered, "--model", "none", "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert {row["who"] for row in rows} == {"people", "majority", "Ann", "Ben"}


def test_one_person_alone_has_a_report(place):
    study, _, folder = Wanted("birds", None, questions=3).found()
    with open_answers(folder, study) as answers:
        answer_all(answers.journal(answers.join("Ann")), lambda s, q, target: target)
    found = run("report", folder, "--model", "none", "--html", "one.html")
    assert found.exit_code == 0, found.output
    assert "rests on one person" in found.stdout
    assert "nan" not in found.stdout.lower()
    assert "nan" not in (place / "one.html").read_text(encoding="utf-8").lower()


def test_nothing_to_report_yet(place):
    _, _, folder = Wanted("birds", None).found()
    found = run("report", folder)
    assert found.exit_code == 2
    assert "Nobody has finished a round" in found.stderr


def test_wrong_use(place):
    for arguments, said in [
        (("nowhere/",), "There is no"),
        (("birds", "--shots", "3"), "0, 1 and 2"),
        (("birds", "--questions", "-1"), "-1"),
        (("report", "birds"), "no study in"),
        (("birds", "--host", "no.such.host.invalid"), "There is no address"),
    ]:
        found = run(*arguments)
        assert found.exit_code == 2, arguments
        assert said in found.stderr
        assert "Traceback" not in found.output


def test_options_may_come_first(place):
    found = run("--shots", "7", "birds")
    assert "0, 1 and 2" in found.stderr


def test_without_the_extra_the_line_that_installs_it_is_shown(place, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "starlette", None)
    found = run("birds")
    assert found.exit_code == 2
    assert "pip install 'keshin[serve]'" in found.stderr
    assert not (place / "birds.study").exists()


def test_help_of_both(place):
    for arguments in (("--help",), ("start", "--help"), ("report", "--help")):
        found = run(*arguments)
        assert found.exit_code == 0
        assert "keshin human" in found.output
