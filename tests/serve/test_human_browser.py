"""The page in a real browser, by keyboard alone, through a whole study: two people, all rounds.

Needs playwright and a Chromium (CHROMIUM names one; else Debian's, else playwright's own).
"""

import itertools
import os
import shutil
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from human_studies import made_folder, served
from keshin.evaluate.human import load_study, read_answers

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
sync_api = pytest.importorskip("playwright.sync_api")
expect = sync_api.expect
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.slow
QUESTIONS = 6


@contextmanager
def chromium():
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no Chromium starts here: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def place(tmp_path):
    names = ["alpine chough", "barn owl", "common crane", "dipper", "eider"]
    made_folder(tmp_path / "birds", names, 4, size=(300, 200))
    return tmp_path


@contextmanager
def page_of(browser, url, **options):
    """A page that fails the test on any script error."""
    options = {"viewport": {"width": 1100, "height": 700}, "locale": "en-US", **options}
    context = browser.new_context(**options)
    page = context.new_page()
    page.set_default_timeout(15_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(url)
    yield page
    context.close()
    assert [p for p in problems if "Failed to load resource" not in p] == []


def join(page, name):
    expect(page.locator("#name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.locator("#begin")).to_be_focused()


def at(page, number):
    """Wait for a question to be seen."""
    expect(page.locator("#count")).to_have_text(f"{number} / {QUESTIONS}")
    expect(page.locator("#picture img")).to_be_visible()


def the_person(folder, name):
    study = load_study(folder)
    return {s.person: s for s in read_answers(folder, study)}[name]


def test_two_people_by_keyboard_through_all_rounds(browser, place, tiny_folder):
    folder = place / "birds.study"
    options = ("birds", "--shots", "0,1,2", "--questions", QUESTIONS, "--model", tiny_folder)
    with served(place, *options) as server, page_of(browser, server.url) as ann:
        study = load_study(folder)
        join(ann, "Ann")
        ann.keyboard.press("Enter")
        at(ann, 1)
        expect(ann.locator("#filter")).to_be_focused()
        assert ann.locator("#picture img").get_attribute("alt") == f"Picture 1 of {QUESTIONS}"
        assert ann.locator("#compare").is_hidden()
        # type to filter: what begins so comes first
        ann.keyboard.type("d")
        shown = ann.locator(".class:visible")
        expect(shown).to_have_text(["1dipper", "2eider"])
        assert ann.locator('[aria-selected="true"]').inner_text().split()[-1] == "dipper"
        active = ann.locator("#filter").get_attribute("aria-activedescendant")
        assert active == ann.locator('[aria-selected="true"]').get_attribute("id")
        ann.keyboard.press("ArrowRight")
        ann.keyboard.press("Enter")  # eider
        at(ann, 2)
        expect(ann.locator("#said")).to_have_text(f"eider. Picture 2 of {QUESTIONS}.")
        ann.keyboard.press("2")  # barn owl
        at(ann, 3)
        ann.keyboard.press("Backspace")  # a change of mind
        at(ann, 2)
        ann.keyboard.type("zz")
        expect(ann.locator("#nothing")).to_be_visible()
        ann.keyboard.press("Enter")  # chooses nothing
        ann.keyboard.press("Backspace")  # takes a letter away, not an answer
        at(ann, 2)
        ann.keyboard.press("Escape")
        expect(ann.locator("#filter")).to_have_value("")
        ann.keyboard.press("?")
        at(ann, 3)
        ann.keyboard.press("ArrowDown")
        ann.keyboard.press("Enter")  # alpine chough
        at(ann, 4)
        ann.keyboard.press("Escape")
        expect(ann.locator("#resume")).to_be_focused()
        assert ann.locator("#picture").count() == 0
        ann.wait_for_timeout(700)
        ann.keyboard.press("Enter")
        at(ann, 4)
        ann.keyboard.press("3")
        # somebody else at the same time
        with page_of(browser, server.url) as ben:
            join(ben, "Ben")
            ben.keyboard.press("Enter")
            for number in range(1, QUESTIONS + 1):
                at(ben, number)
                ben.keyboard.press("1")
            expect(ben.locator("#round-title")).to_contain_text("one example of each class")
        at(ann, 5)
        ann.reload()  # in the middle
        expect(ann.locator("#resume")).to_be_focused()
        ann.keyboard.press("Enter")
        for number in (5, 6):
            at(ann, number)
            ann.keyboard.press("4")
        expect(ann.locator("#round-title")).to_contain_text("Round 2 of 3")
        first = the_person(folder, "Ann")
        order = study.sequence("Ann", 0)
        assert first.choices(0)[list(order)].tolist() == [4, -1, 0, 2, 3, 3]
        assert first.undone == 1
        paused = first.seconds(0)[order[3]]
        assert 0 <= paused < 0.7  # the pause is not in it
        # back over the end of a round, as long as its examples were not seen
        ann.keyboard.press("Backspace")
        at(ann, 6)
        ann.keyboard.press("5")
        expect(ann.locator("#begin")).to_be_focused()
        ann.keyboard.press("Enter")
        for shots in (1, 2):
            for number in range(1, QUESTIONS + 1):
                at(ann, number)
                assert ann.locator(".class .examples img").count() == 5 * shots
                if number == 1:
                    assert ann.locator("#undo").is_disabled()
                    ann.keyboard.press("ArrowDown")
                    expect(ann.locator("#compare img")).to_have_count(shots)
                question = study.sequence("Ann", shots)[number - 1]
                ann.keyboard.press(str(study.questions[question].target + 1))
            if shots == 1:
                expect(ann.locator("#round-title")).to_contain_text("two examples")
                ann.keyboard.press("Enter")
        expect(ann.locator("#finish")).to_be_focused()
        ann.keyboard.press("Enter")
        expect(ann.locator(".line")).to_have_count(9, timeout=30_000)
        lines = ann.locator(".line").all_inner_texts()
        assert "100.0 %" in lines[3]
        assert "tiny, without examples" in lines[2]
    ann_, ben_ = the_person(folder, "Ann"), the_person(folder, "Ben")
    assert ann_.finished
    assert np.array_equal(ann_.choices(2), study.targets)
    assert set(ben_.choices(0)) == {0}
    assert ben_.phase == "intro"


def test_server_that_goes_away_and_comes_back(browser, place):
    """Killed in the middle of an answer: the page waits, sends it again, and it counts once."""
    options = ("birds", "--questions", QUESTIONS, "--model", "none")
    with served(place, *options) as server:
        port = server.port
        with page_of(browser, server.url) as page:
            join(page, "Ann")
            page.keyboard.press("Enter")
            at(page, 1)
            page.keyboard.press("1")
            at(page, 2)
            server.process.kill()
            server.process.wait(10)
            page.keyboard.press("2")
            expect(page.locator("#trouble")).to_contain_text("trying again")
            with served(place, "birds.study", "--model", "none", port=port):
                at(page, 3)
                expect(page.locator("#trouble")).to_be_hidden()
                page.keyboard.press("3")
                at(page, 4)
    ann = the_person(place / "birds.study", "Ann")
    order = load_study(place / "birds.study").sequence("Ann", 0)
    assert ann.choices(0)[list(order)][:3].tolist() == [0, 1, 2]
    assert ann.answered == 3


def test_two_tabs_of_one_person(browser, place):
    options = ("birds", "--questions", QUESTIONS, "--model", "none")
    with (
        served(place, *options) as server,
        page_of(browser, server.url) as one,
        page_of(browser, server.url) as two,
    ):
        join(one, "Ann")
        one.keyboard.press("Enter")
        at(one, 1)
        expect(two.locator("#name")).to_be_focused()
        two.keyboard.type("ann")
        two.keyboard.press("Enter")
        at(two, 1)
        for number in (1, 2):
            at(one, number)
            one.keyboard.press("1")
        at(one, 3)
        two.keyboard.press("2")  # to a question that was answered meanwhile
        at(two, 3)
        expect(two.locator("#trouble")).to_contain_text("went on elsewhere")
    ann = the_person(place / "birds.study", "Ann")
    assert ann.answered == 2
    assert set(ann.choices(0)) == {0, -2}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_sticks_out_and_everything_is_read_out(browser, place, scheme, width):
    options = ("birds", "--shots", "2", "--questions", QUESTIONS, "--model", "none")
    view = {
        "viewport": {"width": width, "height": 640},
        "color_scheme": scheme,
        "locale": "ja-JP",
        "has_touch": width < 1000,
        "is_mobile": width < 1000,
    }
    with served(place, *options) as server, page_of(browser, server.url, **view) as page:
        expect(page.locator("h1")).to_have_text("お名前は？")
        assert page.locator("html").get_attribute("lang") == "ja"
        page.locator("#name").fill("花子")
        page.locator("#join button").click()
        page.locator("#begin").click()
        at(page, 1)
        wide = page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= width
        picture = page.locator("#picture img").bounding_box()
        assert picture["width"] >= 150
        assert picture["height"] >= 100
        cards = [card.bounding_box() for card in page.locator(".class").all()]
        for a, b in itertools.pairwise(cards):  # none covers another
            beside = b["x"] >= a["x"] + a["width"] - 1
            below = b["y"] >= a["y"] + a["height"] - 1
            assert beside or below
        for element in page.locator("button:visible, input:visible").all():
            box = element.bounding_box()
            assert box["height"] >= 30
            name = element.evaluate(
                "e => e.innerText || e.labels?.[0]?.textContent || e.getAttribute('aria-label')"
            )
            assert name
        page.locator(".class").nth(2).click()
        at(page, 2)
        page.locator("#language").click()
        expect(page.locator("#unknown")).to_contain_text("I don’t know")
        assert page.locator("html").get_attribute("lang") == "en"
        page.locator("#unknown").click()
        at(page, 3)
    hanako = the_person(place / "birds.study", "花子")
    assert hanako.answered == 2


@pytest.mark.skipif(sys.platform == "win32", reason="starts Debian's browser")
def test_names_with_digits_are_typed_not_counted(browser, place):
    made_folder(place / "digits", ["0", "1", "2"], 4)
    options = ("digits", "--questions", QUESTIONS, "--model", "none")
    with served(place, *options) as server, page_of(browser, server.url) as page:
        join(page, "Ann")
        page.keyboard.press("Enter")
        at(page, 1)
        page.keyboard.press("2")
        expect(page.locator(".class:visible")).to_have_count(1)
        page.keyboard.press("Enter")
        at(page, 2)
        page.keyboard.press("Alt+1")
        at(page, 3)
    ann = the_person(place / "digits.study", "Ann")
    order = load_study(place / "digits.study").sequence("Ann", 0)
    assert ann.choices(0)[list(order)][:2].tolist() == [2, 0]
