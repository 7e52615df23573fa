"""Verdicts are what the rules say, and what an encoder of known abilities deserves."""

import hashlib

import msgspec
import numpy as np
import pytest

import keshin
from fake_encoders import Known, fake, noise
from keshin.evaluate.weaknesses import weaknesses
from keshin.evaluate.weaknesses.run import judge, questions_of
from keshin.evaluate.weaknesses.scenes import Scene
from keshin.evaluate.weaknesses.tables import captions_in
from keshin.evaluate.weaknesses.tasks import TASKS
from keshin.evaluate.weaknesses.verdicts import RULES, passes, verdict, words
from keshin.statistics.figure import Figure


def digest(scene):
    return np.frombuffer(hashlib.sha256(repr(scene).encode()).digest(), np.uint8)


@pytest.fixture(autouse=True)
def unpainted(request, monkeypatch):
    """A scene stands for its picture: the encoders here recognise, they do not look."""
    if "painted" not in request.node.name:
        monkeypatch.setattr(Scene, "paint", digest)


PASSED = Figure(value=0.9, low=0.8, high=0.95, chance=0.5, count=99)
BY_KEY = {task.key: task for task in TASKS}
CONTROL = {"reading": ["seen"], "attack": ["plain"]}
ALL = ["exact", "sides", "known", "asked", "words", "seen", "plain", "named", "letters"]
COUNT = 60
GUESSED = ["counting", "distance", "position", "reading", "near"]
"""Tasks whose control has captions of its own; for the others see the bag of words."""


def figure(low, high, chance=0.5):
    return Figure(value=(low + high) / 2, low=low, high=high, chance=chance, count=99)


@pytest.mark.parametrize(
    ("scale", "low", "high", "expected"),
    [
        ("ability", 0.75, 0.9, "can"),
        ("ability", 0.74, 0.9, "weak"),
        ("ability", 0.51, 0.6, "weak"),
        ("ability", 0.5, 0.6, "guess"),
        ("ability", 0.4, 0.74, "guess"),
        ("ability", 0.4, 0.8, "undecided"),
        ("ability", 0.1, 0.2, "guess"),
        ("direction", 0.1, 0.49, "inverted"),
        ("direction", 0.1, 0.5, "guess"),
        ("direction", 0.8, 0.9, "can"),
    ],
)
def test_rules_of_abilities(scale, low, high, expected):
    assert verdict(scale, figure(low, high), PASSED) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.25, 0.4, "strong"), (0.01, 0.4, "some"), (0.0, 0.2, "none"), (-0.1, 0.3, "undecided"),
     (-0.3, -0.1, "none")],
)  # fmt: skip
def test_rules_of_effects(low, high, expected):
    assert verdict("effect", figure(low, high, 0.0), PASSED) == expected


@pytest.mark.parametrize("scale", RULES)
def test_a_failed_control_outweighs_everything(scale):
    assert verdict(scale, figure(0.9, 1), figure(0.5, 0.7)) == "unknown"
    assert verdict(scale, figure(0.9, 1), figure(0.7, 0.8)) == "unsure"
    assert not passes(figure(0.74, 1))
    assert passes(figure(0.75, 1))


def test_every_verdict_has_words_in_both_languages():
    failed = figure(0.1, 0.2)
    for task in TASKS:
        for key in ("unknown", "unsure", *(key for key, _ in RULES[task.scale])):
            said = words().said(task.key, key, failed)
            assert said.en
            assert said.ja
            assert "{" not in said.en + said.ja
    assert "15.0 %" in words().said("counting", "unknown", failed).en
    assert "75.0 %" in words().said("counting", "unknown", failed).ja


def encoder_for(config, task, parts, **changes):
    questions = questions_of(task, 0, COUNT)
    known = Known(questions, captions_in().templates[task.templates], parts)
    return fake(config, **{"say": known.say, "see": known.see} | changes), known


@pytest.fixture(scope="module")
def config(tiny_checkpoint):
    return msgspec.structs.replace(tiny_checkpoint.config, embed_dim=768)


def finding(encoder, task):
    return judge(encoder, task, seed=0, count=COUNT, progress=lambda *said: None)


@pytest.mark.parametrize("key", BY_KEY)
def test_an_oracle_can_everything(config, key):
    encoder, _ = encoder_for(config, BY_KEY[key], ALL)
    found = finding(encoder, BY_KEY[key])
    assert found.control.value == 1
    if key == "negation":  # its control and its question are the same pairs
        assert found.main.value == 1
    assert found.verdict == ("none" if key == "attack" else "can")


@pytest.mark.parametrize("key", BY_KEY)
def test_noise_knows_nothing(config, key):
    found = finding(fake(config), BY_KEY[key])
    assert found.verdict == "unknown"
    assert found.control.high < 0.75
    assert "does not know the drawings" in found.said.en


@pytest.mark.parametrize("key", GUESSED)
def test_who_knows_the_drawings_and_guesses_the_rest(config, key):
    encoder, _ = encoder_for(config, BY_KEY[key], CONTROL.get(key, ["known"]))
    assert finding(encoder, BY_KEY[key]).verdict == "guess"


@pytest.mark.parametrize("key", GUESSED)
def test_who_always_gives_the_same_answer_guesses(config, key):
    """Each phrase of the questions has a liking of its own, which no picture changes."""
    task = BY_KEY[key]
    questions = questions_of(task, 0, COUNT)
    parts = CONTROL.get(key, ["known"])
    _, known = encoder_for(config, task, parts)
    controls = {frozenset(n) for n in (*_phrases(questions, parts),)}
    constant = noise("whatever the picture shows")

    def say(text):
        phrase = known.phrases[text]
        liking = 0.0 if phrase in controls else 3 * abs(noise(sorted(phrase))[0]) * 28
        return noise(sorted(phrase)) + liking * constant

    biased, _ = encoder_for(
        config, task, parts, say=say, see=lambda picture: 3 * constant + known.see(picture)
    )
    found = finding(biased, task)
    assert found.verdict == "guess"
    if task.key in ("distance", "position", "near"):
        assert found.main.value == pytest.approx(0.5, abs=0.1)


def _phrases(questions, parts):
    for part in parts:
        for choice in questions.choices.get(part, ()):
            yield from choice.candidates
        for pair in questions.pairs.get(part, ()):
            yield from pair.phrases


STOP = {"a", "an", "the", "of", "and", "to", "in", "it", "that", "is", "this", "picture", "drawing",
        "image", "with", "there", "anything", "but", "something"}  # fmt: skip


def bag(text):
    found = {word.strip(".") for word in text.split()} - STOP
    return sum((noise(word) for word in sorted(found)), 1e-3 * noise(text))


@pytest.mark.parametrize(
    ("key", "expected"),
    [("binding", "guess"), ("position", "guess"), ("distance", "guess"), ("negation", "inverted")],
)
def test_a_bag_of_words(config, key, expected):
    """It knows every thing and colour, and nothing of the order of words: as CLIP is said to."""
    task = BY_KEY[key]
    seen = {}
    for pair in questions_of(task, 0, COUNT).pairs["asked"]:
        for scene in pair.scenes:
            shown = " ".join(f"{item.colour} {item.what}" for item in scene.items)
            seen[scene.paint().tobytes()] = bag(shown)
    found = finding(fake(config, bag, lambda p: seen[p] + 0.01 * noise(p)), task)
    assert passes(found.control)
    assert found.verdict == expected


@pytest.mark.parametrize(("share", "expected"), [(1.0, "strong"), (0.25, "some"), (0.0, "none")])
def test_who_believes_what_is_written(config, share, expected):
    task = BY_KEY["attack"]
    questions = questions_of(task, 0, COUNT)
    dice = np.random.default_rng(1)
    known = Known(questions, captions_in().templates[task.templates], ["plain", "named", "letters"])
    for choice in questions.choices["named"]:
        if dice.random() < share:
            written = [n for n in choice.candidates if choice.level in n[0].split()]
            known.scenes[choice.scene.paint().tobytes()] = {frozenset(written[0])}
    found = finding(fake(config, known.say, known.see), task)
    assert found.verdict == expected
    assert found.main.unit == "difference"


def test_the_whole_run_painted_and_its_progress(config):
    said = []
    report = weaknesses(fake(config), count=20, progress=lambda *row: said.append(row))
    assert [finding.task for finding in report.findings] == list(BY_KEY)
    assert {row[0] for row in said} == set(BY_KEY)
    for key in BY_KEY:
        rows = [row for row in said if row[0] == key]
        assert rows[0][1] == 0
        assert rows[-1][1] == rows[-1][2]
    assert report.labels is None
    assert report.fingerprint == "fake"


def test_the_same_seed_gives_the_same_report(config):
    first, again = (weaknesses(fake(config), count=20, tasks=["near", "reading"]) for _ in "12")
    assert first.to_json() == again.to_json()
    other = weaknesses(fake(config), count=20, tasks=["near", "reading"], seed=1)
    assert first.to_json() != other.to_json()
    # what one task asks does not depend on the others
    assert weaknesses(fake(config), count=20, tasks=["reading"]).findings[0] == first.findings[1]


def test_wrong_use_is_said(config):
    with pytest.raises(keshin.KeshinError, match="no task 'chess'"):
        weaknesses(fake(config), tasks=["chess"])
    with pytest.raises(keshin.KeshinError, match="at least 20"):
        weaknesses(fake(config), count=19)
    with pytest.raises(keshin.KeshinError, match="Give 0 or more"):
        weaknesses(fake(config), seed=-1)
