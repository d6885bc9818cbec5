"""Pages against results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.claims.statements import NOT_MEASURED, Statement, explain, written

# What stands in code is run or quoted, what stands in the target of a link is no number.
_CODE = (re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE), re.compile(r"`[^`\n]*`"), re.compile(r"\]\([^)]*\)"))
# No numbers of versions, no clock times.
_DECIMAL = re.compile(r"(?<![\w.])(?<!\w-)-?\d*\.\d+(?:e-?\d+)?(?![\w%]|\.\d)")


def check(name: str, page: str, statements: Sequence[Statement]) -> list[str]:
    """Return a line for everything that is wrong with a page, none if nothing is."""
    problems, covered = [], []
    for statement in statements:
        if reason := statement.wrong():
            problems.append(f"{name}: {reason}")
        try:
            covered.append(statement.span(page))
            places = list(statement.places(page))
        except LookupError as error:
            problems.append(f"{name}: {error}")
            continue
        for place in places:
            covered.append((place.start, place.end))
            found = page[place.start : place.end]
            wanted = written(place.value, found)
            if found != wanted:
                problems.append(f"{name}:{_line(page, place.start)}: {explain(place, found, wanted)}")
    for start, found in decimals(page):
        if not any(first <= start < last for first, last in covered):
            line = _line(page, start)
            problems.append(
                f"{name}:{line}: {found} has no source; name it in benchmarks/claims/, or say there why it needs none"
            )
    return problems


def write(page: str, statements: Sequence[Statement]) -> str:
    """Return the page with the numbers of the results.

    Raises:
        LookupError: if the page does not say one of the statements.
    """
    places = [place for statement in statements for place in statement.places(page)]
    for place in sorted(places, key=lambda place: place.start, reverse=True):
        page = page[: place.start] + written(place.value, page[place.start : place.end]) + page[place.end :]
    return page


def not_measured(page: str, statements: Sequence[Statement]) -> list[str]:
    """Return the lines of a page with values that no result holds yet."""
    places = (place for statement in statements for place in statement.places(page) if place.value is None)
    return sorted({f"{_line(page, place.start)}: {NOT_MEASURED}, of results/{place.source}.json" for place in places})


def decimals(page: str) -> list[tuple[int, str]]:
    """Return all numbers with decimals outside of code, with where they begin."""
    for pattern in _CODE:
        page = pattern.sub(lambda match: re.sub(r"[^\n]", "~", match[0]), page)
    return [(match.start(), match[0]) for match in _DECIMAL.finditer(page)]


def check_all(root: Path, statements: Mapping[str, Sequence[Statement]], pages: Sequence[str]) -> list[str]:
    """Check pages by their paths below ``root``."""
    return [line for name in pages for line in check(name, (root / name).read_text(), statements.get(name, ()))]


def _line(page: str, position: int) -> int:
    return page.count("\n", 0, position) + 1
