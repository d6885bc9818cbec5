"""The settings of matching."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from torchmetrics_sess.config import setting

UpdateOrder: TypeAlias = Literal["sequential", "synchronous"]
Assignment: TypeAlias = Literal["one_to_one", "transport"]
Balance: TypeAlias = Literal["mean", "lower"]


@dataclass(frozen=True)
class MatchingConfig:
    """How two scene graphs are matched. The defaults are those of the published numbers.

    Args:
        update_order: ``"sequential"`` updates each pair of nodes in place, so that later pairs see earlier updates
            (from the second iteration on: the first reads the initial similarity only); ``"synchronous"`` lets every
            iteration read the previous one, which makes the score symmetric in its two images. They differ by ~1e-3.
        iterations: how many times a pair's similarity takes in that of its neighbours.
        alpha: share of the predicates, against the nodes, in how similar two neighbours are; in [0, 1].
        beta: share of the neighbours in each update of a pair's similarity; in [0, 1].
        theta: share of the positions, against the features, in the initial similarity; in [0, 1].
        image_weight: share of the whole-image cosine, against the graph score, in the score; in [0, 1].
        assignment: ``"one_to_one"`` matches a node to at most one other, and nodes left over score 0; ``"transport"``
            takes importance as a mass to be moved, so that a node may be matched by several parts.
        slack: with transport, by how much a node may take in more than its own importance; at least 0. Above 0, the
            mass of either graph is moved to the other in turn; this forgives distortions that only shift importance
            between nodes.
        balance: with slack, what of the two directions counts: their ``"mean"``, or the ``"lower"`` one, so that
            neither what is missing nor what has been added is averaged away.
        cosine_floor: cosines of features, of nodes and of whole images, count at least this; in [-1, 1].
        probability_center: cosine of features at which two nodes are as likely as not to show the same thing; their
            similarity is then that probability, a logistic curve of the cosine, scaled to 0 at 0 and 1 at 1. ``None``
            takes the cosine itself.
        probability_width: by how much a cosine must rise to make the odds ``e`` times better; positive.
        exponent: power to which the score is raised, positive; it changes no order, and 1 stays 1.

    Raises:
        ValueError: for a setting out of its range.
        TypeError: if ``iterations`` is not an integer.

    Examples:
        >>> MatchingConfig(assignment="transport", cosine_floor=0.0).iterations
        7
    """

    update_order: UpdateOrder = setting("sequential", short="")
    iterations: int = setting(7, short="it")
    alpha: float = setting(0.25, short="a")
    beta: float = setting(0.05, short="b")
    theta: float = setting(0.2, short="t")
    image_weight: float = setting(0.05, short="img")
    assignment: Assignment = setting("one_to_one", short="")
    slack: float = setting(0.0, short="slack")
    balance: Balance = setting("mean", short="")
    cosine_floor: float = setting(-1.0, short="floor")
    probability_center: float | None = setting(None, short="same")
    probability_width: float = setting(0.1, short="width")
    exponent: float = setting(1.0, short="e")

    def __post_init__(self) -> None:
        choices_of = {"update_order": UpdateOrder, "assignment": Assignment, "balance": Balance}
        for name, choices in ((name, get_args(alias)) for name, alias in choices_of.items()):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}")
        if not isinstance(self.iterations, int):
            raise TypeError(f"`iterations` must be int, got {self.iterations!r} ({type(self.iterations).__name__})")
        if self.iterations < 0:
            raise ValueError(f"`iterations` must be at least 0, got {self.iterations}")
        shares = ("alpha", "beta", "theta", "image_weight")
        for name, lowest in (*((share, 0) for share in shares), ("cosine_floor", -1)):
            value = getattr(self, name)
            if not lowest <= value <= 1:
                raise ValueError(f"`{name}` must be in [{lowest}, 1], got {value}")
        if not (math.isfinite(self.slack) and self.slack >= 0):
            raise ValueError(f"`slack` must be a number of at least 0, got {self.slack}")
        if self.probability_center is not None and not 0 <= self.probability_center <= 1:
            raise ValueError(f"`probability_center` must be in [0, 1] or None, got {self.probability_center}")
        for name in ("probability_width", "exponent"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number, got {value}")
