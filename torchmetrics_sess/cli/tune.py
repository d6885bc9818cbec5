"""``sess tune``: fits the settings of a preset to what people said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from torchmetrics_sess.cli.agree import FEW_ORIGINALS, ScreenOption, check_images, few_originals
from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.options import DeviceOption, PresetOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    import torch

    from torchmetrics_sess.judgements import Range, Table, Trials, Tuned
    from torchmetrics_sess.judgements.answers import Answers
    from torchmetrics_sess.judgements.tuning import Target
    from torchmetrics_sess.presets import Preset, Tuning


def tune(
    source: Annotated[
        Path,
        typer.Argument(metavar="RATINGS", help="A file of `sess annotate --export`.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The preset that is written, a .yaml.", show_default=False),
    ],
    kind: Annotated[
        Literal["rate", "choose"] | None,
        typer.Option("--kind", help="Which answers to fit to, if there are both.", show_default=False),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary",
            metavar="NAME[=LOW:HIGH]",
            help="Settings to vary, such as theta or matching.slack=0:5; repeatable, or with commas.",
            show_default="all that have an effect, but iterations",
        ),
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", min=20, metavar="N", help="Settings to try, for each of the fits.")
    ] = 300,
    folds: Annotated[int, typer.Option("--folds", min=2, metavar="N", help="Parts of the cross-validation.")] = 5,
    screen: ScreenOption = "bt500",
    anyway: Annotated[bool, typer.Option("--anyway", help="Write the preset even if the gain is not certain.")] = False,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    graphs: Annotated[
        Path | None,
        typer.Option("--graphs", metavar="FOLDER", help="Where scene graphs are kept.", show_default="beside RATINGS"),
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, metavar="N", help="Images at once.")] = 8,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all random numbers.")] = 0,
) -> None:
    """Fit the settings of matching and importance to what people said, and measure what that gains elsewhere.

    To ratings, by rank correlation; to choices, by likelihood. Scene graphs are extracted once and kept: a trial costs
    matching alone. The gain is that on originals that settings were not fitted to, by nested cross-validation. A preset
    whose gain may as well be 0 is not written, and the exit code is 1.

    **Examples**

        sess tune ratings.csv -o mine.yaml
        sess tune ratings.csv -o mine.yaml --kind choose --vary theta,slack,focus
        sess tune ratings.csv -o mine.yaml --vary theta=0:0.5 --vary k1
        sess score originals/ decoded/ --preset mine.yaml
    """
    check_writable(out)
    if out.suffix.lower() not in (".yaml", ".yml"):
        refuse(f"cannot write {out}: a preset ends in .yaml")
    from torchmetrics_sess.cli.stream import open_device
    from torchmetrics_sess.judgements import screen as screened
    from torchmetrics_sess.judgements import tabulate
    from torchmetrics_sess.judgements.answers import read_answers
    from torchmetrics_sess.presets import load_preset

    with refusing(ValueError, TypeError):
        ranges = parse_vary(vary)
        answers = read_answers(source)
        if kind is None and len(answers.kinds) > 1:
            raise ValueError(f"{source} holds ratings and choices: say with --kind which of them to fit to")
        table = tabulate(answers, kind or answers.kinds[0])
        rejected = [rater for rater in screened(answers, table, screen) if rater.rejected]
        for rater in rejected:
            note(f"left out: {rater.name}, {rater.answers} answers: {rater.rejected}")
        table = table.without(rater.name for rater in rejected)
        if not table.raters:
            raise ValueError(f"no rater is left after screening by {screen}")
        if len(table.raters) == 1:
            note("one rater: the settings will be those of this person")
        check_images(source, [table.judgements()])
        base = load_preset(preset, parse_settings(settings))
    chosen = open_device(device)
    folder = graphs or source.with_name(f"{source.stem}-graphs")
    with refusing(ValueError):
        pairs = _pairs(table)
        target = _target(table, pairs)
        found = _prepare(base, pairs, folder, chosen, batch_size)
        tuned = _tune(found, target, ranges, trials, folds, seed)
    provenance = _provenance(answers, table, tuned)
    _show(tuned, table, provenance)
    if not (tuned.gain.certain or anyway):
        note(f"{out} is not written: no gain is certain. More judgements may tell; --anyway writes it all the same")
        raise typer.Exit(1)
    matching, importance = found.configs(tuned.settings)
    made = dataclasses.replace(
        base, name=out.stem, matching=matching, importance=importance, baseline=None, tuned=provenance
    )
    _write(made, base, out)
    results().print(f"\n{out}\n{load_preset(out).signature()}", soft_wrap=True)


def parse_vary(texts: Sequence[str] | None) -> dict[str, Range] | None:
    """Read what to vary.

    Raises:
        ValueError: for a name that is unknown or stands for several, or bounds that are none.

    Examples:
        >>> list(parse_vary(["theta,k1", "matching.slack=0:2"]))
        ['matching.theta', 'importance.k1', 'matching.slack']
    """
    from torchmetrics_sess.config import nearest
    from torchmetrics_sess.judgements.trials import VARIABLE

    if not texts:
        return None
    ranges: dict[str, Range] = {}
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        name, equals, bounds = text.partition("=")
        full = [each for each in VARIABLE if name in (each, each.partition(".")[2])]
        if not full:
            raise ValueError(f"--vary takes no {name!r}{nearest(name, VARIABLE)}")
        ranges[full[0]] = _within(VARIABLE[full[0]], bounds, text) if equals else VARIABLE[full[0]]
    return ranges


def _within(widest: Range, bounds: str, text: str) -> Range:
    low, _, high = bounds.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ValueError(f"--vary takes NAME=LOW:HIGH, such as theta=0:0.5, got {text!r}") from None
    if widest.choices or not widest.low <= ends[0] < ends[1] <= widest.high:
        allowed = " or ".join(widest.choices) if widest.choices else f"{widest.low:g} to {widest.high:g}"
        raise ValueError(f"--vary {text}: the bounds must lie within {allowed}, the lower first")
    return dataclasses.replace(widest, low=ends[0], high=ends[1])


def _pairs(table: Table) -> list[tuple[str, str]]:
    """Return every pair of reconstruction and original that people judged, once."""
    return sorted({(other, question[0]) for question in table.questions for other in question[1:]})


def _target(table: Table, pairs: Sequence[tuple[str, str]]) -> Target:
    from torchmetrics_sess.judgements import ChoiceTarget, RatingTarget

    number = {pair: index for index, pair in enumerate(pairs)}
    judged = table.judgements()
    originals = [question[0] for question in table.questions]
    sides = [[number[other, question[0]] for other in question[1:]] for question in table.questions]
    if table.kind == "rate":
        return RatingTarget([side[0] for side in sides], judged.human, originals)
    left, right = ([side[index] for side in sides] for index in (0, 1))
    return ChoiceTarget(left, right, judged.human, judged.votes, originals)


def _prepare(
    preset: Preset, pairs: Sequence[tuple[str, str]], folder: Path, device: torch.device, batch_size: int
) -> Trials:
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.stream import load_networks
    from torchmetrics_sess.judgements.graphs import GraphFolder
    from torchmetrics_sess.judgements.trials import Trials
    from torchmetrics_sess.scoring import Scorer

    kept = GraphFolder(folder, preset, device)
    networks = load_networks(Scorer(preset), device)
    paths = list(dict.fromkeys(path for pair in pairs for path in pair))
    missing = kept.missing(paths)
    for _ in track(kept.extract(missing, networks.extractor, batch_size), len(missing), "extracting scene graphs"):
        pass
    graphs = {path: kept.load(path) for path in paths}
    return Trials(graphs, pairs, networks.relation_similarity, preset.matching, preset.importance)


def _tune(
    trials: Trials, target: Target, ranges: Mapping[str, Range] | None, budget: int, folds: int, seed: int
) -> Tuned:
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    from torchmetrics_sess.judgements import tune as fit

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed} trials"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("tuning", total=None)
        return fit(
            trials, target, ranges, budget=budget, folds=folds, seed=seed, progress=lambda: progress.advance(task)
        )


def _provenance(answers: Answers, table: Table, tuned: Tuned) -> Tuning:
    from torchmetrics_sess.presets import Tuning

    low, high = tuned.gain.interval
    return Tuning(
        judgements=table.count,
        raters=len(table.raters),
        ratings=answers.digest,
        statistic=tuned.statistic,
        gain=round(tuned.gain.value, 4),
        gain_low=round(low, 4),
        gain_high=round(high, 4),
    )


def _show(tuned: Tuned, table: Table, provenance: Tuning) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    console = results()
    originals = len({question[0] for question in table.questions})
    raters = "one rater" if provenance.raters == 1 else f"{provenance.raters} raters"
    console.print(
        f"{provenance.judgements} answers of {raters} to {len(table.questions)} questions about "
        f"{originals} originals; {tuned.trials} trials",
        soft_wrap=True,
    )
    grid = Grid("setting", "before", "fitted", f"in the {len(tuned.folds)} folds", box=box.SIMPLE_HEAD, pad_edge=False)
    for name, value in tuned.settings.items():
        grid.add_row(*(Text(text) for text in (name, _cell(tuned.start[name]), _cell(value), _spread(tuned, name))))
    console.print(grid)
    gain = tuned.gain
    console.print(
        f"{tuned.statistic} on originals not tuned on: {gain.before:.3f} before, {gain.after:.3f} after, "
        f"a gain of {gain.value:+.3f} [{gain.interval[0]:+.3f}, {gain.interval[1]:+.3f}] (95 %)",
        soft_wrap=True,
    )
    console.print(
        f"on all answers, which the settings were fitted to: {tuned.fitted[0]:.3f} before, {tuned.fitted[1]:.3f} after "
        "(this flatters them)",
        soft_wrap=True,
    )
    if originals < FEW_ORIGINALS:
        console.print(few_originals(originals), soft_wrap=True)


def _spread(tuned: Tuned, name: str) -> str:
    values = [fold[name] for fold in tuned.folds]
    if any(isinstance(value, str) for value in values):
        return ", ".join(sorted({str(value) for value in values}))
    numbers = [float(value) for value in values]
    return f"{min(numbers):.4g} to {max(numbers):.4g}"


def _cell(value: float | int | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"


def _write(preset: Preset, base: Preset, out: Path) -> None:
    from torchmetrics_sess.presets import preset_yaml

    with written(out) as part:
        part.write_text(
            f"# {base.name}, with settings that `sess tune` fitted to what people said; `tuned` says to what.\n"
            "# A baseline for --rescale has to be measured anew (benchmarks/calibration/baseline.py).\n"
            + preset_yaml(preset),
            encoding="utf-8",
        )
