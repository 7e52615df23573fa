"""The table of faces: layouts, splits, and files that do not belong together."""

import csv
from pathlib import Path

import pytest

from kaokore_faces import WORKS, miniature, official_files, plan
from keshin.errors import DataError
from keshin.evaluate.kaokore.trained import folds_by_work
from keshin.evaluate.sets.kaokore.faces import page_of, read_faces
from keshin.evaluate.sets.kaokore.reader import read_kaokore
from keshin.facts import kaokore as facts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return miniature(tmp_path_factory.mktemp("kaokore") / "k")


def test_official_layout(folder):
    faces = read_faces(folder)
    assert len(faces) == len(plan()) - 1
    face = faces.faces[0]
    assert (face.work, face.shelf, face.holder, face.tags) == ("作品0", "ID@0", "某館", ("鬼",))
    assert face.page.endswith("/p0.tif")
    assert faces.version == ""


@pytest.mark.parametrize(("question", "names"), [(q, names) for q, names in facts.CLASSES.items()])
def test_questions(folder, question, names):
    data = read_kaokore(folder, "train", question=question)
    expected = [e for e in plan() if e[4] == "train" and e[0] != 5]
    right = {"incarnation": [int(e[2] == 2) for e in expected], "status": [e[2] for e in expected],
             "gender": [e[3] for e in expected]}  # fmt: skip
    assert data.names == names
    assert data.targets.tolist() == right[question]
    assert data.groups.tolist() == [e[1] for e in expected]
    assert data.ids[0] == "00000000.jpg"
    assert all(Path(path).is_file() for path in data.pictures)


def test_wrong_questions(folder):
    for wrong in (
        {"question": "age"},
        {"split": "valid"},
        {"version": "1.3"},
        {"labels": ("a", "b")},
    ):
        with pytest.raises(DataError):
            read_kaokore(folder, **{"split": "dev", **wrong})


def test_single_table(tmp_path):
    columns = ("file", "split", "gender_id", "status_id", "work_ja", "tags_ja")
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, ("images/1.jpg", "dev", 1, 2, "虫物語", "虫|鬼")])
    face = read_faces(tmp_path).faces[0]
    assert (face.status, face.gender, face.work, face.tags) == (2, 1, "虫物語", ("虫", "鬼"))


def test_pictures_that_are_not_here_are_said(tmp_path):
    faces = read_faces(miniature(tmp_path / "k", pictures=False))
    with pytest.raises(DataError, match=r"None of the .* --download"):
        faces.rows("dev")
    assert len(faces.missing("dev")) == sum(f.split == "dev" for f in faces.faces)


def test_labels_and_tags_that_disagree(tmp_path):
    folder = miniature(tmp_path / "k", pictures=False)
    shifted = [(n, w, s, 1 - g, p) for n, w, s, g, p in plan()]
    (folder / facts.TAGS).write_bytes(official_files(entries=shifted)[facts.TAGS])
    with pytest.raises(DataError, match="different versions"):
        read_faces(folder)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "",
        "image,gender,status,set\n../../x.jpg,0,0,train\n",
        "image,gender,status,set\n00000000.jpg,0,9,train\n",
        "image,gender,status,set\n00000000.jpg,0,2,train\n00000000.jpg,0,2,train\n",
    ],
)
def test_label_files_of_another_kind(tmp_path, text):
    folder = miniature(tmp_path / "k", pictures=False)
    (folder / facts.LABELS).write_text(text)
    with pytest.raises(DataError):
        read_faces(folder)


def test_folds_keep_works_together_and_do_not_depend_on_test(folder):
    faces = read_faces(folder)
    folds, works = folds_by_work(faces, 3), faces.column("work")
    assert len({(w, f) for w, f in zip(works, folds, strict=True)}) == WORKS
    assert set(folds) == {0, 1, 2}
    with pytest.raises(DataError, match="kept apart"):
        folds_by_work(faces, 8)


def test_page_of_an_address():
    assert page_of("http://a.jp/x/2_004.tif/583,812,222,222/256,/0/default.jpg") == (
        "http://a.jp/x/2_004.tif"
    )
    assert page_of("") == ""
