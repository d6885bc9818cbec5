"""``sess extract``: writes scene graphs into files."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchmetrics_sess.cli.files import written
from torchmetrics_sess.cli.naming import open_namer
from torchmetrics_sess.cli.options import DeviceOption, PresetOption, SettingsOption, VocabularyOption, parse_settings
from torchmetrics_sess.cli.output import note, refuse, refusing, results

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from torchmetrics_sess.extractor import SceneGraphExtractor
    from torchmetrics_sess.graph import SceneGraph
    from torchmetrics_sess.naming import ObjectName

JSON_FORMAT = "torchmetrics-sess/scene-graph-json/1"

# Masks are as many bytes as an image has pixels, for every object: an extraction is cut short before they fill memory.
_PIXELS_AT_ONCE = 1 << 24
_THREADS = 4


@dataclass(frozen=True, slots=True)
class _File:
    """An image, and where its graph goes: a path relative to the output folder, without the extension."""

    path: Path
    name: str


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
) -> None:
    """Write the scene graph of every image: arrays as .safetensors, and objects and relations as .json.

    Folders are searched with their subfolders, which the output keeps. The graph of `a/photo.jpg` is called
    `a/photo`; where several images of a folder would share that name, `a/photo.jpg`. An image or a subfolder that
    cannot be read is named and left out, and the exit code is 1.

    **Examples**

        sess extract photo.jpg -o graphs/
        sess extract kodak/ -o graphs/ --no-masks    small files
        jq .triplets graphs/photo.json
    """
    with refusing(ValueError):
        overrides = parse_settings(settings)
    skipped: list[str] = []
    files = _find(images, skipped)
    if out.exists() and not out.is_dir():
        refuse(f"{out} is a file; name a folder")

    from torchmetrics_sess.cli.progress import track
    from torchmetrics_sess.cli.stream import load_networks, open_device, open_scorer

    chosen = open_device(device)
    scorer = open_scorer(preset, overrides, chosen)
    extractor = load_networks(scorer, chosen).extractor
    namer = open_namer(extractor, vocabulary)
    with refusing(OSError):
        out.mkdir(parents=True, exist_ok=True)

    for reason in skipped:
        note(reason)
    extracted = 0
    graphs = _extract(files, extractor, chosen, batch_size)
    for file, graph in track(graphs, len(files), "extracting"):
        if isinstance(graph, str):
            note(graph)
        else:
            extracted += 1
            names = None if namer is None else namer(graph)
            _write(graph, file, out, scorer.signature(), masks=masks, names=names)
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


def _find(arguments: Sequence[Path], skipped: list[str]) -> list[_File]:
    """Return the images that arguments name; the reasons why subfolders are left out go to ``skipped``."""
    from torchmetrics_sess.images import find_images

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
    files: dict[str, _File] = {}
    for path, name in found.items():
        chosen = _stem(name) if stems[_stem(name)] == 1 else name
        if chosen in files:
            refuse(f"{files[chosen].path} and {path} would both be {chosen}; extract them into different folders")
        files[chosen] = _File(path, chosen)
    return list(files.values())


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


def _extract(
    files: Sequence[_File], extractor: SceneGraphExtractor, device: torch.device, batch_size: int
) -> Iterator[tuple[_File, SceneGraph | str]]:
    """Extract the graph of every image, or say why there is none, in the order given."""
    import torch

    from torchmetrics_sess.images import prepare_images

    for batch in _read_ahead(files, batch_size):
        images = [image for _, image in batch if not isinstance(image, str)]
        graphs: list[SceneGraph] = []
        for part in _parts(images):
            on_device = [image.to(device, non_blocking=True) for image in part]
            try:
                graphs += extractor.extract(prepare_images(on_device, "images"), masks=True)
            except torch.OutOfMemoryError:
                refuse(f"{device} has not enough memory for {len(part)} images at once; pass a smaller --batch-size")
        extracted = iter(graphs)
        for file, image in batch:
            yield file, image if isinstance(image, str) else next(extracted)


def _read_ahead(files: Sequence[_File], batch_size: int) -> Iterator[list[tuple[_File, Tensor | str]]]:
    """Read images in batches, one batch before it is asked for; in place of one that cannot be read stands why."""
    pool = ThreadPoolExecutor(_THREADS)
    waiting: deque[list[tuple[_File, Future[Tensor | str]]]] = deque()
    try:
        for start in range(0, len(files), batch_size):
            waiting.append([(file, pool.submit(_read, file.path)) for file in files[start : start + batch_size]])
            if len(waiting) > 1:
                yield [(file, image.result()) for file, image in waiting.popleft()]
        while waiting:
            yield [(file, image.result()) for file, image in waiting.popleft()]
    finally:
        pool.shutdown(cancel_futures=True)


def _read(path: Path) -> Tensor | str:
    from torchmetrics_sess.images import read_image

    try:
        return read_image(path)
    except ValueError as error:
        return str(error)


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
    graph: SceneGraph,
    file: _File,
    folder: Path,
    signature: str,
    *,
    masks: bool,
    names: Sequence[ObjectName] | None = None,
) -> None:
    arrays, text = (folder / f"{file.name}{extension}" for extension in (".safetensors", ".json"))
    with refusing(OSError):
        arrays.parent.mkdir(parents=True, exist_ok=True)
    with written(arrays) as part:
        (graph if masks else dataclasses.replace(graph, masks=None)).save(part)
    with written(text) as part:
        part.write_text(
            json.dumps(describe_graph(graph, file.path.name, signature, names), indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
