"""How far a mean can be trusted: its confidence interval, by drawing the images anew."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def confidence_interval(
    values: Float[Tensor, " n"], level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return a confidence interval of the mean of ``values``, by bootstrap.

    The percentile interval of Efron & Tibshirani (1993): values are drawn anew, with replacement, as many as there are,
    and the interval holds the middle ``level`` of the means.

    Args:
        values: at least one, ``[n]``; computed with as float64.
        level: share of the means that lies within, in (0, 1).
        resamples: how often to draw.
        seed: of the random numbers.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: if there is no value, or ``level`` or ``resamples`` is out of range.

    Examples:
        >>> import torch
        >>> low, high = confidence_interval(torch.linspace(0, 1, 100))
        >>> 0.4 < low < 0.5 < high < 0.6
        True
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, got {level}")
    if resamples < 1:
        raise ValueError(f"`resamples` must be at least 1, got {resamples}")
    if len(values) == 0:
        raise ValueError("`values` must hold at least one value")
    values = values.cpu().double()
    # Whatever the default device is, the draws of a seed are those of the CPU.
    generator, size = torch.Generator("cpu").manual_seed(seed), (len(values),)
    draws = (torch.randint(len(values), size, generator=generator, device="cpu") for _ in range(resamples))
    means = torch.stack([values[draw].mean() for draw in draws])
    tail = (1 - level) / 2
    low, high = means.quantile(means.new_tensor([tail, 1 - tail])).tolist()
    return low, high
