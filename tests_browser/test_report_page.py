"""The report as a reader meets it: in a browser, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser
from PIL import Image

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.report.page import Content, Shown, write_page
from torchmetrics_sess.report.pictures import picture_pair
from torchmetrics_sess.results import Row

HOSTILE = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">.png"
LONG = "a_folder_with_quite_a_long_name/" + "x" * 120 + ".png"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a report of two folders with everything that a page can hold."""
    folder = tmp_path_factory.mktemp("report")
    image = folder / "image.png"
    Image.linear_gradient("L").convert("RGB").save(image)
    source = folder / "results.csv"
    source.touch()
    names = [HOSTILE, LONG, *(f"{index}.png" for index in range(30))]
    rows = [
        Row(
            FilePair(name, str(image), str(image), recon_folder),
            worst + (1 - worst) * index / len(names),
            metrics={"psnr": float("inf") if index == 5 else 30.0 - index, "ssim": 0.9},
            signature="SeSS|preset:lite|" + "setting0.1," * 30,
        )
        for recon_folder, worst in (("out/jpeg", 0.3), ("out/webp", 0.4))
        for index, name in enumerate(names)
    ]
    failed = Row(FilePair("broken.png", "", "", "out/jpeg"), None, f"{HOSTILE} cannot be read")
    shown = [Shown(row, picture_pair(row)) for row in rows[:3]]
    content = Content(source, [*rows, failed], lowest=shown, highest=[Shown(rows[-1], [], HOSTILE)], notes=[HOSTILE])
    return write_page(content, folder / "out")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_a_page_asks_for_nothing_complains_of_nothing_and_fits(
    width: int, dark: bool, browser: Browser, page: Path
) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.evaluate("document.title") == "SeSS report: results.csv"
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert browser.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth)")
    assert browser.complaints == []
    assert {url.partition(":")[0] for url in browser.requests} == {"file", "data"}
    assert [url for url in browser.requests if url.startswith("file")] == [page.as_uri()]


def test_the_browser_of_these_tests_tells_of_errors_and_requests(browser: Browser, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>oops()</script><img src='missing.png'>")
    browser.open(bad)
    assert any("oops is not defined" in complaint for complaint in browser.complaints)
    assert (tmp_path / "missing.png").as_uri() in browser.requests


def test_headings_sort_the_table(browser: Browser, page: Path) -> None:
    browser.open(page)

    def column(index: int) -> list[str]:
        found: list[str] = browser.evaluate(
            f"[...document.querySelectorAll('#table tbody tr')].map((row) => row.cells[{index}].textContent)"
        )
        return found

    def click(heading: str) -> None:
        browser.evaluate(
            f"[...document.querySelectorAll('#table th button')].find((b) => b.textContent === '{heading}').click()"
        )

    scores = column(2)
    assert scores == sorted(scores)
    click("SeSS")
    assert column(2) == sorted(scores, reverse=True)
    assert browser.evaluate("document.querySelector('#table th[aria-sort]').textContent") == "SeSS"
    click("Name")
    assert column(0)[2:8] == ["0.png", "0.png", "1.png", "1.png", "2.png", "2.png"]
    click("PSNR")
    values = column(3)
    assert values[-2:] == ["∞", "∞"]
    assert list(map(float, values[:-2])) == sorted(map(float, values[:-2]))


def test_the_table_can_be_filtered(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.evaluate(
        """
        document.querySelector('#filter-name').value = 'A_FOLDER';
        document.querySelector('#filter-name').dispatchEvent(new Event('input'));
        """
    )
    assert browser.evaluate("document.querySelector('#shown').textContent") == "2 of 64"
    browser.evaluate(
        """
        document.querySelector('#filter-folder').value = 'webp';
        document.querySelector('#filter-folder').dispatchEvent(new Event('change'));
        """
    )
    visible = "[...document.querySelectorAll('#table tbody tr')].filter((row) => row.offsetHeight)"
    assert browser.evaluate(f"{visible}.map((row) => row.cells[1].textContent)") == ["webp"]


def test_light_and_dark_can_be_switched_and_differ(browser: Browser, page: Path) -> None:
    browser.open(page, dark=True)
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = browser.evaluate(colour)
    browser.evaluate("document.querySelector('#theme').click()")
    light = browser.evaluate(colour)
    assert light != dark
    browser.open(page)
    assert browser.evaluate(colour) == light
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate(colour) == dark


@pytest.mark.parametrize("dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(dark: bool, browser: Browser, page: Path) -> None:
    browser.open(page, dark=dark)
    # Relative luminance and contrast as WCAG 2 defines them.
    contrast = """
    (foreground, background) => {
      const luminance = (name) => {
        const probe = document.body.appendChild(document.createElement('i'));
        probe.style.color = `var(${name})`;
        const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((value) => value / 255)
          .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const [low, high] = [luminance(foreground), luminance(background)].sort((a, b) => a - b);
      return (high + 0.05) / (low + 0.05);
    }
    """
    for background in ("--page", "--card", "--note"):
        assert browser.evaluate(f"({contrast})('--text', '{background}')") > 7
    for foreground in ("--muted", "--accent", "--bad"):
        for background in ("--page", "--card"):
            assert browser.evaluate(f"({contrast})('{foreground}', '{background}')") > 4.5
    for series in range(6):
        assert browser.evaluate(f"({contrast})('--s{series}', '--card')") > 3
