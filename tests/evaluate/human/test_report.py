"""From answers to the report: JSON, CSV, HTML, and the model on the same pictures."""

import csv
import io
import json

import msgspec
import numpy as np
import pytest

import keshin
from human_studies import answer_all
from keshin.errors import DataError
from keshin.evaluate.human import (
    ask_model,
    load_study,
    open_answers,
    read_answers,
    reopened,
    save_study,
    summarise,
)
from keshin.evaluate.human.model_answers import ModelAnswers
from keshin.evaluate.human.page import to_html
from keshin.evaluate.human.results import own_results


@pytest.fixture
def answered(study, tmp_path):
    """Ann did all, Ben the first round, Cleo two questions."""
    folder = tmp_path / "study"
    save_study(study, folder)
    with open_answers(folder, study) as answers:
        ann, ben, cleo = (answers.journal(answers.join(name)) for name in ("Ann", "Ben", "Cleo<b>"))
        answer_all(ann, lambda shots, q, target: target if q % 3 <= shots else None, finish=True)
        answer_all(ben, lambda shots, q, target: 0, rounds=(0,))
        answer_all(cleo, lambda shots, q, target: 0, rounds=(0,))
        from keshin.evaluate.human.sitting import Undone

        for _ in range(7):
            cleo.record(Undone(at=""), cleo.sitting.revision)
    return folder


@pytest.fixture
def model(study):
    choices = tuple(int(t) if n % 2 else 0 for n, t in enumerate(study.targets))
    return ModelAnswers("made<i>", "f" * 64, "fp32", ("a {}",), choices, (0.5,) * len(choices))


def test_who_did_not_finish_is_left_out_and_named(study, answered, model):
    sittings = read_answers(answered, study)
    found = summarise(study, sittings, model)
    assert [r.shots for r in found.rounds] == [0, 1, 2]
    assert [p.name for p in found.rounds[0].people] == ["Ann", "Ben"]
    assert [p.name for p in found.rounds[1].people] == ["Ann"]
    assert found.rounds[0].unfinished == ("Cleo<b>",)
    assert any("Cleo<b> did not finish a round and are left out" in note for note in found.notes)
    assert found.rounds[0].people[1].accuracy.value == pytest.approx(1 / 3)
    assert found.rounds[2].human.accuracy.value == 1
    assert found.chance == pytest.approx(1 / 3)
    assert len(found.changes) == 2
    partial = summarise(study, sittings, model, partial=True)
    assert [p.name for p in partial.rounds[0].people] == ["Ann", "Ben", "Cleo<b>"]
    assert partial.rounds[0].people[2].answers == 2


def test_json_and_csv_say_the_same(study, answered, model):
    found = summarise(study, read_answers(answered, study), model)
    content = json.loads(found.to_json())
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    for r in content["rounds"]:
        for who, key in (("people", "human"), ("model", "model")):
            for field, measure in (("accuracy", "accuracy"), ("majority", "majority vote")):
                (line,) = [
                    x for x in lines
                    if (x["shots"], x["who"], x["measure"], x["class"])
                    == (str(r["shots"]), who, measure, "")
                ]  # fmt: skip
                for name in ("value", "low", "high"):
                    assert float(line[name]) == pytest.approx(r[key][field][name], rel=1e-5)
    assert content["paper"]["rows"][0]["accuracy"] == 53.7
    assert {x["class"] for x in lines} == {"", "crow", "red kite", "wren"}
    assert content["model"] == "made<i>"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_is_whole_and_nothing_in_it_is_markup_of_others(study, answered, model, language):
    found = summarise(study, read_answers(answered, study), model)
    text = to_html(found, language=language)
    assert f'<html lang="{language}">' in text
    assert text.count("<svg") == 1
    assert "<i>" not in text
    assert "<b>" not in text
    assert "made&lt;i&gt;" in text
    plain = text.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "http" not in plain  # nothing is loaded from anywhere
    changes = {"en": "What examples change", "ja": "見本で何が変わるか"}[language]
    for needed in ("53.7\N{NO-BREAK SPACE}%", "McNemar", "red kite", changes):
        assert needed in text
    alone = to_html(summarise(study, read_answers(answered, study)), language=language)
    assert "McNemar" not in alone


def test_nobody_yet(study, tmp_path):
    save_study(study, tmp_path / "s")
    with open_answers(tmp_path / "s", study) as answers:
        answers.join("Ann")
    with pytest.raises(DataError, match="Nobody has finished"):
        summarise(study, read_answers(tmp_path / "s", study))


def test_the_model_answers_the_same_pictures_once(study, tmp_path, tiny_folder, birds):
    folder = tmp_path / "s"
    save_study(study, folder)
    model = keshin.load(tiny_folder)
    found = ask_model(model, study, folder)
    source = reopened(study)
    pictures = [source.data.pictures[q.row] for q in study.questions]
    scores = model.classifier(list(study.names)).predict_proba(pictures)
    assert found.choices == tuple(scores.argmax(axis=1).tolist())
    expected = scores[np.arange(9), study.targets]
    assert found.probabilities == pytest.approx(expected.tolist(), abs=1e-6)
    calls = []
    again = ask_model(model, study, folder, progress=lambda *state: calls.append(state))
    assert again == found
    assert calls == []
    (kept,) = (folder / "models").iterdir()
    kept.write_bytes(b"{")
    assert ask_model(model, study, folder) == found


def test_pictures_that_changed_are_not_compared(tmp_path, tiny_folder, study, birds):
    moved = msgspec.structs.replace(
        study, questions=(msgspec.structs.replace(study.questions[0], digest="0" * 64),)
    )
    with pytest.raises(DataError, match="is not the one that the study was made with"):
        ask_model(keshin.load(tiny_folder), moved, tmp_path)
    with pytest.raises(DataError, match="other classes"):
        reopened(msgspec.structs.replace(study, names=("a", "b", "c")))


def test_own_results(study, answered, model):
    ann = read_answers(answered, load_study(answered))[0]
    found = own_results(ann, model)
    assert [r["shots"] for r in found["rounds"]] == [0, 1, 2]
    assert found["rounds"][2]["accuracy"]["value"] == 1
    assert found["pictures"] == []
    assert found["model"] == "made<i>"
    assert own_results(ann, None)["rounds"][0]["model"] is None
