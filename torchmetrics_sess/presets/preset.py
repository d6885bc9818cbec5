"""Everything that determines a score, and the signature that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.config import describe, setting
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets.kinds import StageConfig, TextTowerConfig

if TYPE_CHECKING:
    from torchmetrics_sess.extractor import SceneGraphExtractor


@dataclass(frozen=True)
class Tuning:
    """Where the settings of a preset come from, if ``sess tune`` fitted them to what people said.

    Args:
        judgements: how many single answers they were fitted to.
        raters: of how many people; 0 if that is not known.
        ratings: SHA-256 of the file that holds the answers.
        statistic: what ``gain`` is a gain in.
        gain: by how much the settings agree better with people than those that the fit started from, on originals that
            they were not fitted to.
        gain_low: lower end of its 95 % interval.
        gain_high: upper end.

    Raises:
        ValueError: for a negative count.

    Examples:
        >>> print(Tuning(900, 12, "3fa1c0de" + 56 * "0", "SRCC", 0.0312, 0.011, 0.052))
        900j,12r,3fa1c0de,SRCC+0.031
    """

    judgements: int
    raters: int
    ratings: str
    statistic: str
    gain: float
    gain_low: float
    gain_high: float

    def __post_init__(self) -> None:
        for name in ("judgements", "raters"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}")

    def __str__(self) -> str:
        return f"{self.judgements}j,{self.raters}r,{self.ratings[:8]},{self.statistic}{self.gain:+.3f}"


@dataclass(frozen=True)
class Preset:
    """Everything that determines a score.

    Args:
        name: what users call it; with overrides that change scores, an asterisk follows.
        segmenter: settings of the segmenter.
        relations: settings of the relation model.
        encoder: settings of the encoder.
        importance: settings of object importance.
        matching: settings of matching.
        relation_similarity: how alike two predicates are: ``"text"`` asks the encoder's text tower, ``"minilm"`` is a
            table that ships with the package.
        max_width: wider images are shrunk to this width first; ``None`` leaves them.
        baseline: what unrelated images score on average, in [0, 1), for scores that are to be rescaled; ``None`` if
            that is not known. It changes no other score.
        tuned: where the settings come from, if they were fitted to judgements; the signature says so.

    Raises:
        ValueError: for a ``max_width`` below 1, a ``baseline`` out of range, or an encoder that embeds no text where
            it is asked to.
    """

    name: str
    segmenter: StageConfig
    relations: StageConfig
    encoder: StageConfig
    importance: ImportanceConfig = dataclasses.field(default_factory=ImportanceConfig)
    matching: MatchingConfig = dataclasses.field(default_factory=MatchingConfig)
    relation_similarity: Literal["minilm", "text"] = setting("minilm", short="R:")
    max_width: int | None = setting(800, short="width")
    baseline: float | None = None
    tuned: Tuning | None = None

    def __post_init__(self) -> None:
        if self.max_width is not None and self.max_width < 1:
            raise ValueError(f"`max_width` must be at least 1 or None, got {self.max_width}")
        if self.baseline is not None and not 0 <= self.baseline < 1:
            raise ValueError(f"`baseline` must be in [0, 1) or None, got {self.baseline}")
        if self.relation_similarity == "text" and not isinstance(self.encoder, TextTowerConfig):
            raise ValueError(
                f"`relation_similarity` is 'text', but the encoder {self.encoder.kind!r} embeds no text: use 'minilm'"
            )

    def weights(self) -> list[str]:
        """Return the names, in ``torchmetrics_sess.weights.WEIGHTS``, of all that ``build`` will fetch.

        Examples:
            >>> from torchmetrics_sess.presets import load_preset
            >>> load_preset("lite").weights()
            ['lite']
        """
        return list(dict.fromkeys(name for _, stage in self._stages() for name in stage.weights()))

    def build(self, device: torch.device | str) -> SceneGraphExtractor:
        """Build the extractor on ``device``; weights that are not on this machine are fetched.

        Raises:
            MissingWeightError: if weights are not here and cannot be had; it names all of them.
        """
        from torchmetrics_sess.extractor import SceneGraphExtractor
        from torchmetrics_sess.weights import fetch_all

        device = torch.device(device)
        fetch_all(self.weights())
        return SceneGraphExtractor(
            segmenter=self.segmenter.build(device),
            relation_model=self.relations.build(device),
            encoder=self.encoder.build(device),
            importance=self.importance,
            max_width=self.max_width,
            device=device,
        )

    def predicate_similarity(self, extractor: SceneGraphExtractor) -> Float64[Tensor, "p p"]:
        """Return how alike two predicates are, for matching: ``R`` of the paper.

        What the text tower of ``extractor`` says is kept beside the weights.

        Raises:
            TypeError: if ``extractor`` is not of this preset, and its encoder embeds no text.
        """
        from torchmetrics_sess.matching.relation_similarity import (
            TextEncoder,
            cached_relation_similarity,
            minilm_relation_similarity,
            predicate_similarity_from_text,
        )
        from torchmetrics_sess.weights import home

        encoder = extractor.encoder
        if self.relation_similarity == "minilm" or not isinstance(self.encoder, TextTowerConfig):
            return minilm_relation_similarity()
        if not isinstance(encoder, TextEncoder):
            raise TypeError(f"`extractor` must have an encoder that embeds text, got {type(encoder).__name__}")
        # The name of a text tower may be the path of a file: no two of them may share a table.
        key = f"{self.encoder.kind}-{hashlib.sha256(os.fsencode(self.encoder.text_tower())).hexdigest()[:16]}"
        try:
            return cached_relation_similarity(key, lambda: predicate_similarity_from_text(encoder), home())
        except OSError:
            # A folder that cannot be written to costs time, nothing else.
            return predicate_similarity_from_text(encoder)

    def signature(self, *, long: bool = False) -> str:
        """Name every setting and weight that can change a score, and the version.

        Args:
            long: spell the settings' names out.

        Examples:
            >>> from torchmetrics_sess.presets import load_preset
            >>> load_preset("lite").signature().split("|")[:2]
            ['SeSS', 'preset:lite']
        """
        return "|".join(
            [
                "SeSS",
                f"preset:{self.name}",
                *self._extraction(long=long),
                f"match:{describe(self.matching, long=long)}",
                *([] if self.tuned is None else [f"tuned:{self.tuned}"]),
                describe(self, long=long).replace(",", "|"),
                f"dtype:{'+'.join(dict.fromkeys(getattr(stage, 'dtype', 'float32') for _, stage in self._stages()))}",
                f"v{__version__}",
            ]
        )

    def extraction_signature(self) -> str:
        """Name every setting and weight that can change a scene graph, and the version: not those of matching.

        Examples:
            >>> from torchmetrics_sess.presets import load_preset
            >>> lite, matched_otherwise = load_preset("lite"), load_preset("lite", {"matching.iterations": 1})
            >>> lite.extraction_signature() == matched_otherwise.extraction_signature()
            True
        """
        return "|".join([*self._extraction(long=True), f"max_width={self.max_width}", f"v{__version__}"])

    def segmentation_signature(self) -> str:
        """Name every setting and weight that can change a segmentation, and the version.

        Examples:
            >>> from torchmetrics_sess.presets import load_preset
            >>> load_preset("lite").segmentation_signature().split(",")[0]
            'seg:dino'
        """
        return f"seg:{_stage_text(self.segmenter, long=True)}|max_width={self.max_width}|v{__version__}"

    def networks_alone(self) -> Preset:
        """Return what presets that differ only in what is done with scene graphs have in common.

        Examples:
            >>> from torchmetrics_sess.presets import load_preset
            >>> lite, matched_otherwise = load_preset("lite"), load_preset("lite", {"matching.iterations": 1})
            >>> lite.networks_alone() == matched_otherwise.networks_alone()
            True
        """
        return dataclasses.replace(self, name="", matching=MatchingConfig(), baseline=None, tuned=None)

    def _extraction(self, *, long: bool) -> list[str]:
        return [
            *(f"{tag}:{_stage_text(stage, long=long)}" for tag, stage in self._stages()),
            f"imp:{describe(self.importance, long=long)}",
        ]

    def _stages(self) -> list[tuple[str, StageConfig]]:
        return [("seg", self.segmenter), ("rel", self.relations), ("enc", self.encoder)]


def _stage_text(stage: StageConfig, *, long: bool) -> str:
    return ",".join(part for part in (stage.kind, describe(stage, long=long), *stage.digests()) if part)
