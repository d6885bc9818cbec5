"""Presets: named choices and settings of every stage, from YAML, and the signature that tells them apart."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import os
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float64
from torch import Tensor

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.config import coerce, describe, from_mapping, nearest, setting
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching import MatchingConfig

if TYPE_CHECKING:
    from torchmetrics_sess.extractor import SceneGraphExtractor

# The class that holds a stage's settings and builds it, by kind; imported only when a preset asks for it.
_STAGES = {
    "segmenter": {
        "dino": "torchmetrics_sess.segmenters.dino:DinoSegmenterConfig",
        "sam": "torchmetrics_sess.segmenters.sam:SamSegmenterConfig",
    },
    "relations": {
        "geometric": "torchmetrics_sess.relations.geometric:GeometricRelationsConfig",
        "ram": "torchmetrics_sess.relations.ram:RamRelationConfig",
    },
    "encoder": {
        "dino": "torchmetrics_sess.encoders.dino:DinoEncoderConfig",
        "open_clip": "torchmetrics_sess.encoders.open_clip:OpenClipEncoderConfig",
    },
}


@runtime_checkable
class StageConfig(Protocol):
    """The settings of one stage."""

    kind: ClassVar[str]

    def weights(self) -> list[str]:
        """Return the names, in ``torchmetrics_sess.weights.WEIGHTS``, of all that ``build`` will fetch."""
        ...

    def digests(self) -> list[str]:
        """Return the first 8 hex digits of the SHA-256 of every file of weights or constants that the stage uses."""
        ...

    def build(self, device: torch.device) -> Any:
        """Build the stage on ``device``, weights loaded and frozen."""
        ...


@runtime_checkable
class TextTowerConfig(Protocol):
    """The settings of an encoder that embeds text too."""

    def text_tower(self) -> str:
        """Name the model and the weights that embed text."""
        ...


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
            >>> lite, matched_otherwise = load_preset("lite"), load_preset("lite", {"matching.iterations": 1})
            >>> lite.extraction_signature() == matched_otherwise.extraction_signature()
            True
        """
        return "|".join([*self._extraction(long=True), f"max_width={self.max_width}", f"v{__version__}"])

    def segmentation_signature(self) -> str:
        """Name every setting and weight that can change a segmentation, and the version.

        Examples:
            >>> load_preset("lite").segmentation_signature().split(",")[0]
            'seg:dino'
        """
        return f"seg:{_stage_text(self.segmenter, long=True)}|max_width={self.max_width}|v{__version__}"

    def networks_alone(self) -> Preset:
        """Return what presets that differ only in what is done with scene graphs have in common.

        Examples:
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


def preset_names() -> list[str]:
    """Return the names of the presets that ship with the package.

    Examples:
        >>> "lite" in preset_names()
        True
    """
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def presets_with(weights: Iterable[str]) -> list[str]:
    """Return the names of the presets that ship with the package and need all of these weights.

    Examples:
        >>> presets_with(["sam_vit_b", "open_clip_vit_b_32"])
        ['sam-b']
    """
    wanted = set(weights)
    return [name for name in preset_names() if wanted <= set(load_preset(name).weights())]


def load_preset(name_or_path: str | Path = "lite", overrides: Mapping[str, Any] | None = None) -> Preset:
    """Read a preset and apply overrides.

    The baseline of a preset is that of its settings: if one that can change a score is overridden, ``baseline`` is
    ``None``, unless it is overridden too; nor is such a preset ``tuned`` any more.

    Args:
        name_or_path: a name of ``preset_names``, or the path of a YAML file of the same form.
        overrides: settings by dotted name, such as ``{"matching.iterations": 3}``.

    Raises:
        ValueError: for an unknown preset, an unknown setting (the nearest valid one is named), or a value out of range.
        TypeError: for a value of a wrong type.

    Examples:
        >>> load_preset("lite", {"matching.iterations": 3}).matching.iterations
        3
        >>> load_preset("lite", {"matching.iteration": 3})
        Traceback (most recent call last):
        ...
        ValueError: unknown setting `matching.iteration`; did you mean `matching.iterations`?
    """
    name, values = _read(name_or_path)
    preset = _preset(name, values)
    if not overrides:
        return preset
    for key, value in overrides.items():
        _override(values, key, value)
    changed = _preset(name, values)
    if changed.signature(long=True) == preset.signature(long=True):
        return changed
    baseline = changed.baseline if "baseline" in overrides else None
    return dataclasses.replace(changed, name=f"{name}*", baseline=baseline, tuned=None)


def preset_yaml(preset: Preset) -> str:
    """Return a preset as YAML that ``load_preset`` reads: every setting, changed or not.

    Examples:
        >>> print(preset_yaml(load_preset("lite")).partition("encoder:")[0].splitlines()[1])
          kind: dino
    """
    import yaml

    values: dict[str, Any] = {}
    for field in dataclasses.fields(preset):
        value = getattr(preset, field.name)
        if field.name in _STAGES:
            values[field.name] = {"kind": value.kind, **_settings(value)}
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[field.name] = _settings(value)
        elif field.name != "name" and not (field.name == "tuned" and value is None):
            values[field.name] = value
    return yaml.safe_dump(values, sort_keys=False)


def _settings(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config) if field.init}


def _preset(name: str, values: Mapping[str, Any]) -> Preset:
    hints = typing.get_type_hints(Preset)
    known = [field.name for field in dataclasses.fields(Preset) if field.name != "name"]
    sections: dict[str, Any] = {}
    for section, value in values.items():
        if section not in known:
            raise ValueError(f"unknown setting `{section}`{nearest(section, known)}")
        if section in _STAGES:
            sections[section] = _stage(section, value)
        elif section in _CONFIGS:
            sections[section] = from_mapping(_CONFIGS[section], _mapping(value, section), where=section)
        else:
            sections[section] = coerce(value, hints[section], section)
    for section in _STAGES:
        if section not in sections:
            raise ValueError(f"the preset {name!r} does not say which `{section}` to use")
    return Preset(name=name, **sections)


_CONFIGS: dict[str, type] = {"importance": ImportanceConfig, "matching": MatchingConfig, "tuned": Tuning}


@cache
def _folder() -> Path:
    packaged = Path(str(resources.files("torchmetrics_sess").joinpath("configs/presets")))
    # An editable install reads the presets where the repository keeps them.
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "configs" / "presets"


def _read(name_or_path: str | Path) -> tuple[str, dict[str, Any]]:
    import yaml

    if isinstance(name_or_path, str) and name_or_path in preset_names():
        path = _folder() / f"{name_or_path}.yaml"
    elif Path(name_or_path).suffix in (".yaml", ".yml"):
        path = Path(name_or_path)
    else:
        hint = nearest(str(name_or_path), preset_names())
        raise ValueError(f"unknown preset {str(name_or_path)!r}{hint} (or the path of a .yaml file)")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the preset {path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"the preset {path} is not valid YAML: {error}") from error
    return path.stem, _mapping(values, str(path))


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise TypeError(f"`{where}` must be a mapping of settings, got {value!r}")
    return value


def _override(values: dict[str, Any], key: str, value: Any) -> None:
    section, _, name = key.partition(".")
    if not name:
        values[section] = value
    elif (section, name) in {(stage, "kind") for stage in _STAGES}:
        # The settings of one kind mean nothing to another.
        values[section] = {"kind": value}
    else:
        values[section] = {**_mapping(values.get(section, {}), section), name: value}


def _stage(section: str, value: Any) -> StageConfig:
    settings = _mapping(value, section)
    kind = settings.get("kind")
    kinds = _STAGES[section]
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"`{section}.kind` must be one of {', '.join(map(repr, kinds))}, got {kind!r}")
    module, _, name = kinds[kind].partition(":")
    cls = getattr(importlib.import_module(module), name)
    config: StageConfig = from_mapping(cls, {k: v for k, v in settings.items() if k != "kind"}, where=section)
    return config


def _stage_text(stage: StageConfig, *, long: bool) -> str:
    return ",".join(part for part in (stage.kind, describe(stage, long=long), *stage.digests()) if part)
