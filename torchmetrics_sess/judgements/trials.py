"""The scores of many pairs under other settings, again and again: what a trial of tuning costs is matching alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from torchmetrics_sess.config import nearest
from torchmetrics_sess.importance import ImportanceConfig, saliency_under, weigh_objects
from torchmetrics_sess.judgements.graphs import WeighedGraph
from torchmetrics_sess.matching import MatchingConfig, PreparedPairs

Settings: TypeAlias = Mapping[str, float | int | str]
Numbers: TypeAlias = NDArray[np.float64]

# So many images at once when importance is computed anew: their memberships, as float64, are 75 MB in `lite`.
_AT_ONCE = 256


@dataclass(frozen=True)
class Range:
    """Between what a setting is varied.

    Args:
        low: the least value.
        high: the greatest.
        whole: whether only whole numbers count.
        ratio: whether ratios matter and not differences, so that it is varied by its logarithm.
        choices: names to choose from, in place of numbers.
    """

    low: float | int
    high: float | int
    whole: bool = False
    ratio: bool = False
    choices: tuple[str, ...] = ()

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends on the scale that is searched."""
        if self.choices:
            return 0.0, float(len(self.choices) - 1)
        return (math.log(self.low), math.log(self.high)) if self.ratio else (float(self.low), float(self.high))

    @property
    def integral(self) -> bool:
        """Whether only whole numbers of that scale count."""
        return self.whole or bool(self.choices)

    def value(self, place: float) -> float | int | str:
        """Return the setting at a place of the scale, rounded to four digits: no more of it could be told by people."""
        if self.choices:
            return self.choices[round(place)]
        if self.whole:
            return round(place)
        value = math.exp(place) if self.ratio else place
        return min(max(float(f"{value:.4g}"), float(self.low)), float(self.high))

    def place(self, value: float | int | str) -> float:
        """Return the place of a setting, the nearest there is."""
        if self.choices:
            return float(self.choices.index(str(value)))
        clipped = min(max(float(value), float(self.low)), float(self.high))
        return math.log(clipped) if self.ratio else clipped


VARIABLE: dict[str, Range] = {
    "matching.iterations": Range(0, 7, whole=True),
    "matching.alpha": Range(0, 1),
    "matching.beta": Range(0, 0.5),
    "matching.theta": Range(0, 1),
    "matching.image_weight": Range(0, 1),
    "matching.slack": Range(0, 10),
    "matching.balance": Range(0, 1, choices=("mean", "lower")),
    "matching.cosine_floor": Range(-1, 0.9),
    "matching.probability_center": Range(0.05, 0.95),
    "matching.probability_width": Range(0.02, 0.5, ratio=True),
    "matching.exponent": Range(0.25, 8, ratio=True),
    "importance.k1": Range(0.25, 10, ratio=True),
    "importance.k2": Range(0.25, 10, ratio=True),
    "importance.k3": Range(0, 1),
    "importance.threshold": Range(0, 3),
    "importance.floor": Range(0, 1),
    "importance.focus": Range(0.25, 8, ratio=True),
}
"""What can be varied without looking at an image again, and between what."""

_OF_THE_MAP = {"importance.threshold", "importance.floor", "importance.focus"}


class Trials:
    """Pairs of images whose graphs are at hand.

    Args:
        graphs: by image.
        pairs: reconstruction and original of every pair, as keys of ``graphs``.
        relation_similarity: how alike two predicates are, ``[p, p]``.
        matching: settings to start from.
        importance: likewise.

    Raises:
        ValueError: as for ``torchmetrics_sess.matching.match_graph_pairs``.
    """

    def __init__(
        self,
        graphs: Mapping[str, WeighedGraph],
        pairs: Sequence[tuple[str, str]],
        relation_similarity: Float[Tensor, "p p"],
        matching: MatchingConfig,
        importance: ImportanceConfig,
    ) -> None:
        self.matching = matching
        self.importance = importance
        names = list(dict.fromkeys(name for pair in pairs for name in pair))
        number = {name: index for index, name in enumerate(names)}
        self._sides = [[number[pair[side]] for pair in pairs] for side in (0, 1)]
        weighed = [graphs[name] for name in names]
        self._prepared = PreparedPairs(
            [weighed[index].graph for index in self._sides[0]],
            [weighed[index].graph for index in self._sides[1]],
            relation_similarity,
        )
        self._images = _Images(weighed)
        self._weights: tuple[ImportanceConfig, list[Numbers]] | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._prepared)

    @property
    def maps_kept(self) -> bool:
        """Whether the saliency maps and masks of all images are at hand, so that all of importance can be varied."""
        return self._images.maps_kept

    def start(self) -> dict[str, float | int | str]:
        """Return the settings to start from, by dotted name; those without a value are left out."""
        return {
            name: value
            for name in VARIABLE
            if (value := getattr(getattr(self, name.partition(".")[0]), name.partition(".")[2])) is not None
        }

    def scores(self, settings: Settings, only: Sequence[int] | None = None) -> Numbers:
        """Return the scores of pairs.

        Args:
            settings: changes of what to start from, by dotted name.
            only: which pairs; by default, all of them.

        Raises:
            ValueError: for a setting that is unknown, out of its range, or cannot be varied with these graphs.
        """
        matching, importance = self.configs(settings)
        weights = None
        if importance != self.importance:
            weights = self._importance(importance)
        return np.array(self._prepared.scores(matching, weights, only))

    def configs(self, settings: Settings) -> tuple[MatchingConfig, ImportanceConfig]:
        """Return the settings as they are read by the stages."""
        changes: dict[str, dict[str, float | int | str]] = {"matching": {}, "importance": {}}
        for name, value in settings.items():
            section, _, field = name.partition(".")
            if name not in VARIABLE:
                raise ValueError(f"unknown setting `{name}`{nearest(name, VARIABLE)}")
            changes[section][field] = value
        return (
            dataclasses.replace(self.matching, **changes["matching"]),  # type: ignore[arg-type]
            dataclasses.replace(self.importance, **changes["importance"]),  # type: ignore[arg-type]
        )

    def _importance(self, config: ImportanceConfig) -> tuple[list[Numbers], list[Numbers]]:
        # Trials that follow each other often agree in this.
        if self._weights is None or self._weights[0] != config:
            if not self.maps_kept and _map_settings(config) != _map_settings(self.importance):
                raise ValueError(
                    "`importance.threshold`, `.floor` and `.focus` cannot be varied with this preset: its masks are as "
                    "large as its images, and are not kept with the graphs"
                )
            self._weights = config, self._images.weigh(config)
        found = self._weights[1]
        first, second = ([found[index] for index in side] for side in self._sides)
        return first, second


class _Images:
    """What the importance of objects comes from, images of as many objects laid together."""

    def __init__(self, weighed: Sequence[WeighedGraph]) -> None:
        self._count = len(weighed)
        self.maps_kept = all(each.memberships is not None for each in weighed)
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, each in enumerate(weighed):
            shape = each.memberships.shape if each.memberships is not None else each.mass.shape
            groups.setdefault(tuple(shape), []).append(index)
        self._groups: list[tuple[list[int], Tensor, Tensor, Tensor | None, Tensor | None]] = []
        for members in groups.values():
            for start in range(0, len(members), _AT_ONCE):
                part = members[start : start + _AT_ONCE]
                chosen = [weighed[index] for index in part]
                memberships = [each.memberships for each in chosen if each.memberships is not None]
                saliency = [each.saliency for each in chosen if each.saliency is not None]
                self._groups.append(
                    (
                        part,
                        torch.stack([each.mass for each in chosen]),
                        torch.stack([each.graph.confidence for each in chosen]),
                        torch.stack(memberships) if self.maps_kept else None,
                        torch.stack(saliency) if self.maps_kept else None,
                    )
                )

    def weigh(self, config: ImportanceConfig) -> list[Numbers]:
        """Return the importance of the objects of every image."""
        found: list[Numbers] = [np.empty(0)] * self._count
        for members, mass, confidence, memberships, saliency in self._groups:
            if memberships is not None and saliency is not None:
                mass = saliency_under(memberships, saliency, config)
            # As extraction has it: in the precision of the saliency map.
            weights = weigh_objects(mass, confidence, config).float().double().numpy()
            for index, row in zip(members, weights, strict=True):
                found[index] = row
        return found


def _map_settings(config: ImportanceConfig) -> tuple[float, float, float]:
    return config.threshold, config.floor, config.focus
