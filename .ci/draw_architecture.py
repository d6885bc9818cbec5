"""Draws which part of the package imports which, as the imports are: prints ``docs/images/architecture.svg``.

    python .ci/draw_architecture.py > docs/images/architecture.svg

The rows are the layers of the contract in ``pyproject.toml``, which ``lint-imports`` checks. An arrow leads from who
imports to what is imported, unless a way round over other parts says it already. Everybody may use the lowest row,
without an arrow.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = "torchmetrics_sess"
_WIDTH, _ROW, _BOX, _HEIGHT = 880, 74, 104, 30


def layers(pyproject: Path) -> list[list[str]]:
    """Return the parts of the package, row by row."""
    [contract] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    return [[part for part in row.split(" | ") if not part.startswith("_")] for row in contract["layers"]]


def imports(rows: list[list[str]]) -> set[tuple[str, str]]:
    """Return who imports what, from an upper row to a lower one, without what a way round says already."""
    graph = grimp.build_graph(_PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    row_of = {part: index for index, row in enumerate(rows) for part in row}
    found: set[tuple[str, str]] = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = _part(module), _part(imported)
            if row_of.get(pair[0], len(rows)) < row_of.get(pair[1], -1):
                found.add(pair)
    return {(a, b) for a, b in found if not any((a, via) in found and _leads(via, b, found) for via in row_of)}


def svg(rows: list[list[str]], edges: set[tuple[str, str]]) -> Iterator[str]:
    """Return the picture, line by line."""
    height = _ROW * len(rows) + 10
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">'
    )
    yield '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    yield '<path d="M0 0 8 4 0 8z" fill="#5c6bc0"/></marker>'
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
    centres: dict[str, tuple[float, float]] = {}
    for index, row in enumerate(rows):
        for place, part in enumerate(row):
            centres[part] = (_WIDTH * (2 * place + 1) / (2 * len(row)), _ROW * index + 32)
    for a, b in sorted(edges):
        if b not in rows[-1]:
            (x, y), (u, v) = centres[a], centres[b]
            y, v = y + _HEIGHT / 2, v - _HEIGHT / 2
            yield (
                f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + 34:.0f} {u:.0f} {v - 34:.0f} {u:.0f} {v:.0f}" fill="none" '
                'stroke="#5c6bc0" marker-end="url(#tip)"/>'
            )
    for part, (x, y) in centres.items():
        width = min(_BOX, _WIDTH // len(next(row for row in rows if part in row)) - 8)
        fill = "#eceff1" if part in rows[-1] else "#e8eaf6"
        yield (
            f'<rect x="{x - width / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" width="{width}" height="{_HEIGHT}" rx="5" '
            f'fill="{fill}" stroke="#3949ab"/>'
        )
        yield f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{part}</text>'
    yield "</svg>"


def _part(module: str) -> str:
    return module.removeprefix(_PACKAGE).lstrip(".").partition(".")[0]


def _leads(a: str, b: str, edges: set[tuple[str, str]]) -> bool:
    return (a, b) in edges or any(_leads(imported, b, edges) for importer, imported in edges if importer == a)


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    sys.path.insert(0, str(root))
    parts = layers(root / "pyproject.toml")
    sys.stdout.write("\n".join([*svg(parts, imports(parts)), ""]))
