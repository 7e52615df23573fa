import pytest

from keshin.errors import DataError
from keshin.pages.page import render, rich, write

WORDS = {"language": "ja", "contents": "目次"}
HOSTILE = '<script>alert("1")</script>{{ 7*7 }}'


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "some.html.jinja"
    path.write_text(
        '{% extends "pages/page.html.jinja" %}'
        '{% from "pages/parts.jinja" import facts, care with context %}'
        "{% block main %}{{ facts(rows) }}{{ care('!', notes) }}{% endblock %}"
    )
    return path


def test_a_page_needs_nothing_else_and_escapes_what_it_is_given(template):
    page = render(
        template, WORDS, title=HOSTILE, made_by=HOSTILE, rows=[(HOSTILE, HOSTILE), ("empty", "")],
        notes=[f"**{HOSTILE}**"], sections=[("one", HOSTILE)],
    )  # fmt: skip
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 7
    assert "49" not in page.partition("</style>")[2]
    assert '<html lang="ja">' in page
    assert "default-src 'none'" in page
    assert "empty" not in page
    assert "prefers-color-scheme:dark" in page
    assert "@media print" in page


def test_marks_of_texts():
    said = rich("**a** of *b*, `c*d*` & 5 %, 2*3*4, ** and <i>")
    assert str(said) == (
        "<strong>a</strong> of <em>b</em>, <code>c*d*</code> &amp; 5\N{NO-BREAK SPACE}%, 2*3*4, "
        "** and &lt;i&gt;"
    )


def test_writing_where_nothing_can_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write the report"):
        write(tmp_path / "file" / "x.html", "x")
    path = write(tmp_path / "new" / "x.html", "x")
    assert [entry.name for entry in path.parent.iterdir()] == ["x.html"]
