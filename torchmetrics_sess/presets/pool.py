"""One home for networks: whoever in a process wants the same ones, on the same device, shares them."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets import Preset

_Key: TypeAlias = tuple[Preset, str, torch.device]


@dataclass(frozen=True, eq=False)
class Networks:
    """What it takes to compare images, besides the settings of matching.

    Args:
        extractor: turns images into scene graphs.
        relation_similarity: how alike two predicates are, ``[p, p]``.
    """

    extractor: SceneGraphExtractor
    relation_similarity: Float[Tensor, "p p"]


class NetworkSource(Protocol):
    """Where networks are had from: a thing of a few bytes, which objects hold in place of the networks."""

    def on(self, device: torch.device) -> Networks:
        """Return the networks for images on ``device``."""
        ...


class PooledNetworks:
    """The networks of a preset, built when first asked for and freed with the last of those who asked.

    A copy or a pickle holds the preset alone, and finds the networks in the pool of the process it wakes up in.

    Args:
        preset: whose networks.
    """

    def __init__(self, preset: Preset) -> None:
        self.preset = preset
        self._held: tuple[torch.device, Networks] | None = None

    def on(self, device: torch.device) -> Networks:
        """Return the networks on ``device``, and keep them until asked for another device."""
        device = _resolved(device)
        # The pool itself must not keep them alive.
        if self._held is None or self._held[0] != device:
            self._held = device, pooled_networks(self.preset, device)
        return self._held[1]

    def __reduce__(self) -> tuple[type[PooledNetworks], tuple[Preset]]:
        return type(self), (self.preset,)


class GivenNetworks:
    """Networks that were handed in ready-made: copies share them, a pickle contains them.

    They stay on the device they are on.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def on(self, device: torch.device) -> Networks:
        """Return the networks, wherever they are."""
        return self._networks

    def __deepcopy__(self, memo: dict[int, Any]) -> GivenNetworks:
        return self


def pooled_networks(preset: Preset, device: torch.device) -> Networks:
    """Return the networks of ``preset`` on ``device``: the ones in use if there are any, or else new ones.

    Safe to call from several threads: the networks are built once.

    Raises:
        MissingWeightError: if they have to be built, and weights are not here and cannot be had.
    """
    device = _resolved(device)
    key = _key(preset, device)
    with _lock:
        networks = _pool.get(key)
        if networks is None:
            # They may be needed for the first time in the midst of a training step.
            with full_precision(device):
                extractor = preset.build(device)
                networks = Networks(extractor, preset.predicate_similarity(extractor))
            _pool[key] = networks
        return networks


def keep_networks(preset: Preset, device: torch.device) -> Networks:
    """Return the networks of ``preset`` on ``device``, and hold on to them for later calls, as nobody else may."""
    device = _resolved(device)
    return _kept(preset, _key(preset, device))


@lru_cache(maxsize=2)
def _kept(preset: Preset, key: _Key) -> Networks:
    return pooled_networks(preset, key[2])


def release_networks() -> None:
    """Let go of the networks that ``semantic_similarity_score`` and ``explain`` keep for their next call.

    Networks that a metric uses stay as long as the metric does, or another one that shares them.

    Examples:
        >>> from torchmetrics_sess import release_networks
        >>> release_networks()
    """
    _kept.cache_clear()


def _key(preset: Preset, device: torch.device) -> _Key:
    # A file of weights may have been replaced since others were built of it: its digest is part of the signature.
    return preset.networks_alone(), preset.extraction_signature(), device


def _resolved(device: torch.device) -> torch.device:
    """Return ``device`` with its index: without one, it is the current one of its kind, which may be another later."""
    return torch.empty(0, device=device).device


_pool: WeakValueDictionary[_Key, Networks] = WeakValueDictionary()
_lock = threading.Lock()
