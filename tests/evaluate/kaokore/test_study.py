"""The whole study on a miniature with a random model: what it promises, in data and in words."""

import re
import string

import msgspec
import numpy as np
import pytest

import keshin
from kaokore_faces import miniature
from keshin.errors import DataError, KeshinError
from keshin.evaluate.kaokore import trained
from keshin.evaluate.kaokore.answer import answer, verdict, words_of
from keshin.evaluate.kaokore.drawn import in_two
from keshin.evaluate.kaokore.finetuned import fold_name, held_out, open_finetuned
from keshin.evaluate.kaokore.page import page
from keshin.evaluate.kaokore.results import Study, read_earlier
from keshin.evaluate.kaokore.run import Options, look, run_study
from keshin.evaluate.kaokore.study import Material
from keshin.evaluate.kaokore.trained import Probe, apart, margins, title_only
from keshin.evaluate.kaokore.zero_shot import candidates, text_weights, untouched
from keshin.evaluate.sets.kaokore.faces import read_faces
from keshin.facts import kaokore as facts
from keshin.statistics.figure import Figure

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return miniature(tmp_path_factory.mktemp("kaokore") / "k")


@pytest.fixture(scope="module")
def encoder(tiny_folder):
    return keshin.load(tiny_folder, threads=1).encoder


@pytest.fixture(scope="module")
def study(folder, encoder):
    options = Options(final=True, cache=False, command="keshin kaokore", draws=2)
    return run_study(encoder, folder, options)


def test_every_method_and_split_is_there(study):
    keys = [method.key for method in study.methods]
    assert keys == [
        "majority", "plain_en", "dictionary_en", "plain_ja", "dictionary_ja", "blind_en",
        "blind_ja", "zero_shot_en", "zero_shot_ja", "title", "probe",
    ]  # fmt: skip
    assert all(m.dev and m.apart and m.test and m.test_apart for m in study.methods)
    assert study.works_with_both == 6
    assert study.faces.keys() == {"train", "dev", "test"}
    assert study.unread == ()


def test_red_beings_are_learnt(study):
    """Pictures of incarnations are red, whatever the work; the title knows two works alone."""
    probe, title, always = (study.method(key) for key in ("probe", "title", "majority"))
    assert probe.apart.area.value > 0.9
    assert probe.apart.within.value > 0.9
    assert 0.5 < title.dev.area.value < 0.9
    assert title.apart.area.value == pytest.approx(0.5)
    assert title.dev.within.value == 0.5
    assert always.dev.area.value == always.dev.balanced.value == 0.5


def test_one_prompt_of_each_language_is_chosen_by_train(study):
    for language in ("en", "ja"):
        of = [p for p in study.prompts if p.language == language]
        assert len(of) == 48
        assert [p.train for p in of if p.chosen] == [max(p.train for p in of)]
        assert len(study.chosen[language]) == trained.FOLDS + 1


def test_words_without_the_tags_are_fewer(study):
    ways = candidates("incarnation", "en", blind=True)
    assert len(ways) == 36
    assert not {way.words.name for way in ways} & {"beings", "kinds"}
    blind = study.method("blind_en")
    assert blind.detail in {way.name for way in ways}


def test_words_that_nobody_chose_are_the_tags_and_a_dictionarys():
    """The dictionary's sets hold the makers' own words, and no set that may be chosen is one."""
    known = facts.prompts()
    for question, sets in known.dictionary.items():
        assert {words.language for words in sets} == {"en", "ja"}
        for words in sets:
            assert tuple(words.classes) == facts.CLASSES[question]
            plain = next(w for w in known.words[question] if w.language == words.language)
            for name, looked_up in words.classes.items():
                own = set(plain.classes[name]) - {"commoner"}  # 庶民 has other English words
                assert own <= set(looked_up), (question, name)
    ways = untouched("status", "ja")
    assert ways["plain"].templates.name == ways["dictionary"].templates.name == "photo"
    assert "JMdict" in known.dictionary_rule


def test_curves_start_from_nothing_and_from_the_text(study):
    assert [(entry.start, entry.shots) for entry in study.few] == [
        (start, shots) for start in ("zero", "text") for shots in (1, 2, 4, 8, 16)
    ]
    for entry in study.few:
        assert entry.dev_low <= entry.dev <= entry.dev_high
        assert entry.within_low <= entry.within <= entry.within_high
    assert study.overtakes.keys() == study.overtakes_within.keys() == {"zero", "text"}


def test_text_weights_are_the_classes_words_averaged(encoder):
    way = untouched("incarnation", "en")["plain"]
    weights = text_weights(encoder, way)
    people = [encoder.encode_texts([f"a photo of a {w}."])[0] for w in way.words.classes["people"]]
    mean = np.mean(people, axis=0)
    assert weights[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-4)


def test_a_test_that_was_asked_before_is_told(study, folder, encoder, tmp_path):
    path = tmp_path / "first.json"
    path.write_bytes(msgspec.json.encode(study))
    earlier = read_earlier(path, "another probe")
    assert [one.note for one in earlier] == ["another probe"]
    told = msgspec.structs.replace(study, earlier=earlier)
    for language, said in (("en", "asked 2 times in all"), ("ja", "全部で2度")):
        text = answer(told, language)[-1]
        assert said in text
        assert "another probe" in text
    assert "asked once, at the end" in answer(study, "en")[-1]
    path.write_bytes(msgspec.json.encode(told))
    assert len(read_earlier(path)) == 2
    path.write_text('{"made": "2026-01-01", "methods": []}')
    with pytest.raises(DataError, match="did not ask the test split"):
        read_earlier(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="no study of KaoKore"):
        read_earlier(path)


def test_long_labels_take_two_lines():
    assert in_two("short, one") == ["short, one"]
    assert in_two("zero-shot, English, a dictionary's words") == [
        "zero-shot, English,", "a dictionary's words",
    ]  # fmt: skip
    assert len(in_two("ゼロショット、英語、データセットの言葉、選択なしで")) == 2


def test_kinds_and_mistakes_come_with_their_tags(study):
    names = {row.en for row in study.kinds if row.incarnation}
    assert {"demons", "insects"} <= names
    for mistake in study.mistakes:
        assert (mistake.score <= 0) == (mistake.status == "incarnation")


def test_json_round_trip(study):
    assert msgspec.json.decode(msgspec.json.encode(study), type=Study) == study


def test_without_final_the_test_split_is_not_even_opened(folder, encoder, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "keshin.evaluate.kaokore.run.look", lambda *of, **_: opened.append(of) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        run_study(encoder, folder, Options())
    _, faces, rows = opened[0]
    assert {faces.faces[row].split for row in rows} == {"train", "dev"}


def test_learning_sees_train_of_other_works_only(folder, encoder):
    faces = read_faces(folder)
    rows = np.arange(len(faces))
    material = Material(faces, rows, np.zeros((len(rows), 2), np.float32), encoder)
    seen = []

    def spy(learn, asked):
        seen.append((learn, asked))
        return np.zeros((len(asked), 2))

    apart(spy, 2, material.folds, material.train)
    for learn, asked in seen:
        assert set(learn) <= set(material.train)
        new = np.setdiff1d(asked, learn)
        assert not set(material.works[learn]) & set(material.works[new])


def test_title_says_nothing_of_a_work_it_does_not_know():
    targets, works = np.array([1, 1, 0, 0, 1]), np.array([0, 0, 1, 1, 2])
    scores = margins(title_only(targets, works)(np.arange(4), np.arange(5)))
    assert scores[0] > 0 > scores[2]
    assert scores[4] == pytest.approx(0)


def test_probe_of_four_classes_never_says_a_class_it_has_not_seen():
    rng = np.random.default_rng(0)
    targets = np.tile(np.arange(4), 20)
    vectors = np.eye(4)[targets] + rng.normal(0, 0.1, (80, 4))
    probe = Probe("status", vectors, targets, np.arange(80) // 8)
    learn = np.flatnonzero(targets < 3)
    said = probe(learn, np.arange(80)).argmax(axis=1)
    assert set(said) == {0, 1, 2}
    assert (said[learn] == targets[learn]).mean() > 0.95


def test_a_finetuned_model_that_saw_the_works_is_refused(folder, encoder, tmp_path):
    faces = read_faces(folder)
    material = Material(faces, np.arange(len(faces)), np.zeros((len(faces), 16)), encoder)
    for name in ("official", *map(fold_name, range(trained.FOLDS))):
        (tmp_path / name / "model").mkdir(parents=True)

    def vectors(of, rows):
        return look(of, faces, rows, cache=False)[0]

    def load(path):
        number = path.parent.name.removeprefix("fold")
        said = held_out(faces, int(number)) if number.isdigit() else ""
        return _with_source(encoder, said)

    found = open_finetuned(tmp_path, material, load, vectors).found(material)
    assert found.method.key == "finetuned"
    assert found.method.apart is not None
    with pytest.raises(DataError, match="without the works of fold 0"):
        open_finetuned(tmp_path, material, lambda _path: encoder, vectors)


def _with_source(encoder, said):
    from dataclasses import replace

    return replace(encoder, config=msgspec.structs.replace(encoder.config, source=said))


@pytest.mark.parametrize(
    ("value", "low", "word"),
    [(0.9, 0.45, "**No.**"), (0.6, 0.55, "**A little.**"), (0.8, 0.7, "**In part.**"),
     (0.95, 0.9, "**Yes, well.**")],
)  # fmt: skip
def test_the_verdict_goes_by_the_interval_within_works(study, value, low, word):
    within = Figure(value=value, low=low, high=1.0, chance=0.5, count=6)
    methods = tuple(
        msgspec.structs.replace(m, apart=msgspec.structs.replace(m.apart, within=within))
        for m in study.methods
    )
    changed = msgspec.structs.replace(study, methods=methods)
    assert verdict(changed, "en").startswith(word)
    assert f"{100 * low:.1f} %" in verdict(changed, "ja")


@pytest.mark.parametrize("language", ["en", "ja"])
def test_page_is_whole_and_escaped(study, folder, language):
    nasty = "<script>alert('化')</script>"
    mistakes = tuple(msgspec.structs.replace(m, work=nasty) for m in study.mistakes)
    html = page(msgspec.structs.replace(study, mistakes=mistakes), language, folder)
    assert "<script" not in html
    assert not re.search(r"(src|href)=\"(?!data:|#)", html)
    assert html.count("data:image/jpeg") == len(study.mistakes)
    assert f'lang="{language}"' in html
    assert "data:image" not in page(study, language)
    for paragraph in answer(study, language):
        assert "{" not in paragraph.replace("{}", "")


def test_both_languages_say_the_same_things():
    english, japanese = words_of("en"), words_of("ja")
    assert english.keys() == japanese.keys()

    def fields(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key in english:
        assert fields(english[key]) == fields(japanese[key]), key
    with pytest.raises(KeshinError, match="There are: en, ja"):
        answer(None, "fr")


def test_every_set_of_words_names_every_class():
    known = facts.prompts()
    for question, sets in known.words.items():
        for words in sets:
            assert tuple(words.classes) == tuple(c for c in facts.CLASSES[question]), (
                question,
                words.name,
            )
        assert {words.language for words in sets} == {"en", "ja"}
    assert all("{}" in text for entry in known.templates for text in entry.templates)


def test_data_without_both_kinds_is_refused(folder, encoder):
    faces = read_faces(folder)
    people = np.flatnonzero(faces.column("status") != 2)
    with pytest.raises(DataError, match="do not hold both"):
        Material(faces, people, np.zeros((len(people), 2)), encoder)
