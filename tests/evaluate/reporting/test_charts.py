from xml.etree import ElementTree

import numpy as np
import pytest

from evaluations import made
from keshin.evaluate.reporting import charts, confusion, paper_figures
from keshin.evaluate.reporting.paper import paper_results
from keshin.evaluate.reporting.words import words_of
from keshin.evaluate.results import FewShot

EN = words_of("en")


def texts(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter("text")]


def class_rows(k):
    return [(f"class {n}", 10, n / k, max(0, n / k - 0.1), min(1, n / k + 0.1)) for n in range(k)]


def test_few_classes_have_a_bar_each_lowest_first():
    said = texts(charts.class_bars(class_rows(10), 0.1, EN))
    names = [text for text in said if text.startswith("class")]
    assert names == [f"class {n}" for n in range(10)]


def test_of_many_classes_the_lowest_and_the_highest_are_shown():
    said = texts(charts.class_bars(class_rows(200), 0.005, EN))
    names = [text for text in said if text.startswith("class ")]
    assert len(names) == charts.SHOWN_CLASSES
    assert names[0] == "class 0"
    assert names[-1] == "class 199"
    assert any("160 classes between" in text for text in said)


@pytest.mark.parametrize("k", [2, 10, 30, 31, 200, 1000])
def test_confusion_of_any_number_of_classes(k):
    rng = np.random.default_rng(0)
    targets = rng.integers(0, k, 3000)
    predictions = np.where(rng.random(3000) < 0.5, targets, rng.integers(0, k, 3000))
    names = [f"class {n}" for n in range(k)]
    cells = confusion.counts(targets, predictions)
    assert sum(count for *_, count in cells) == 3000
    chart, close_up = confusion.chart(cells, names, EN), confusion.close_up(cells, names, EN)
    ElementTree.fromstring(chart)
    assert len(chart) < 600_000
    assert bool(close_up) == (k > confusion.LABELLED)
    if close_up:
        assert sum(text.startswith("class") for text in texts(close_up)) == 2 * confusion.CLOSE_UP


def test_groups_that_are_confused_come_side_by_side():
    table = np.eye(6, dtype=int) * 10
    for a, b in ((0, 3), (1, 4), (2, 5)):
        table[a, b] = table[b, a] = 8
    order = confusion.side_by_side(table)
    places = {index: place for place, index in enumerate(order)}
    assert all(abs(places[a] - places[b]) == 1 for a, b in ((0, 3), (1, 4), (2, 5)))


def test_most_confused():
    cells = [(0, 0, 9), (0, 1, 2), (1, 0, 5), (1, 1, 1)]
    assert confusion.most_confused(cells, 1) == [(1, 0, 5)]


def test_single_charts_are_valid_and_say_their_values():
    one = made()
    assert one.calibration is not None
    assert one.few_shot is not None
    for svg in (
        charts.measures([(s.name, s) for s in one.scores], EN),
        charts.reliability(one.calibration.bins, one.calibration.bins_after, EN),
        charts.risk(one.risk, EN),
        charts.few_shot(one.few_shot, EN, one.probe.score),
    ):
        ElementTree.fromstring(svg)
        assert 'role="img"' in svg
        assert "nan" not in svg
    assert "probe from zero" in texts(charts.few_shot(one.few_shot, EN))


def test_figure_five_stands_beside_the_paper():
    found = [made(key="kitti", title="KITTI", value=0.3, baseline=made(value=0.3).probe),
             made(key="cifar10", title="CIFAR-10", value=0.5, baseline=None)]  # fmt: skip
    rows = {row.name: row for row in paper_figures.figure_five_rows(found)}
    kitti, cifar = rows["KITTI"], rows["CIFAR-10"]
    assert kitti.value == pytest.approx(-20)  # measured: zero-shot minus the probe
    assert (kitti.low, kitti.high) == pytest.approx((-25, -15))
    assert (kitti.paper, kitti.tables) == (-34.0, -45.2)  # the two disagree: both
    assert cifar.kind == paper_figures.ITS_PROBE
    assert cifar.value == pytest.approx(50 - paper_results()["cifar10"].resnet50_probe)
    assert (cifar.paper, cifar.tables) == (3.9, None)
    svg = paper_figures.figure_five(found, EN)
    ElementTree.fromstring(svg)
    assert EN["figure_five_tables"] in texts(svg)


def test_the_papers_own_numbers():
    rows = paper_results()
    assert len(rows) == 27
    assert sum(row.figure5 > 0 for row in rows.values()) == 16
    assert {key for key, row in rows.items() if row.disagreement} == {"kitti", "ucf101"}


def test_few_shot_mean_is_over_what_all_have():
    one = made()
    longer = FewShot({"zero": one.few_shot.curves["zero"][:2]}, 0.4, {"zero": None}, "accuracy", "")
    other = made(title="Other", few_shot=longer)
    mean = paper_figures.mean_curve([e.few_shot.curves["zero"] for e in (one, other)])
    assert [shots for shots, _ in mean] == [1, 2]
    for draw in (paper_figures.few_shot, paper_figures.efficiency, paper_figures.ensembling):
        ElementTree.fromstring(draw([one, other], EN))
    assert "> 2" in texts(paper_figures.efficiency([one, other], EN))


def test_nothing_to_show_is_no_chart():
    bare = made(few_shot=None, ensembling=None, probe=None)
    for draw in (paper_figures.figure_five, paper_figures.few_shot,
                 paper_figures.efficiency, paper_figures.ensembling):  # fmt: skip
        assert draw([bare], EN) == ""
