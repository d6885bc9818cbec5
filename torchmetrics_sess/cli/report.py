"""``sess report``: one HTML page about the results of ``sess score`` or ``sess compare``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchmetrics_sess.cli.agree import FEW_ORIGINALS, few_originals
from torchmetrics_sess.cli.options import DeviceOption, PresetOption, RescaleOption, SettingsOption, parse_settings
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    import torch

    from torchmetrics_sess.report import Results
    from torchmetrics_sess.report.page import Shown
    from torchmetrics_sess.report.people import People, Rated
    from torchmetrics_sess.results import Row
    from torchmetrics_sess.scoring import Scorer

# Of more pairs, PSNR and SSIM take minutes, and the picture does not change.
_MEASURED = 500


def report(
    source: Annotated[
        Path, typer.Argument(metavar="RESULTS", help="A file of `sess score --out`, .csv or .json.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where index.html goes; created if need be.")
    ] = Path("report"),
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, metavar="N", help="Explain this many lowest and highest scores.")
    ] = 3,
    ratings: Annotated[
        Path | None,
        typer.Option(
            "--ratings",
            metavar="FILE",
            help="What people said of the pairs: `sess annotate --export`.",
            show_default=False,
        ),
    ] = None,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    rescale: RescaleOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Make a page of results: summary, charts, explained examples, and a table to sort and filter.

    The page is one file that loads nothing else. PSNR and SSIM are computed if the results lack them and the images
    are still where they were. Pass the `--preset`, `--set` and `--rescale` of the scores, so that the
    examples can be explained.

    **Examples**

        sess score kodak/ jpeg-10/ jpeg-50/ --out results.csv
        sess report results.csv -o report/
        sess report results.csv -o report/ --pictures 0      no networks needed
        sess report results.csv --ratings ratings.csv        beside what people said
    """
    from torchmetrics_sess.cli.stream import find_scorer
    from torchmetrics_sess.report import read_results
    from torchmetrics_sess.report.page import check_target

    with refusing(ValueError):
        overrides = parse_settings(settings)
        check_target(out)
        found = read_results(source)
    if not found.rows:
        refuse(f"{source} holds no pair yet")
    scorer = find_scorer(preset, overrides, rescale=rescale)
    path = make_report(found, source, out, scorer=scorer, device=device, pictures=pictures, ratings=ratings)
    results().print(str(path), soft_wrap=True)


def make_report(
    found: Results,
    source: Path,
    folder: Path,
    *,
    scorer: Scorer,
    device: str,
    pictures: int,
    ratings: Path | None = None,
) -> Path:
    """Write the report of the results read from ``source`` into ``folder``, and return its path."""
    from torchmetrics_sess.cli.stream import open_device
    from torchmetrics_sess.report.page import Content, write_page
    from torchmetrics_sess.report.pictures import choose_extremes

    chosen = open_device(device)
    notes = []
    if found.unfinished:
        notes.append("The results end in the middle of a line: the run was cut off. What it had finished is shown.")
    if len({row.signature for row in found.rows if row.score is not None}) > 1:
        notes.append("The scores have different signatures: they must not be compared with each other.")

    people = _beside_people(found.rows, ratings, notes) if ratings else None
    rows = _measured(found.rows, chosen, notes)
    lowest, highest = choose_extremes(rows, pictures)
    obstacle = _obstacle([*lowest, *highest], scorer, chosen) if lowest else None
    if obstacle:
        notes.append(f"The pairs of the lowest and highest scores are shown without explanations: {obstacle}.")
    shown = iter(_show([*lowest, *highest], None if obstacle else scorer, chosen))
    content = Content(
        source,
        rows,
        lowest=[next(shown) for _ in lowest],
        highest=[next(shown) for _ in highest],
        explained=obstacle is None,
        people=people,
        higher_than_people=_show_rated(people.higher_than_people(pictures), chosen) if people else (),
        lower_than_people=_show_rated(people.lower_than_people(pictures), chosen) if people else (),
        notes=notes,
    )
    for message in notes:
        note(message)
    with refusing(OSError, ValueError):
        return write_page(content, folder)


def _beside_people(rows: Sequence[Row], path: Path, notes: list[str]) -> People:
    from torchmetrics_sess.judgements.answers import read_answers, tabulate
    from torchmetrics_sess.judgements.raters import screen
    from torchmetrics_sess.report.people import beside_people

    with refusing(ValueError):
        answers = read_answers(path)
        if "rate" not in answers.kinds:
            raise ValueError(f"{path} holds choices alone, and no rating; `sess agree` compares choices")
        table = tabulate(answers, "rate")
        rejected = {rater.name: rater.rejected for rater in screen(answers, table) if rater.rejected}
        if len(rejected) == len(table.raters):
            raise ValueError(f"{path}: no rater is left after screening; `sess agree` says why")
        people = beside_people(rows, table.without(rejected))
    if rejected:
        notes.append("Ratings left out: " + ", ".join(f"{name}: {reason}" for name, reason in rejected.items()) + ".")
    if people.originals < FEW_ORIGINALS:
        notes.append(f"SeSS and people: {few_originals(people.originals)}.")
    if people.unknown:
        notes.append(f"{people.unknown} rated pairs are not among the results.")
    return people


def _measured(rows: Sequence[Row], device: torch.device, notes: list[str]) -> list[Row]:
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.report.pixels import choose_unmeasured, is_measured, measure

    measured = list(rows)
    lacking = [index for index, row in enumerate(rows) if row.score is not None and not is_measured(row)]
    if not lacking:
        return measured
    chosen = choose_unmeasured(lacking, _MEASURED)
    found = measure([rows[index] for index in chosen], device)
    for index, row in zip(chosen, track(found, len(chosen), "PSNR and SSIM"), strict=True):
        measured[index] = row
    if len(chosen) < len(lacking):
        notes.append(f"PSNR and SSIM were computed for {len(chosen)} pairs of {len(lacking)}, chosen at random.")
    left_out = [measured[index] for index in chosen if not is_measured(measured[index])]
    lost = sum(not (Path(row.pair.origin).is_file() and Path(row.pair.recon).is_file()) for row in left_out)
    if lost:
        notes.append(
            f"PSNR and SSIM are missing for {lost} pairs, whose images were not found; relative paths start from the "
            "folder in which the report is made."
        )
    if len(left_out) > lost:
        notes.append(
            f"PSNR or SSIM is missing for {len(left_out) - lost} pairs, whose images differ in size, are tiny, or "
            "cannot be read."
        )
    return measured


def _obstacle(rows: Sequence[Row], scorer: Scorer, device: torch.device) -> str | None:
    """Return what keeps scores from being explained, if anything does."""
    from torchmetrics_sess.report.pictures import can_explain
    from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError

    if not can_explain():
        return "matplotlib draws them, which the extra `plot` installs"
    if any(row.signature != scorer.signature() for row in rows):
        return "the scores have another signature than the preset chosen for this report (--preset, --set, --rescale)"
    try:
        scorer.networks.on(device)
    except (MissingWeightError, CorruptWeightError) as error:
        return str(error).rstrip(".")
    return None


def _show(rows: Sequence[Row], scorer: Scorer | None, device: torch.device) -> list[Shown]:
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.report.page import Shown
    from torchmetrics_sess.report.pictures import picture_explanation, picture_pair

    def show(row: Row) -> Shown:
        try:
            return Shown(row, picture_explanation(row, scorer, device) if scorer else picture_pair(row))
        except ValueError as error:
            return Shown(row, [], str(error))

    return list(track(map(show, rows), len(rows), "pictures"))


def _show_rated(pairs: Sequence[Rated], device: torch.device) -> list[tuple[Rated, Shown]]:
    return list(zip(pairs, _show([each.row for each in pairs], None, device), strict=True))
