"""Answers as a file holds them, and as a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.judgements import Answer, read_answers, tabulate, write_answers


def answer(rater: str, value: float, recon: str = "a/1.png", other: str = "", role: str = "question") -> Answer:
    return Answer("choose" if other else "rate", rater, "o/1.png", recon, other, value, role, codec="a")  # type: ignore[arg-type]


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="/"), min_size=1, max_size=8)


@given(names=st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=2, max_size=2, unique=True))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_answers_survive_a_file_whatever_images_are_called(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("answers")
    left, right = (str(folder / "a" / name) for name in names)
    rows = [
        Answer(
            "choose",
            "p1",
            str(folder / "o.png"),
            left,
            right,
            value,
            "question",
            "a",
            "b",
            "2026-01-01",
            1.5,
            "study:1",
        )
        for value in (0.0, 0.5, 1.0)
    ]
    rows.append(
        Answer("rate", "p 2", str(folder / "o.png"), left, "", 4.0, "repeat", "a", "", "2026-01-01", 2.0, "study:1")
    )
    assert write_answers(rows, folder / "ratings.csv") == 4
    assert str(folder) not in (folder / "ratings.csv").read_text(encoding="utf-8")
    assert read_answers(folder / "ratings.csv").rows == rows


def test_a_choice_counts_the_same_whichever_side_was_left(tmp_path: Path) -> None:
    rows = [answer("p1", 1.0, "a/1.png", "b/1.png"), answer("p2", 0.0, "b/1.png", "a/1.png")]
    write_answers(rows, tmp_path / "ratings.csv")
    table = tabulate(read_answers(tmp_path / "ratings.csv"), "choose")
    assert len(table.questions) == 1
    assert table.values.tolist() == [[1.0], [1.0]]
    assert table.judgements().human == [1.0]
    assert table.judgements().votes == [2]


def test_repeats_and_checks_stay_out_of_the_table(tmp_path: Path) -> None:
    rows = [
        answer("p1", 4.0),
        answer("p1", 1.0, role="repeat"),
        answer("p1", 5.0, "o/1.png", role="check"),
        answer("p2", 2.0),
    ]
    write_answers(rows, tmp_path / "ratings.csv")
    found = read_answers(tmp_path / "ratings.csv")
    assert found.raters == ["p1", "p2"]
    assert found.kinds == ["rate"]
    table = tabulate(found, "rate")
    assert table.count == 2
    assert table.judgements().human == [3.0]
    assert table.without(["p1"]).judgements().human == [2.0]
    with pytest.raises(ValueError, match="no answer is left"):
        table.without(["p1", "p2"]).judgements()
    with pytest.raises(ValueError, match="no answer to a question of the kind 'choose'"):
        tabulate(found, "choose")


def test_a_rater_without_an_answer_has_none(tmp_path: Path) -> None:
    rows = [answer("p1", 4.0), answer("p2", 2.0, "b/1.png")]
    write_answers([dataclasses.replace(row) for row in rows], tmp_path / "ratings.csv")
    values = tabulate(read_answers(tmp_path / "ratings.csv"), "rate").values
    assert np.isnan(values).sum() == 2
