"""``sess agree``: do metrics agree with people, and people with each other?"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.options import DeviceOption, PresetOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.comparison import ImageMetric
    from torchmetrics_sess.judgements import Analysis, Answers, Codec, Rater, Reliability, Table
    from torchmetrics_sess.judgements.analysis import ImagePaths
    from torchmetrics_sess.judgements.datasets import Judgements

Dataset: TypeAlias = Literal["ratings", "tid2013", "kadid", "sis", "nights", "csv"]
Screen: TypeAlias = Literal["bt500", "p910", "none"]
# From fewer, bootstrap intervals are too narrow: docs/people.md, "How many judgements".
FEW_ORIGINALS = 10
# Raters beyond these are counted, not listed.
_LISTED = 30

ScreenOption: TypeAlias = Annotated[
    Screen,
    typer.Option("--screen", help="Which raters of ratings to leave out: by ITU-R BT.500, ITU-T P.910, or none."),
]


def agree(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RATINGS", help="A file of `sess annotate --export`, or a data set.", show_default=False
        ),
    ],
    dataset: Annotated[
        Dataset, typer.Option("--dataset", help="What it is; csv has image_a, image_b, human_score.")
    ] = "ratings",
    images: Annotated[
        Path | None, typer.Option("--images", metavar="FOLDER", help="sis: the COCO images.", show_default=False)
    ] = None,
    split: Annotated[str, typer.Option("--split", help="nights: train, val or test.")] = "test",
    min_votes: Annotated[int, typer.Option("--min-votes", help="nights: leave out triplets with fewer votes.")] = 6,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="NAMES",
            help="Metrics, separated by commas; see `sess compare --help`.",
            show_default="all whose weights are here",
        ),
    ] = None,
    screen: ScreenOption = "bt500",
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Pairs at once.")] = 8,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Only so many questions, drawn at random.")
    ] = None,
    resamples: Annotated[int, typer.Option("--resamples", min=1, metavar="N", help="For intervals and tests.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all random numbers.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write all numbers into a .json or .csv file.", show_default=False),
    ] = None,
) -> None:
    """Say how well metrics agree with people, how well people agree with each other, and what that leaves to reach.

    For ratings: rank correlations (SRCC, KRCC), and Pearson's after the logistic fit of VQEG (PLCC). For choices: how
    many people choose as the metric does (2AFC). With 95 % intervals, and p-values for every two metrics, both by
    bootstrap over originals. Answers of `sess annotate` need the extra `study`.

    **Examples**

        sess agree ratings.csv                                  answers of `sess annotate`
        sess agree ratings.csv --metrics sess,psnr --out agreement.json
        sess agree TID2013/ --dataset tid2013                   data sets as they were released
        sess agree kadid10k/ --dataset kadid --metrics sess,psnr,ssim
        sess agree sis_val.csv --dataset sis --images coco/
        sess agree nights/ --dataset nights --split test
        sess agree pairs.csv --dataset csv                      columns image_a, image_b, human_score
    """
    if out is not None:
        check_writable(out)
        if out.suffix.lower() not in (".csv", ".json"):
            refuse(f"cannot write {out}: its name must end in .csv or .json")
    from torchmetrics_sess.cli.stream import open_device
    from torchmetrics_sess.comparison import MissingMetricError, available_metrics, image_metrics
    from torchmetrics_sess.judgements import datasets
    from torchmetrics_sess.judgements.analysis import analyse, draw, image_pairs
    from torchmetrics_sess.judgements.answers import read_answers
    from torchmetrics_sess.presets import load_preset

    people: list[_People] = []
    with refusing(ValueError, ModuleNotFoundError):
        overrides = parse_settings(settings)
        if dataset == "ratings":
            answers = read_answers(source)
            people = [_people(answers, kind, screen, seed) for kind in answers.kinds]
            judged = [each.judgements for each in people]
        else:
            readers = {
                "tid2013": lambda: datasets.read_tid2013(source),
                "kadid": lambda: datasets.read_kadid(source),
                "sis": lambda: datasets.read_sis(source, images or source.parent),
                "nights": lambda: datasets.read_nights(source, split, min_votes),
                "csv": lambda: datasets.read_plain(source),
            }
            judged = [readers[dataset]()]
        judged = [draw(judgements, limit, seed) for judgements in judged]
        check_images(source, judged)
    chosen = open_device(device)
    with refusing(ValueError, TypeError, MissingMetricError):
        preset_used = load_preset(preset, overrides)
        names = metrics.split(",") if metrics else available_metrics(preset_used)
        compared = image_metrics([name.strip() for name in names], chosen, preset=preset_used)

    content: list[dict[str, Any]] = []
    with refusing(ValueError):
        values = _measure(judged, compared, batch_size)
    for index, judgements in enumerate(judged):
        with refusing(ValueError):
            columns = {name: [found[pair] for pair in image_pairs(judgements)] for name, found in values.items()}
            analysis = analyse(judgements, columns, resamples=resamples, seed=seed)
        if index:
            results().print()
        _show(analysis, str(source) if dataset == "ratings" else dataset)
        about = people[index] if people else None
        if about is not None:
            about.show()
        content.append(_content(analysis, about))
    if "sess" in compared:
        results().print(f"\n{preset_used.signature()}", soft_wrap=True)
    if out is not None:
        _write(content, preset_used.signature(), source, out)


def few_originals(count: int) -> str:
    """Return what so few originals cannot tell."""
    if count == 1:
        return "one original: intervals and tests say nothing about other images"
    return (
        f"only {count} originals: intervals and tests from fewer than {FEW_ORIGINALS} are too sure of themselves, and "
        "show that the study works, no more"
    )


def check_images(source: Path, judged: Sequence[Judgements]) -> None:
    """Check that the images that people judged are there.

    Raises:
        ValueError: if they are not.
    """
    paths = {path for each in judged for path in each.references} | {
        path for each in judged for others in each.others for path in others
    }
    lost = sorted(str(path) for path in paths if not path.is_file())
    if lost:
        raise ValueError(
            f"{source} is about {len(paths)} images, of which {len(lost)} are not there, such as {lost[0]}; paths in "
            "it are relative to its own folder"
        )


class _People:
    """What is known of those who answered one kind of question."""

    def __init__(
        self,
        judgements: Judgements,
        kept: Table,
        raters: Sequence[Rater],
        reliability: Reliability,
        codecs: Sequence[Codec],
    ) -> None:
        self.judgements = judgements
        self.kept = kept
        self.raters = raters
        self.reliability = reliability
        self.codecs = codecs

    def show(self) -> None:
        """Print it."""
        console = results()
        choices = self.kept.kind == "choose"
        found = self.reliability
        if len(self.kept.raters) < 2:
            console.print(
                "one rater: how far people agree, and what a metric can reach, cannot be told", soft_wrap=True
            )
        else:
            most = "no metric can exceed 2AFC" if choices else "the best metric can be expected to reach SRCC"
            console.print(
                f"{len(self.kept.raters)} raters: Krippendorff's alpha {_text(found.alpha)}, "
                f"split-half {_text(found.split_half)}\n"
                f"{most} {_text(found.ceiling)}; "
                f"one person in its place, {_text(found.one_person)}",
                soft_wrap=True,
            )
        rejected = [rater for rater in self.raters if rater.rejected]
        for rater in rejected[:_LISTED]:
            console.print(f"left out: {rater.name}, {rater.answers} answers: {rater.rejected}", soft_wrap=True)
        if len(rejected) > _LISTED:
            console.print(f"and {len(rejected) - _LISTED} others")
        if len(self.codecs) > 1:
            title = "strength (Bradley-Terry)" if choices else "mean rating"
            rows = [
                [
                    codec.name,
                    f"{codec.value:.2f} [{codec.interval[0]:.2f}, {codec.interval[1]:.2f}]",
                    str(codec.answers),
                ]
                for codec in self.codecs
            ]
            console.print(_table([["made by", f"{title} (95 %)", "answers"], *rows]))

    def content(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "raters": [asdict(rater) for rater in self.raters],
            "answers": self.kept.count,
            "reliability": asdict(self.reliability),
            "codecs": [asdict(codec) for codec in self.codecs],
        }


def _people(answers: Answers, kind: Literal["rate", "choose"], rule: Screen, seed: int) -> _People:
    from torchmetrics_sess.judgements import compare_codecs, reliability, screen, tabulate

    _check_extra()
    table = tabulate(answers, kind)
    raters = screen(answers, table, rule)
    kept = table.without(rater.name for rater in raters if rater.rejected)
    if not kept.raters:
        raise ValueError(f"no rater is left after screening by {rule}; --screen none keeps all but who failed checks")
    return _People(
        kept.judgements(), kept, raters, reliability(kept, seed), compare_codecs(kept, resamples=200, seed=seed)
    )


def _check_extra() -> None:
    try:
        import choix  # noqa: F401
        import krippendorff  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error.name} is needed to compare people: install the extra `study` "
            "(pip install 'torchmetrics-sess[study]')"
        ) from error


def _measure(
    judged: Sequence[Judgements], metrics: Mapping[str, ImageMetric], batch_size: int
) -> dict[str, dict[ImagePaths, float]]:
    """Return what every metric says of every pair of images, each looked at once."""
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.judgements.analysis import image_pairs, measure

    pairs = sorted({pair for judgements in judged for pair in image_pairs(judgements)})
    values: dict[str, list[float]] = {name: [] for name in metrics}
    for batch in track(measure(pairs, metrics, batch_size), math.ceil(len(pairs) / batch_size), "comparing"):
        for name, found in batch.items():
            values[name] += found
    return {name: dict(zip(pairs, found, strict=True)) for name, found in values.items()}


def _show(analysis: Analysis, source: str) -> None:
    console = results()
    first = next(iter(analysis.results.values()))
    order = sorted(first.value, key=lambda name: -math.inf if math.isnan(first.value[name]) else -first.value[name])
    what = "choices" if analysis.choices else "ratings"
    console.print(f"{source}: {what}, {analysis.judgements} questions about {analysis.originals} originals")
    if analysis.left_out:
        console.print(f"left out, because a metric has no value for them: {analysis.left_out}")
    if analysis.originals < FEW_ORIGINALS:
        console.print(few_originals(analysis.originals), soft_wrap=True)
    lines = [["metric", *(f"{name} (95 %)" for name in analysis.results)]]
    for metric in order:
        cells = [
            f"{each.value[metric]:.3f} [{each.interval[metric][0]:.3f}, {each.interval[metric][1]:.3f}]"
            for each in analysis.results.values()
        ]
        lines.append([metric, *cells])
    console.print(_table(lines))
    if len(order) < 2:
        return
    name = next(iter(analysis.results))
    console.print(f"p-values of the difference in {name} (paired bootstrap over originals, not corrected)")
    console.print(
        _table([["", *order], *([metric, *(_p(first.p_values, metric, o) for o in order)] for metric in order)])
    )


def _p(values: Mapping[tuple[str, str], float], metric: str, other: str) -> str:
    if metric == other:
        return ""
    return f"{values.get((metric, other), values.get((other, metric), math.nan)):.3f}"


def _table(lines: Sequence[Sequence[str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in lines[0]:
        table.add_column(Text(title), overflow="fold")
    for line in lines[1:]:
        # Names are text, whatever markup they look like.
        table.add_row(*(Text(cell) for cell in line))
    return table


def _text(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3f}"


def _content(analysis: Analysis, people: _People | None) -> dict[str, Any]:
    return {
        "kind": "choose" if analysis.choices else "rate",
        "originals": analysis.originals,
        "metrics": analysis.rows(),
        **({"people": people.content()} if people else {}),
    }


def _write(content: Sequence[Mapping[str, Any]], signature: str, source: Path, out: Path) -> None:
    with written(out) as part:
        if out.suffix.lower() == ".json":
            whole = {"source": source.name, "signature": signature, "kinds": content}
            part.write_text(json.dumps(_plain(whole), indent=2) + "\n", encoding="utf-8")
            return
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["kind", "statistic", "metric", "value", "low", "high", "judgements", "left_out"])
            for kind in content:
                for row in kind["metrics"]:
                    cells = [row["statistic"], row["metric"], row["value"], *row["interval"]]
                    writer.writerow([kind["kind"], *cells, row["judgements"], row["left_out"]])
    note(f"written: {out}")


def _plain(value: Any) -> Any:
    """Return what JSON can hold: it knows no NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
