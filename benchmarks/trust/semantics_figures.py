"""The figures of ``semantics.py``: means over photographs, and where the middle half of them lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.shared.reporting import FIGURES
from benchmarks.trust.experiments import EXPERIMENTS, LOSS, MILD, REARRANGED, Scored

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, each with a marker of its own.
_STYLES: list[dict[str, Any]] = [
    {"color": colour, "marker": marker}
    for colour, marker in zip(("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"), "osD^vP", strict=True)
]
_PANELS = ("SeSS", "embedding", "MS-SSIM", "PSNR")
_LINES = ("SeSS", "embedding", "MS-SSIM", "SSIM")


def draw(name: str, scored: Sequence[Scored]) -> list[Path]:
    """Draw one figure per experiment into ``results/figures`` and return their paths."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    paths = []
    for experiment in EXPERIMENTS:
        of_experiment = [each for each in scored if each.change.experiment == experiment]
        figure = _DRAW[experiment](of_experiment)
        photographs = len({each.photograph for each in of_experiment})
        note = f"mean of {photographs} photographs, and the range of the middle half of them"
        figure.supxlabel(note, fontsize="small", color="dimgrey")
        path = FIGURES / f"{name}-{experiment.replace(' ', '-')}.png"
        figure.savefig(path, dpi=110)
        paths.append(path)
    return paths


def _compression(scored: Sequence[Scored]) -> Figure:
    figure, panels = _panels(2, 2)
    for axes, metric in zip(panels, _PANELS, strict=True):
        _curves(axes, scored, metric)
        axes.set(xscale="log", xlabel="bits per pixel", ylabel=_unit(metric))
        axes.set_xticks([0.05, 0.1, 0.2, 0.5, 1, 2, 5], labels=["0.05", "0.1", "0.2", "0.5", "1", "2", "5"])
        axes.minorticks_off()
    return _with_legend(figure, panels[0])


def _channel(scored: Sequence[Scored]) -> Figure:
    figure, panels = _panels(2, 2)
    for axes, metric in zip(panels, _PANELS, strict=True):
        _curves(axes, scored, metric)
        axes.set(xlabel="signal to noise ratio of the channel, dB", ylabel=_unit(metric))
    return _with_legend(figure, panels[0])


def _generated(scored: Sequence[Scored]) -> Figure:
    figure, panels = _panels(2, 2)
    labels = {
        "noise": "standard deviation of the noise, of 255",
        "blur": "radius of the blur, pixels",
        "diffusion": "share of the signal's power left by diffusion",
        "another photograph": "share of another photograph",
    }
    for axes, (series, label) in zip(panels, labels.items(), strict=True):
        ladder = [each for each in scored if each.change.series == series]
        for style, metric in zip(_STYLES, _LINES, strict=False):
            _curve(axes, ladder, metric, label=metric, **style)
        axes.set(xlabel=label, ylim=(-0.05, 1.05), ylabel="similarity")
        if series == "diffusion":
            axes.invert_xaxis()
    return _with_legend(figure, panels[0])


def _transformations(scored: Sequence[Scored]) -> Figure:
    figure, [axes] = _panels(1, 1)
    names: list[str] = []
    ticks: list[int] = []
    place = 0
    for series in (MILD, LOSS, REARRANGED):
        of_series = [each for each in scored if each.change.series == series]
        levels = {
            level: [each for each in of_series if each.change.level == level]
            for level in dict.fromkeys(each.change.level for each in of_series)
        }
        if not levels:
            continue
        by_score = sorted(levels.items(), key=lambda item: -_mean(item[1], "SeSS"))
        axes.text(1.04, place - 0.9, series, fontweight="bold", va="center", ha="right")
        for level, group in by_score:
            for offset, style, metric in zip((-0.24, -0.08, 0.08, 0.24), _STYLES, _LINES, strict=False):
                low, mean, high = _spread([each.scores[metric] for each in group])
                label = metric if not names else None
                axes.plot([low, high], [place + offset] * 2, color=style["color"], alpha=0.5, linewidth=2)
                axes.plot(mean, place + offset, linestyle="none", markersize=5, label=label, **style)
            names.append(level)
            ticks.append(place)
            place += 1
        place += 1
    axes.set(yticks=ticks, yticklabels=names, xlabel="similarity", xlim=(-0.05, 1.05), ylim=(place - 1, -1.6))
    figure.set_size_inches(9, 0.33 * place + 1)
    return _with_legend(figure, axes)


_DRAW = dict(zip(EXPERIMENTS, (_compression, _channel, _generated, _transformations), strict=True))


def _panels(rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6.5), layout="constrained")
    panels = list(np.ravel(figure.subplots(rows, columns)))
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    return figure, panels


def _with_legend(figure: Figure, axes: Axes) -> Figure:
    # Outside, where it hides no curve.
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return figure


def _curves(axes: Axes, scored: Sequence[Scored], metric: str) -> None:
    names = dict.fromkeys(each.change.series for each in scored)
    for series, style in zip(names, _STYLES, strict=False):
        _curve(axes, [each for each in scored if each.change.series == series], metric, label=series, **style)
    axes.set_title(metric)


def _curve(axes: Axes, ladder: Sequence[Scored], metric: str, **style: Any) -> None:
    levels = dict.fromkeys(each.change.level for each in ladder)
    groups = [[each for each in ladder if each.change.level == level] for level in levels]
    at = [np.mean([each.change.at for each in group]) for group in groups]
    low, mean, high = np.transpose([_spread([each.scores[metric] for each in group]) for group in groups])
    axes.plot(at, mean, markersize=4, **style)
    axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)


def _mean(group: Sequence[Scored], metric: str) -> float:
    return float(np.mean([each.scores[metric] for each in group]))


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    low, high = np.quantile(values, [0.25, 0.75])
    return float(low), float(np.mean(values)), float(high)


def _unit(metric: str) -> str:
    return "dB" if metric == "PSNR" else "similarity"
