"""Where numbers stand in a page, and what they ought to be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from benchmarks.claims.results import Value, origin

NOT_MEASURED = "…"
# As many dots as a measured value has decimals, and one.
_NUMBER = r"(?:-?(?:\d+\.\d+|\.\d+|\d+)(?:e-?\d+)?|…+)"
_IN_A_CELL = re.compile(rf"(?<![\w.]){_NUMBER}(?![\w]|\.\d)")


class Place(NamedTuple):
    """A number in a page."""

    start: int
    end: int
    value: Value | str
    source: str


class Statement:
    """What is said on a page, and which numbers it takes."""

    def places(self, page: str) -> Iterator[Place]:
        """Find the numbers in the text of the page; there may be none.

        Raises:
            LookupError: if the page does not say this, says it twice, or has another count of numbers there.
        """
        return iter(())

    def span(self, page: str) -> tuple[int, int]:
        """Return what part of the page needs no other source."""
        return (0, 0)

    def wrong(self) -> str | None:
        """Return why this must not be said, whatever the numbers look like."""
        return None


@dataclass(frozen=True)
class Sentence(Statement):
    """A part of a page with ``{}`` for every number; line breaks are spaces.

    Args:
        text: as much as is unique on the page.
        source: the results file, or another origin.
        values: one per ``{}``.
        leads: the values end with an interval's ends; it has to lie above 0, as something is said to be better.
    """

    text: str
    source: str
    values: Sequence[Value]
    leads: bool = False

    def places(self, page: str) -> Iterator[Place]:
        """Find all ``{}``."""
        parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in self.text.split("{}")]
        found = list(re.finditer(rf"({_NUMBER})".join(parts), page))
        if len(found) != 1:
            raise LookupError(f"is said {len(found)} times, and should be once: {self.text!r}")
        if len(self.values) != len(found[0].groups()):
            raise LookupError(f"has {len(found[0].groups())} numbers, and {len(self.values)} values: {self.text!r}")
        for group, value in enumerate(self.values, 1):
            yield Place(*found[0].span(group), value, self.source)

    def wrong(self) -> str | None:
        """Say so if the interval of what is called better holds 0."""
        low = self.values[-2] if self.leads else None
        if low is not None and low <= 0:
            return f"says that something is better, but the interval begins at {low:.4g}: {self.text!r}"
        return None


@dataclass(frozen=True)
class Row(Statement):
    """A row of a table: all numbers after its first cell.

    Args:
        label: the first cell, or a first part of the row that is unique under the heading.
        source: the results file.
        values: in the order of the row.
        under: the heading that the table stands under, where the label alone is not unique.
    """

    label: str
    source: str
    values: Sequence[Value]
    under: str = ""

    def places(self, page: str) -> Iterator[Place]:
        """Find all numbers of the row."""
        start, end = section(page, self.under) if self.under else (0, len(page))
        begin = f"\n| {self.label} |"
        count = page.count(begin, start, end)
        if count != 1:
            raise LookupError(f"is there {count} times, and should be once: the row {begin.strip()!r}")
        first = page.index(begin, start, end) + len(begin)
        found = list(_IN_A_CELL.finditer(page, first, page.index("\n", first)))
        if len(found) != len(self.values):
            raise LookupError(f"has {len(found)} numbers, and {len(self.values)} values: the row {begin.strip()!r}")
        for match, value in zip(found, self.values, strict=True):
            yield Place(*match.span(), value, self.source)


@dataclass(frozen=True)
class Output(Statement):
    """What a command prints, in the fenced block after the comment ``<!-- what `COMMAND` prints -->``.

    Args:
        command: as the reader types it.
        source: the results file.
        text: what it prints; without any, the block stays as it is.
    """

    command: str
    source: str
    text: str | None

    def places(self, page: str) -> Iterator[Place]:
        """Find the inside of the block."""
        begin = f"<!-- what `{self.command}` prints -->\n```text\n"
        if page.count(begin) != 1:
            raise LookupError(f"has {page.count(begin)} blocks, and should have one: {begin!r}")
        start = page.index(begin) + len(begin)
        if self.text is not None:
            yield Place(start, page.index("\n```", start), self.text, self.source)


@dataclass(frozen=True)
class Given(Statement):
    """Numbers that are no measurement of a results file, and why.

    Args:
        text: as much as is unique on the page, with ``{}`` for every number; or a heading, for all below it.
        reason: what they are instead.
    """

    text: str
    reason: str

    def span(self, page: str) -> tuple[int, int]:
        """Return where it stands."""
        if self.text.startswith("#"):
            return section(page, self.text)
        parts = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in self.text.split("{}")]
        found = list(re.finditer(_NUMBER.join(parts), page))
        if len(found) != 1:
            raise LookupError(f"is said {len(found)} times, and should be once: {self.text!r}")
        return found[0].span()


def section(page: str, heading: str) -> tuple[int, int]:
    """Return where a section begins and ends: at the next heading of its level or above."""
    found = [match.start() for match in re.finditer(rf"^{re.escape(heading)}$", page, re.MULTILINE)]
    if len(found) != 1:
        raise LookupError(f"is no heading, or not the only one: {heading!r}")
    start = found[0]
    level = len(heading) - len(heading.lstrip("#"))
    following = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(page, start + len(heading))
    return start, following.start() if following else len(page)


def written(value: Value | str, like: str) -> str:
    """Return a value with the decimals, the zero before the point and the exponent of what it takes the place of.

    Examples:
        >>> written(0.98765, ".9"), written(0.98765, "0.9"), written(98.765, "1"), written(0.99999, ".98")
        ('1.0', '1.0', '99', '1.00')
        >>> written(0.00041, "6.9e-4"), written(-0.5, ".25"), written(None, ".98"), written(0.5, "………")
        ('4.1e-4', '-.50', '………', '.50')
    """
    if isinstance(value, str):
        return value
    number, _, exponent = like.partition("e")
    decimals = len(like) - 1 if like.startswith(NOT_MEASURED) else len(number.partition(".")[2])
    if value is None:
        return NOT_MEASURED * (1 + decimals)
    if exponent:
        digits, _, power = f"{value:.{decimals}e}".partition("e")
        return f"{digits}e{int(power)}"
    # Of what is printed, not of its binary neighbour: half of 1 % is rounded up, whatever the machine.
    text = f"{Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP):f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text if like.lstrip("-").startswith("0.") else re.sub(r"^(-?)0\.", r"\1.", text)


def explain(place: Place, text: str, wanted: str) -> str:
    """Say what differs."""
    if isinstance(place.value, str):
        return f"another output than that of {origin(place.source)}"
    return f"the page says {text}, the result {wanted}: {origin(place.source)}"
