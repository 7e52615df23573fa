"""The page: complete by itself, escaped, in both languages."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

import keshin
from fake_encoders import fake
from keshin.classify import make_labels
from keshin.errors import KeshinError
from keshin.evaluate.weaknesses import weaknesses
from keshin.evaluate.weaknesses.page import page
from keshin.evaluate.weaknesses.results import Report
from keshin.evaluate.weaknesses.verdicts import words

pytest.importorskip("jinja2")
EVIL = '<script>alert("x")</script>'


@pytest.fixture(scope="module")
def report(tiny_checkpoint):
    config = msgspec.structs.replace(tiny_checkpoint.config, embed_dim=768, name=EVIL)
    return weaknesses(fake(config), make_labels([EVIL, "a & b", "猫"]), count=20)


VOID = {"meta", "img", "link", "br", "rect", "line", "circle"}


class Wellformed(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "ja"])
def test_the_page_is_whole_and_escaped(report, language):
    text = page(report, language=language)
    parser = Wellformed()
    parser.feed(text)
    assert parser.open == []
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in parser.sources)
    assert not re.search(r"@import|url\(|https?:", re.sub(r"base64,[^\"]*", "", text))
    assert text.count("<img") >= 8 * 6
    assert len(text) < 1_500_000
    for finding in report.findings:
        assert finding.title.of(language) in text
        assert finding.said.of(language).split("(")[0] in text
    assert f'lang="{language}"' in text


def test_every_figure_has_a_japanese_name(report):
    for finding in report.findings:
        for name in (
            finding.main.name,
            finding.control.name,
            *(figure.name for figure in finding.others),
            *(level.name for level in finding.levels),
        ):
            assert words().name(name, "ja")
            assert words().name(name, "en") == name


def test_it_is_written_whole(report, tmp_path):
    report.report(tmp_path / "out.html", language="ja")
    assert (tmp_path / "out.html").read_text(encoding="utf-8") == page(report, language="ja")
    assert [path.name for path in tmp_path.iterdir()] == ["out.html"]


def test_the_report_is_read_again_from_its_json(report):
    again = msgspec.json.decode(report.to_json(), type=Report)
    assert again == report
    assert {"task", "role", "value", "low", "high", "chance", "count"} <= set(next(report.rows()))
    roles = {(row["task"], row["role"]) for row in report.rows()}
    assert {("counting", "main"), ("counting", "control"), ("labels", "main")} <= roles
    assert len(report.table("ja")) == len(report.table()) == 8


def test_captions_in_japanese(tiny_folder):
    tiny = keshin.load(tiny_folder, threads=1)  # its tokenizer knows Japanese as bytes only
    with pytest.raises(KeshinError, match="Captions in the language 'ja' tell nothing here"):
        weaknesses(tiny, count=20, tasks=["near"], captions="ja")
    with pytest.raises(KeshinError, match="no captions in the language 'xx'"):
        weaknesses(tiny, count=20, tasks=["near"], captions="xx")
    report = weaknesses(keshin.load("mini", threads=1), count=20, tasks=["near"], captions="ja")
    assert report.captions == "ja"
    assert report.findings[0].main.chance == 0.5
    text = page(report, language="ja")
    assert "楕円" in text
    assert "--captions ja" in text
