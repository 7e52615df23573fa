"""What is drawn can be solved, and gives nothing away but what is asked."""

import math
import re
from collections import Counter
from string import Formatter

import numpy as np
import pytest

from keshin.errors import KeshinError
from keshin.evaluate.weaknesses.canvas import SIZE
from keshin.evaluate.weaknesses.objects import OBJECTS
from keshin.evaluate.weaknesses.outlines import OUTLINES, area, reach, unit
from keshin.evaluate.weaknesses.run import questions_of
from keshin.evaluate.weaknesses.scenes import Item, Scene, Writing
from keshin.evaluate.weaknesses.sheets import sheet
from keshin.evaluate.weaknesses.solids import SOLIDS
from keshin.evaluate.weaknesses.tables import LANGUAGES, captions_in, paraphrases, things
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.evaluate.weaknesses.verdicts import RULES, words

BY_KEY = {task.key: task for task in TASKS}
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.key)


def test_everything_that_is_named_can_be_drawn():
    found = things()
    assert set(found.names.objects) == set(OBJECTS)
    assert set(found.solids) == set(SOLIDS)
    assert set(found.shapes) <= set(OUTLINES)
    assert {name for pair in found.near for name in (pair.one, pair.other)} <= set(OUTLINES)
    lengths = Counter(map(len, found.names.words))
    assert set(lengths) == {4, 5, 6}
    assert min(lengths.values()) >= 10
    assert len(set(found.names.words)) == len(found.names.words)
    assert not {w.lower() for w in found.names.words} & set(found.names.objects)


def test_paraphrases_come_in_both_languages():
    ways = paraphrases()
    assert len(ways["en"]) == len(ways["ja"]) == len(set(ways["en"]))
    assert all("{}" in way for way in (*ways["en"], *ways["ja"]))
    assert len(ways["en"]) % 2 == 0


def test_captions_have_the_same_parts_in_every_language():
    fields = lambda texts: {n for text in texts for _, n, _, _ in Formatter().parse(text) if n}  # noqa: E731
    first, *others = (captions_in(language) for language in LANGUAGES)
    for other in others:
        for part in ("templates", "names", "colours", "things"):
            assert set(getattr(other, part)) == set(getattr(first, part)), part
        assert len(other.numbers) == len(first.numbers) == 10
        for key, texts in first.names.items():
            what = {"a" if name == "x" else name for name in fields(texts)}
            assert {"a" if name == "x" else name for name in fields(other.names[key])} == what, key
    with pytest.raises(KeshinError, match="no captions in the language 'xx'"):
        captions_in("xx")


def test_captions_follow_the_grammar_of_their_language():
    en, ja = captions_in("en"), captions_in("ja")
    assert [en.one("ball", "orange"), en.one("ball", "red")] == ["an orange ball", "a red ball"]
    assert en.bare("cross", "red", many=True) == "red crosses"
    assert ja.one("circle", "red") == ja.bare("circle", "red", many=True) == "赤い丸"
    asked = questions_of(BY_KEY["counting"], 0, 20, "ja").choices["exact"]
    assert re.fullmatch(r"三つの\S+ 3個の\S+", " ".join(asked[2].candidates[2]))
    (pair, *_) = questions_of(BY_KEY["position"], 0, 20, "ja").pairs["asked"]
    assert re.fullmatch(r"\S+の左にある\S+", pair.phrases[0][0])


@each_task
def test_drawings_do_not_depend_on_the_language(task):
    en, ja = (questions_of(task, 0, 20, language) for language in LANGUAGES)
    assert list(en.scenes()) == list(ja.scenes())
    assert not set(en.phrases()) & set(ja.phrases())
    known = set().union(*(choice for choice in ja.phrases()))
    assert not any(re.search(r"[{}]", text) for text in known)


@each_task
def test_a_task_has_words_rules_and_names(task):
    said = words().tasks[task.key]
    assert said.title.en
    assert said.asks.ja
    assert task.scale in RULES
    assert all(task.templates in captions_in(language).templates for language in LANGUAGES)


@each_task
def test_questions_depend_on_the_seed_alone(task):
    first, again, other = (questions_of(task, seed, 40) for seed in (0, 0, 1))
    assert first == again
    assert list(first.scenes()) != list(other.scenes())
    assert sum(map(len, first.choices.values())) + sum(map(len, first.pairs.values())) >= 40


@each_task
def test_right_answers_have_every_place_equally_often(task):
    questions = questions_of(task, 0, 600)
    for name, choices in questions.choices.items():
        if name in ("plain", "named", "letters"):
            continue  # the twelve names in one order; each is right equally often
        k = len(choices[0].candidates)
        assert all(len(choice.candidates) == k for choice in choices)
        assert all(len(set(choice.candidates)) == k for choice in choices)
        counts = np.bincount([choice.answer for choice in choices], minlength=k)
        expected = len(choices) / k
        assert (abs(counts - expected) < 4.5 * math.sqrt(expected) + 1).all()


@each_task
def test_examples_can_be_painted(task):
    examples = task.example(questions_of(task, 0, 20))
    assert 6 <= len(examples) <= 12
    page = sheet(examples)
    assert np.asarray(page).std() > 10
    for scene, said in examples:
        pixels = scene.paint()
        assert pixels.shape == (SIZE, SIZE, 3)
        assert pixels.std() > 3, said  # something is there
        np.testing.assert_array_equal(pixels, scene.paint())


@each_task
def test_flat_things_lie_within_the_picture(task):
    for scene in questions_of(task, 0, 100).scenes():
        for item in scene.items:
            if item.what in OUTLINES:
                far = item.size * reach(item.what)
                assert far <= min(item.x, item.y), item
                assert max(item.x, item.y) <= 1 - far, item


@pytest.mark.parametrize("name", OUTLINES)
def test_outlines_have_area_one(name):
    assert area(unit(name)) == pytest.approx(1)
    assert 0.56 < reach(name) < 1.3


def painted_share(scene):
    """Of the picture, edges by how much they are covered."""
    ground = np.array(scene.background, float)
    ink = np.array(things().colours[scene.items[0].colour]) - ground
    return float(((scene.paint() - ground) @ ink / (ink @ ink)).mean())


def counted():
    return questions_of(BY_KEY["counting"], 0, 300).choices["exact"]


def test_counting_draws_as_many_as_it_says():
    numbers = Counter()
    for choice in counted():
        assert len(choice.scene.items) == choice.answer + 1
        numbers[choice.answer] += 1
    assert set(numbers.values()) == {30}
    assert {choice.level for choice in counted()} == {"row", "grid", "scattered"}


def test_counted_things_neither_touch_nor_leave_the_picture():
    for choice in counted():
        items = choice.scene.items
        for place, item in enumerate(items):
            far = item.size * reach(item.what)
            assert far <= item.x <= 1 - far, choice
            assert far <= item.y <= 1 - far, choice
            for other in items[:place]:
                apart = math.hypot(item.x - other.x, item.y - other.y)
                assert apart > far + other.size * reach(other.what)


def test_the_painted_area_does_not_tell_the_number():
    choices = counted()
    numbers = np.array([choice.answer for choice in choices])
    painted = np.array([painted_share(choice.scene) for choice in choices])
    assert abs(np.corrcoef(numbers, np.log(painted))[0, 1]) < 0.12
    meant = np.array([sum(item.size**2 for item in choice.scene.items) for choice in choices])
    # Pillow paints the pixels on an edge too: a few per cent, against a factor of three in areas
    assert (painted / meant).min() > 0.99
    assert (painted / meant).max() < 1.15


@pytest.mark.parametrize("key", ["distance", "position"])
def test_pairs_exchange_places_only(key):
    for pair in questions_of(BY_KEY[key], 0, 60).pairs["asked"]:
        first, second = (scene.items for scene in pair.scenes)
        places = [{(i.x, i.y, i.size) for i in items} for items in (first, second)]
        assert places[0] == places[1]
        assert {(i.what, i.colour) for i in first} == {(i.what, i.colour) for i in second}
        assert first != second


def test_the_nearer_thing_is_larger_lower_or_in_front():
    for pair in questions_of(BY_KEY["distance"], 0, 60).pairs["asked"]:
        for scene, names in zip(pair.scenes, pair.phrases, strict=True):
            back, front = scene.items  # painted in this order
            assert names[0].startswith(captions_in().one(front.what, front.colour))
            assert front.size >= back.size
            assert front.y >= back.y
            overlap = abs(front.x - back.x) < (front.size + back.size) / 2
            assert overlap == (pair.level != "size and height on a floor")
            assert front.x - front.size / 2 > 0
            assert front.x + front.size / 2 < 1


def test_left_is_left_and_above_is_above():
    for pair in questions_of(BY_KEY["position"], 0, 60).pairs["asked"]:
        for scene, names in zip(pair.scenes, pair.phrases, strict=True):
            first, second = scene.items
            assert names[0].startswith(captions_in().one(first.what, first.colour))
            if pair.level == "left or right":
                assert second.x - first.x > 0.3
                assert "left of" in names[0]
            else:
                assert second.y - first.y > 0.3
                assert "above" in names[0]


def test_binding_exchanges_colours_only():
    for pair in questions_of(BY_KEY["binding"], 0, 60).pairs["asked"]:
        one, two = (scene.items for scene in pair.scenes)
        assert [(i.what, i.x, i.y, i.size) for i in one] == [
            (i.what, i.x, i.y, i.size) for i in two
        ]
        assert [i.colour for i in one] == [i.colour for i in reversed(two)]
        for names, items in zip(pair.phrases, (one, two), strict=True):
            assert all(captions_in().one(i.what, i.colour) in names[0] for i in items)


def test_wrong_answers_of_controls_show_something_that_is_not_there():
    for key in ("distance", "position", "binding"):
        for choice in questions_of(BY_KEY[key], 0, 30).choices["known"]:
            shown = {part for item in choice.scene.items for part in (item.what, item.colour)}
            for place, names in enumerate(choice.candidates):
                said = set(names[0].split()) - {"a", "an", "and"}
                assert (said == shown) == (place == choice.answer)


def test_words_to_read_are_among_words_of_equal_length():
    for choice in questions_of(BY_KEY["reading"], 0, 80).choices["words"]:
        said = [names[0].split('"')[1] for names in choice.candidates]
        assert len(set(map(len, said))) == 1
        assert said[choice.answer] == choice.scene.writing.text.lower()


def test_the_attack_and_its_control_differ_in_the_order_of_letters_only():
    questions = questions_of(BY_KEY["attack"], 0, 120)
    real = {name.upper() for name in things().names.objects}
    parts = (questions.choices[part] for part in ("plain", "named", "letters"))
    for plain, named, letters in zip(*parts, strict=True):
        assert plain.scene.items == named.scene.items == letters.scene.items
        assert plain.scene.writing is None
        word, mixed = named.scene.writing.text, letters.scene.writing.text
        assert word in real
        assert mixed not in real
        assert sorted(word) == sorted(mixed)
        assert word[0] != mixed[0]
        assert word.lower() == named.level != things().names.objects[named.answer]
        box = [(w.x, w.y, w.width, w.height) for w in (named.scene.writing, letters.scene.writing)]
        assert box[0] == box[1]


def test_what_is_negated_is_in_one_scene_only():
    for pair in questions_of(BY_KEY["negation"], 0, 60).pairs["asked"]:
        shown, other = ({item.what for item in scene.items} for scene in pair.scenes)
        named = [what for what in shown - other if what in pair.phrases[0][0]]
        assert len(named) == 1
        assert all(named[0] in text for text in (*pair.phrases[0], *pair.phrases[1]))
        assert all(
            any(w in text for w in ("no", "without", "not", "but")) for text in pair.phrases[1]
        )


@pytest.mark.parametrize("face", ["plain", "bold", "slanted", "outlined", "pixels"])
def test_writing_fills_its_box_and_no_more(face):
    scene = Scene((255, 255, 255), (), Writing("COFFEE", 0.5, 0.5, 0.6, 0.2, (0, 0, 0), face=face))
    ink = (scene.paint() < 128).any(axis=2)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    assert np.ptp(columns) <= 0.61 * SIZE
    assert np.ptp(rows) <= 0.21 * SIZE
    assert np.ptp(columns) > 0.55 * SIZE or np.ptp(rows) > 0.17 * SIZE


def test_a_pillow_without_freetype_is_said(monkeypatch):
    from PIL import ImageFont

    from keshin.errors import MissingExtra

    def gone(size):
        raise ImportError

    monkeypatch.setattr(ImageFont, "load_default", gone)
    with pytest.raises(MissingExtra, match="without FreeType"):
        Scene((255, 255, 255), (), Writing("A", 0.5, 0.5, 0.6, 0.2, (0, 0, 0))).paint()


def test_what_is_in_front_hides_what_is_behind():
    behind, before = Item("ball", 0.5, 0.7, 0.4, "red"), Item("cube", 0.5, 0.7, 0.4, "blue")
    seen = Scene((255, 255, 255), (behind, before)).paint()
    alone = Scene((255, 255, 255), (before,)).paint()
    front = (
        slice(round(0.45 * SIZE), round(0.68 * SIZE)),
        slice(round(0.32 * SIZE), round(0.5 * SIZE)),
    )
    np.testing.assert_array_equal(seen[front], alone[front])
