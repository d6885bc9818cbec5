"""The panoptic scene graphs of PSG (Yang et al., ECCV 2022): images, masks of all objects, and how they relate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset

from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES, PREDICATES

Split: TypeAlias = Literal["train", "test"]

WHERE_TO_GET_IT = (
    "psg.json is linked from https://github.com/Jingkang50/OpenPSG; its images and panoptic PNGs are those of COCO "
    "2017, https://cocodataset.org/#download, unpacked into one folder with train2017/, val2017/, panoptic_train2017/ "
    "and panoptic_val2017/"
)
_SHOWN = 3


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """An image with its objects and how they relate.

    Args:
        name: path of the image, relative to the folder of all images.
        image: the pixels, ``[3, h, w]``.
        masks: of the objects, which do not overlap, ``[n, h, w]``.
        classes: of the objects, indices into ``torchmetrics_sess.relations.OBJECT_CLASSES``, ``[n]``.
        relations: (subject, object, predicate), each once, ``[m, 3]``.
    """

    name: str
    image: UInt8[Tensor, "3 h w"]
    masks: Bool[Tensor, "n h w"]
    classes: Int64[Tensor, " n"]
    relations: Int64[Tensor, "m 3"]


class PsgDataset(Dataset[AnnotatedImage]):
    """The images of one split that have relations; pixels and masks are read when an image is asked for.

    Which images make a split, and that those without relations are left out, follows the code that PSG was released
    with. Triplets that are annotated twice are there once.

    Args:
        annotations: path of ``psg.json``.
        images: the folder of COCO that file names are relative to; by default, the one that ``annotations`` is in.
        split: ``"train"`` or ``"test"``.

    Raises:
        FileNotFoundError: if a file is missing; the message says how many are, and where to get them.
        ValueError: if ``annotations`` is no file of PSG, or ``split`` is unknown.

    Examples:
        >>> PsgDataset("somewhere/psg.json", split="test")
        Traceback (most recent call last):
        ...
        FileNotFoundError: there is no file somewhere/psg.json: psg.json is linked from https://...
    """

    def __init__(self, annotations: str | Path, images: str | Path | None = None, split: Split = "train") -> None:
        if split not in get_args(Split):
            raise ValueError(f"`split` must be 'train' or 'test', got {split!r}")
        self.annotations = Path(annotations)
        self.folder = Path(images) if images is not None else self.annotations.parent
        self.split: Split = split
        content = _read(self.annotations)
        held_out = {str(number) for number in content["test_image_ids"]}
        self._records: list[dict[str, Any]] = [
            _checked(record, self.annotations)
            for record in content["data"]
            if (str(record.get("image_id")) in held_out) == (split == "test") and record.get("relations")
        ]
        if not self._records:
            raise ValueError(f"{self.annotations} has no image with relations in the split {split!r}")
        _check_files(self.folder, self._records)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._records)

    def __getitem__(self, index: int) -> AnnotatedImage:
        """Read an image and its masks.

        Raises:
            ValueError: if they cannot be decoded, or do not belong together.
        """
        record = self._records[index]
        pixels = _pixels(self.folder / record["file_name"])
        colours = _pixels(self.folder / record["pan_seg_file_name"]).astype(np.int32)
        if pixels.shape != colours.shape:
            raise ValueError(
                f"{record['pan_seg_file_name']} is {colours.shape[:2]} pixels, but {record['file_name']} is "
                f"{pixels.shape[:2]}"
            )
        owners = torch.from_numpy(colours @ np.array([1, 256, 256**2], dtype=np.int32))
        numbers = torch.tensor([segment["id"] for segment in record["segments_info"]], dtype=torch.int32)
        return AnnotatedImage(
            name=record["file_name"],
            image=torch.from_numpy(pixels).permute(2, 0, 1),
            masks=owners == numbers[:, None, None],
            classes=torch.tensor([segment["category_id"] for segment in record["segments_info"]]),
            relations=torch.tensor(list(dict.fromkeys(map(tuple, record["relations"]))), dtype=torch.int64),
        )

    def names(self) -> list[str]:
        """Return the names of all images, in order, without reading them."""
        return [record["file_name"] for record in self._records]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: {WHERE_TO_GET_IT}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    keys = ("thing_classes", "stuff_classes", "predicate_classes", "test_image_ids", "data")
    missing = [key for key in keys if not isinstance(content, dict) or not isinstance(content.get(key), list)]
    if missing:
        raise ValueError(f"{path} is not a file of PSG: it has no list {', '.join(map(repr, missing))}")
    if tuple(content["predicate_classes"]) != PREDICATES:
        raise ValueError(f"{path} has other predicates than the {len(PREDICATES)} of PSG, or another order of them")
    classes = len(content["thing_classes"]) + len(content["stuff_classes"])
    if classes != len(OBJECT_CLASSES):
        raise ValueError(f"{path} has {classes} classes of objects, expected {len(OBJECT_CLASSES)}")
    found: dict[str, Any] = content
    return found


def _checked(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a record of the annotations after checking what later code takes for granted."""
    where = f"the image {record.get('file_name', record.get('image_id'))!r} of {path}"
    missing = [key for key in ("file_name", "pan_seg_file_name", "segments_info") if key not in record]
    if missing:
        raise ValueError(f"{where} has no {', '.join(map(repr, missing))}")
    segments = record["segments_info"]
    boxes = record.get("annotations", segments)
    if len(boxes) != len(segments):
        raise ValueError(f"{where} has {len(segments)} segments, but {len(boxes)} annotations")
    for number, (segment, box) in enumerate(zip(segments, boxes, strict=True)):
        if segment["category_id"] != box["category_id"] or not 0 <= segment["category_id"] < len(OBJECT_CLASSES):
            raise ValueError(f"{where}: the class of object {number} is not what its annotation says, or not known")
    for relation in record["relations"]:
        fits = len(relation) == 3 and all(0 <= number < len(segments) for number in relation[:2])
        if not fits or not 0 <= relation[2] < len(PREDICATES):
            raise ValueError(f"{where} has {len(segments)} objects, and a relation {relation} of others")
    return record


def _check_files(folder: Path, records: list[dict[str, Any]]) -> None:
    names = [record[key] for record in records for key in ("file_name", "pan_seg_file_name")]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} files are not in {folder} ({shown}): {WHERE_TO_GET_IT}"
        )


def _pixels(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    try:
        with Image.open(path) as file:
            # COCO's annotations count pixels as they are stored, whatever EXIF says.
            return np.array(file.convert("RGB"))
    except (OSError, UnidentifiedImageError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
