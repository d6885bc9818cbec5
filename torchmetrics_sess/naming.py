"""Names for the objects of a scene graph, from an encoder that embeds text too.

A name never changes a score: it is found for what is shown to people, after all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.matching.relation_similarity import TextEncoder
from torchmetrics_sess.relations.vocabulary import OBJECT_CLASSES

# CLIP's models are trained up to this inverse temperature, where it is cut off; all of OpenCLIP's have reached it.
_SCALE = 100.0
_SURE = 0.5
_SENTENCE = "a photo of a {}"
_SUFFIXES = ("-merged", "-other", "-stuff")


@dataclass(frozen=True)
class ObjectName:
    """What an object is most likely called.

    Args:
        name: the best name of the vocabulary.
        probability: of that name among all names of the vocabulary. An object that has no name there has one anyway,
            and a probability that tells nothing of that.
    """

    name: str
    probability: float

    @property
    def sure(self) -> bool:
        """Whether all other names together are less probable."""
        return self.probability >= _SURE

    def __str__(self) -> str:
        """Return the name, with a question mark where it is not sure."""
        return self.name if self.sure else f"{self.name}?"


class ObjectNamer:
    """Names objects by the text that their embeddings are most like.

    Every name is embedded once, as *a photo of a ...*; probabilities are the softmax of 100 times the cosines, as CLIP
    compares images with text.

    Args:
        encoder: embeds text into the space of the objects' features.
        vocabulary: the names; by default, the 133 classes of PSG.

    Raises:
        ValueError: if the vocabulary is empty.

    Examples:
        >>> import torch
        >>> class Letters:
        ...     def encode_text(self, prompts):
        ...         return torch.stack([torch.tensor([float("cat" in p), float("dog" in p)]) for p in prompts])
        >>> namer = ObjectNamer(Letters(), ["cat", "dog"])
        >>> [str(name) for name in namer.name(torch.tensor([[0.0, 1.0], [0.7071, 0.7071]]))]
        ['dog', 'cat']
    """

    def __init__(self, encoder: TextEncoder, vocabulary: Sequence[str] | None = None) -> None:
        self.vocabulary = tuple(vocabulary) if vocabulary is not None else readable_classes()
        if not self.vocabulary:
            raise ValueError("`vocabulary` must hold at least one name, got none")
        self._texts = encoder.encode_text([_SENTENCE.format(name) for name in self.vocabulary]).cpu()

    def name(self, features: Float[Tensor, "n d"]) -> list[ObjectName]:
        """Name objects by their unit-norm embeddings."""
        probabilities = (_SCALE * features.to(self._texts) @ self._texts.T).softmax(dim=1)
        best, which = probabilities.max(1)
        return [ObjectName(self.vocabulary[i], p) for i, p in zip(which.tolist(), best.tolist(), strict=True)]

    def __call__(self, graph: SceneGraph) -> list[ObjectName]:
        """Name the objects of a scene graph."""
        return self.name(graph.features)


def namer_of(extractor: SceneGraphExtractor, vocabulary: Sequence[str] | None = None) -> ObjectNamer | None:
    """Return what names the objects of an extractor's graphs, or None if its encoder embeds no text.

    Args:
        extractor: whose graphs.
        vocabulary: the names; by default, the 133 classes of PSG.
    """
    encoder = extractor.encoder
    if not isinstance(encoder, TextEncoder) or getattr(encoder, "tokenizer", ...) is None:
        return None
    return ObjectNamer(encoder, vocabulary)


def read_vocabulary(path: str | Path) -> list[str]:
    """Read names from a text file, one a line; empty lines and repetitions are left out.

    Raises:
        ValueError: if the file cannot be read, or holds no name.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"the vocabulary {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise ValueError(f"the vocabulary {path} holds no name: write one a line")
    return names


def readable_classes() -> tuple[str, ...]:
    """Return the classes of PSG as people would call them.

    Examples:
        >>> names = readable_classes()
        >>> len(names), names[0], names[-3:]
        (133, 'person', ('rock', 'other wall', 'rug'))
    """
    return tuple(map(_readable, OBJECT_CLASSES))


def _readable(name: str) -> str:
    plain = name
    for suffix in _SUFFIXES:
        plain = plain.removesuffix(suffix)
    if plain in ("floor", "wall") and name != plain:
        # There are walls and floors of their own kinds beside these.
        return f"other {plain}"
    kind, _, material = plain.partition("-")
    return f"{material} {kind}" if kind in ("floor", "wall") and material else plain.replace("-", " ")
