"""Draws which part of the package imports which, as the imports are: prints ``docs/images/architecture.svg``.

    python .ci/draw_architecture.py > docs/images/architecture.svg

The rows are the layers of the contract in ``pyproject.toml``, which ``lint-imports`` checks. An arrow leads from who
imports to what is imported, unless a way round over other parts says it already. It passes between the boxes of the
rows that it crosses, never behind one. Everybody may use the lowest row, without an arrow.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import grimp

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PACKAGE = "torchmetrics_sess"
# In pixels; a box leaves a gap to its neighbours, and a lane is what a long arrow takes between two boxes.
_WIDTH, _ROW, _BOX, _HEIGHT, _GAP, _LANE, _BEND = 880, 84, 104, 30, 36, 20, 30
_SWEEPS = 60

# The row above, and what in it is linked to what in the row beneath.
Link: TypeAlias = tuple[int, str, str]


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


def lanes(rows: list[list[str]], edges: set[tuple[str, str]]) -> tuple[list[list[str]], list[Link]]:
    """Return rows in which every long arrow has a place of its own between the boxes, and the links of neighbours.

    Such a place is called as what the arrow leads to, with a `>`: all arrows to it share one, as they join anyway.
    """
    row_of = {part: index for index, row in enumerate(rows) for part in row}
    links: set[Link] = set()
    for a, b in edges:
        first, last = row_of[a], row_of[b]
        way = [a, *(f">{b}" for _ in range(first + 1, last)), b]
        links |= {(first + step, *pair) for step, pair in enumerate(itertools.pairwise(way))}
    places = [{lower for above, _, lower in links if above == index - 1} for index in range(len(rows))]
    return [[*row, *sorted(found - set(row))] for row, found in zip(rows, places, strict=True)], sorted(links)


def untangle(rows: list[list[str]], links: list[Link]) -> list[list[str]]:
    """Return the rows in an order in which few links cross: everything near what it is linked to (barycentres)."""
    best, rows = rows, [list(row) for row in rows]
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for index in range(1, len(rows)) if down else range(len(rows) - 2, -1, -1):
            beside = rows[index - 1 if down else index + 1]
            place = {item: (number + 0.5) / len(beside) for number, item in enumerate(beside)}
            centre: dict[str, float] = {}
            for number, item in enumerate(rows[index]):
                near = [
                    place[upper if down else lower]
                    for above, upper, lower in links
                    if (above, lower if down else upper) == (index - 1 if down else index, item)
                ]
                centre[item] = fmean(near) if near else (number + 0.5) / len(rows[index])
            rows[index].sort(key=lambda item: (centre[item], item))
        rows = _swapped(rows, links)
        if _crossings(rows, links) < _crossings(best, links):
            best = [list(row) for row in rows]
    return best


def place(rows: list[list[str]], links: list[Link]) -> list[dict[str, float]]:
    """Return how far on the right the middle of everything is: near what it is linked to, and nothing overlaps."""
    spots = [dict(zip(row, _apart(row, [_WIDTH / 2] * len(row)), strict=True)) for row in rows]
    for _ in range(_SWEEPS):
        for index, row in enumerate(rows):
            wanted = []
            for item in row:
                near: list[float] = []
                for above, upper, lower in links:
                    # A long arrow is to be straight.
                    pull = 8 if upper.startswith(">") and lower.startswith(">") else 1
                    if (above, upper) == (index, item):
                        near += pull * [spots[index + 1][lower]]
                    elif (above, lower) == (index - 1, item):
                        near += pull * [spots[index - 1][upper]]
                wanted.append(fmean(near) if near else spots[index][item])
            spots[index] = dict(zip(row, _apart(row, wanted), strict=True))
    # All together in the middle; the lowest row, which nothing leads to, is there.
    middles = [spot for above in spots[:-1] for spot in above.values()]
    shift = (_WIDTH - min(middles) - max(middles)) / 2
    return [*({item: spot + shift for item, spot in above.items()} for above in spots[:-1]), spots[-1]]


def svg(rows: list[list[str]], links: list[Link], spots: list[dict[str, float]]) -> Iterator[str]:
    """Return the picture, line by line."""
    height = _ROW * len(rows) + 10
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">'
    )
    yield '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    yield '<path d="M0 0 8 4 0 8z" fill="#5c6bc0"/></marker>'
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>'
    for above, upper, lower in links:
        x, u = spots[above][upper], spots[above + 1][lower]
        y, v = _ROW * above + 32 + _HEIGHT / 2, _ROW * (above + 1) + 32 - _HEIGHT / 2
        end = f'V{v + _HEIGHT:.0f}" ' if lower.startswith(">") else '" marker-end="url(#tip)" '
        yield (
            f'<path d="M{x:.0f} {y:.0f}C{x:.0f} {y + _BEND:.0f} {u:.0f} {v - _BEND:.0f} {u:.0f} {v:.0f}{end}'
            'fill="none" stroke="#5c6bc0"/>'
        )
    for index, row in enumerate(rows):
        fill = "#eceff1" if index == len(rows) - 1 else "#e8eaf6"
        for part in row:
            if part.startswith(">"):
                continue
            x, y, width = spots[index][part], _ROW * index + 32, min(_BOX, int(_room(part, row)) - 8)
            yield (
                f'<rect x="{x - width / 2:.0f}" y="{y - _HEIGHT / 2:.0f}" width="{width}" height="{_HEIGHT}" rx="5" '
                f'fill="{fill}" stroke="#3949ab"/>'
            )
            yield f'<text x="{x:.0f}" y="{y + 5:.0f}" text-anchor="middle">{part}</text>'
    yield "</svg>"


def _room(item: str, row: list[str]) -> float:
    return _LANE if item.startswith(">") else min(_BOX + _GAP, _WIDTH / len(row))


def _apart(row: list[str], wanted: list[float]) -> list[float]:
    """Return the middles nearest to those that are wanted (least squares) that leave a gap between neighbours."""
    steps = [0.0, *((_room(a, row) + _room(b, row)) / 2 for a, b in itertools.pairwise(row))]
    offsets = list(itertools.accumulate(steps))
    # Without the room that each takes, the order is all that is asked for: neighbours out of order get their mean.
    blocks: list[list[float]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        blocks.append([want - offset])
        while len(blocks) > 1 and fmean(blocks[-2]) > fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    free = [fmean(block) for block in blocks for _ in block]
    least, most = _room(row[0], row) / 2, _WIDTH - _room(row[-1], row) / 2 - offsets[-1]
    return [min(max(at, least), most) + offset for at, offset in zip(free, offsets, strict=True)]


def _crossings(rows: list[list[str]], links: list[Link]) -> int:
    count = 0
    for index, (upper, lower) in enumerate(itertools.pairwise(rows)):
        ends = [(upper.index(a), lower.index(b)) for above, a, b in links if above == index]
        count += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in itertools.combinations(ends, 2))
    return count


def _swapped(rows: list[list[str]], links: list[Link]) -> list[list[str]]:
    """Swap neighbours as long as fewer links cross."""
    rows = [list(row) for row in rows]
    fewest, better = _crossings(rows, links), True
    while better:
        better = False
        for row in rows:
            for at in range(len(row) - 1):
                row[at], row[at + 1] = row[at + 1], row[at]
                crossings = _crossings(rows, links)
                if crossings < fewest:
                    fewest, better = crossings, True
                else:
                    row[at], row[at + 1] = row[at + 1], row[at]
    return rows


def _part(module: str) -> str:
    return module.removeprefix(_PACKAGE).lstrip(".").partition(".")[0]


def _leads(a: str, b: str, edges: set[tuple[str, str]]) -> bool:
    return (a, b) in edges or any(_leads(imported, b, edges) for importer, imported in edges if importer == a)


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    sys.path.insert(0, str(root))
    parts = layers(root / "pyproject.toml")
    shown = {(a, b) for a, b in imports(parts) if b not in parts[-1]}
    ordered, linked = lanes(parts, shown)
    ordered = untangle(ordered, linked)
    sys.stdout.write("\n".join([*svg(ordered, linked, place(ordered, linked)), ""]))
