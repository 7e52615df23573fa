"""The grammar of queries."""

import pytest

from keshin.errors import SearchError
from keshin.search.query import parse


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("a red boat at dusk", "a red boat at dusk", ()),
        ("a beach -people", "a beach", ("people",)),
        ("-people a beach", "a beach", ("people",)),
        ('a beach -"two people" -dogs at noon', "a beach at noon", ("two people", "dogs")),
        ("a man in a t-shirt", "a man in a t-shirt", ()),
        ("a black-and-white photo -t-shirt", "a black-and-white photo", ("t-shirt",)),
        ("Tokyo - the tower", "Tokyo - the tower", ()),
        ("a sign -- at night", "a sign -- at night", ()),
        ("a day at -5 degrees", "a day at -5 degrees", ()),
        ("a sign that says \\-off", "a sign that says -off", ()),
        ("海 -人", "海", ("人",)),
        ("海　－人　船", "海 船", ("人",)),
        ("-people", "", ("people",)),
        ('a -""', "a", ()),
        ("", "", ()),
        ("well-", "well-", ()),
        ("a (-b)", "a (-b)", ()),
        ("a —dash", "a —dash", ()),
    ],
)
def test_grammar(text, wanted, unwanted):
    found = parse(text)
    assert (found.wanted, found.unwanted) == (wanted, unwanted)


def test_an_open_quotation_is_an_error():
    with pytest.raises(SearchError, match="not closed"):
        parse('a beach -"two people')
