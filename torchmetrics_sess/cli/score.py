"""``sess score``: compares two images, or folders of images."""

from __future__ import annotations

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
from torchmetrics_sess.cli.output import refusing


def score(
    origin: OriginArgument,
    recons: ReconsArgument = None,
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
    """Score how much of the meaning of each original its reconstruction keeps: 1 is all of it.

    Folders are searched with their subfolders. An image pairs up with the one of the same relative path or, failing
    that, of the same path but for the extension. A list of pairs is a CSV file with the columns `origin` and `recon`,
    and `name` and `recon_folder` if you like; its paths are relative to its own folder. In tar files, a pair is
    `17.origin.png` and `17.recon.jpg`; in Parquet files, a row with the columns `origin` and `recon`.

    Any format that Pillow reads will do; the images of a pair may differ in size. What cannot be read or has no partner
    is named and left out, and the exit code is 1.

    With `--out`, results are written as they come. The same command goes on where an earlier one was cut off, even by
    a power failure, and ends with the same file; what failed is not tried again.

    Started several times by torchrun or srun, on one machine or many, the processes share the work.

    **Examples**

        sess score photo.png photo.jpg                         two files
        sess score kodak/ decoded/                             two folders
        sess score kodak/ bpg/ webp/ jpeg/ --out scores.csv    three codecs, every score in a file
        sess score pairs.csv --out scores.json                 a list of pairs
        sess score shards/*.tar --out scores.csv               pairs in a WebDataset
        sess score kodak/ decoded/ --set matching.theta=0.1    a setting changed
        sess score kodak/ decoded/ --rescale baseline          unrelated photographs score 0
        sess score kodak/ decoded/ --cache graphs/             later runs read no original again
        sess score kodak/ decoded/ --device cuda --devices 4   shared among four GPUs
    """
    from torchmetrics_sess.cli.processes import launch, let_first_speak
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.run import find_pairs, open_results, run
    from torchmetrics_sess.cli.stream import find_scorer, open_device
    from torchmetrics_sess.cli.summary import show
    from torchmetrics_sess.results import Summary

    let_first_speak()
    with refusing(ValueError):
        overrides = parse_settings(settings)
        size = parse_batch_size(batch_size)
    scorer = find_scorer(preset, overrides, rescale=rescale, cache=cache, cache_size=cache_size)
    processes = launch(open_device(device), devices)
    pairs = processes.first(lambda: find_pairs(origin, recons))

    summary = Summary()
    with open_results(out, scorer.signature(), processes, overwrite=overwrite) as results:
        rows = run(pairs, scorer, processes, results=results, batch_size=size, workers=workers)
        for row in track(rows, len(pairs), "scoring"):
            summary.add(row)
        if processes.rank > 0:
            raise typer.Exit
        folders = summary.folders()
        if results is not None:
            results.finish([folder.describe() for folder in folders])
    show(summary, folders, scorer.signature())
    if summary.failed:
        raise typer.Exit(1)
