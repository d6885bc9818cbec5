"""The data set on disk, and what is said of one that is not as it should be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.shared import made_up_psg
from torchmetrics_sess.relations.psg import PsgDataset
from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES, PREDICATES


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    return made_up_psg.write_data_set(tmp_path, images=5)


def test_both_splits_in_order(annotations: Path) -> None:
    train, test = (PsgDataset(annotations, split=split) for split in ("train", "test"))
    assert train.names() == [f"train2017/{index:012}.png" for index in (0, 2, 4)]
    assert test.names() == [f"train2017/{index:012}.png" for index in (1, 3)]
    assert len(train) == 3
    assert len(test) == 2


@pytest.mark.parametrize("layout", ["free", "cells"])
def test_masks_and_relations_are_what_was_painted(layout: made_up_psg.Layout, tmp_path: Path) -> None:
    annotations = made_up_psg.write_data_set(tmp_path, images=5, layout=layout)
    for split in ("train", "test"):
        for annotated in PsgDataset(annotations, split=split):  # type: ignore[attr-defined]
            assert torch.equal(annotated.masks.sum(0), torch.ones(208, 208, dtype=torch.int64))
            assert annotated.image.shape == (3, 208, 208)
            names = [OBJECT_CLASSES[number] for number in annotated.classes.tolist()]
            assert names[0] == "wall-other-merged"
            assert set(names[1:]) <= set(made_up_psg.CLASSES.values())
            rows = [mask.nonzero().double().mean(0) for mask in annotated.masks]
            # Each object has one colour, up to the noise.
            for mask in annotated.masks:
                assert annotated.image[:, mask].float().std(dim=1).max() < 10
            for subject, obj, predicate in annotated.relations.tolist():
                assert subject != obj
                if PREDICATES[predicate] == "over":
                    assert rows[subject][0] < rows[obj][0]


def test_the_first_images_of_a_large_set_are_those_of_a_small_one(tmp_path: Path, annotations: Path) -> None:
    other = made_up_psg.write_data_set(tmp_path / "other", images=3)
    assert json.loads(other.read_text())["data"] == json.loads(annotations.read_text())["data"][:3]


def change(annotations: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    content = json.loads(annotations.read_text())
    edit(content)
    annotations.write_text(json.dumps(content))
    return annotations


def test_images_without_relations_are_left_out_and_triplets_counted_once(annotations: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["data"][0]["relations"] = []
        content["data"][2]["relations"] = [[0, 1, 4], [0, 1, 5], [0, 1, 4]]
        content["test_image_ids"] = [1, 3]  # PSG has had numbers and text for them.

    train = PsgDataset(change(annotations, edit), split="train")
    assert [int(Path(name).stem) for name in train.names()] == [2, 4]
    assert train[0].relations.tolist() == [[0, 1, 4], [0, 1, 5]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda content: content.pop("data"), "not a file of PSG: it has no list 'data'"),
        (
            lambda content: content["predicate_classes"].reverse(),
            "other predicates than the 56 of PSG",
        ),
        (lambda content: content["thing_classes"].pop(), "has 132 classes of objects, expected 133"),
        (lambda content: content.update(test_image_ids=[]), "no image with relations in the split 'test'"),
        (lambda content: content["data"][1].pop("segments_info"), "000001.png' of .* has no 'segments_info'"),
        (lambda content: content["data"][1]["annotations"].pop(), "segments, but . annotations"),
        (lambda content: content["data"][1]["annotations"][1].update(category_id=5), "the class of object 1"),
        (lambda content: content["data"][1]["relations"].append([0, 9, 1]), r"a relation \[0, 9, 1\] of others"),
        (lambda content: content["data"][1]["relations"].append([0, 1, 56]), r"a relation \[0, 1, 56\]"),
    ],
)
def test_other_files_are_refused(annotations: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PsgDataset(change(annotations, edit), split="test")


def test_what_is_missing_is_said_and_where_to_get_it(annotations: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere.json: psg.json is linked from https://"):
        PsgDataset(tmp_path / "nowhere.json")
    with pytest.raises(FileNotFoundError, match=r"6 of 6 files are not in .*empty.*cocodataset.org"):
        PsgDataset(annotations, tmp_path / "empty")
    (tmp_path / "panoptic_train2017" / f"{3:012}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 4 files are not in .* \(panoptic_train2017/000000000003.png\)"):
        PsgDataset(annotations, split="test")
    (tmp_path / "psg.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        PsgDataset(annotations)


def test_broken_images_are_named_when_they_are_read(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "train2017" / f"{1:012}.png").write_bytes(b"no image")
    made_up = PsgDataset(annotations, split="test")
    with pytest.raises(ValueError, match=r"000000000001.png cannot be read"):
        made_up[0]
