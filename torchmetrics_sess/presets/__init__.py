"""Presets: named choices and settings of every stage, from YAML, and the signature that tells them apart."""

from torchmetrics_sess.presets.files import load_preset, preset_names, preset_yaml, presets_with
from torchmetrics_sess.presets.kinds import StageConfig, TextTowerConfig
from torchmetrics_sess.presets.preset import Preset, Tuning

__all__ = [
    "Preset",
    "StageConfig",
    "TextTowerConfig",
    "Tuning",
    "load_preset",
    "preset_names",
    "preset_yaml",
    "presets_with",
]
