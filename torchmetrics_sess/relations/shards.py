"""Tokens of annotated objects in files: extracted once, trained on many times."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from torchmetrics_sess.relations.psg import Split
from torchmetrics_sess.relations.vocabulary import PREDICATES

FORMAT = "torchmetrics-sess/relation-tokens/1"


class TokenRecord(NamedTuple):
    """What is kept of one annotated image.

    Attributes:
        name: of the image.
        tokens: of the annotated objects, ``[n, d]``.
        origins: where each token comes from, see ``torchmetrics_sess.relations.tokens.Origin``, ``[n]``.
        classes: of the objects, indices into ``OBJECT_CLASSES``, ``[n]``.
        shapes: how far each object covers the cells of a grid over the image, 255 for all of it, ``[n, r, c]``.
        relations: (subject, object, predicate), ``[m, 3]``.
        found: tokens of the objects that the segmenter found by itself, ``[f, d]``; ``None`` if they were not kept.
        iou: of each of those with each annotated one, ``[f, n]``.
    """

    name: str
    tokens: Float[Tensor, "n d"]
    origins: UInt8[Tensor, " n"]
    classes: Int64[Tensor, " n"]
    shapes: UInt8[Tensor, "n r c"]
    relations: Int64[Tensor, "m 3"]
    found: Float[Tensor, "f d"] | None = None
    iou: Float[Tensor, "f n"] | None = None


class TokenBatch(NamedTuple):
    """Images of different numbers of objects, padded to a common one.

    Attributes:
        tokens: zeros in empty slots, ``[b, k, d]``.
        valid: which slots hold an object, ``[b, k]``.
        target: which (predicate, subject, object) are annotated, ``[b, 56, k, k]``.
        relations: the same as a list for every image, ``[m, 3]`` each.
    """

    tokens: Float[Tensor, "b k d"]
    valid: Bool[Tensor, "b k"]
    target: Bool[Tensor, "b p k k"]
    relations: list[Int64[Tensor, "_ 3"]]


def collate(records: Sequence[TokenRecord]) -> TokenBatch:
    """Pad the images of a batch.

    Examples:
        >>> import torch
        >>> def record(n):
        ...     cells = torch.zeros(n, 1, 1, dtype=torch.uint8)
        ...     numbers = torch.zeros(n, dtype=torch.int64)
        ...     return TokenRecord("", torch.ones(n, 8), cells[:, 0, 0], numbers, cells, torch.tensor([[0, 1, 5]]))
        >>> batch = collate([record(3), record(2)])
        >>> batch.tokens.shape, batch.valid.sum(1).tolist(), batch.target.nonzero().tolist()
        (torch.Size([2, 3, 8]), [3, 2], [[0, 5, 0, 1], [1, 5, 0, 1]])
    """
    tokens = pad_sequence([record.tokens for record in records], batch_first=True)
    b, k, _ = tokens.shape
    counts = torch.tensor([len(record.tokens) for record in records])
    target = torch.zeros(b, len(PREDICATES), k, k, dtype=torch.bool)
    for index, record in enumerate(records):
        subject, obj, predicate = record.relations.unbind(1)
        target[index, predicate, subject, obj] = True
    return TokenBatch(tokens, torch.arange(k) < counts[:, None], target, [record.relations for record in records])


def write_shard(path: Path, records: Sequence[TokenRecord], about: Mapping[str, Any]) -> None:
    """Write images into one safetensors file, which appears whole or not at all.

    Arrays of all images are joined end to end; ``objects``, ``relation_counts`` and ``found_counts`` say how much of
    them belongs to each image. The header holds ``about`` and the names of the images, as JSON.

    Args:
        path: of the file.
        records: the images; either all have ``found`` and ``iou``, or none.
        about: what to note in the header.
    """
    from safetensors.torch import save

    arrays = {
        "objects": torch.tensor([len(record.tokens) for record in records], dtype=torch.int64),
        "relation_counts": torch.tensor([len(record.relations) for record in records], dtype=torch.int64),
    }
    if records:
        for name in ("tokens", "origins", "classes", "shapes", "relations"):
            arrays[name] = torch.cat([getattr(record, name) for record in records]).contiguous()
        if records[0].found is not None:
            found = [record.found for record in records if record.found is not None]
            iou = [record.iou.flatten() for record in records if record.iou is not None]
            arrays["found_counts"] = torch.tensor([len(tokens) for tokens in found], dtype=torch.int64)
            arrays |= {"found": torch.cat(found).contiguous(), "iou": torch.cat(iou).contiguous()}
    # One entry, because several come in no certain order, and equal tokens are to give equal files.
    header = {"about": json.dumps({"format": FORMAT, **about, "images": [record.name for record in records]})}
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(save(arrays, metadata=header))
    part.replace(path)


def read_header(path: Path) -> dict[str, Any]:
    """Return what the header of a shard says.

    Raises:
        ValueError: if the file is no such shard.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a file of tokens: {error}") from error
    about: dict[str, Any] = json.loads(metadata.get("about", "{}"))
    if about.get("format") != FORMAT:
        raise ValueError(f"{path} is not a file of tokens: its format is {about.get('format')!r}, not {FORMAT!r}")
    return about


def shard_path(folder: Path, split: str, index: int) -> Path:
    """Return where a shard is, or would be."""
    return folder / f"{split}-{index:05}.safetensors"


class TokenDataset(Dataset[TokenRecord]):
    """All images of a split, in memory: a thousand images of ten objects take 10 to 20 MB.

    Args:
        folder: where ``sess relations extract`` has written.
        split: ``"train"`` or ``"test"``.

    Raises:
        ValueError: if there are no tokens of this split, some are missing, or they are not of one extraction.
    """

    def __init__(self, folder: str | Path, split: Split) -> None:
        from safetensors.torch import load_file

        folder = Path(folder)
        paths = sorted(folder.glob(f"{split}-*.safetensors"))
        if not paths:
            raise ValueError(
                f"{folder} holds no tokens of the split {split!r}: make them with `sess relations extract`"
            )
        headers = [read_header(path) for path in paths]
        expected = headers[0]["shards"]
        if len(paths) != expected:
            raise ValueError(
                f"{folder} holds {len(paths)} of {expected} files of the split {split!r}: the same "
                f"`sess relations extract` as before goes on where it was cut off"
            )
        signatures = {header["signature"] for header in headers}
        if len(signatures) > 1:
            raise ValueError(
                f"{folder} mixes tokens of {' and '.join(sorted(signatures))}: extract them into two folders"
            )
        [self.signature] = signatures
        self.records: list[TokenRecord] = [
            record
            for path, header in zip(paths, headers, strict=True)
            for record in _split(load_file(path), header["images"])
        ]
        if not self.records:
            raise ValueError(f"{folder} holds no image of the split {split!r}: none of them could be read")

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.records)

    def __getitem__(self, index: int) -> TokenRecord:
        """Return one image."""
        return self.records[index]

    @property
    def token_size(self) -> int:
        """How many numbers a token has."""
        return self.records[0].tokens.shape[1]


def _split(arrays: dict[str, Tensor], names: list[str]) -> list[TokenRecord]:
    """Undo what ``write_shard`` has joined."""
    if not names:
        return []
    objects = arrays["objects"].tolist()
    parts = [arrays[name].split(objects) for name in ("tokens", "origins", "classes", "shapes")]
    relations = arrays["relations"].split(arrays["relation_counts"].tolist())
    found: list[Any] = [None] * len(names)
    iou: list[Any] = [None] * len(names)
    if "found" in arrays:
        counts = arrays["found_counts"].tolist()
        found = list(arrays["found"].split(counts))
        flat = arrays["iou"].split([f * n for f, n in zip(counts, objects, strict=True)])
        iou = [values.view(f, n) for values, f, n in zip(flat, counts, objects, strict=True)]
    return [TokenRecord(*fields) for fields in zip(names, *parts, relations, found, iou, strict=True)]
