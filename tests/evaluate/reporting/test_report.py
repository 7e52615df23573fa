import re
from html.parser import HTMLParser

import pytest

from evaluations import DIGITS, made
from keshin.errors import DataError
from keshin.evaluate.reporting.figures import write_figures
from keshin.evaluate.reporting.report import render, write_report
from keshin.evaluate.reporting.summary import cautions, summary
from keshin.evaluate.reporting.words import languages, words_of
from keshin.evaluate.results import Difference, OrderAlarm, Shown
from keshin.statistics.figure import Figure

HOSTILE = '<script>alert("1")</script>{{ 7*7 }}{% raw %}\'"&<img src=x onerror=alert(1)>'


class Page(HTMLParser):
    """What a browser would see of it."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open, self.text = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        assert not any(name.startswith("on") for name in attributes), attributes
        self.links += [attributes[name] for name in ("src", "href") if name in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("k", [10, 45])
def test_page_is_whole_and_needs_nothing_else(language, k):
    page = Page(render(made([f"class {n}" for n in range(k)], n=900), language=language))
    assert "script" not in page.tags
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    text = render(made(), language=language)
    assert all(f'id="{name}"' in text for name in anchors)
    assert "http" not in re.sub(r"http://www.w3.org/2000/svg|http-equiv", "", text)


def test_labels_files_and_errors_are_escaped():
    names = [f"{HOSTILE}{n}" for n in range(10)]
    one = made(names, title=HOSTILE)
    one.worst = (Shown(HOSTILE, (HOSTILE,), ((HOSTILE, 0.5),), b""),)
    one.warnings = (f"**{HOSTILE}",)
    page = Page(render(one))
    assert "script" not in page.tags
    assert page.tags.count("img") == len(one.best)
    assert any(HOSTILE[:20] in text for text in page.text)  # shown as text, not run by jinja


def test_everything_needed_to_reproduce_is_said():
    text = render(made())
    for fact in ("ab" * 32, "cd" * 32, "keshin eval digits/", "a photo of a {}.", "fp32", "exact",
                 "keshin 0.1", "2 cores", "2026-01-01"):  # fmt: skip
        assert fact in text


def test_parts_that_are_not_there_have_no_section():
    bare = made(classes=(), confusion=(), calibration=None, risk=(), order=None, ensembling=None,
                single=None, probe=None, few_shot=None, failures=(), best=(), worst=(), answers=None)  # fmt: skip
    page = Page(render(bare))
    assert [link for link in page.links if link.startswith("#")] == [
        "#summary", "#results", "#prompts", "#reproduce",
    ]  # fmt: skip


@pytest.mark.parametrize("language", languages())
def test_summary_says_what_matters(language):
    words = words_of(language)
    score = Figure(name="accuracy", value=0.1, low=0.08, high=0.12, chance=0.1, count=400)
    said = " ".join(summary(made(scores=(score,)), words))
    assert words["against_chance_even"].format(chance="10.0 %") in said
    low = Figure(name="accuracy", value=0.02, low=0.01, high=0.04, chance=0.1, count=400)
    assert words["against_chance_below"].format(chance="10.0 %") in " ".join(summary(made(scores=(low,)), words))  # fmt: skip
    assert "{" not in said.replace("{}", "")


def test_summary_names_the_winner_of_comparisons():
    words = words_of("en")
    worse = Difference("all prompts", "single prompt", -0.05, -0.07, -0.03, 1e-4, "McNemar")
    text = " ".join(summary(made(ensembling=worse), words))
    assert "worse than the single default prompt" in text
    probe = made().probe
    assert "beats zero-shot by +20.0 [+15.0, +25.0]" in text
    turned = Difference("linear probe", "zero-shot", -0.2, -0.25, -0.15, 1e-9, "McNemar")
    import msgspec

    text = " ".join(summary(made(probe=msgspec.structs.replace(probe, versus=turned)), words))
    assert "zero-shot is better by +20.0 [+15.0, +25.0]" in text


def test_cautions_name_the_traps():
    words = words_of("en")
    one = made(n=30, order=OrderAlarm(True, 0.001, "'one' fits the pictures of 'two'."))
    said = cautions(one, words)
    assert "wrong order" in said[0]
    assert any("only 30 pictures" in text for text in said)
    assert any("fewer than 10 pictures" in text for text in said)
    assert any("1 pictures could not be read" in text for text in said)


def test_writing_where_nothing_can_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write the report"):
        write_report(made(), tmp_path / "file" / "x.html")
    path = write_report(made(), tmp_path / "new" / "x.html")
    assert [entry.name for entry in path.parent.iterdir()] == ["x.html"]


def test_figures_of_several_sets(tmp_path):
    found = [
        made(key="cifar10", title="CIFAR-10"),
        made(title=HOSTILE, baseline=made().probe, few_shot=None),
    ]
    written = write_figures(found, tmp_path / "out", reports={"CIFAR-10": "cifar10.html"})
    names = {path.name for path in written}
    assert names == {"index.html", "figure5.svg", "figure6.svg", "figure7.svg",
                     "prompt-ensembles.svg", "figures.json", "results.csv"}  # fmt: skip
    page = Page((tmp_path / "out" / "index.html").read_text())
    assert "cifar10.html" in page.links
    assert "script" not in page.tags
    assert "Zero-shot is better on 0 of 1 data sets" in " ".join(page.text)
    with pytest.raises(DataError, match="no evaluation"):
        write_figures([], tmp_path)


def test_digits_are_named():
    assert all(name in render(made()) for name in DIGITS)
