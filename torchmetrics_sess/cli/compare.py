"""``sess compare``: the score beside other metrics, and how far they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.options import (
    BatchSizeOption,
    CacheOption,
    CacheSizeOption,
    DeviceOption,
    DevicesOption,
    OriginArgument,
    OutOption,
    OverwriteOption,
    PresetOption,
    ReconsArgument,
    RescaleOption,
    SettingsOption,
    WorkersOption,
    parse_batch_size,
    parse_settings,
)
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from torchmetrics_sess.cli.processes import Processes
    from torchmetrics_sess.comparison import ImageMetric
    from torchmetrics_sess.results import FolderSummary

# What is compared by if nothing is named; `embedding` needs the network of `lite` once more.
_USUAL = ("psnr", "ssim", "ms_ssim", "lpips", "dists", "clip", "vitscore")
# Two pairs rank alike or the other way round, whatever the metrics are.
_FEWEST_PAIRS = 3
# A folder's name is folded into no less than this.
_NAME_WIDTH = 10


def compare(
    origin: OriginArgument,
    recons: ReconsArgument = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Metrics beside SeSS, separated by commas: psnr, ssim, ms_ssim, lpips, dists, clip, vitscore, "
            "embedding. Weights of those named are fetched.",
            show_default="all but embedding, if their weights are here",
        ),
    ] = None,
    out: OutOption = None,
    overwrite: OverwriteOption = False,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    rescale: RescaleOption = None,
    cache: CacheOption = None,
    cache_size: CacheSizeOption = None,
    device: DeviceOption = "auto",
    batch_size: BatchSizeOption = "auto",
    workers: WorkersOption = None,
    devices: DevicesOption = 1,
) -> None:
    """Hold SeSS against other metrics: their means, and how alike they rank the pairs.

    Images pair up, and results are written and taken up again, as in `sess score`; the file has a column more for each
    metric. Metrics whose weights are not on this machine are named and left out. PSNR, SSIM, MS-SSIM, LPIPS and DISTS
    compare images of one size only, MS-SSIM of at least 176 pixels: other pairs have no value for them.

    **Examples**

        sess compare kodak/ decoded/                              with all that needs no download
        sess compare kodak/ bpg/ webp/ jpeg/ --out compared.csv   three codecs, every value in a file
        sess compare photo.png photo.jpg --metrics psnr,lpips     these two, fetching weights if needed
    """
    from torchmetrics_sess.cli.processes import launch, let_first_speak
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.run import find_pairs, open_results, run
    from torchmetrics_sess.cli.stream import find_scorer, open_device
    from torchmetrics_sess.cli.summary import show_failures
    from torchmetrics_sess.results import Summary, json_number

    let_first_speak()
    with refusing(ValueError):
        overrides = parse_settings(settings)
        size = parse_batch_size(batch_size)
    scorer = find_scorer(preset, overrides, rescale=rescale, cache=cache, cache_size=cache_size)
    processes = launch(open_device(device), devices)
    pairs = processes.first(lambda: find_pairs(origin, recons))
    beside = open_metrics(metrics, processes)
    measures = {name: measure_by(metric, processes.device) for name, metric in beside.items()}

    summary = Summary(beside)
    with open_results(out, scorer.signature(), processes, columns=list(beside), overwrite=overwrite) as file:
        rows = run(pairs, scorer, processes, results=file, batch_size=size, workers=workers, measures=measures)
        for row in track(rows, len(pairs), "comparing"):
            summary.add(row)
        if processes.rank > 0:
            raise typer.Exit
        folders = summary.folders()
        if file is not None:
            means = [{name: json_number(mean) for name, mean in folder.means.items()} for folder in folders]
            file.finish([{**folder.describe(), "metrics": mean} for folder, mean in zip(folders, means, strict=True)])
    _Comparison(folders, beside).show()
    show_failures(summary)
    results().print(f"\n{scorer.signature()}", soft_wrap=True)
    if summary.failed:
        raise typer.Exit(1)


class _Comparison:
    """What the metrics say of the pairs, printed."""

    def __init__(self, folders: Sequence[FolderSummary], metrics: Mapping[str, ImageMetric]) -> None:
        from torchmetrics_sess.comparison import METRICS

        self.titles = {name: METRICS[name].title for name in ("sess", *metrics)}
        self._turned = [name for name, metric in metrics.items() if not metric.higher_is_better]
        self._folders = [folder for folder in folders if folder.scores]

    def show(self) -> None:
        """Print the means of every folder, and the rank correlation of every two metrics."""
        console = results()
        if not self._folders:
            console.print("no pair could be scored", soft_wrap=True)
            return
        lines = [["mean", "pairs", *self.titles.values()]]
        lines += [
            [folder.folder, str(len(folder.scores)), *map(_text, (folder.mean, *folder.means.values()))]
            for folder in self._folders
        ]
        turned = [list(column) for column in zip(*lines, strict=True)]
        width = _NAME_WIDTH + sum(max(map(len, column)) + 2 for column in turned[1:])
        console.print(_table(lines if width <= console.width else turned))
        columns = [{"sess": folder.scores, **folder.values} for folder in self._folders]
        everything = {name: [value for column in columns for value in column[name]] for name in self.titles}
        if self._turned:
            console.print(f"lower is better: {self._listed(self._turned)}", soft_wrap=True)
        undefined = {name: sum(map(isnan, column)) for name, column in everything.items()}
        if any(undefined.values()):
            named = ", ".join(f"{self.titles[name]} for {count}" for name, count in undefined.items() if count)
            console.print(f"no value, because sizes differ or are too small: {named} of the pairs", soft_wrap=True)
        if len(self.titles) > 1 and len(everything["sess"]) >= _FEWEST_PAIRS:
            self._show_correlations(everything)

    def _show_correlations(self, everything: Mapping[str, Sequence[float]]) -> None:
        names = list(self.titles)
        lines = [["rank correlation", *(self.titles[name] for name in names[:-1])]]
        for index, name in enumerate(names[1:], 1):
            lines.append(
                [self.titles[name], *(_text(self._correlation(everything, name, other)) for other in names[:index])]
            )
        console = results()
        console.print(_table(lines))
        turned = f"; the sign of {self._listed(self._turned)} is turned" if self._turned else ""
        console.print(f"Spearman's, over all pairs: 1 is the same order{turned}", soft_wrap=True)

    def _correlation(self, everything: Mapping[str, Sequence[float]], name: str, other: str) -> float | None:
        from torchmetrics_sess.comparison import rank_correlation

        both = [pair for pair in zip(everything[name], everything[other], strict=True) if not any(map(isnan, pair))]
        if len(both) < _FEWEST_PAIRS:
            return None
        sign = -1 if (name in self._turned) != (other in self._turned) else 1
        return sign * rank_correlation(*zip(*both, strict=True))

    def _listed(self, names: Sequence[str]) -> str:
        return " and ".join(self.titles[name] for name in names)


def open_metrics(names: str | None, processes: Processes) -> dict[str, ImageMetric]:
    """Return the metrics that are to be compared with; the first process finds out which are to be had."""
    from torchmetrics_sess.comparison import MissingMetricError, image_metrics

    opened = _open_first(names, processes.device) if processes.rank == 0 else {}
    chosen = processes.agree(list(opened))

    def open_same() -> dict[str, ImageMetric]:
        # A column is not to be filled on some machines alone.
        with refusing(MissingMetricError):
            return opened if processes.rank == 0 else image_metrics(chosen, processes.device)

    return processes.each(open_same)


def _open_first(names: str | None, device: torch.device) -> dict[str, ImageMetric]:
    """Return the metrics that are to be compared with, and tell of those that are not to be had."""
    from torchmetrics_sess.comparison import image_metrics, missing_metrics

    def leave_out(name: str, reason: str) -> None:
        note(f"{name} is left out: {reason}")

    if names is not None:
        asked = [name.strip() for name in names.split(",") if name.strip() not in ("", "sess")]
        with refusing(ValueError):
            return image_metrics(asked, device, on_missing=leave_out)
    missing = {name: reason for name, reason in missing_metrics().items() if name in _USUAL}
    for name, reason in missing.items():
        leave_out(name, reason)
    if missing:
        note("weights of metrics that are named in --metrics are fetched")
    return image_metrics([name for name in _USUAL if name not in missing], device, on_missing=leave_out)


def measure_by(metric: ImageMetric, device: torch.device) -> Callable[[list[Tensor], list[Tensor]], list[float]]:
    """Return a measure that leaves out what it cannot compare, and ends the command where memory does not suffice."""
    import warnings

    import torch

    from torchmetrics_sess.comparison import IncomparableWarning

    def measure(preds: list[Tensor], target: list[Tensor]) -> list[float]:
        try:
            with warnings.catch_warnings():
                # The pairs without a value are counted, and told of under the table.
                warnings.simplefilter("ignore", IncomparableWarning)
                return metric(preds, target)
        except torch.OutOfMemoryError:
            refuse(
                f"{device} has not enough memory for {metric.name}; leave it out with --metrics, or try --device cpu"
            )

    return measure


def _text(value: float | None) -> str:
    if value is None or isnan(value):
        return "-"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _table(lines: Sequence[Sequence[str]]) -> Any:
    """Lay lines out, the first of them as a header; eight metrics fit into 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    # Folder names are text, whatever markup they look like.
    table.add_column(Text(lines[0][0]), min_width=_NAME_WIDTH - 1, overflow="fold")
    for title in lines[0][1:]:
        table.add_column(Text(title), justify="right", overflow="fold")
    for line in lines[1:]:
        table.add_row(*(Text(entry) for entry in line))
    return table
