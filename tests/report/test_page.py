"""The page: whatever the results hold, it is one file in which text stays text."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.report import page as page_module
from torchmetrics_sess.report.page import Content, Shown, folder_labels, render, write_page
from torchmetrics_sess.report.pictures import Picture
from torchmetrics_sess.results import Row

HOSTILE = "<script>alert(1)</script> \"quoted\" & 'single' {{ 123 * 321 }}"


class Elements(HTMLParser):
    """Collects elements with their attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(found == tag for found, _ in self.found)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "results & more.csv"
    path.touch()
    return path


def rows(count: int, folder: str = "out", **metrics: float) -> list[Row]:
    return [
        Row(
            FilePair(f"{index}.png", "", "", folder),
            index / count,
            metrics={**metrics, "psnr": float(index)},
            signature="SeSS|v1",
        )
        for index in range(count)
    ]


def test_text_from_results_stays_text(source: Path, tmp_path: Path) -> None:
    scored = [
        Row(
            FilePair(HOSTILE, HOSTILE, HOSTILE, f"{HOSTILE}{i}"),
            0.5 + i / 10,
            metrics={HOSTILE: 1.0 + i},
            signature=HOSTILE,
        )
        for i in range(2)
    ]
    failed = Row(FilePair(HOSTILE, "", "", f"{HOSTILE}0"), None, HOSTILE, signature=HOSTILE)
    shown = [Shown(scored[0], [Picture("data:,", 1, 1, HOSTILE)]), Shown(scored[1], [], HOSTILE)]
    found = Elements(render(Content(source, [*scored, failed], shown, shown, notes=[HOSTILE]), tmp_path))
    assert found.count("script") == 1
    assert found.text.count(HOSTILE) > 10
    assert "39483" not in found.text
    assert all(not name.startswith("on") for _, attributes in found.found for name in attributes)


def test_a_page_refers_to_nothing_but_the_results(source: Path, tmp_path: Path) -> None:
    found = Elements(render(Content(source, rows(3)), tmp_path / "report"))
    references = {
        value for _, attributes in found.found for name, value in attributes.items() if name in ("src", "href")
    }
    assert references == {"data:,", "../results%20%26%20more.csv"}
    assert "url(" not in render(Content(source, rows(3)), tmp_path)


def test_of_many_pairs_the_lowest_are_listed(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_ROWS", "_FAILURES", "_DOTS", "_TRACES"):
        monkeypatch.setattr(page_module, limit, 10)
    failed = [Row(FilePair(f"broken {index}", "", "", "out"), None, "broken") for index in range(40)]
    page = render(Content(source, [*rows(100), *rows(100, "other"), *failed]), tmp_path)
    names = re.findall(r'<td class="name">(\d+)\.png', page)
    assert names == [str(index // 2) for index in range(10)]
    assert "The 10 lowest of 200 scores are listed" in page
    assert "10 of 40 are listed" in page
    assert "10 of 200 pairs drawn" in page
    assert page.count("<circle") == 10 + 2 * 10 + 2


def test_more_folders_than_colours_share_one(source: Path, tmp_path: Path) -> None:
    many = [row for index in range(14) for row in rows(3, f"folder{index}")]
    page = render(Content(source, many), tmp_path)
    assert set(re.findall(r'class="(?:dot|level) (s\d)"', page)) == {"s0"}
    assert page.count('class="short"') == 1
    few = render(Content(source, [row for index in range(3) for row in rows(3, f"folder{index}")]), tmp_path)
    assert set(re.findall(r'class="(?:dot|level) (s\d)"', few)) == {"s0", "s1", "s2"}
    assert few.count('class="short"') == 3


@pytest.mark.parametrize("scored", [0, 1])
def test_a_report_of_next_to_nothing_is_one(scored: int, source: Path, tmp_path: Path) -> None:
    failed = Row(FilePair("broken.png", "", "", "out"), None, "it is empty")
    found = Elements(render(Content(source, [*rows(2)[:scored], failed]), tmp_path))
    headings = {"Summary", "Not scored"} | (
        {"Distribution of the scores", "SeSS and other metrics", "All pairs"} if scored else set()
    )
    assert {heading for heading in headings if heading in found.text} == headings
    assert found.count("section") == len(headings)
    assert "it is empty" in found.text


def test_headings_and_tables_are_named(source: Path, tmp_path: Path) -> None:
    shown = [Shown(row, [Picture("data:,", 1, 1, f"Why {row.pair.name}")]) for row in rows(2)]
    found = Elements(render(Content(source, rows(9), shown, shown), tmp_path))
    assert found.count("h1") == 1
    assert found.count("caption") == found.count("table") == 2
    assert all(attributes.get("alt") for tag, attributes in found.found if tag == "img")
    assert all(attributes.get("aria-label") for tag, attributes in found.found if tag == "svg")
    assert all(attributes.get("scope") for tag, attributes in found.found if tag == "th")


def test_a_report_replaces_a_report_but_no_other_page(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    path = write_page(Content(source, rows(2)), folder)
    write_page(Content(source, rows(3)), folder)
    assert "2.png" in path.read_text(encoding="utf-8")
    assert [entry.name for entry in folder.iterdir()] == ["index.html"]
    path.write_text("<title>mine</title>", encoding="utf-8")
    with pytest.raises(ValueError, match="no report of ours"):
        write_page(Content(source, rows(2)), folder)
    with pytest.raises(ValueError, match="is a file"):
        write_page(Content(source, rows(2)), path)
    assert path.read_text(encoding="utf-8") == "<title>mine</title>"


def test_a_name_that_is_no_text_is_shown_all_the_same(source: Path, tmp_path: Path) -> None:
    content = Content(source, [Row(FilePair("caf\udce9.png", "", "", "out"), 0.5, signature="SeSS")])
    assert r"caf\udce9.png" in write_page(content, tmp_path / "out").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("folders", "labels"),
    [
        (["out"], ["out"]),
        (["/data/out/a", "/data/out/b"], ["a", "b"]),
        (["/data/a", "b"], ["/data/a", "b"]),
        (["out", "out/a"], ["out", "out/a"]),
        ([""], [""]),
    ],
)
def test_labels_leave_out_what_folders_share(folders: list[str], labels: list[str]) -> None:
    assert list(folder_labels(folders).values()) == labels
