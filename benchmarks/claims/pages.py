"""The pages that are checked, and what they state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.claims.benchmarks_page import benchmarks_page
from benchmarks.claims.guide import guide
from benchmarks.claims.readme import readme
from benchmarks.claims.results import ROOT
from benchmarks.claims.statements import Statement

PAGES = (
    "README.md",
    "benchmarks/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)


def statements() -> Mapping[str, Sequence[Statement]]:
    """Return what every page states, by its path."""
    return {"README.md": readme(), "benchmarks/README.md": benchmarks_page(), **guide()}
