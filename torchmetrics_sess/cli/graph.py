"""``sess graph``: draws the scene graph of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from torchmetrics_sess.cli.explain import check_picture
from torchmetrics_sess.cli.files import check_writable, written
from torchmetrics_sess.cli.options import (
    DeviceOption,
    ObjectsOption,
    PresetOption,
    RelationsOption,
    SettingsOption,
    parse_settings,
)
from torchmetrics_sess.cli.output import refuse, refusing, results


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
) -> None:
    """Draw what the score sees in an image: its objects, how much each matters, and how they relate.

    The most important objects are pointed out in colour, and arrows name the relations among them.

    **Examples**

        sess graph photo.jpg -o graph.png
        sess graph photo.jpg -o graph.svg --objects 3 --relations 2
    """
    check_writable(out)
    check_picture(out)

    import torch

    from torchmetrics_sess.cli.stream import load_networks, open_device, open_scorer
    from torchmetrics_sess.drawing.figures import plot_scene_graph, save_figure
    from torchmetrics_sess.extractor import limit_width
    from torchmetrics_sess.images import prepare_images, read_image

    with refusing(ValueError):
        overrides = parse_settings(settings)
        pixels = read_image(image)
    chosen = open_device(device)
    scorer = open_scorer(preset, overrides, chosen)
    extractor = load_networks(scorer, chosen).extractor
    images = prepare_images([pixels.to(chosen)], "images")
    try:
        [scene_graph] = extractor.extract(images, masks=True)
    except torch.OutOfMemoryError:
        refuse(f"{chosen} has not enough memory for this image")

    shown = limit_width(images[0], extractor.max_width).cpu()
    figure, _ = plot_scene_graph(shown, scene_graph, signature=scorer.signature(), objects=objects, relations=relations)
    with written(out) as part:
        save_figure(figure, part)
    results().print(f"{len(scene_graph)} objects, {len(scene_graph.triplets())} relations: {out}", soft_wrap=True)
