"""Data sets of human judgements, read as they were released."""

from __future__ import annotations

from pathlib import Path

import pytest
from human_data import make_kadid, make_nights, make_plain, make_sis, make_tid2013

from torchmetrics_sess.judgements.datasets import read_kadid, read_nights, read_plain, read_sis, read_tid2013


@pytest.fixture
def tid2013(tmp_path: Path) -> Path:
    return make_tid2013(tmp_path)


@pytest.fixture
def kadid(tmp_path: Path) -> Path:
    return make_kadid(tmp_path)


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    return make_nights(tmp_path)


@pytest.fixture
def sis(tmp_path: Path) -> Path:
    return make_sis(tmp_path)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return make_plain(tmp_path)


def test_tid2013_is_read_whatever_the_case_of_its_names(tid2013: Path) -> None:
    found = read_tid2013(tid2013)
    assert [path.name for path in found.references] == ["I01.BMP"] * 4 + ["I02.BMP"] * 4 + ["i25.bmp"] * 4
    assert [path.name for (path,) in found.others[8:]] == [f"i25_01_{level}.bmp" for level in (1, 2, 3, 4)]
    assert found.human[:5] == [6, 5, 4, 3, 6.01]
    assert not found.choices


def test_kadid_is_read(kadid: Path) -> None:
    found = read_kadid(kadid)
    assert [path.name for path in found.references] == ["I01.png"] * 3 + ["I02.png"] * 3
    assert found.others[4] == (kadid / "images" / "I02_01_02.png",)
    assert found.human == [4, 3, 2] * 2


def test_nights_is_read_by_split_and_votes(nights: Path) -> None:
    found = read_nights(nights)
    assert [path.stem for path in found.references] == ["0", "1", "4", "5"]
    assert found.others[1] == (nights / "distort/000/1_0.png", nights / "distort/000/1_1.png")
    assert found.human == [0, 1, 0, 1]
    assert found.choices
    assert [path.stem for path in read_nights(nights, "train").references] == ["3"]
    assert len(read_nights(nights, min_votes=0).human) == 5
    table = (nights / "data.csv").read_text()
    (nights / "data.csv").write_text(table.replace("0,1,0,8,", "0,6,2,8,").replace("1,0,1,6,", "1,0,0,6,"))
    with pytest.raises(ValueError, match=r"data\.csv, line 3: nobody chose either image"):
        read_nights(nights)
    (nights / "data.csv").write_text(table.replace("0,1,0,8,", "0,6,2,8,"))
    assert read_nights(nights).human == [0.25, 1, 0, 1]


def test_sis_is_read_aggregated_or_raw(sis: Path) -> None:
    found = read_sis(sis / "sis_val.csv", sis / "coco")
    assert found.human == [4, 3, 2, 1]
    assert {path.name for path in found.references} == {"COCO_val2014_000000000000.jpg"}
    assert read_sis(sis / "sis_val.csv", sis / "coco" / "val2014") == found
    table = (sis / "sis_val.csv").read_text().replace("agg_score", "annot_score")
    repeated = table + table.splitlines()[1].replace(",4,", ",1,") + "\n"
    (sis / "sis_val_raw.csv").write_text(repeated)
    assert read_sis(sis / "sis_val_raw.csv", sis / "coco").human == [2.5, 3, 2, 1]


def test_a_plain_list_is_read(plain: Path) -> None:
    found = read_plain(plain / "pairs.csv")
    assert found.references[1] == plain / "1.png"
    assert found.others[1] == (plain / "changed" / "1.png",)
    assert found.human == [0, -1, -2, -3, -4]
