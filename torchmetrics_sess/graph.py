"""The scene graph of one image: the one data structure that extraction hands on to matching."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FORMAT = "torchmetrics-sess/scene-graph/1"


@dataclass(frozen=True, eq=False)
class SceneGraph:
    """Objects of one image, how they relate, and how much each matters.

    Args:
        features: unit-norm embedding of every object, ``[n, d]`` with ``n >= 1``.
        centers: mean (row / height, column / width) of every object's pixels, ``[n, 2]`` in [0, 1].
        importance: positive weights that sum to 1, ``[n]``.
        relation: integer predicate of the ordered pair (subject, object), ``[n, n]``; -1 where there is none and on
            the diagonal. Indices refer to ``torchmetrics_sess.relations.PREDICATES``.
        confidence: probability of that predicate, ``[n, n]`` in [0, 1]; -1 where there is none.
        image_feature: unit-norm embedding of the whole image, ``[e]``.
        masks: the pixels of every object, ``[n, H, W]``; optional, because a score does not need them.

    Raises:
        ValueError: if there is no object, or the shapes do not agree on the number of objects or features.

    Examples:
        >>> import torch
        >>> graph = SceneGraph(
        ...     features=torch.eye(2),
        ...     centers=torch.tensor([[0.25, 0.5], [0.75, 0.5]]),
        ...     importance=torch.tensor([0.6, 0.4]),
        ...     relation=torch.tensor([[-1, 0], [-1, -1]]),
        ...     confidence=torch.tensor([[-1.0, 0.9], [-1.0, -1.0]]),
        ...     image_feature=torch.tensor([0.6, 0.8]),
        ... )
        >>> len(graph), graph.triplets()
        (2, [(0, 0, 1)])
    """

    features: Float[Tensor, "n d"]
    centers: Float[Tensor, "n 2"]
    importance: Float[Tensor, " n"]
    relation: Int[Tensor, "n n"]
    confidence: Float[Tensor, "n n"]
    image_feature: Float[Tensor, " e"]
    masks: Bool[Tensor, "n h w"] | None = None

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.features.shape[0] == 0:
            raise ValueError(f"`features` must be [n, d] with n >= 1, got shape {list(self.features.shape)}")
        n, d = self.features.shape
        expected = {
            "centers": (n, 2),
            "importance": (n,),
            "relation": (n, n),
            "confidence": (n, n),
        }
        for name, shape in expected.items():
            got = tuple(getattr(self, name).shape)
            if got != shape:
                raise ValueError(f"`{name}` must be {list(shape)} for {n} objects of {d} features, got {list(got)}")
        if self.image_feature.ndim != 1:
            raise ValueError(f"`image_feature` must be [e], got shape {list(self.image_feature.shape)}")
        if self.masks is not None and (self.masks.ndim != 3 or self.masks.shape[0] != n):
            raise ValueError(f"`masks` must be [{n}, H, W], got {list(self.masks.shape)}")

    def __len__(self) -> int:
        """Return the number of objects."""
        return self.features.shape[0]

    def triplets(self) -> list[tuple[int, int, int]]:
        """Return every relation as (subject, predicate, object), most confident first."""
        subject, obj = torch.nonzero(self.relation >= 0, as_tuple=True)
        order = torch.argsort(self.confidence[subject, obj], descending=True, stable=True)
        subject, obj = subject[order], obj[order]
        return list(zip(subject.tolist(), self.relation[subject, obj].tolist(), obj.tolist(), strict=True))

    def to(self, *args: Any, **kwargs: Any) -> SceneGraph:
        """Move or cast like ``torch.Tensor.to``; a floating dtype leaves predicates and masks as they are."""
        moved: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                moved[field.name] = None
            elif value.is_floating_point():
                moved[field.name] = value.to(*args, **kwargs)
            else:
                moved[field.name] = value.to(*args, **kwargs).to(value.dtype)
        return SceneGraph(**moved)

    def save(self, path: str | Path) -> None:
        """Write the graph as one safetensors file, readable without this package.

        The arrays carry the names of the fields above; the header's ``format`` entry names the layout. Equal graphs
        make equal files.
        """
        from safetensors.torch import save

        # The format refuses arrays that share memory, as the parts of one tensor do.
        tensors = {
            field.name: getattr(self, field.name).detach().clone(memory_format=torch.contiguous_format)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) is not None
        }
        # Its own writer leaves files that nobody else may read.
        content = save(tensors, metadata={"format": FORMAT, "objects": json.dumps(len(self))})
        Path(path).write_bytes(_with_sorted_header(content))

    @classmethod
    def load(cls, path: str | Path) -> SceneGraph:
        """Read a graph written by ``save``.

        Raises:
            ValueError: if the file is not a scene graph of this layout.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                layout = (file.metadata() or {}).get("format")
                if layout != FORMAT:
                    raise ValueError(f"its format is {layout!r}, not {FORMAT!r}")
                return cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (SafetensorError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not a scene graph: {error}") from error


def _with_sorted_header(content: bytes) -> bytes:
    """Return a safetensors file without what its writer leaves to chance: the order of the entries about it."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    return content[:8] + header.ljust(size) + content[8 + size :]
