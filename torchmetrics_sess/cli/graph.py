"""``sess graph``: draws the scene graph of an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchmetrics_sess.cli.explain import check_picture
from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.naming import open_namer
from torchmetrics_sess.cli.options import (
    DeviceOption,
    ObjectsOption,
    PiecesOption,
    PresetOption,
    RelationsOption,
    SettingsOption,
    VocabularyOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import refuse, refusing, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torchmetrics_sess.naming import ObjectName
    from torchmetrics_sess.relations.pointing import PointedGraph

_PREDICATES, _AROUND = 3, 10
# Relations that are less probable are not drawn.
_UNLIKELY = 0.05


def graph(
    image: Annotated[Path, typer.Argument(help="The image.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="The picture: .png, .pdf or .svg.", show_default=False)
    ],
    preset: PresetOption = "lite",
    settings: SettingsOption = None,
    device: DeviceOption = "auto",
    objects: ObjectsOption = 7,
    relations: RelationsOption = 8,
    pieces: PiecesOption = False,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="X,Y", help="Point at an object, in pixels; repeatable.", show_default=False),
    ] = None,
    vocabulary: VocabularyOption = None,
) -> None:
    """Draw what the score sees in an image: its objects, how much each matters, and how they relate.

    Pieces that people would call one object are joined; --pieces shows the nodes of the scene graph themselves. The
    most important objects are pointed out in colour, and arrows name the relations among them. With --at these are the
    objects at the points, and the output lists how they relate to each other and to everything else; with Segment
    Anything, every point prompts the network. Presets with a text tower name objects, with a question mark
    where the best name is less probable than all others together.

    **Examples**

        sess graph photo.jpg -o graph.png
        sess graph photo.jpg -o graph.svg --objects 3 --relations 2
        sess graph photo.jpg -o graph.png --at 120,340 --at 400,200
    """
    check_writable(out)
    check_picture(out)

    import torch

    from torchmetrics_sess.cli.stream import load_networks, open_device, open_scorer
    from torchmetrics_sess.drawing.figures import plot_scene_graph, save_figure
    from torchmetrics_sess.extractor import limit_width
    from torchmetrics_sess.images import prepare_images, read_image
    from torchmetrics_sess.relations.pointing import relate_objects, relate_points

    with refusing(ValueError):
        points = [parse_point(text) for text in at or []]
        overrides = parse_settings(settings)
        pixels = read_image(image)
    chosen = open_device(device)
    scorer = open_scorer(preset, overrides, chosen)
    extractor = load_networks(scorer, chosen).extractor
    namer = open_namer(extractor, vocabulary)
    images = prepare_images([pixels.to(chosen)], "images")
    answer = None
    try:
        if points:
            with refusing(ValueError, TypeError, points="--at"):
                answer = relate_points(extractor, images[0], points, pieces=pieces)
            scene_graph = answer.graph
        elif pieces:
            [scene_graph] = extractor.extract(images, masks=True)
        else:
            scene_graph = relate_objects(extractor, images[0])
    except torch.OutOfMemoryError:
        refuse(f"{chosen} has not enough memory for this image")

    names = None if namer is None else namer(scene_graph)
    shown = limit_width(images[0], extractor.max_width).cpu()
    down, across = (new / old for new, old in zip(shown.shape[1:], images[0].shape[1:], strict=True))
    figure, _ = plot_scene_graph(
        shown,
        scene_graph if answer is None else answer.focused(_UNLIKELY),
        signature=scorer.signature(),
        objects=objects,
        relations=relations,
        names=None if names is None else [str(name) for name in names],
        chosen=None if answer is None else _chosen(answer, objects),
        points=[(x * across, y * down) for x, y in points],
    )
    with written(out) as part:
        save_figure(figure, part)
    what = "node" if pieces else "object"
    if answer is not None:
        _list_relations(answer, points, names, what)
    results().print(f"{len(scene_graph)} {what}s, {len(scene_graph.triplets())} relations: {out}", soft_wrap=True)


def parse_point(text: str) -> tuple[float, float]:
    """Read a point, x and y in pixels.

    Raises:
        ValueError: if it is none.

    Examples:
        >>> parse_point("120,340.5")
        (120.0, 340.5)
    """
    x, _, y = text.partition(",")
    try:
        return float(x), float(y)
    except ValueError:
        raise ValueError(f"--at takes X,Y in pixels, such as 120,340, got {text!r}") from None


def _chosen(answer: PointedGraph, objects: int) -> list[int]:
    """Return the objects that are pointed at, then those that they most probably relate to."""
    others = [number for subject, _, obj, _ in answer.around(len(answer.graph) ** 2) for number in (subject, obj)]
    pointed = dict.fromkeys(answer.pointed)
    return list(dict.fromkeys([*pointed, *others]))[: max(len(pointed), objects)]


def _list_relations(
    answer: PointedGraph, points: Sequence[tuple[float, float]], names: Sequence[ObjectName] | None, what: str
) -> None:
    from torchmetrics_sess.relations.vocabulary import PREDICATES

    def called(number: int) -> str:
        return f"{number}" if names is None else f"{number} {names[number]}"

    console = results()
    for (x, y), number in zip(points, answer.pointed, strict=True):
        sure = "" if names is None else f" ({names[number].probability:.2f})"
        console.print(f"at {x:g},{y:g}: {what} {called(number)}{sure}", soft_wrap=True)
    for title, triplets in (
        ("to each other", answer.among(_PREDICATES)),
        ("to everything else", answer.around(_AROUND)),
    ):
        if triplets:
            likely = any(probability >= _UNLIKELY for *_, probability in triplets)
            console.print(f"\n{title}{'' if likely else ', none of it probable'}:")
        for subject, predicate, obj, probability in triplets:
            triplet = f"{called(subject)} — {PREDICATES[predicate]} → {called(obj)}"
            console.print(f"  {probability:.3f}  {triplet}", soft_wrap=True)
    console.print()
