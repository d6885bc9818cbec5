"""Which weights of a metric are not on this machine; nothing here downloads any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.weights import WEIGHTS, is_offline, path_of


class MissingMetricError(RuntimeError):
    """A metric needs weights that are not on this machine, and could not or must not be downloaded."""


def check_may_download(missing: str | None) -> None:
    """Refuse to go on if something is missing and downloads are forbidden.

    Raises:
        MissingMetricError: which says both.
    """
    if missing is not None and is_offline():
        raise MissingMetricError(f"{missing}, and SESS_OFFLINE=1 forbids the download")


def missing_lpips(preset: Preset) -> str | None:
    """Say which weights of LPIPS are missing, if any."""
    from torchvision.models import AlexNet_Weights

    return _missing_torchvision(AlexNet_Weights.DEFAULT)


def missing_dists(preset: Preset) -> str | None:
    """Say which weights of DISTS are missing, if any."""
    from torchvision.models import VGG16_Weights

    return _missing_torchvision(VGG16_Weights.DEFAULT)


def _missing_torchvision(weights: Any) -> str | None:
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if path.exists():
        return None
    return f"its weights ({weights.meta['_file_size']:.0f} MB) are not on this machine: {path} does not exist"


def missing_clip(preset: Preset) -> str | None:
    """Say which weights of CLIP are missing, if any."""
    return _missing_weights(["open_clip_vit_b_32"])


def missing_lite(preset: Preset) -> str | None:
    """Say which weights of the preset ``lite`` are missing, if any."""
    return missing_sess(load_preset("lite"))


def missing_sess(preset: Preset) -> str | None:
    """Say which weights of ``preset`` are missing, if any."""
    return _missing_weights(preset.weights())


def _missing_weights(names: list[str]) -> str | None:
    weights = [WEIGHTS[name] for name in names]
    missing = [weight for weight in weights if not path_of(weight.name).exists() and weight.find(weight) is None]
    if not missing:
        return None
    size = sum(weight.size for weight in missing) / 1e6
    commands = f"sess weights download {' '.join(weight.name for weight in missing)}"
    return f"its weights ({size:.0f} MB) are not on this machine; `{commands}` fetches them"
