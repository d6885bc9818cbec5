"""What rows come to: the same for whoever asks, folder by folder."""

from __future__ import annotations

import json
from math import fsum, inf, isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.bootstrap import confidence_interval
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import Row, Summary, summarise


def row(score: float | None, name: str = "a.png", folder: str = "out", **metrics: float) -> Row:
    return Row(FilePair(name, "", f"{folder}/{name}", folder), score, "ok" if score is not None else "broken", metrics)


def test_scores_are_told_from_failures() -> None:
    [summary] = summarise([row(0.5, psnr=10.0), row(0.7, psnr=20.0), row(None)])
    assert (list(summary.scores), summary.failures, summary.lowest) == ([0.5, 0.7], 1, 0.5)
    assert summary.mean == pytest.approx(0.6)
    assert summary.means == {"psnr": 15}
    assert summary.interval == confidence_interval(torch.tensor([0.5, 0.7], dtype=torch.float64))


def test_a_folder_without_scores_has_no_mean() -> None:
    [summary] = summarise([row(None)])
    assert (summary.mean, summary.interval, summary.lowest, summary.failures) == (None, None, None, 1)
    assert json.loads(json.dumps(summary.describe()))["mean"] is None


def test_infinite_values_have_a_mean_and_missing_ones_none() -> None:
    same, neither = summarise(
        [row(1.0, psnr=inf), row(0.9, psnr=40.0), row(0.8), row(0.1, folder="b", turned=-inf, other=inf)]
    )
    assert same.means["psnr"] == inf
    assert [isnan(value) for value in same.values["psnr"]] == [False, False, True]
    assert neither.means == {"psnr": None, "turned": -inf, "other": inf}
    [both] = summarise([row(1.0, x=inf), row(0.9, x=-inf)])
    assert both.means["x"] is not None
    assert isnan(both.means["x"])


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("xy"), st.none() | st.floats(0, 1)), max_size=30))
def test_folders_are_summed_up_one_by_one_and_the_worst_come_first(found: list[tuple[str, float | None]]) -> None:
    summary = Summary()
    for index, (folder, score) in enumerate(found):
        summary.add(row(score, f"{index}.png", folder))
    folders = summary.folders()
    assert [each.folder for each in folders] == list(dict.fromkeys(folder for folder, _ in found))
    for each in folders:
        named = [(f"{i}.png", score) for i, (folder, score) in enumerate(found) if folder == each.folder]
        scored = [(name, score) for name, score in named if score is not None]
        assert each.worst == sorted(scored, key=lambda pair: pair[1])[:5]
        assert each.failures == len(named) - len(scored)
        assert each.mean == (fsum(score for _, score in scored) / len(scored) if scored else None)
    assert (summary.scored, summary.failed) == (sum(len(f.scores) for f in folders), sum(f.failures for f in folders))
    assert len(summary.failures) == min(summary.failed, 20)
