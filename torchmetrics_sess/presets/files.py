"""Presets as YAML: those that ship with the package, those of users, and settings that replace some of them."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from torchmetrics_sess.config import coerce, from_mapping, nearest
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching import MatchingConfig
from torchmetrics_sess.presets.kinds import STAGES, StageConfig
from torchmetrics_sess.presets.preset import Preset, Tuning


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
    if not isinstance(overrides, Mapping):
        raise TypeError(f"`overrides` must map settings to values, got {overrides!r} ({type(overrides).__name__})")
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
        if field.name in STAGES:
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
        if section in STAGES:
            sections[section] = _stage(section, value)
        elif section in _CONFIGS:
            sections[section] = from_mapping(_CONFIGS[section], _mapping(value, section), where=section)
        else:
            sections[section] = coerce(value, hints[section], section)
    for section in STAGES:
        if section not in sections:
            raise ValueError(f"the preset {name!r} does not say which `{section}` to use")
    return Preset(name=name, **sections)


_CONFIGS: dict[str, type] = {"importance": ImportanceConfig, "matching": MatchingConfig, "tuned": Tuning}


@cache
def _folder() -> Path:
    packaged = Path(str(resources.files("torchmetrics_sess").joinpath("configs/presets")))
    # An editable install reads the presets where the repository keeps them.
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "configs" / "presets"


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
    elif (section, name) in {(stage, "kind") for stage in STAGES}:
        # The settings of one kind mean nothing to another.
        values[section] = {"kind": value}
    else:
        values[section] = {**_mapping(values.get(section, {}), section), name: value}


def _stage(section: str, value: Any) -> StageConfig:
    settings = _mapping(value, section)
    kind = settings.get("kind")
    kinds = STAGES[section]
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"`{section}.kind` must be one of {', '.join(map(repr, kinds))}, got {kind!r}")
    module, _, name = kinds[kind].partition(":")
    cls = getattr(importlib.import_module(module), name)
    config: StageConfig = from_mapping(cls, {k: v for k, v in settings.items() if k != "kind"}, where=section)
    return config
