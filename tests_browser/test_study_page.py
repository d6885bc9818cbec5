"""The page on which people judge, as they meet it: two at once, with keys, on a phone, and with a server that dies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from human_data import make_images
from study_server import StudyServer

from torchmetrics_sess.judgements import Answer, Study
from torchmetrics_sess.judgements.storage import Storage

HOSTILE = "<img src=x onerror=\"document.title='broken'\">.png"
READY = (
    "!busy && !part('judging').hidden && [...document.images].filter((i) => i.closest('.frame'))"
    ".every((i) => i.complete && i.naturalWidth)"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudyServer]:
    folder = tmp_path_factory.mktemp("study")
    make_images(folder, 3)
    for name in ("origin", "fine", "fair", "poor"):
        (folder / name / "0.png").rename(folder / name / HOSTILE)
    (folder / "study.yaml").write_text("repeats: 0\nchecks: 0\nquestions_per_rater: null\n")
    with StudyServer(folder, ["fine", "fair", "poor"]) as opened:
        yield opened


@pytest.fixture(scope="module")
def browsers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Browser]]:
    with Browser(tmp_path_factory.mktemp("one")) as one, Browser(tmp_path_factory.mktemp("two")) as two:
        yield [one, two]


def answers(server: StudyServer) -> list[Answer]:
    storage = Storage(server.folder / "study.sqlite")
    found = list(storage.answers())
    storage.close()
    return found


def forget(browser: Browser, server: StudyServer) -> None:
    """Forget who was here before, where no script runs that would begin again."""
    browser.open(server.overview)
    browser.evaluate("sessionStorage.clear()")


def begin(browser: Browser, server: StudyServer, rater: str, *, width: int = 1280, dark: bool = False) -> None:
    forget(browser, server)
    browser.open(server.address, width=width, dark=dark)
    browser.evaluate(f"part('rater').value = '{rater}'; part('begin').requestSubmit()")
    browser.wait_for(READY)


def press(browser: Browser, key: str, *, done: int) -> None:
    """Answer with a key, and wait for the next question."""
    browser.press(key)
    browser.wait_for(f"state.done === {done} && (!part('over').hidden || ({READY}))")


def test_two_raters_judge_at_once_with_keys_and_buttons(browsers: list[Browser], server: StudyServer) -> None:
    one, two = browsers
    begin(one, server, "anna")
    begin(two, server, "ben")
    assert one.evaluate("state.turns[0].kind") == "rate"
    for done in range(9):
        press(one, "4", done=done + 1)
        press(two, str(1 + done % 5), done=done + 1)
    # All ratings are given; what is left are choices.
    assert one.evaluate("document.querySelectorAll('.frame').length") == 3
    assert one.evaluate("part('question').textContent") == "Which side keeps more of what the original shows?"
    press(one, "ArrowLeft", done=10)
    press(one, "ArrowDown", done=11)
    press(one, "ArrowRight", done=12)
    press(one, "3", done=12)
    one.evaluate("document.querySelector('[data-answer=equal]').click()")
    one.wait_for(f"state.done === 13 && {READY}")
    press(one, "u", done=12)
    press(one, "ArrowRight", done=13)
    # A reload finds the same question again.
    before = one.evaluate("[state.turns[0], part('count').textContent]")
    one.open(server.address)
    one.wait_for(READY)
    assert one.evaluate("[state.turns[0], part('count').textContent]") == before
    for done in range(13, 18):
        press(one, "ArrowLeft", done=done + 1)
    assert not one.evaluate("part('over').hidden")

    found = answers(server)
    assert Counter(answer.rater for answer in found) == {"anna": 18, "ben": 9}
    given = [answer.value for answer in found if answer.rater == "anna"]
    assert given == [4] * 9 + [0, 0.5, 1, 1] + [0] * 5
    assert all(0 < answer.seconds < 60 for answer in found)
    for browser in browsers:
        assert browser.complaints == []


def test_a_server_that_is_killed_loses_and_doubles_nothing(browsers: list[Browser], server: StudyServer) -> None:
    browser = browsers[0]
    begin(browser, server, "clara")
    for done in range(3):
        press(browser, "5", done=done + 1)
    server.kill()
    assert [answer.value for answer in answers(server) if answer.rater == "clara"] == [5] * 3
    browser.press("2")
    browser.wait_for("!part('problem').hidden")
    assert "is kept, and sent again" in browser.evaluate("part('problem').textContent")
    server.start()
    browser.wait_for(f"state.done === 4 && part('problem').hidden && {READY}")
    assert [answer.value for answer in answers(server) if answer.rater == "clara"] == [5, 5, 5, 2]

    # Killed once more, and the page is reloaded before the server is back.
    server.kill()
    browser.press("1")
    browser.wait_for("!part('problem').hidden")
    server.start()
    browser.open(server.address)
    browser.wait_for(f"state.done === 5 && {READY}")
    assert [answer.value for answer in answers(server) if answer.rater == "clara"] == [5, 5, 5, 2, 1]


def test_pausing_hides_the_images_and_zoom_shows_one_place_in_all(browsers: list[Browser], server: StudyServer) -> None:
    browser = browsers[1]
    begin(browser, server, "dora")
    browser.press("p")
    assert browser.evaluate("part('judging').hidden && !part('paused').hidden")
    # What the steps mean can be read again.
    assert browser.evaluate("[...part('paused').querySelectorAll('dd')].map((text) => text.textContent)") == list(
        Study().meanings
    )
    browser.press("5")
    browser.evaluate("part('resume').click()")
    assert browser.evaluate("[rater, state.done]") == ["dora", 0]
    browser.press("z")
    browser.evaluate(
        """
        const box = document.querySelector('.frame').getBoundingClientRect();
        document.querySelector('.frame').dispatchEvent(new PointerEvent('pointermove', {
          bubbles: true, clientX: box.left + box.width / 4, clientY: box.top + box.height / 2 }));
        """
    )
    origins = browser.evaluate("[...document.querySelectorAll('.frame img')].map((i) => i.style.transformOrigin)")
    assert len(origins) == 2
    assert len(set(origins)) == 1
    assert origins[0].startswith("25%")
    browser.press("z")
    assert not browser.evaluate("zoomed()")
    # Somebody else may take over.
    browser.press("p")
    browser.evaluate("part('leave').click()")
    browser.wait_for("!part('welcome').hidden && part('rater').value === ''")


@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_a_phone_and_ask_nobody_else(dark: bool, browsers: list[Browser], server: StudyServer) -> None:
    browser = browsers[0]
    fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth && innerWidth === 400"
    begin(browser, server, f"eva{dark}", width=400, dark=dark)
    assert browser.evaluate(fits)
    # All that a question needs can be seen without scrolling.
    assert browser.evaluate("part('answers').getBoundingClientRect().bottom <= innerHeight")
    assert browser.evaluate(
        "[...document.querySelectorAll('.answers button')].every((b) => b.scrollWidth <= b.clientWidth)"
    )
    for page in (server.address, server.overview):
        forget(browser, server)
        browser.open(page, width=400, dark=dark)
        assert browser.evaluate(fits)
        assert browser.complaints == []
        hosts = {url.split("/")[2] for url in browser.requests if not url.startswith("data:")}
        assert hosts == {server.address.split("/")[2]}


def test_a_hostile_name_is_text(browsers: list[Browser], server: StudyServer) -> None:
    browser = browsers[0]
    browser.open(server.overview)
    assert browser.evaluate("document.title").startswith("Overview")
    names = browser.evaluate("[...document.querySelectorAll('tbody th')].map((cell) => cell.textContent)")
    assert HOSTILE in names
    assert browser.evaluate("document.images.length") == 0
    assert Path(server.folder).name not in browser.evaluate("document.body.textContent")
