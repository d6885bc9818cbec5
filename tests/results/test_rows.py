"""Rows as text and as JSON: whatever a value is, both give it back."""

from __future__ import annotations

import dataclasses
import json
import math
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from torchmetrics_sess.cli.results import ResultsFile
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import Row, from_json

SIGNATURE = "SeSS|v1"
# No name of a file holds a zero byte. What is no UTF-8, it may hold; Python has half characters for that.
names = st.binary(max_size=6).map(lambda name: os.fsdecode(name.replace(b"\0", b"")))
texts = names | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
texts |= st.text(st.sampled_from('",\n\r\u2028ü'), max_size=6)
numbers = st.floats() | st.sampled_from([math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 0.1])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    pair = FilePair(draw(texts), draw(texts), draw(texts), draw(texts))
    metrics = draw(st.dictionaries(st.sampled_from(["psnr", "ssim"]), numbers))
    score = draw(st.none() | st.floats(allow_nan=False))
    status = "ok" if score is not None else " ".join(draw(texts).split())
    return Row(pair, score, status, metrics, signature=SIGNATURE)


def exactly(row: Row) -> tuple[object, ...]:
    """Return all of a row, with NaN equal to itself and -0 unlike 0."""
    return row.pair, repr(row.score), row.status, {name: repr(value) for name, value in row.metrics.items()}


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(rows(), min_size=1, max_size=3))
@example(
    [Row(FilePair("\udce9", "", "", ""), -0.0, metrics={"psnr": math.nan, "ssim": -math.inf}, signature=SIGNATURE)]
)
def test_every_value_comes_back(tmp_path_factory: pytest.TempPathFactory, written: list[Row]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    pairs = [row.pair for row in written]
    for name in ("results.csv", "results.json"):
        with ResultsFile(folder / name, signature=SIGNATURE, columns=["psnr", "ssim"]) as file:
            file.append(dataclasses.replace(row, signature="") for row in written)
            file.finish([])
        with ResultsFile(folder / name, signature=SIGNATURE, columns=["psnr", "ssim"]) as file:
            [found] = file.kept([pairs])
        assert [exactly(row) for row in found] == [exactly(row) for row in written], name
    text = (folder / "results.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
    assert [exactly(Row.from_texts(pair)) for pair in from_json(text)] == [exactly(row) for row in written]
