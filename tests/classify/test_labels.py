"""Labels and templates from texts, files and folders."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keshin.classify import (
    alias_from_text,
    labels_from_file,
    labels_from_folders,
    labels_from_text,
    make_labels,
    resolve_templates,
    templates_from_file,
)
from keshin.classify.templates import fill, templates_for
from keshin.core.scripts import in_japanese_script
from keshin.errors import LabelError
from keshin.facts import prompts


def names(labels):
    return {label: list(said) for label, said in labels.names.items()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", ["cat"]),
        ("cat, dog ,bird", ["cat", "dog", "bird"]),
        (r"salt\, pepper, sugar", ["salt, pepper", "sugar"]),
        ("猫、犬，鳥", ["猫", "犬", "鳥"]),
        ("traffic light: red, {}", ["traffic light: red", "{}"]),
        (r"C:\temp", [r"C:\temp"]),
    ],
)
def test_labels_from_text(text, expected):
    assert list(labels_from_text(text).names) == expected


@pytest.mark.parametrize("text", ["", " ", "cat,,dog", "cat, ", ","])
def test_empty_labels(text):
    with pytest.raises(LabelError, match="empty"):
        labels_from_text(text)


@given(st.lists(st.text("abé猫{}=;|'\" ", min_size=1, max_size=8), min_size=1, unique=True))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_list_survives_text(labels):
    labels = [label for label in labels if label.strip() == label and label]
    if labels:
        assert list(labels_from_text(", ".join(labels)).names) == labels


def test_labels_from_text_file(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text(
        "# animals\n\ncat: kitten, tabby cat\ndog\tpuppy, hound\n  bird \nratio 1\\: 2\n"
        "cat: mouser\n\\#1 fan\na:b\n",
        encoding="utf-8-sig",
    )
    found = labels_from_file(file)
    assert names(found) == {
        "cat": ["cat", "kitten", "tabby cat", "mouser"],
        "dog": ["dog", "puppy", "hound"],
        "bird": ["bird"],
        "ratio 1: 2": ["ratio 1: 2"],
        "#1 fan": ["#1 fan"],
        "a:b": ["a:b"],
    }
    assert found.repeated == ("cat",)


def test_labels_from_json(tmp_path):
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"cat": ["kitten"], "dog": "puppy", "bird": []}))
    assert names(labels_from_file(file)) == {
        "cat": ["cat", "kitten"],
        "dog": ["dog", "puppy"],
        "bird": ["bird"],
    }
    file.write_text('["a, b", "c"]')
    assert list(labels_from_file(file).names) == ["a, b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no label"),
        (b"# only a comment\n", "no label"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[1, 2]", "not a JSON list"),
        (b"{", "not a JSON list"),
        (b"[]", "no labels"),
        (b'[" "]', "empty"),
        (b"cat: ,\n", "alias of 'cat' is empty"),
    ],
)
def test_label_files_that_are_refused(tmp_path, content, message):
    file = tmp_path / "labels"
    file.write_bytes(content)
    with pytest.raises(LabelError, match=message):
        labels_from_file(file)


def test_label_file_that_is_not_there(tmp_path):
    with pytest.raises(LabelError, match="Cannot read"):
        labels_from_file(tmp_path / "nix")


def test_labels_from_folders(tmp_path):
    for name in ("golden_retriever", "cat", ".hidden", "猫"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.txt").write_text("")
    assert names(labels_from_folders(tmp_path)) == {
        "cat": ["cat"],
        "golden_retriever": ["golden retriever"],
        "猫": ["猫"],
    }
    with pytest.raises(LabelError, match="no folder"):
        labels_from_folders(tmp_path / "cat")
    with pytest.raises(LabelError, match="Cannot list"):
        labels_from_folders(tmp_path / "nix")


def test_aliases():
    assert alias_from_text("cat = kitten, tabby") == {"cat": ("kitten", "tabby")}
    with pytest.raises(LabelError, match="names no alias"):
        alias_from_text("cat")
    with pytest.raises(LabelError, match="not among the labels"):
        make_labels(["dog"], {"cat": ["kitten"]})
    assert names(make_labels(["cat"], {"cat": "kitten"})) == {"cat": ["cat", "kitten"]}


@pytest.mark.parametrize("labels", ["cat", [], [1], ["a", None]])
def test_what_is_no_list_of_labels(labels):
    with pytest.raises(LabelError):
        make_labels(labels)


# --- templates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "japanese"),
    [("猫", True), ("ねこ", True), ("ネコ", True), ("ﾈｺ", True), ("cat 猫", True), ("cat", False),
     ("고양이", False), ("한자 漢字", False), ("κατα", False), ("々", True), ("🐱", False)],
)  # fmt: skip
def test_japanese_script(text, japanese):
    assert in_japanese_script(text) is japanese


def test_default_templates():
    assert resolve_templates(None) is None
    assert templates_for("cat", None) == ("a photo of a {}.",)
    assert templates_for("猫", None) == ("{}の写真",)
    assert templates_for("猫", ("{}",)) == ("{}",)


def test_template_sets():
    assert len(resolve_templates("imagenet")) == 80
    assert len(resolve_templates("imagenet7")) == 7
    assert len(resolve_templates("cifar10")) == 18
    assert len(resolve_templates("ja")) == 37
    mixed = resolve_templates(["a {}", "cifar10", "a {}"])
    assert mixed[0] == "a {}"
    assert len(mixed) == 19
    for name in prompts.template_sets():
        assert all(template.count("{}") == 1 for template in prompts.templates(name))


def test_braces_in_labels_are_left_alone():
    assert fill("a {}.", "{}") == "a {}."
    assert fill("a {}.", "{x} %s") == "a {x} %s."


@pytest.mark.parametrize(
    ("templates", "message"),
    [
        ("a photo of", "has no {}"),
        ("a photo of {c}", "has no {}"),
        ("{label}", "has no {}"),
        ("imagenett", "Did you mean 'imagenet'"),
        ([], "is empty"),
    ],
)
def test_templates_that_are_refused(templates, message):
    with pytest.raises(LabelError, match=message):
        resolve_templates(templates)


def test_templates_from_file(tmp_path):
    file = tmp_path / "templates.txt"
    file.write_text("# mine\na {}.\n\n{}の絵\n", encoding="utf-8")
    assert templates_from_file(file) == ("a {}.", "{}の絵")
    file.write_text("a cat\n")
    with pytest.raises(LabelError, match="has no"):
        templates_from_file(file)
    file.write_text("\n")
    with pytest.raises(LabelError, match="holds no template"):
        templates_from_file(file)


# --- facts ---------------------------------------------------------------------------------------


def test_prompts_of_the_paper():
    assert len(prompts.template_sets()) == 27 + 2
    assert [len(prompts.class_names(name)) for name in ("cifar10", "imagenet")] == [10, 1000]
    with pytest.raises(LabelError, match="no data set"):
        prompts.class_names("cifar11")
    assert all("{}" not in prompt for prompt in prompts.background())
