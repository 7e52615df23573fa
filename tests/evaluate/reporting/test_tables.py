import csv
import io

from evaluations import DIGITS, made
from keshin.evaluate.reporting.tables import COLUMNS, as_csv, as_table


def rows_of(*found):
    return list(csv.DictReader(io.StringIO(as_csv(found))))


def test_csv_has_every_number_on_its_own_line():
    one = made()
    rows = rows_of(one, made(title="Others"))
    assert set(rows[0]) == set(COLUMNS)
    assert {row["dataset"] for row in rows} == {"Digits", "Others"}
    own = [row for row in rows if row["dataset"] == "Digits"]
    parts = {row["part"] for row in own}
    assert parts == {
        "score", "single prompt", "comparison", "probe", "calibration", "few-shot", "class",
    }  # fmt: skip
    assert [row["name"] for row in own if row["part"] == "class"] == DIGITS
    main = own[0]
    assert (float(main["value"]), main["count"]) == (one.main.value, "400")


def test_what_a_spreadsheet_would_run_is_text():
    names = ["=cmd()", "+1", "@x", "plain, with comma", 'quote"d', "two\nlines"]
    rows = [row for row in rows_of(made(names)) if row["part"] == "class"]
    assert [row["name"] for row in rows] == ["'=cmd()", "'+1", "'@x", *names[3:]]


def test_table_is_for_people():
    text = as_table([made(title="a\x1b[31mred")])
    assert "\x1b" not in text
    assert "accuracy, linear probe" in text
    assert "60.0 %" in text
    assert "57.0 – 63.0" in text
