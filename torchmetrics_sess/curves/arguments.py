"""What the functions of this package accept, and what they say of all else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from torchmetrics_sess.curves.curve import Curve, metrics_of


def check_curves(argument: str, curves: object) -> None:
    """Check that an argument holds curves.

    Raises:
        TypeError: if it is no sequence, or holds something else.
    """
    if isinstance(curves, Curve) or not isinstance(curves, Sequence):
        raise TypeError(f"`{argument}` must be a sequence of Curve, got {type(curves).__name__}")
    for curve in curves:
        check_curve(argument, curve)


def check_curve(argument: str, curve: object) -> None:
    """Check that an argument is a curve, or holds one.

    Raises:
        TypeError: if it is something else.
    """
    if not isinstance(curve, Curve):
        raise TypeError(f"`{argument}` takes Curve, got {type(curve).__name__}: {curve!r:.60}")


def check_metrics(argument: str, metrics: object) -> None:
    """Check that an argument holds names.

    Raises:
        TypeError: if it is a single one, or holds something else.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Collection) or not all(isinstance(m, str) for m in metrics):
        raise TypeError(f"`{argument}` must be a sequence of names such as ['sess', 'psnr'], got {metrics!r:.60}")


def check_known(argument: str, metrics: Iterable[str], curves: Sequence[Curve]) -> None:
    """Check that each metric is one that some curve has.

    Raises:
        ValueError: if no curve has it.
    """
    for metric in metrics:
        if not any(curve.has(metric) for curve in curves):
            known = ", ".join(metrics_of(curves)) or "none"
            raise ValueError(f"`{argument}` must be among those of the curves, {known}, got {metric!r}")


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Check that an argument is one of several.

    Raises:
        ValueError: if it is none.
    """
    choices = list(choices)
    if value not in choices:
        raise ValueError(f"`{argument}` must be one of {', '.join(map(repr, choices))}, got {value!r}")


def check_resamples(resamples: int) -> None:
    """Check how often images are to be drawn.

    Raises:
        ValueError: if that is below 0.
    """
    if resamples < 0:
        raise ValueError(f"`resamples` must be 0 or more, got {resamples}")
