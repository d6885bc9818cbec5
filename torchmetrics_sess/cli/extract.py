"""``sess extract``: writes scene graphs into files."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.files import written
from torchmetrics_sess.cli.naming import open_namer
from torchmetrics_sess.cli.options import (
    DeviceOption,
    DevicesOption,
    PresetOption,
    SettingsOption,
    VocabularyOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from torchmetrics_sess.cli.processes import Processes
    from torchmetrics_sess.cli.results import ResultsFile
    from torchmetrics_sess.extractor import SceneGraphExtractor
    from torchmetrics_sess.graph import SceneGraph
    from torchmetrics_sess.images import FilePair
    from torchmetrics_sess.naming import ObjectName, ObjectNamer
    from torchmetrics_sess.results import Row

JSON_FORMAT = "torchmetrics-sess/scene-graph-json/1"

# Masks are as many bytes as an image has pixels, for every object: an extraction is cut short before they fill memory.
_PIXELS_AT_ONCE = 1 << 24
_THREADS = 4


def extract(
    images: Annotated[list[Path], typer.Argument(help="Images, or folders of them.", show_default=False)],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where the files go; created if need be.", show_default=False
        ),
    ],
    masks: Annotated[
        bool, typer.Option("--masks/--no-masks", help="Keep the pixels of every object: most of the size of a file.")
    ] = True,
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, metavar="N", help="Images at once: changes memory and speed.")
    ] = 8,
    vocabulary: VocabularyOption = None,
    devices: DevicesOption = 1,
) -> None:
    """Write the scene graph of every image: arrays as .safetensors, and objects and relations as .json.

    Folders are searched with their subfolders, which the output keeps. The graph of `a/photo.jpg` is called
    `a/photo`; where several images of a folder would share that name, `a/photo.jpg`. An image or a subfolder that
    cannot be read is named and left out, and the exit code is 1. The same command goes on where an earlier one was cut
    off.

    **Examples**

        sess extract photo.jpg -o graphs/
        sess extract kodak/ -o graphs/ --no-masks    small files
        jq .triplets graphs/photo.json
    """
    from torchmetrics_sess.cli.processes import launch, let_first_speak
    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.run import proceed
    from torchmetrics_sess.cli.stream import find_scorer, load_networks, open_device
    from torchmetrics_sess.results import OK

    let_first_speak()
    with refusing(ValueError):
        overrides = parse_settings(settings)
    if out.exists() and not out.is_dir():
        refuse(f"{out} is a file; name a folder")
    scorer = find_scorer(preset, overrides)
    processes = launch(open_device(device), devices)
    files, skipped = processes.first(lambda: _find(images))
    extractor = processes.each(lambda: load_networks(scorer, processes.device)).extractor
    namer = open_namer(extractor, vocabulary)
    with refusing(OSError):
        out.mkdir(parents=True, exist_ok=True)

    def work(batches: Sequence[Sequence[FilePair]]) -> Iterator[list[Row]]:
        write = partial(_write, folder=out, signature=scorer.signature(), masks=masks, namer=namer)
        return _extract(batches, extractor, processes.device, write)

    for reason in skipped:
        note(reason)
    batches = [files[start : start + batch_size] for start in range(0, len(files), batch_size)]
    extracted = 0
    made_of = [scorer.signature(), masks, vocabulary and vocabulary.read_text("utf-8"), [*map(astuple, files)]]
    with _journal(out, made_of, processes) as journal:
        rows = proceed(batches, work, processes, results=journal, what="images")
        for row in track(rows, len(files), "extracting"):
            if row.status == OK:
                extracted += 1
            else:
                note(row.status)
    if processes.rank > 0:
        raise typer.Exit
    console = results()
    console.print(f"{extracted} of {len(files)} scene graphs are in {out}", soft_wrap=True)
    console.print(f"\n{scorer.signature()}", soft_wrap=True)
    if skipped or extracted < len(files):
        raise typer.Exit(1)


def describe_graph(
    graph: SceneGraph, file: str, signature: str, names: Sequence[ObjectName] | None = None
) -> dict[str, Any]:
    """Return what ``sess extract`` writes as JSON about a graph with masks.

    Args:
        graph: the graph.
        file: what to call the image.
        signature: names everything that can change the graph.
        names: what every object is called, if that is known.
    """
    from torchmetrics_sess.objects import group_objects, object_graph
    from torchmetrics_sess.relations.vocabulary import PREDICATES

    if graph.masks is None:
        raise ValueError("`graph` must have masks: extract it with `masks=True`")
    confidence, objects = graph.confidence.tolist(), group_objects(graph)
    height, width = graph.masks.shape[1:]
    return {
        "format": JSON_FORMAT,
        "signature": signature,
        "image": {"file": file, "height": height, "width": width},
        "objects": _describe_nodes(object_graph(graph, objects)),
        "nodes": [
            {**node, "object": number, **_name(names, node["id"])}
            for node, number in zip(_describe_nodes(graph), objects.tolist(), strict=True)
        ],
        "triplets": [
            {
                "subject": subject,
                "predicate": PREDICATES[predicate],
                "object": obj,
                "confidence": confidence[subject][obj],
                **({"text": f"{names[subject]} — {PREDICATES[predicate]} → {names[obj]}"} if names else {}),
            }
            for subject, predicate, obj in graph.triplets()
        ],
    }


def _describe_nodes(graph: SceneGraph) -> list[dict[str, Any]]:
    from torchmetrics_sess.geometry import mask_boxes

    masks = [] if graph.masks is None else list(graph.masks)
    boxes = [] if graph.masks is None else mask_boxes(graph.masks).tolist()
    columns = graph.importance.tolist(), graph.centers.tolist(), boxes, masks
    return [
        {
            "id": number,
            "importance": importance,
            "center": center,
            "bounding_box": box if any(box) else None,
            "area": int(mask.sum()),
        }
        for number, (importance, center, box, mask) in enumerate(zip(*columns, strict=True))
    ]


def _name(names: Sequence[ObjectName] | None, number: int) -> dict[str, Any]:
    if names is None:
        return {}
    name = names[number]
    return {"name": name.name, "name_probability": name.probability, "name_sure": name.sure}


def _find(arguments: list[Path]) -> tuple[list[FilePair], list[str]]:
    """Return the images that arguments name, and the reasons why subfolders are left out.

    An image is a pair without a counterpart; its name is where its graph goes, relative to the output folder and
    without the extension.
    """
    from torchmetrics_sess.images import FilePair, find_images

    skipped: list[str] = []
    found: dict[Path, str] = {}
    for argument in arguments:
        if not argument.exists():
            refuse(f"{argument} does not exist")
        if not argument.is_dir():
            found[argument] = argument.name
            continue
        names = find_images(argument, lambda _, reason: skipped.append(reason))
        if not names:
            refuse(f"{argument} holds no image that can be read")
        found |= {argument / name: name for name in names}
    stems = Counter(_stem(name) for name in found.values())
    files: dict[str, FilePair] = {}
    for path, name in found.items():
        chosen = _stem(name) if stems[_stem(name)] == 1 else name
        if chosen in files:
            refuse(f"{files[chosen].origin} and {path} would both be {chosen}; extract them into different folders")
        files[chosen] = FilePair(chosen, str(path), "")
    return list(files.values()), skipped


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


@contextmanager
def _journal(out: Path, made_of: Sequence[object], processes: Processes) -> Iterator[ResultsFile | None]:
    """Keep a list of what is extracted for as long as something is not, so that the same command goes on from there."""
    from torchmetrics_sess.cli.run import open_results

    path = out / ".extract.csv"
    digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
    with open_results(path, digest, processes, overwrite=not _still_true(path, digest)) as journal:
        yield journal
    if processes.rank == 0:
        path.unlink()


def _still_true(journal: Path, digest: str) -> bool:
    """Say whether a journal is of the same images and settings, and the graphs that it tells of are there."""
    from torchmetrics_sess.results import COLUMNS, OK

    try:
        with journal.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            rows = csv.DictReader(file)
            return rows.fieldnames == [*COLUMNS] and all(
                # The last line may have been cut short.
                digest.startswith(row["signature"] or "")
                and (row["status"] != OK or all(path.exists() for path in _graph_files(journal.parent, row["name"])))
                for row in rows
            )
    except (OSError, csv.Error):
        return False


def _extract(
    batches: Sequence[Sequence[FilePair]],
    extractor: SceneGraphExtractor,
    device: torch.device,
    write: Callable[[FilePair, SceneGraph], None],
) -> Iterator[list[Row]]:
    """Extract the graph of every image and write it, or say why there is none, in the order given."""
    import torch

    from torchmetrics_sess.cli.stream import read_ahead
    from torchmetrics_sess.images import prepare_images
    from torchmetrics_sess.results import OK, Row

    for batch, found in read_ahead(batches, workers=_THREADS):
        images = {path: image for path, image in found.items() if not isinstance(image, str)}
        graphs: list[SceneGraph] = []
        for part in _parts(images.values()):
            on_device = [image.to(device, non_blocking=True) for image in part]
            try:
                graphs += extractor.extract(prepare_images(on_device, "images"), masks=True)
            except torch.OutOfMemoryError:
                refuse(f"{device} has not enough memory for {len(part)} images at once; pass a smaller --batch-size")
        extracted = dict(zip(images, graphs, strict=True))
        rows = []
        for file in batch:
            if file.origin in extracted:
                write(file, extracted[file.origin])
            rows.append(Row(file, None, OK if file.origin in extracted else str(found[file.origin])))
        yield rows


def _parts(images: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    part: list[Tensor] = []
    pixels = 0
    for image in images:
        if part and pixels + image[0].numel() > _PIXELS_AT_ONCE:
            yield part
            part, pixels = [], 0
        part.append(image)
        pixels += image[0].numel()
    if part:
        yield part


def _write(
    file: FilePair,
    graph: SceneGraph,
    *,
    folder: Path,
    signature: str,
    masks: bool,
    namer: ObjectNamer | None,
) -> None:
    arrays, text = _graph_files(folder, file.name)
    names = None if namer is None else namer(graph)
    with refusing(OSError):
        arrays.parent.mkdir(parents=True, exist_ok=True)
    with written(arrays) as part:
        (graph if masks else replace(graph, masks=None)).save(part)
    with written(text) as part:
        description = describe_graph(graph, Path(file.origin).name, signature, names)
        part.write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _graph_files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.safetensors", folder / f"{name}.json"
