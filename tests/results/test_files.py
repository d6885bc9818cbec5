"""Results files, read back: whole, cut off, and not what they should be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.cli.results import ResultsFile
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.report import Results, read_results
from torchmetrics_sess.results import COLUMNS, Row

HEADER = ",".join(COLUMNS)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
finite = st.floats(allow_nan=False, allow_infinity=False)


def read(tmp_path: Path, text: str, name: str = "results.csv") -> Results:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", errors="surrogateescape"))
    return read_results(path)


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, texts, finite, st.none() | st.floats(allow_nan=False)), max_size=4))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[str, str, float, float | None]]
) -> None:
    path = tmp_path_factory.mktemp("results") / "results.csv"
    written = [
        Row(
            FilePair(name, f"o/{name}", f"{folder}/{i}", folder),
            score,
            metrics={} if psnr is None else {"psnr": psnr},
            signature="SeSS|v1",
        )
        for i, (folder, name, score, psnr) in enumerate(content)
    ]
    with ResultsFile(path, signature="SeSS|v1", columns=["psnr"]) as file:
        file.append(written)
    assert read_results(path) == Results(written)


def test_both_kinds_of_file_hold_the_same(tmp_path: Path) -> None:
    rows = [
        Row(FilePair("a.png", "o/a.png", "r/a.jpg", "r"), 0.75),
        Row(FilePair("b.png", "o/b.png", "", "r"), None, "no partner in r"),
    ]
    found = []
    for name in ("results.csv", "results.json"):
        with ResultsFile(tmp_path / name, signature="SeSS|v1") as file:
            file.append(rows)
            file.finish([])
        found.append(read_results(tmp_path / name))
    assert found[0] == found[1]
    assert [row.score for row in found[0].rows] == [0.75, None]
    assert found[0].rows[1].status == "no partner in r"


@pytest.mark.parametrize("tail", ["", "r,b.png,o/b.p", 'r,"b', "r,b.png,o/b.png,r/b.png,0.2,ok,SeSS", "\0\0\0"])
def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path, tail: str) -> None:
    found = read(tmp_path, f"{HEADER}\nr,a.png,o/a.png,r/a.png,0.5,ok,SeSS\n{tail}")
    assert [row.pair.name for row in found.rows] == ["a.png"]
    assert found.unfinished == bool(tail.strip("\0"))


def test_of_a_pair_that_was_scored_twice_the_last_row_counts(tmp_path: Path) -> None:
    lines = ["r,a.png,o/a.png,r/a.png,,r/a.png cannot be read,SeSS", "r,a.png,o/a.png,r/a.png,0.5,ok,SeSS"]
    [row] = read(tmp_path, "\n".join([HEADER, *lines, ""])).rows
    assert row.score == 0.5


def test_a_file_that_passed_through_another_program_is_read(tmp_path: Path) -> None:
    text = f"\ufeffpsnr,{HEADER}\r\n31.5,r,caf\udce9.png,o/a,r/a,0.5,ok,SeSS\r\nnan,r,b.png,o/b,r/b,0.25,ok,SeSS\r\n"
    found = read(tmp_path, text)
    assert [row.metrics for row in found.rows] == [{"psnr": 31.5}, {}]
    assert found.rows[0].pair.name == "caf\udce9.png"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,score\na,1\n", "line 1: no column recon_folder, origin, recon, status, signature"),
        (f"{HEADER}\nr,a,o,r,0.5,ok,SeSS\nr,b,o,r\n", "line 3: 4 values for 7 columns"),
        (f"{HEADER}\nr,a,o,r,half,ok,SeSS\n", "line 2: `score` must be a number, got 'half'"),
        (f"{HEADER}\nr,a,o,r,nan,ok,SeSS\n", "line 2: the status is ok, but the score is no finite number"),
        (f"{HEADER}\nr,a,o,r,,ok,SeSS\n", "line 2: the status is ok"),
        (f"{HEADER},psnr\nr,a,o,r,1,ok,SeSS,high\n", "line 2: `psnr` must be a number, got 'high'"),
        (f'{HEADER}\nr,"a"b,o,r,1,ok,SeSS\nr,a,o,r,1,ok,SeSS\n', "line 2: "),
    ],
)
def test_a_broken_file_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"results\.csv") as error:
        read(tmp_path, text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n  oops", "line 2"),
        ("[]", "no list `pairs`"),
        (json.dumps({"pairs": [{}]}), "pair 1: no value for recon_folder, name"),
        (json.dumps({"pairs": [3]}), "pair 1: 3 is not a mapping"),
    ],
)
def test_a_broken_json_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"results\.json") as error:
        read(tmp_path, content, "results.json")
    assert message in str(error.value)


def test_a_file_that_is_missing_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: no such file"):
        read_results(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match=r"must end in \.csv or \.json"):
        read(tmp_path, "", "results.txt")
