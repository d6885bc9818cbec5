"""The results file: what is there is kept, what was cut off is done again, and nothing of others is touched."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess.cli.results import ResultsError, ResultsFile
from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import COLUMNS, Row

# Names that would break a careless format.
PAIRS = [
    FilePair(name, f"o/{name}", f"r/{name}", "r")
    for name in ["a.png", 'quo"te.png', "com,ma.png", "line\nbreak.png", "\udce9.png", "ü.png", "r\r.png", "z.png"]
]
BATCHES = [PAIRS[0:3], PAIRS[3:6], PAIRS[6:8]]
SIGNATURE = "SeSS|a,b|v0"


def row(pair: FilePair) -> Row:
    index = PAIRS.index(pair)
    if index == 4:
        return Row(pair, None, "cannot\nbe read")
    return Row(pair, index / 7, metrics={"psnr": 100 / 3 if index else float("inf")})


def write(path: Path, batches: Sequence[Sequence[FilePair]] = BATCHES, *, finish: bool = True) -> int:
    """Write what is not in the file yet, and return how many pairs that was."""
    written = 0
    with ResultsFile(path, signature=SIGNATURE, columns=["psnr"]) as results:
        kept = list(results.kept(batches))
        for batch in batches[len(kept) :]:
            results.append(row(pair) for pair in batch)
            written += len(batch)
        if finish:
            results.finish([{"recon_folder": "r", "mean": 0.5}])
    return written


def test_a_file_says_for_every_pair_what_became_of_it(tmp_path: Path) -> None:
    write(tmp_path / "r.csv", [PAIRS[:2], PAIRS[4:5]])
    assert (tmp_path / "r.csv").read_bytes().splitlines() == [
        b"recon_folder,name,origin,recon,score,status,signature,psnr",
        b'r,a.png,o/a.png,r/a.png,0.0,ok,"SeSS|a,b|v0",inf',
        b'r,"quo""te.png","o/quo""te.png","r/quo""te.png",0.14285714285714285,ok,"SeSS|a,b|v0",33.333333333333336',
        b'r,\xe9.png,o/\xe9.png,r/\xe9.png,,cannot be read,"SeSS|a,b|v0",',
    ]


def test_json_holds_the_same_and_a_summary(tmp_path: Path) -> None:
    write(tmp_path / "r.json", [PAIRS[:2], PAIRS[4:5]])
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]
    content = json.loads((tmp_path / "r.json").read_text())
    assert list(content) == ["signature", "command", "summary", "pairs"]
    assert content["signature"] == SIGNATURE
    assert content["summary"] == [{"recon_folder": "r", "mean": 0.5}]
    first, second, failed = content["pairs"]
    assert list(first) == [*COLUMNS, "psnr"]
    assert (first["score"], first["psnr"]) == (0.0, "inf")
    assert (second["name"], second["score"], second["psnr"]) == ('quo"te.png', 1 / 7, 100 / 3)
    assert (failed["name"], failed["score"], failed["status"]) == ("\udce9.png", None, "cannot be read")


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_a_finished_file_is_left_alone(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert write(path) == len(PAIRS)
    before = path.read_bytes(), path.stat().st_mtime_ns
    with ResultsFile(path, signature=SIGNATURE, columns=["psnr"]) as results:
        kept = [row for rows in results.kept(BATCHES) for row in rows]
    assert [entry.pair for entry in kept] == PAIRS
    assert [entry.score for entry in kept] == [row(pair).score for pair in PAIRS]
    assert [entry.status for entry in kept] == ["ok"] * 4 + ["cannot be read"] + ["ok"] * 3
    assert [kept[i].metrics for i in (0, 1, 4)] == [{"psnr": float("inf")}, {"psnr": 100 / 3}, {}]
    assert write(path) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(data=st.data(), extension=st.sampled_from(["csv", "json"]), tail=st.sampled_from([b"", b"\0" * 40]))
def test_wherever_it_is_cut_off_it_ends_the_same(
    data: st.DataObject, extension: str, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    write(folder / "whole.csv")
    write(folder / f"part.{extension}", finish=False)
    journal = folder / ("part.csv" if extension == "csv" else ".part.json.part")
    content = journal.read_bytes()
    assert content == (folder / "whole.csv").read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    header = content.index(b"\n") + 1
    journal.write_bytes(content[:cut] + (tail if cut >= header else b""))
    # A batch that is not all there is done again, no other.
    expected = sum(len(batch) for batch, end in zip(BATCHES, batch_ends(content), strict=True) if cut < end)
    assert write(folder / f"part.{extension}") == expected
    if extension == "csv":
        assert journal.read_bytes() == content
    else:
        write(folder / "whole.json")
        pairs = [json.loads((folder / name).read_text())["pairs"] for name in ("part.json", "whole.json")]
        assert pairs[0] == pairs[1]
        assert not journal.exists()


def batch_ends(content: bytes) -> list[int]:
    """Return where the lines of every batch end in a file."""
    ends = []
    position = 0
    for batch in BATCHES:
        for _ in batch:
            position = content.index(b'"SeSS|a,b|v0"', position + 1)
        ends.append(content.index(b"\n", position) + 1)
    return ends


def test_more_pairs_continue_a_finished_csv(tmp_path: Path) -> None:
    write(tmp_path / "r.csv", BATCHES[:2])
    assert write(tmp_path / "r.csv") == 2
    write(tmp_path / "whole.csv")
    assert (tmp_path / "r.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_half_a_line_after_the_last_pair_is_removed(tmp_path: Path) -> None:
    write(tmp_path / "r.csv")
    content = (tmp_path / "r.csv").read_bytes()
    (tmp_path / "r.csv").write_bytes(content + b"r,a.png,")
    assert write(tmp_path / "r.csv") == 0
    assert (tmp_path / "r.csv").read_bytes() == content


def assert_refused(path: Path, message: str, batches: Sequence[Sequence[FilePair]] = BATCHES) -> None:
    before = {entry: entry.read_bytes() for entry in path.parent.iterdir()}
    with pytest.raises(ResultsError, match=message):
        write(path, batches)
    assert {entry: entry.read_bytes() for entry in path.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_results_of_something_else_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with ResultsFile(path, signature="SeSS|other", columns=["psnr"]) as results:
        results.append(row(pair) for pair in PAIRS)
        results.finish([])
    assert_refused(path, r"another signature, SeSS\|other; name another file, or pass --overwrite")
    with ResultsFile(path, signature=SIGNATURE, overwrite=True) as results:
        results.append(row(pair) for pair in PAIRS)
        results.finish([])
    assert_refused(path, "no results file with the columns .*,signature,psnr; name another file, or pass --overwrite")
    with ResultsFile(path, signature=SIGNATURE, columns=["psnr"], overwrite=True) as results:
        results.append(row(pair) for pair in PAIRS)
        results.finish([])
    assert_refused(path, "other images: name 'quo\"te.png' where 'com,ma.png'", [PAIRS[:1], PAIRS[2:]])
    assert_refused(path, "holds more pairs than there are now", BATCHES[:2])


def test_finished_json_of_fewer_pairs_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "r.json", BATCHES[:2])
    assert_refused(tmp_path / "r.json", "holds fewer pairs than there are now; name another file")


def test_what_is_no_number_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "r.csv")
    content = (tmp_path / "r.csv").read_bytes()
    (tmp_path / "r.csv").write_bytes(content.replace(b",1.0,", b",one,"))
    assert_refused(tmp_path / "r.csv", "something else than numbers for z.png")


def test_a_full_disk_costs_the_rest_alone(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        with pytest.raises(ResultsError, match=r"cannot write .*r\.csv: File too large; the same command will go on"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert 0 < write(path) < len(PAIRS)
    write(tmp_path / "whole.csv")
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("content", ["origin,recon\na,b\n", '{"pairs": 3}', "[]", "text"])
@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_what_is_no_results_file_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    assert_refused(tmp_path / name, "is no results file")


def test_places_where_no_file_can_be_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for name, message in {
        "results": "written as .csv or .json, got .*results",
        "nowhere/r.csv": "cannot write .*nowhere/r.csv: No such file",
        "folder.csv": "cannot write .*folder.csv: Is a directory",
    }.items():
        with pytest.raises(ResultsError, match=message):
            ResultsFile(tmp_path / name, signature=SIGNATURE)


@pytest.mark.parametrize("name", ["r.csv", "r.json"])
def test_two_runs_do_not_share_a_file(name: str, tmp_path: Path) -> None:
    with ResultsFile(tmp_path / name, signature=SIGNATURE) as results:
        results.append(row(pair) for pair in BATCHES[0])
        for overwrite in (False, True):
            with pytest.raises(ResultsError, match="is being written by another run"):
                ResultsFile(tmp_path / name, signature=SIGNATURE, overwrite=overwrite)
        assert len(list(results.kept(BATCHES))) == 1
