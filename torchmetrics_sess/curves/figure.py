"""Curves drawn: for a column of a paper or for slides, on light or on dark ground."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from torchmetrics_sess.curves.arguments import check_choice, check_curves, check_known, check_metrics
from torchmetrics_sess.curves.curve import AXES, DECIBELS, Curve, metrics_of, title_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Use: TypeAlias = Literal["paper", "slides"]

# Told apart by readers with any kind of colour vision; on dark ground, lighter.
_LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A6A00", "#56B4E9", "#000000", "#999999")
_DARK = ("#56B4E9", "#F2914A", "#3FCF9F", "#E89BC6", "#F0E442", "#9CC9F0", "#FFFFFF", "#AAAAAA")
# Markers and dashes tell them apart in black and white.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (4, 1, 1, 1)), (0, (2, 1)), "-", "-", "-")
_MOST_PANELS = 6
# Of round numbers.
_STEPS = (1, 2, 2.5, 5, 10)
# With two labels, no value can be read off an axis.
_FEWEST = 3


@dataclass(frozen=True)
class _Look:
    """How a figure looks: its width and the height of a panel in inches, and sizes in points."""

    width: float
    height: float
    ticks: int
    font: float
    line: float
    marker: float


_LOOKS: dict[Use, _Look] = {
    # A column of the IEEE is 3.5 inches wide, and its captions are set in 8 points.
    "paper": _Look(3.5, 1.45, 4, 7.0, 1.0, 3.0),
    "slides": _Look(12.6, 3.3, 6, 14.0, 2.2, 6.5),
}


def plot_curves(
    curves: Sequence[Curve],
    metrics: Sequence[str] | None = None,
    *,
    use: Use = "paper",
    dark: bool = False,
    band: bool = True,
) -> Figure:
    """Draw curves, a panel for every metric.

    Args:
        curves: all over the same axis.
        metrics: what to draw; by default all that there are, MS-SSIM in decibels alone, at most six.
        use: ``"paper"``, 3.5 inches wide, with 7-point text; or ``"slides"``, 12.6 inches wide.
        dark: whether for a dark ground.
        band: whether to shade the 95 % interval of SeSS.

    Returns:
        The figure; ``torchmetrics_sess.drawing.figures.save_figure`` writes it.

    Raises:
        ValueError: if there is no curve or no metric, they run over different axes, none of them has a metric, or
            ``use`` is another.
        TypeError: if ``curves`` holds something else, or ``metrics`` is a single name.
        ModuleNotFoundError: if the extra ``plot`` is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "drawing needs matplotlib: install torchmetrics-sess[plot]", name=error.name
        ) from error
    check_curves("curves", curves)
    check_choice("use", use, _LOOKS)
    if metrics is not None:
        check_metrics("metrics", metrics)
    if not curves:
        raise ValueError("`curves` must hold at least one curve")
    if len({curve.axis for curve in curves}) > 1:
        raise ValueError(f"`curves` must run over one axis, got {', '.join(curve.axis for curve in curves)}")
    chosen = list(metrics) if metrics is not None else usual_metrics(curves)
    if not chosen:
        raise ValueError("`metrics` must name at least one, and the curves have none")
    check_known("metrics", chosen, curves)
    look = _LOOKS[use]
    columns = _columns(len(chosen), use)
    rows = -(-len(chosen) // columns)
    with rc_context(_style(look, dark)):
        legend = 0.22 * look.font / 7 * -(-len(curves) // 4)
        figure = Figure((look.width, look.height * rows + legend), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
        for axes, metric in zip(grid, chosen, strict=False):
            _draw(axes, curves, metric, look, dark=dark, band=band and metric == "sess")
        for axes in grid[len(chosen) :]:
            axes.set_axis_off()
        lines, labels = grid[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=min(4, len(labels)), columnspacing=1.2)
    return figure


def usual_metrics(curves: Sequence[Curve]) -> list[str]:
    """Return the metrics to draw if none are named: SeSS both ways, MS-SSIM in decibels, and the others."""
    found = [metric for metric in metrics_of(curves) if any(curve.has(metric) for curve in curves)]
    return [metric for metric in found if metric != "ms_ssim"][:_MOST_PANELS]


def colours_of(dark: bool) -> tuple[str, ...]:
    """Return the colours of curves, one after the other."""
    return _DARK if dark else _LIGHT


def _columns(panels: int, use: Use) -> int:
    if use == "paper":
        return min(panels, 2)
    return 2 if panels == 4 else min(panels, 3)


def _draw(axes: Axes, curves: Sequence[Curve], metric: str, look: _Look, *, dark: bool, band: bool) -> None:
    means = [curve.means(metric) if curve.has(metric) else np.array([]) for curve in curves]
    ends = [curve.interval(metric) if band and curve.has(metric) else None for curve in curves]
    beyond = _draw_up(axes, np.concatenate([*means, *(np.ravel(pairs) for pairs in ends if pairs)]))
    _draw_across(axes, curves, look)
    colours = colours_of(dark)
    for index, curve in enumerate(curves):
        colour = colours[index % len(colours)]
        style = {"color": colour, "marker": _MARKERS[index % len(_MARKERS)], "linestyle": _DASHES[index % len(_DASHES)]}
        # The legend is that of the first panel, and has everyone, whoever has no value there.
        values = np.where(np.isinf(means[index]), beyond, means[index])
        axes.plot(curve.rates[: len(values)], values, label=curve.name, **style)
        if pairs := ends[index]:
            low, high = zip(*pairs, strict=True)
            axes.fill_between(curve.rates, low, high, color=colour, alpha=0.22 if dark else 0.13, linewidth=0)
    axes.set_title(title_of(metric) if metric in DECIBELS else _titled(metric))


def _draw_up(axes: Axes, values: np.ndarray) -> float:
    """Draw the axis of a metric, with a place for infinity above it if a value is that; return the place."""
    finite = values[np.isfinite(values)]
    ticks: list[float] = []
    low, high = 0.0, 1.0
    if len(finite):
        size = max(1.0, float(np.abs(finite).max()))
        # What differs by rounding errors alone is not to be blown up.
        low, high = _room(finite, alone=0.05 * size, least=1e-6 * size)
        ticks = _even_ticks(low, high, 5)
    span = high - low
    beyond = high + 0.15 * span
    labels = _written(ticks)
    if np.isinf(values).any():
        # With room for markers above.
        ticks, labels, high = [*ticks, beyond], [*labels, "∞"], beyond + 0.05 * span
    axes.set_yticks(ticks, labels)
    axes.set_ylim(low, high)
    return beyond


def _written(ticks: Sequence[float]) -> list[str]:
    """Return numbers as text, each of them whole, with as many digits as the longest one needs."""
    digits = max((len(np.format_float_positional(tick, trim="-").partition(".")[2]) for tick in ticks), default=0)
    return [f"{tick:.{digits}f}".replace("-", "−") for tick in ticks]  # noqa: RUF001 - a minus, as of other axes


def _draw_across(axes: Axes, curves: Sequence[Curve], look: _Look) -> None:
    """Draw the axis across, the same in every panel."""
    axis = AXES[curves[0].axis]
    rates = np.concatenate([curve.rates for curve in curves])
    axes.set_xlabel(axis.title)
    if axis.logarithmic:
        axes.set_xscale("log")
        axes.minorticks_off()
        first, last = _room(np.log10(rates), alone=0.2, least=1e-4)
        low, high = 10**first, 10**last
        ticks = log_ticks(low, high, look.ticks)
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    else:
        low, high = _room(rates, alone=1.0, least=1e-4)
        values = np.unique(rates.round(6)).tolist()
        # What was measured, as long as there is room for that.
        axes.set_xticks(values if _FEWEST <= len(values) <= 2 * look.ticks else _even_ticks(low, high, look.ticks))
    axes.set_xlim(low, high)


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return round numbers for a logarithmic axis: at least three, or nobody sees that it is one.

    Args:
        low: where the axis begins.
        high: where it ends.
        most: into how many parts to cut it, at most, where that leaves three numbers.

    Examples:
        >>> log_ticks(0.1, 10.0, most=7), log_ticks(0.1, 10.0, most=4)
        ([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0], [0.1, 1.0, 10.0])
        >>> log_ticks(0.21, 0.91, most=4)
        [0.4, 0.6, 0.8]
    """
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found = [_between(np.outer(powers, steps).flatten().tolist(), low, high) for steps in ((1, 2, 5), (1, 3), (1,))]
    enough = [ticks for ticks in found if len(ticks) >= _FEWEST]
    if not enough:
        # Within a decade, even steps are the round ones.
        return _even_ticks(low, high, most)
    return next((ticks for ticks in enough if len(ticks) <= most), enough[-1])


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    return _between(MaxNLocator(most, steps=_STEPS, min_n_ticks=_FEWEST).tick_values(low, high), low, high)


def _between(ticks: Iterable[float], low: float, high: float) -> list[float]:
    rounding = 1e-9 * (high - low)
    return [float(f"{tick:.12g}") for tick in ticks if low - rounding <= tick <= high + rounding]


def _room(values: np.ndarray, *, alone: float, least: float) -> tuple[float, float]:
    """Return the ends of an axis that has all values on it, with a little room.

    Args:
        values: what lies on it.
        alone: how much room a single value has.
        least: what differs by less is no more than a single value.
    """
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) if high - low > least else alone
    return low - margin, high + margin


def _titled(metric: str) -> str:
    return "PSNR (dB)" if metric == "psnr" else title_of(metric)


def _style(look: _Look, dark: bool) -> dict[Any, Any]:
    ground, text, rule = ("#14171C", "#E6E9EE", "#48505E") if dark else ("#FFFFFF", "#1A1F28", "#B8BEC8")
    return {
        "axes.edgecolor": rule,
        "axes.facecolor": ground,
        "axes.grid": True,
        "axes.labelcolor": text,
        "axes.labelsize": look.font,
        "axes.linewidth": 0.5 * look.line + 0.1,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": text,
        "axes.titlesize": look.font + 1,
        "axes.titlepad": 0.5 * look.font,
        "figure.facecolor": ground,
        "font.size": look.font,
        "grid.color": rule,
        "grid.alpha": 0.5,
        "grid.linewidth": 0.4 * look.line,
        "legend.frameon": False,
        "legend.fontsize": look.font,
        "legend.labelcolor": text,
        "lines.linewidth": look.line,
        "lines.markersize": look.marker,
        "savefig.facecolor": ground,
        "text.color": text,
        "text.parse_math": False,
        "xtick.color": rule,
        "xtick.labelcolor": text,
        "xtick.labelsize": look.font - 0.5,
        "ytick.color": rule,
        "ytick.labelcolor": text,
        "ytick.labelsize": look.font - 0.5,
    }
