"""``sess curve``: quality over rate, codec by codec, as a table, as figures and as one page."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from torchmetrics_sess.cli.options import (
    BatchSizeOption,
    CacheOption,
    CacheSizeOption,
    DeviceOption,
    DevicesOption,
    PresetOption,
    RescaleOption,
    SettingsOption,
    WorkersOption,
    parse_batch_size,
    parse_settings,
)
from torchmetrics_sess.cli.output import note, refusing, results

if TYPE_CHECKING:
    from torchmetrics_sess.cli.stream import LoadedPair
    from torchmetrics_sess.curves.codecs import Codec
    from torchmetrics_sess.curves.sources import Rates
    from torchmetrics_sess.images import FilePair
    from torchmetrics_sess.results import Row

# All points of an original go through the networks together, up to twice as many.
_LARGEST_BATCH = 64


def curve(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="The originals, a folder; then folders CODEC/POINT/IMAGE of what was made of them, and results of "
            "CompressAI (.json). Or such results alone.",
            show_default=False,
        ),
    ],
    codec: Annotated[
        list[str] | None,
        typer.Option(
            "--codec",
            metavar="NAME[:Q,Q]",
            help="Encode with it: jpeg, jpeg2000, webp, avif, jpegxl, hevc, vvc, or NAME='ENCODER {in} {bits} {q}; "
            "DECODER {bits} {out}'; repeatable.",
            show_default=False,
        ),
    ] = None,
    points: Annotated[
        int, typer.Option("--points", min=2, metavar="N", help="Qualities of a codec for which none are named.")
    ] = 8,
    anchor: Annotated[
        str | None,
        typer.Option("--anchor", metavar="NAME", help="Compare with this codec.", show_default="the first one"),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where everything goes; created if need be.")
    ] = Path("curve"),
    metrics: Annotated[
        str, typer.Option("--metrics", metavar="NAMES", help="Metrics beside SeSS, as for `sess compare`.")
    ] = "psnr,ms_ssim",
    axis: Annotated[
        Literal["bpp", "snr", "cbr"],
        typer.Option("--axis", help="What the curves run over: bits per pixel, SNR in dB, or channel bandwidth ratio."),
    ] = "bpp",
    rates: Annotated[
        Path | None,
        typer.Option(
            "--rates",
            metavar="FILE",
            help="A .csv with the columns codec, point, image and that of --axis.",
            show_default="the sizes of bitstreams, or the names of points",
        ),
    ] = None,
    show_rate: Annotated[
        float | None,
        typer.Option(
            "--show",
            metavar="RATE",
            help="Show pictures at this rate.",
            show_default="the lowest that all codecs reach",
        ),
    ] = None,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, metavar="N", help="Show so many originals with what became of them.")
    ] = 2,
    time_limit: Annotated[
        float, typer.Option("--time-limit", metavar="SECONDS", help="How long an encoder may take for an image.")
    ] = 60.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Score anew, whatever is there; bitstreams are kept.")
    ] = False,
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
    """Draw quality over rate, with BD-rates: the figure that papers on codecs and joint source-channel coding print.

    Codecs are run over their qualities, or what they made lies in folders already: then the rate is 8 times the bytes
    of the file of the same name beside an image, divided by its pixels, or stands in --rates. The folder of --out gets
    results.csv with every image, points.csv and deltas.csv, figures for a paper and for slides, pictures at equal rate,
    CompressAI's format, the encoded images, and index.html with all of it. The same command goes on where an earlier
    one was cut off.

    **Examples**

        sess curve kodak/ --codec jpeg --codec webp --codec avif --codec jpeg2000 -o kodak-curve/
        sess curve kodak/ --codec jpeg:5,10 --codec mine:1,2='enc {in} {bits} {q}; dec {bits} {out}'
        sess curve kodak/ results/ --codec jpeg --anchor jpeg      folders CODEC/POINT/IMAGE
        sess curve photos/ received/ --axis snr                    folders received/SCHEME/10dB/IMAGE
        sess curve bmshj2018.json vtm.json -o published/           results of CompressAI
    """
    from torchmetrics_sess.cli.compare import measure_by, open_metrics
    from torchmetrics_sess.cli.curve_output import (
        check_installed,
        check_names,
        find_out,
        show,
        show_pictures,
        write,
        write_report,
    )
    from torchmetrics_sess.cli.processes import launch, let_first_speak
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.run import open_results, run
    from torchmetrics_sess.cli.stream import find_scorer, open_device
    from torchmetrics_sess.cli.summary import show_failures
    from torchmetrics_sess.curves.codecs import check_seconds, ending_encoders, parse_codec
    from torchmetrics_sess.curves.curve import AXES
    from torchmetrics_sess.curves.files import curves_of, read_compressai
    from torchmetrics_sess.curves.sources import Encoded, Rates, merge_pairs, pair_points, read_rates
    from torchmetrics_sess.report.page import check_target
    from torchmetrics_sess.results import Summary

    let_first_speak()
    with refusing(ValueError, ModuleNotFoundError):
        overrides = parse_settings(settings)
        size = parse_batch_size(batch_size)
        check_target(out)
        check_installed()
        published = [found for path in sources if _is_published(path) for found in read_compressai(path)]
        seconds = check_seconds(time_limit)
        if axis != "bpp" and rates is None and (named := [text for text in codec or [] if "=" not in text]):
            raise ValueError(
                f"a quality of {named[0].partition(':')[0]} is no {AXES[axis].name}: --axis {axis} takes folders of "
                "what was received, or your own commands whose {q} it is"
            )
        if show_rate is not None and show_rate <= 0 and AXES[axis].logarithmic:
            raise ValueError(f"--show takes a {AXES[axis].name} above 0, got {show_rate:g}")
        codecs = [parse_codec(text, points, seconds) for text in codec or []]
        check_names([each.name for each in codecs], None)
        if published and axis != "bpp":
            raise ValueError(f"results of CompressAI run over bits per pixel, not over --axis {axis}")
        folders = [path for path in sources if not _is_published(path)]
        if folders:
            origin, *made = folders
            _check_sources(origin, made, codecs, out)
            encoded = Encoded(out / "images", origin, codecs)
            pairs = merge_pairs([encoded.pairs, pair_points(origin, made) if made else []])
            names = dict.fromkeys(codec_of(pair) for pair in pairs)
            check_names([*names, *(found.name for found in published)], anchor)
            where = Rates(axis, read_rates(rates, axis) if rates else None, encoded)
            where.check(pairs)
        elif codecs:
            raise ValueError("--codec needs a folder of originals to encode")
        else:
            check_names([found.name for found in published], anchor)
    if not folders:
        findings = find_out(published, anchor)
        show(findings)
        write(findings, out)
        page = write_report([], findings, [], out / "points.csv", [])
        results().print(f"\n{page}", soft_wrap=True)
        return

    scorer = find_scorer(preset, overrides, rescale=rescale, cache=cache, cache_size=cache_size)
    processes = launch(open_device(device), devices)
    beside = open_metrics(metrics, processes)
    measures = {name: measure_by(metric, processes.device) for name, metric in beside.items()}
    with refusing(OSError):
        out.mkdir(parents=True, exist_ok=True)
        encoded.prepare()
    # Then every original goes through the networks once.
    together = max(Counter(pair.origin for pair in pairs).values())
    rows: list[Row] = []
    summary = Summary()
    columns = [axis, *beside]
    with (
        open_results(out / "results.csv", scorer.signature(), processes, columns=columns, overwrite=overwrite) as file,
        ending_encoders(codecs),
    ):
        found = run(
            pairs,
            scorer,
            processes,
            results=file,
            batch_size=size or min(together, _LARGEST_BATCH),
            workers=workers,
            measures=measures,
            read=encoded.read,
            complete=partial(place_on_axis, where),
        )
        for row in track(found, len(pairs), "scoring"):
            rows.append(row)
            summary.add(row)
        if processes.rank > 0:
            raise typer.Exit
        if file is not None:
            file.finish([folder.describe() for folder in summary.folders()])
    curves, notes = curves_of(rows, axis)
    for sentence in notes:
        note(sentence)
    if curves:
        findings = find_out([*curves, *published], anchor)
        show(findings)
        write(findings, out)
        looks = show_pictures(
            rows, findings, out, rate=show_rate, count=pictures, scorer=scorer, device=processes.device
        )
        page = write_report(rows, findings, looks, out / "results.csv", notes)
        results().print(f"\n{page}", soft_wrap=True)
    show_failures(summary)
    results().print(f"\n{scorer.signature()}", soft_wrap=True)
    if summary.failed:
        raise typer.Exit(1)


def codec_of(pair: FilePair) -> str:
    """Return the codec that a pair is of."""
    return Path(pair.recon_folder).parent.name


def _is_published(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def _check_sources(origin: Path, made: Sequence[Path], codecs: Sequence[Codec], out: Path) -> None:
    if not origin.is_dir():
        raise ValueError(f"{origin} does not exist" if not origin.exists() else f"{origin} is no folder of originals")
    if out.resolve().is_relative_to(origin.resolve()):
        raise ValueError(f"--out {out} lies in {origin}: what is written there would be among the originals next time")
    if not codecs and not made:
        raise ValueError(
            f"name what {origin} is to be encoded with, such as --codec jpeg, or a folder CODEC/POINT/IMAGE of what "
            "was made of it"
        )


def place_on_axis(rates: Rates, loaded: LoadedPair) -> LoadedPair:
    """Add where a pair lies on the axis; a codec that changes the size of an image has failed."""
    if loaded.images is None:
        return loaded
    recon, origin = loaded.images
    try:
        if recon.shape != origin.shape:
            (height, width), (wanted_height, wanted_width) = recon.shape[1:], origin.shape[1:]
            raise ValueError(
                f"{loaded.pair.recon} has {width} x {height} pixels, its original {wanted_width} x {wanted_height}"
            )
        rate = rates.of(loaded.pair, origin[0].numel())
    except ValueError as error:
        return dataclasses.replace(loaded, images=None, failure=str(error))
    return dataclasses.replace(loaded, values={rates.axis: rate})
