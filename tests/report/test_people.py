"""Ratings beside scores, in the report."""

from __future__ import annotations

from pathlib import Path

from human_data import make_ratings, rows_of

from torchmetrics_sess.judgements import read_answers, tabulate
from torchmetrics_sess.report.people import beside_people


def test_pairs_are_found_again_and_disagreements_come_first(tmp_path: Path) -> None:
    table = tabulate(read_answers(make_ratings(tmp_path, kinds=("rate",))), "rate")
    found = beside_people(rows_of(tmp_path)[:-1], table)
    assert len(found.pairs) == 17
    assert found.unknown == 1
    assert (found.raters, found.originals) == (4, 6)
    worst = found.higher_than_people(1)[0]
    assert worst.row.pair.recon_folder == "poor"
    assert worst.row.score == 1.0
    assert worst.rating < worst.expected
    assert all(each.rating > each.expected for each in found.lower_than_people(3))
    heights = [y for _, y in found.curve]
    assert heights == sorted(heights)
    assert [name for name, _, _ in found.statistics] == ["SRCC", "KRCC", "PLCC"]
