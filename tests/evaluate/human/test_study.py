"""What is asked: drawn evenly, at random, the same each time, and never what was shown."""

import msgspec
import numpy as np
import pytest

from human_studies import made_folder
from keshin.errors import DataError
from keshin.evaluate.human import load_study, open_source, plan, save_study
from keshin.evaluate.human.source import digest_of
from keshin.evaluate.human.study import person_name


def test_questions_are_even_over_classes_and_examples_are_not_among_them(study, birds):
    assert np.bincount(study.targets).tolist() == [3, 3, 3]
    asked = {question.digest for question in study.questions}
    shown = {example.digest for examples in study.examples for example in examples}
    assert len(asked) == 9
    assert len(shown) == 6
    assert not asked & shown
    data = open_source(birds).data
    for question in study.questions:
        assert data.targets[question.row] == question.target
        assert digest_of(data.pictures[question.row]) == question.digest
    assert study.names == ("crow", "red kite", "wren")


def test_the_numbers_of_questions_say_nothing_about_their_class(tmp_path):
    folder = made_folder(tmp_path / "many", ["a", "b"], 20)
    study, _ = plan(open_source(folder), str(folder), questions=0)
    assert len(study.questions) == 40
    changes = (np.diff(study.targets) != 0).sum()
    assert 10 < changes < 30  # sorted: 1, in turns: 39


def test_the_same_seed_asks_the_same_and_another_does_not(birds):
    source = open_source(birds)

    def drawn(seed):
        return [q.row for q in plan(source, "x", questions=6, seed=seed)[0].questions]

    assert drawn(3) == drawn(3) != drawn(4)


def test_order_of_a_person_is_fixed_and_is_not_that_of_another_person_or_round(birds):
    source = open_source(birds)
    own, _ = plan(source, "x", rounds=(0, 1))
    same, _ = plan(source, "x", rounds=(0, 1), order="same")
    assert sorted(own.sequence("Ann", 0)) == list(range(len(own.questions)))
    assert own.sequence("Ann", 0) == own.sequence("Ann", 0)
    assert own.sequence("Ann", 0) != own.sequence("Ben", 0)
    assert own.sequence("Ann", 0) != own.sequence("Ann", 1)
    assert same.sequence("Ann", 0) == same.sequence("Ben", 0)


def test_order_is_the_one_of_before(study):
    """Written down, since a study that is resumed years later must go on in this order."""
    assert study.sequence("Ann", 0) == (4, 5, 3, 8, 1, 6, 7, 0, 2)


def test_pictures_that_cannot_be_shown_or_are_there_twice_are_left_out(tmp_path):
    folder = made_folder(tmp_path / "odd", ["a", "b"], 3)
    (folder / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    (folder / "b" / "again.png").write_bytes((folder / "a" / "a-0.png").read_bytes())
    study, notes = plan(open_source(folder), "odd", questions=0)
    assert len(study.questions) == 6
    assert len(notes) == 1
    assert "broken.png" in notes[0]


def test_too_few_pictures_for_the_examples(tmp_path):
    one = made_folder(tmp_path / "one", ["a", "b"], 1)
    with pytest.raises(DataError, match=r"'a' has too few pictures .* to show 2"):
        plan(open_source(one), "one", rounds=(0, 2))
    two = made_folder(tmp_path / "two", ["c", "d"], 2)
    with pytest.raises(DataError, match="left to ask"):
        plan(open_source(two), "two", rounds=(0, 2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rounds": ()}, "0, 1 or 2"),
        ({"rounds": (3,)}, "0, 1 or 2"),
        ({"people": ("Ann", "ANN")}, "differ"),
        ({"people": ("x" * 61,)}, "60 printable"),
        ({"people": ("a\x07",)}, "printable"),
    ],
)
def test_what_cannot_be_is_an_error(birds, options, said):
    with pytest.raises(DataError, match=said):
        plan(open_source(birds), "x", **options)


def test_names_keep_their_letters_and_lose_their_spaces():
    assert person_name("  花子   山田 ") == "花子 山田"


def test_a_study_is_read_as_it_was_written(study, tmp_path):
    folder = tmp_path / "s"
    save_study(study, folder)
    assert load_study(folder) == study
    assert load_study(folder).key == study.key
    with pytest.raises(DataError, match="already"):
        save_study(study, folder)


@pytest.mark.parametrize("change", ["{", '{"format": 2}', "target", "missing"])
def test_damaged_studies_are_refused(study, tmp_path, change):
    folder = tmp_path / "s"
    save_study(study, folder)
    path = folder / "study.json"
    if change == "missing":
        path.unlink()
    elif change == "target":
        content = msgspec.json.decode(path.read_bytes())
        content["questions"][0]["target"] = 3
        path.write_bytes(msgspec.json.encode(content))
    else:
        path.write_text(change)
    with pytest.raises(DataError, match=str(folder)):
        load_study(folder)
