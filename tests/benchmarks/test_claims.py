"""What the pages say is what the results say, and whoever claims to be better has an interval above 0."""

from __future__ import annotations

import re

import pytest

from benchmarks.claims.checking import check, check_all, decimals, not_measured, write
from benchmarks.claims.pages import PAGES, statements
from benchmarks.claims.results import ROOT
from benchmarks.claims.statements import Given, Row, Sentence


def test_pages_say_what_results_say() -> None:
    problems = check_all(ROOT, statements(), PAGES)
    assert not problems, "\n".join(
        [*problems, "`python -m benchmarks.claims --write` writes the numbers of the results"]
    )


def test_writing_changes_nothing_where_nothing_differs() -> None:
    for name, stated in statements().items():
        page = (ROOT / name).read_text()
        assert write(page, stated) == page, name


PAGE = """# Page

It is .98 on all
of 30 photographs, at width .1.

## Table

| one | **.50** / 1.00 |
| two | 4.1e-4, 12 |
"""


def test_numbers_are_found_checked_and_written() -> None:
    stated = [
        Sentence("It is {} on all of {} photographs", "here", [0.987, 30]),
        Given("at width {}.", "a setting"),
        Row("one", "here", [0.25, 0.5], under="## Table"),
        Row("two", "here", [0.00052, 12.6]),
    ]
    problems = check("page.md", PAGE, stated)
    assert len(problems) == 5
    assert problems[0].startswith("page.md:3: the page says .98, the result .99: results/here.json")
    written = write(PAGE, stated)
    assert "It is .99 on all\nof 30 photographs, at width .1." in written
    assert "| one | **.25** / .50 |\n| two | 5.2e-4, 13 |" in written
    assert not check("page.md", written, stated)


def test_a_number_without_a_source_is_named() -> None:
    problems = check("page.md", PAGE, [Given("## Table", "made up")])
    assert [re.sub(r" has no source.*", "", problem) for problem in problems] == ["page.md:3: .98", "page.md:4: .1"]


@pytest.mark.parametrize("text", ["It was {}", "of {} photographs or {}"])
def test_what_is_not_said_is_a_problem(text: str) -> None:
    [problem] = [line for line in check("page.md", PAGE, [Sentence(text, "here", [1])]) if "no source" not in line]
    assert "is said 0 times" in problem


def test_better_needs_an_interval_above_0() -> None:
    page = "Better by .20 (-.10 to .50).\n"
    text = "Better by {} ({} to {})."
    [problem] = check("page.md", page, [Sentence(text, "here", [0.2, -0.1, 0.5], leads=True)])
    assert "the interval begins at -0.1" in problem
    assert not check("page.md", page, [Sentence(text, "here", [0.2, -0.1, 0.5])])
    assert not check("page.md", page.replace("-.10", ".10"), [Sentence(text, "here", [0.2, 0.1, 0.5], leads=True)])


def test_what_is_not_measured_yet_is_said() -> None:
    before = "Better by .20.\n"
    after = write(before, [Sentence("Better by {}.", "here", [None])])
    assert after == "Better by ………" + ".\n"
    assert not_measured(after, [Sentence("Better by {}.", "here", [None])]) == ["1: …, of results/here.json"]
    assert write(after, [Sentence("Better by {}.", "here", [0.25])]) == "Better by .25.\n"


def test_code_versions_and_links_hold_no_numbers_to_check() -> None:
    page = "`0.5` in [v0.2.0](https://example.org/1.5)\n```text\n0.7\n```\n0.9 %\n"
    assert [found for _, found in decimals(page)] == ["0.9"]
