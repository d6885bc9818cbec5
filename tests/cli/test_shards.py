"""Pairs in shards: what lies in a folder and what lies in a shard are the same images and the same pairs."""

from __future__ import annotations

import csv
import io
import sys
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from pyarrow import ipc, parquet

from torchmetrics_sess.images import FilePair, find_shards, read_image, read_shards

Folders = tuple[Path, Path]


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def write_samples(path: Path, folders: Folders, names: Sequence[int]) -> Path:
    sides = ("origin", "recon")
    return write_tar(
        path,
        [
            (f"./part/{name}.{side}.png", (folder / f"{name}.png").read_bytes())
            for name in names
            for folder, side in zip(folders, sides, strict=True)
        ],
    )


def write_table(path: Path, folders: Folders, columns: dict[str, Any] | None = None, *, as_paths: bool = False) -> Path:
    """Write a table of the images of two folders, in row groups of three, as a Hugging Face data set is written."""
    images = [[folder / f"{index}.png" for index in range(7)] for folder in folders]
    cells = [
        [str(path) if as_paths else {"bytes": path.read_bytes(), "path": path.name} for path in column]
        for column in images
    ]
    table = pyarrow.table({"origin": cells[0], "recon": cells[1], **(columns or {})})
    if path.suffix == ".parquet":
        parquet.write_table(table, path, row_group_size=3)
    else:
        with path.open("wb") as file, ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=3)
    return path


def assert_images_of(pairs: Sequence[FilePair], folders: Folders) -> None:
    for index, pair in enumerate(pairs):
        assert pair.problem is None
        assert torch.equal(read_image(pair.origin), read_image(folders[0] / f"{index}.png"))
        assert torch.equal(read_image(pair.recon), read_image(folders[1] / f"{index}.png"))


def test_tar_files_are_read_in_order_with_keys_as_names(image_folders: Folders, tmp_path: Path) -> None:
    shards = [
        write_samples(tmp_path / f"{n}.tar", image_folders, names) for n, names in enumerate([range(4), [4, 5, 6]])
    ]
    pairs = read_shards(shards, "all")
    assert [pair.name for pair in pairs] == [f"part/{index}" for index in range(7)]
    assert {pair.recon_folder for pair in pairs} == {"all"}
    assert pairs[4].origin == f"{tmp_path}/1.tar/part/4.origin.png"
    assert_images_of(pairs, image_folders)


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("as_paths", [False, True])
def test_tables_are_read_in_order(kind: str, as_paths: bool, image_folders: Folders, tmp_path: Path) -> None:
    shard = write_table(tmp_path / f"train.{kind}", image_folders, as_paths=as_paths)
    pairs = read_shards([shard], "all")
    assert [pair.name for pair in pairs] == [f"train/{index}" for index in range(7)]
    assert_images_of(pairs, image_folders)
    named = write_table(
        tmp_path / f"named.{kind}", image_folders, {"__key__": [f"k{i}" for i in range(7)], "recon_folder": ["bpg"] * 7}
    )
    assert [(pair.name, pair.recon_folder) for pair in read_shards([named], "all")] == [
        (f"k{i}", "bpg") for i in range(7)
    ]


def test_a_shard_that_is_written_anew_is_read_anew(image_folders: Folders, tmp_path: Path) -> None:
    shard = write_samples(tmp_path / "a.tar", image_folders, [0])
    [pair] = read_shards([shard], "all")
    before = read_image(pair.origin)
    write_tar(shard, [("part/0.origin.png", (image_folders[1] / "3.png").read_bytes())])
    assert not torch.equal(read_image(pair.origin), before)


def test_what_is_missing_or_broken_is_named(image_folders: Folders, tmp_path: Path) -> None:
    image = (image_folders[0] / "0.png").read_bytes()
    some = write_tar(
        tmp_path / "some.tar",
        [
            ("a.origin.png", image),
            ("a.txt", b"a caption"),
            ("b.recon.png", image),
            ("c.origin.png", image),
            ("c.recon.png", b"no image"),
        ],
    )
    cut = write_samples(tmp_path / "cut.tar", image_folders, range(7))
    cut.write_bytes(cut.read_bytes()[:4000])
    nothing = write_tar(tmp_path / "nothing.tar", [("a.png", image)])
    pairs = read_shards([some, cut, nothing], "all")
    assert [(pair.name, pair.problem) for pair in pairs[:3]] == [
        ("a", f"no partner in {some}"),
        ("b", f"no partner in {some}"),
        ("c", None),
    ]
    with pytest.raises(ValueError, match=r"some.tar/c.recon.png cannot be read: it is no image that Pillow knows"):
        read_image(pairs[2].recon)
    with pytest.raises(ValueError, match=r"d.recon.png cannot be read: .*has no member of this name"):
        read_image(some / "d.recon.png")
    assert pairs[-1].problem == f"{cut} cannot be read to its end: unexpected end of data"
    with pytest.raises(ValueError, match=r"all holds no pair: a sample is, for example, 17.origin.png"):
        read_shards([nothing], "all")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("no.tar", "cannot be read to its end: "), ("no.parquet", "cannot be read: "), ("no.arrow", "cannot be read: ")],
)
def test_what_is_no_shard_is_refused(name: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(ValueError, match=f"{name} {problem}"):
        read_shards([tmp_path / name], "all")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match=name):
        read_shards([tmp_path / name], "all")


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"origin": [b"", None]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match=r"has no column 'recon'; a table of pairs has the columns origin and recon"):
        read_shards([tmp_path / "other.parquet"], "all")
    parquet.write_table(pyarrow.table({"origin": [1], "recon": [""]}), tmp_path / "numbers.parquet")
    [pair] = read_shards([tmp_path / "numbers.parquet"], "all")
    with pytest.raises(ValueError, match=r"origin of row 0 is no image, but int"):
        read_image(pair.origin)


def test_shards_are_found_in_folders(tmp_path: Path) -> None:
    names = ["b/1.tar", "a/2.parquet", "a/1.parquet", ".hidden/0.tar", "a/readme.txt", "a/.part.tar"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_shards(tmp_path) == [tmp_path / name for name in ("a/1.parquet", "a/2.parquet", "b/1.tar")]
    assert find_shards(tmp_path / "b/1.tar") == [tmp_path / "b/1.tar"]
    assert find_shards(tmp_path / "a/readme.txt") == []


def test_a_missing_library_is_named(image_folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = write_table(tmp_path / "train.parquet", image_folders)
    monkeypatch.setitem(sys.modules, "pyarrow.ipc", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pyarrow: install torchmetrics-sess\[datasets\]"):
        read_shards([shard], "all")


@pytest.mark.usefixtures("stub_networks")
def test_scores_of_shards_are_those_of_folders(
    sess: Callable[..., Any], image_folders: Folders, tmp_path: Path
) -> None:
    (tmp_path / "shards").mkdir()
    for number, names in enumerate([range(4), range(4, 7)]):
        write_samples(tmp_path / "shards" / f"{number}.tar", image_folders, names)
    write_table(tmp_path / "train.parquet", image_folders)
    inputs = [
        image_folders,
        [tmp_path / "shards"],
        [tmp_path / "shards" / "0.tar", tmp_path / "shards" / "1.tar"],
        [tmp_path / "train.parquet"],
    ]
    scores = []
    for number, given in enumerate(inputs):
        out = tmp_path / f"{number}.csv"
        run = sess("score", *given, "--out", out)
        assert run.exit_code == 0, run.stderr
        with out.open(newline="") as file:
            scores.append([row["score"] for row in csv.DictReader(file)])
        # What is finished is found again.
        assert "nothing is left to do" in sess("score", *given, "--out", out).stderr
    assert scores[1:] == [scores[0]] * 3
    both = sess("score", tmp_path / "shards", image_folders[1])
    assert both.exit_code == 2


def test_people_are_not_asked_about_shards(sess: Callable[..., Any], image_folders: Folders, tmp_path: Path) -> None:
    tar = write_samples(tmp_path / "a.tar", image_folders, range(2))
    table = write_table(tmp_path / "train.parquet", image_folders)
    listed = tmp_path / "pairs.csv"
    listed.write_text("origin,recon\na.tar/part/0.origin.png,a.tar/part/0.recon.png\n")
    for given, shard in ((tar, tar), (table, table), (listed, tar)):
        result = sess("annotate", given, "--study", tmp_path / "study.yaml")
        assert result.exit_code == 2
        assert f"{shard} is a shard, and people are asked about image files" in " ".join(result.stderr.split())
        assert not (tmp_path / "study.sqlite").exists()
