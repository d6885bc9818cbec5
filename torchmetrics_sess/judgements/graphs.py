"""Scene graphs of judged images, extracted once and kept, with what their importance was computed from."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.atomic import replacing
from torchmetrics_sess.extractor import SceneGraphExtractor, limit_width
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import prepare_images, read_image
from torchmetrics_sess.importance import ImportanceConfig, saliency_under
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets import Preset

_FORMAT = "torchmetrics-sess/weighed-graph/1"
# Places per image up to which masks are kept; those of SAM have as many as the image has pixels.
_PLACES = 64 * 64


@dataclass(frozen=True, eq=False)
class WeighedGraph:
    """A scene graph, and what says how much its objects matter.

    Args:
        graph: without masks.
        mass: saliency under the mask of every object, by the settings of the preset, ``[n]``.
        memberships: how far every place belongs to each object, ``[n, h, w]``, if the masks are small enough to be
            kept, as those of ``lite`` are.
        saliency: where a viewer looks, ``[h, w]``, likewise.
    """

    graph: SceneGraph
    mass: Float[Tensor, " n"]
    memberships: Float[Tensor, "n h w"] | None = None
    saliency: Float[Tensor, "h w"] | None = None


class GraphFolder:
    """Extracts the graphs of image files, and keeps them in a folder for later runs.

    A file is named by what the image and the preset are, appears whole or not at all, and holds no code. One that
    cannot be read is written anew.

    Args:
        folder: where; created if need be.
        preset: whose graphs.
        device: where its networks work.

    Raises:
        ValueError: if the folder cannot be made.
    """

    def __init__(self, folder: Path, preset: Preset, device: torch.device) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"graphs cannot be kept in {folder}: {error.strerror}") from error
        self._folder = folder
        self._preset = preset
        self._recipe = f"{_FORMAT}|{preset.extraction_signature()}|torch={torch.__version__}|{device.type}"

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Return the images whose graphs are not here yet.

        Raises:
            ValueError: for a file that cannot be read.
        """
        return [path for path in dict.fromkeys(paths) if not self._place(path).exists()]

    def extract(self, paths: Sequence[str], extractor: SceneGraphExtractor, batch_size: int = 8) -> Iterator[str]:
        """Extract the graphs of images and keep them; passes every path on once its graph is kept.

        Args:
            paths: of the images.
            extractor: of the preset.
            batch_size: how many images go through the networks at once.

        Raises:
            ValueError: for an image that cannot be read; what was extracted before is kept.
        """
        for start in range(0, len(paths), batch_size):
            batch = paths[start : start + batch_size]
            images = prepare_images([read_image(path) for path in batch], "images")
            for path, graph in zip(batch, weigh(images, extractor, self._preset.importance), strict=True):
                _save(graph, self._place(path))
                yield path

    def load(self, path: str) -> WeighedGraph:
        """Return the graph of an image.

        Raises:
            ValueError: if it is not here, or damaged.
        """
        return _load(self._place(path))

    def _place(self, path: str) -> Path:
        try:
            content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
        key = hashlib.sha256(f"{self._recipe}|{content}".encode()).hexdigest()
        return self._folder / f"{key}.safetensors"


def weigh(images: Sequence[Tensor], extractor: SceneGraphExtractor, importance: ImportanceConfig) -> list[WeighedGraph]:
    """Extract the scene graphs of images, and keep what their importance comes from.

    Args:
        images: as ``torchmetrics_sess.images.prepare_images`` returns them.
        extractor: makes the graphs.
        importance: says what of the saliency counts.
    """
    device = extractor.device or images[0].device
    with full_precision(device):
        sized = [limit_width(image.to(device), extractor.max_width) for image in images]
        segmentations = extractor.segmenter(sized)
        relations = extractor.relation_model(segmentations)
        graphs = iter(extractor.describe(sized, segmentations, relations))
        found: list[WeighedGraph] = []
        for segmentation, relation in zip(segmentations, relations, strict=True):
            count = len(segmentation.valid)
            saliency = extractor.saliency(sized[len(found) : len(found) + count], segmentation)
            for index in range(count):
                masks = segmentation.masks[index][relation.valid[index]]
                mass = saliency_under(masks, saliency[index], importance)
                small = masks.dtype != torch.bool and masks[0].numel() <= _PLACES
                found.append(
                    WeighedGraph(
                        next(graphs),
                        mass.cpu(),
                        masks.float().cpu() if small else None,
                        saliency[index].cpu() if small else None,
                    )
                )
    return found


def _save(weighed: WeighedGraph, path: Path) -> None:
    from safetensors.torch import save

    parts = {
        f"graph.{field.name}": getattr(weighed.graph, field.name)
        for field in dataclasses.fields(SceneGraph)
        if getattr(weighed.graph, field.name) is not None
    }
    parts["mass"] = weighed.mass
    if weighed.memberships is not None and weighed.saliency is not None:
        parts |= {"memberships": weighed.memberships, "saliency": weighed.saliency}
    # The format refuses arrays that share memory, as the parts of a batch do.
    copies = {name: part.clone(memory_format=torch.contiguous_format) for name, part in parts.items()}
    with replacing(path) as part:
        part.write_bytes(save(copies, {"format": _FORMAT}))


def _load(path: Path) -> WeighedGraph:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        parts = load(path.read_bytes())
        graph = {name.removeprefix("graph."): part for name, part in parts.items() if name.startswith("graph.")}
        return WeighedGraph(SceneGraph(**graph), parts["mass"], parts.get("memberships"), parts.get("saliency"))
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no kept scene graph; remove it, and it is made anew: {error}") from error
