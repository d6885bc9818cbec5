"""How alike two predicates are: the table ``R [56, 56]`` that matching compares relations with."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.relations.vocabulary import PREDICATES


@runtime_checkable
class TextEncoder(Protocol):
    """Embeds text, as ``torchmetrics_sess.encoders.OpenClipEncoder`` does."""

    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "m d"]:
        """Return the unit-norm embedding of every prompt."""
        ...


def predicate_similarity_from_text(encoder: TextEncoder) -> Float64[Tensor, "p p"]:
    """Return the cosine of the embeddings of every two predicates, on the CPU.

    The predicates are embedded as they are, without a sentence around them. The table is symmetric, in [-1, 1], and 1
    on its diagonal.
    """
    features = encoder.encode_text(PREDICATES).double().cpu()
    cosine = features @ features.T
    return ((cosine + cosine.T) / 2).clamp(-1, 1).fill_diagonal_(1)


def minilm_relation_similarity() -> Float64[Tensor, "p p"]:
    """Return the table of cosines under the sentence encoder all-MiniLM-L6-v2, which comes with this package.

    Rounded to four decimals.

    Examples:
        >>> table = minilm_relation_similarity()
        >>> table.shape, table[0, 0].item()
        (torch.Size([56, 56]), 1.0)
    """
    return _minilm_table().clone()


def cached_relation_similarity(
    key: str, compute: Callable[[], Float64[Tensor, "p p"]], folder: str | Path
) -> Float64[Tensor, "p p"]:
    """Return the table stored under ``key``, computing and storing it the first time.

    Several processes may do so at once: a file is complete from the moment that it has its name.

    Args:
        key: names the text encoder and its weights; letters, digits, ``.``, ``_`` and ``-``.
        compute: makes the table.
        folder: where tables are kept; made if there is none.

    Raises:
        ValueError: if ``key`` cannot be part of a file name.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save

    if not key or not all(character.isalnum() or character in "._-" for character in key):
        raise ValueError(f"`key` must consist of letters, digits, '.', '_' and '-', got {key!r}")
    path = Path(folder) / f"relation_similarity-{key}.safetensors"
    try:
        table = load_file(path)["relation_similarity"]
        if table.shape == (len(PREDICATES), len(PREDICATES)):
            return table.double()
        problem = f"shape {list(table.shape)}"
    except FileNotFoundError:
        problem = None
    except (SafetensorError, KeyError) as error:
        problem = repr(error)
    if problem is not None:
        warnings.warn(f"{path} is not a table of predicate similarities and is replaced: {problem}", stacklevel=2)

    table = compute()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        # What the format's own writer makes, nobody else may read.
        part.write_bytes(save({"relation_similarity": table.contiguous()}))
    return table


@functools.cache
def _minilm_table() -> Float64[Tensor, "p p"]:
    text = resources.files(__package__).joinpath("predicate_similarity_minilm.csv").read_text(encoding="utf-8")
    rows = [[float(value) for value in line.split(",")] for line in text.splitlines()]
    return torch.tensor(rows, dtype=torch.float64)
