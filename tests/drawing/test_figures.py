"""Figures show what they say, for every shape of image and graph, and leave nothing behind."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import ConnectionPatch, FancyArrowPatch, PathPatch, Rectangle
from matplotlib.transforms import Bbox
from PIL import Image
from stub_extractor import stub_images, stub_preset

from torchmetrics_sess import Explanation, SceneGraph, explain
from torchmetrics_sess.drawing.figures import plot_scene_graph, save_figure
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.objects import object_graph
from torchmetrics_sess.presets import load_preset

IMAGES = stub_images(2, size=(48, 72))


def scene(objects: int, size: tuple[int, int] = (40, 60), seed: int = 0) -> SceneGraph:
    """Return a graph of columns of equal width, all related, the last one's mask empty if there are several."""
    generator = torch.Generator().manual_seed(seed)
    column = torch.arange(size[1]) * objects // size[1]
    masks = (column == torch.arange(objects)[:, None])[:, None].expand(-1, *size).clone()
    if objects > 1:
        masks[-1] = False
    importance = torch.rand(objects, generator=generator, dtype=torch.float64) + 0.1
    relation = torch.full((objects, objects), 3).fill_diagonal_(-1)
    features = torch.nn.functional.normalize(torch.randn(objects + 1, 8, generator=generator, dtype=torch.float64))
    return SceneGraph(
        features=features[1:],
        centers=torch.rand(objects, 2, generator=generator, dtype=torch.float64),
        importance=importance / importance.sum(),
        relation=relation,
        confidence=torch.where(relation >= 0, 0.5, -1.0).double(),
        image_feature=features[0],
        masks=masks,
    )


def explanation_of(preds: SceneGraph, target: SceneGraph, **changes: Any) -> Explanation:
    config = dataclasses.replace(MatchingConfig(iterations=1), **changes)
    images = [torch.rand(3, *graph.masks.shape[1:]) for graph in (preds, target) if graph.masks is not None]
    match = match_graphs(preds, target, torch.eye(56), config)
    return Explanation(preds, target, match, config.image_weight, images[0], images[1], "SeSS|test")


def texts(figure: Figure, axes: Axes | None = None) -> list[str]:
    """Return the labels that stand on a figure, or the numbers and predicates on axes of it."""
    return [text.get_text() for text in (figure if axes is None else axes).texts]


def pixels_of(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def heights(bars: Axes) -> list[float]:
    [container] = bars.containers
    return [patch.get_height() for patch in container if isinstance(patch, Rectangle)]


def names_and_shares(bars: Axes) -> tuple[list[str], list[float]]:
    """Return what stands under the bars: what they are of, and how much of the score rests on that, in per cent."""
    labels = [label.get_text().rpartition("\n") for label in bars.get_xticklabels()]
    return [name for name, _, _ in labels], [float(share.removesuffix(" %")) for _, _, share in labels]


@pytest.mark.parametrize("exponent", [1.0, 2.0])
def test_bars_are_the_contributions_and_say_so(exponent: float) -> None:
    matching = MatchingConfig(image_weight=0.1, exponent=exponent)
    explanation = explain(IMAGES[0], IMAGES[1], stub_preset(matching=matching))
    _, (_, _, bars) = explanation.plot(pieces=True)
    names, shares = names_and_shares(bars)
    order = explanation.target_contributions.argsort(descending=True, stable=True).tolist()
    assert names == [*map(str, order), "whole\nimage"]
    lost = heights(bars)
    assert sum(lost) == pytest.approx(explanation.loss, abs=1e-9)
    assert lost[:-1] == pytest.approx(explanation.target_contributions[order].tolist())
    assert [text.get_text() for text in bars.texts] == [f"{height:.3f}" for height in lost]
    assert sum(shares) == pytest.approx(100, abs=0.5 * len(shares))
    weights = [*explanation.target_weights[order].tolist(), explanation.whole_image_weight]
    assert shares == pytest.approx([100 * weight for weight in weights], abs=0.5)


@pytest.mark.parametrize(("preds", "target"), [(9, 30), (30, 9)])
def test_bars_of_many_objects_are_summed_up(preds: int, target: int) -> None:
    explanation = explanation_of(scene(preds), scene(target, seed=1))
    _, (_, _, bars) = explanation.plot(pieces=True)
    names, shares = names_and_shares(bars)
    assert sum(heights(bars)) == pytest.approx(explanation.loss, abs=1e-9)
    assert sum(shares) == pytest.approx(100, abs=0.5 * len(shares))
    assert ("only in\npreds" in names) == (preds > target)
    assert ("18\nmore" in names) == (target > 12)
    assert len(names) <= 15


@pytest.mark.parametrize(("preds", "target"), [(64, 64), (64, 20)])
def test_nothing_under_or_above_the_bars_overlaps(preds: int, target: int) -> None:
    explanation = explanation_of(scene(preds, (40, 640)), scene(target, (40, 640), seed=1))
    figure, (_, _, bars) = explanation.plot(pieces=True)
    figure.canvas.draw()
    for row in (bars.texts, bars.get_xticklabels()):
        boxes = [text.get_window_extent() for text in row]
        assert len(boxes) >= 13
        assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))


def test_matched_objects_share_a_colour_and_a_line() -> None:
    graph = scene(4)
    explanation = explanation_of(graph, graph)
    figure, (target, preds, _) = explanation.plot(objects=3, pieces=True)
    most = graph.importance.argsort(descending=True)[:3].tolist()
    lines = [artist for artist in figure.artists if isinstance(artist, ConnectionPatch)]
    assert len(lines) == 3
    joined = sorted(to_hex(line.get_edgecolor()) for line in lines)
    for axes in (target, preds):
        here = [text for text in figure.texts if text.get_transform() == axes.transData]
        boxes = [text.get_bbox_patch() for text in here]
        assert sorted(to_hex(box.get_facecolor()) for box in boxes if box is not None) == joined
        outlines = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
        # One of the three has no pixels, hence no outline.
        drawn = {to_hex(patch.get_edgecolor()) for patch in outlines} - {"#ffffff"}
        assert drawn <= set(joined)
        assert len(drawn) == len(set(most) - {3})
    labels = texts(figure)
    assert [label for label in labels if "·" in label] == [f"{number} · 1.00" for number in sorted(most)]
    assert [label for label in labels if label.isdigit()] == [f"{number}" for number in sorted(most)]
    # The others are numbered all the same.
    assert texts(figure, target) == texts(figure, preds) == [str(n) for n in range(4) if n not in most]


def test_an_object_without_a_match_is_hatched_and_joined_to_nothing() -> None:
    target = scene(3, seed=4)
    preds = dataclasses.replace(
        target,
        **{name: getattr(target, name)[:1] for name in ("features", "centers", "masks")},
        importance=torch.ones(1, dtype=torch.float64),
        relation=torch.full((1, 1), -1),
        confidence=torch.full((1, 1), -1.0, dtype=torch.float64),
    )
    figure, (left, right, _) = explanation_of(preds, target, beta=0.0).plot(pieces=True)
    assert len([artist for artist in figure.artists if isinstance(artist, ConnectionPatch)]) == 1
    hatched = [patch for patch in left.patches if patch.get_hatch()]
    # Of the two that are lost, one has no pixels to hatch.
    assert len(hatched) == 1
    assert not [patch for patch in right.patches if patch.get_hatch()]
    assert {"1", "2"} <= set(texts(figure))


@pytest.mark.parametrize("count", [0, 2, 99])
def test_so_many_relations_are_drawn(count: int) -> None:
    figure, axes = plot_scene_graph(torch.rand(3, 40, 60), scene(5), objects=3, relations=count)
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    # All pairs are related both ways, and one arrow is enough for each.
    assert len(arrows) == min(count, 3)
    assert texts(figure, axes).count("on") == min(count, 3)


def test_the_most_important_objects_are_pointed_out() -> None:
    graph = scene(6)
    figure, _ = plot_scene_graph(torch.rand(3, 40, 60), graph, objects=2, signature="a signature")
    most = sorted(graph.importance.argsort(descending=True)[:2].tolist())
    assert [text for text in texts(figure) if "·" in text] == [f"{j} · {graph.importance[j]:.2f}" for j in most]
    assert figure.get_supxlabel() == "a signature"


def test_title_and_signature_lie_within_the_figure() -> None:
    signature = load_preset("lite").signature()
    figure, axes = plot_scene_graph(torch.rand(3, 40, 60), scene(5), signature=signature)
    figure.draw_without_rendering()
    for text in (axes.title, *(artist for artist in figure.texts if "SeSS" in artist.get_text())):
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (30, 200), (200, 30), (4, 2000)])
def test_every_shape_of_image_can_be_drawn(size: tuple[int, int], tmp_path: Path) -> None:
    explanation = explanation_of(scene(3, size), scene(1, (40, 60), seed=1))
    figure, axes = explanation.plot(pieces=True)
    save_figure(figure, tmp_path / "why.png")
    for panel in axes[:2]:
        right, top = max(panel.get_xlim()), max(panel.get_ylim())
        for text in (*panel.texts, *(text for text in figure.texts if text.get_transform() == panel.transData)):
            x, y = text.get_position()
            assert -0.5 <= x <= right
            assert -0.5 <= y <= top
    assert pixels_of(tmp_path / "why.png").std() > 0


def test_labels_of_one_place_are_set_apart() -> None:
    graph = scene(3)
    assert graph.masks is not None
    together = dataclasses.replace(graph, masks=graph.masks[:1].expand(3, -1, -1).clone())
    figure, axes = plot_scene_graph(torch.rand(3, 40, 60), together)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_transform() == axes.transData]
    assert len(boxes) == 3
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(3) for j in range(i))


def test_nothing_that_is_written_covers_a_cross_or_a_number() -> None:
    size = (240, 320)
    rows, columns = (torch.arange(side) * 4 // side for side in size)
    masks = (4 * rows[:, None] + columns) == torch.arange(16)[:, None, None]
    graph = dataclasses.replace(scene(16, size), masks=masks)
    # In the middle of the objects, where their labels would be.
    points = [(40.0, 30.0), (200.0, 90.0)]
    figure, axes = plot_scene_graph(torch.rand(3, *size), graph, chosen=[0, 6, 9], points=points)
    figure.canvas.draw()
    labels = [text for text in figure.texts if text.get_transform() == axes.transData]
    assert len(labels) == 3
    predicates = [text for text in axes.texts if not text.get_text().isdigit()]
    assert len(predicates) == 3
    crosses = [artist for artist in figure.artists if isinstance(artist, Line2D)]
    assert len(crosses) == 2
    for (x, y), cross in zip(points, crosses, strict=True):
        assert cross.get_xydata() == pytest.approx(np.array([[x, y]]), abs=0.01)
        arm = cross.get_markersize() / 2 * figure.dpi / 72
        middle = axes.transData.transform((x, y))
        for text in (*labels, *predicates):
            assert not text.get_window_extent().overlaps(Bbox([middle - arm, middle + arm]))
    numbers = [text for text in axes.texts if text.get_text().isdigit()]
    assert len(numbers) == 13
    written = [*numbers, *labels, *predicates]
    boxes = [text.get_window_extent() for text in written]
    for i, j in itertools.combinations(range(len(boxes)), 2):
        assert not boxes[i].overlaps(boxes[j]), (written[i], written[j])


def test_a_cross_is_where_it_was_pointed_whatever_the_size_that_is_shown() -> None:
    # Of so many pixels, the picture shows half.
    figure, axes = plot_scene_graph(torch.rand(3, 40, 1600), scene(3, (40, 1600)), points=[(1199.5, 9.5)])
    [cross] = [artist for artist in figure.artists if isinstance(artist, Line2D)]
    [[x, y]] = np.asarray(cross.get_xydata())
    assert (x + 0.5) / (max(axes.get_xlim()) + 0.5) == pytest.approx(0.75)
    assert (y + 0.5) / (max(axes.get_ylim()) + 0.5) == pytest.approx(0.25)


@pytest.mark.parametrize("extension", [".png", ".PDF", ".svg"])
def test_equal_figures_give_equal_files(extension: str, tmp_path: Path) -> None:
    explanation = explanation_of(scene(2), scene(2, seed=1))
    for name in ("a", "b"):
        save_figure(explanation.plot(pieces=True)[0], tmp_path / f"{name}{extension}")
    content = (tmp_path / f"a{extension}").read_bytes()
    assert content == (tmp_path / f"b{extension}").read_bytes()
    # Fonts as publishers take them.
    assert b"/Type3" not in content


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in one of .png, .pdf, .svg, got .*why.gif"):
        save_figure(Figure(), tmp_path / "why.gif")


@pytest.mark.parametrize("name", ["objects", "relations"])
def test_counts_are_whole_numbers(name: str) -> None:
    negative: dict[str, Any] = {name: -1}
    problem = f"`{name}` must be at least 0, got -1"
    with pytest.raises(ValueError, match=problem):
        explanation_of(scene(2), scene(2)).plot(**negative)
    with pytest.raises(ValueError, match=problem):
        plot_scene_graph(torch.rand(3, 40, 60), scene(2), **negative)
    # What checks the types in tests may be the first to name it.
    wrong: dict[str, Any] = {name: "a"}
    with pytest.raises(TypeError, match=f"`{name}` must be a whole number, got 'a'|parameter '{name}'"):
        explanation_of(scene(2), scene(2)).plot(**wrong)


def test_an_object_keeps_its_colour_when_it_is_pointed_at() -> None:
    found = []
    for chosen in (None, [2, 0]):
        figure, _ = plot_scene_graph(torch.rand(3, 40, 60), scene(5), chosen=chosen)
        boxes = {text.get_text()[:1]: text.get_bbox_patch() for text in figure.texts}
        found.append({number: to_hex(box.get_facecolor()) for number, box in boxes.items() if box is not None})
    assert set(found[1]) == {"0", "2"}
    assert found[1].items() <= found[0].items()


def test_a_graph_without_masks_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="`graph` must have masks"):
        plot_scene_graph(torch.rand(3, 40, 60), dataclasses.replace(scene(2), masks=None))


def test_pyplot_is_left_alone_and_a_missing_matplotlib_is_named() -> None:
    code = """
        import sys
        import torchmetrics_sess.explanation
        assert "matplotlib" not in sys.modules
        import torchmetrics_sess.drawing.figures
        assert "matplotlib.pyplot" not in sys.modules
        for name in [name for name in sys.modules if name.startswith(("matplotlib", "torchmetrics_sess.drawing"))]:
            del sys.modules[name]
        sys.modules["matplotlib"] = None
        try:
            import torchmetrics_sess.drawing.figures
        except ModuleNotFoundError as error:
            print(error)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True, text=True)
    assert run.stdout == "drawing needs matplotlib: install torchmetrics-sess[plot]\n"


def two_objects(lost: bool) -> Explanation:
    """Explain an image of a left and a right half, of three regions each, with the right half lost or not."""
    graph = scene(6)
    masks = (torch.arange(60) // 10 == torch.arange(6)[:, None])[:, None].expand(-1, 40, -1).clone()
    kinds = torch.eye(8, dtype=torch.float64)[torch.tensor([0, 0, 0, 1, 1, 1])]
    target = dataclasses.replace(graph, masks=masks, features=kinds)
    others = torch.eye(8, dtype=torch.float64)[torch.tensor([0, 0, 0, 2, 2, 2])]
    preds = dataclasses.replace(target, features=others if lost else kinds)
    return explanation_of(preds, target, theta=0.0, beta=0.0, iterations=0, image_weight=0.0)


def test_an_object_that_has_become_a_part_of_another_has_its_number_there() -> None:
    explanation = two_objects(False)
    # The same pieces, as one object in the reconstruction.
    together = torch.zeros(6, dtype=torch.long)
    objects, target = explanation.objects, explanation.objects.grouping
    assert target is not None
    merged = dataclasses.replace(
        objects,
        preds=object_graph(explanation.preds, together),
        match=dataclasses.replace(
            objects.match,
            plan=objects.match.plan.sum(0, keepdim=True),
            similarity=torch.ones(1, 2, dtype=torch.float64),
            unmatched_a=objects.match.unmatched_a.sum(0, keepdim=True),
        ),
        grouping=(together, target[1]),
    )
    figure, (left, right, _) = merged.plot()
    here = {
        axes: {text.get_text() for text in figure.texts if text.get_transform() == axes.transData}
        for axes in (left, right)
    }
    assert here == {left: {"0 · kept", "1 · kept"}, right: {"0, 1"}}


def test_objects_have_one_number_and_colour_in_both_images_and_whatever_is_lost() -> None:
    colours: dict[str, set[str]] = {}
    for lost in (False, True):
        explanation = two_objects(lost)
        figure, (left, right, bars) = explanation.plot()
        assert sorted(label.get_text() for label in bars.get_xticklabels()) == ["0\n52 %", "1\n48 %"]
        assert bars.get_title(loc="left").replace("\n", " ") == explanation.in_words()
        assert not [artist for artist in figure.artists if isinstance(artist, ConnectionPatch)]
        labels = [text for text in figure.texts if text.get_transform() in (left.transData, right.transData)]
        for text in labels:
            box = text.get_bbox_patch()
            assert box is not None
            colours.setdefault(text.get_text()[0], set()).add(to_hex(box.get_facecolor()))
        shown = sorted(text.get_text() for text in labels)
        assert len(shown) == (3 if lost else 4)
        assert [label.partition(" · ")[2] for label in shown if "·" in label].count("lost") == lost
        assert len([patch for patch in left.patches if patch.get_hatch()]) == lost
    assert [len(found) for found in colours.values()] == [1, 1]
