import json

import msgspec
import pytest

from evaluations import made
from keshin.errors import DataError
from keshin.evaluate.results import Evaluation, read_evaluation


def test_everything_survives_the_file(tmp_path):
    one = made()
    assert read_evaluation(one.save(tmp_path / "one.json")) == one


def test_json_is_plain_and_can_leave_out_pictures_and_answers():
    one = made()
    content = json.loads(one.to_json(pictures=False, answers=False))
    assert content["format"] == 1
    assert content["scores"][0]["name"] == "accuracy"
    assert content["answers"] is None
    assert not any(shown["thumbnail"] for shown in content["best"] + content["worst"])
    assert one.worst[0].thumbnail  # the evaluation itself is as it was
    assert len(one.to_json()) > len(one.to_json(pictures=False)) + 1000


def test_what_cannot_be_read_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="Cannot read the evaluation"):
        read_evaluation(tmp_path / "none.json")
    (tmp_path / "x.json").write_text('{"format": 1}')
    with pytest.raises(DataError, match="not an evaluation"):
        read_evaluation(tmp_path / "x.json")
    (tmp_path / "y.json").write_bytes(msgspec.json.encode(made(format=99)))
    with pytest.raises(DataError, match="format 99"):
        read_evaluation(tmp_path / "y.json")


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = made().save(tmp_path / "one.json")
    before = path.read_bytes()
    monkeypatch.setattr(Evaluation, "to_json", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(n=50).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["one.json"]
