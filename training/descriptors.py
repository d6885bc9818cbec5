"""Estimate the constants by which ``lite`` compares regions, once its adapters are trained.

python -m training.descriptors [--folder training/sources] [--listed training/sources.csv]

Cut-out objects are pasted into several photographs each, so that it is known which patches show the same thing; every
picture is seen clean, and damaged as people still see through. A linear discriminant (Fisher, *The Use of Multiple
Measurements in Taxonomic Problems*, 1936) then finds the directions in which different things differ more than one
thing does from picture to picture. Regions of whole photographs stand
for everything that is no cut-out. Half of the objects are held out first, to say how well it tells unseen things apart;
then all are used.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import pil_to_tensor

import torchmetrics_sess.encoders
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.networks import DinoSaliencyNetwork, Tokens
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.segmenters.dino import DinoSegmenter, squash
from training.damage import damage
from training.learned_codecs import LearnedCodec, load_codecs
from training.scenes import Sources

SIDE = 384
# Damage that hides more from people says nothing of what is the same thing.
VISIBLE = 0.8
DIMENSIONS = 128
# Of the spread within an object that is added in every direction, so that none counts for more than is known of it.
RIDGE = 1.0
# Weight of the regions of photographs beside the objects.
REGIONS = 0.3


def main() -> None:
    """Estimate, report and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("training/sources"))
    parser.add_argument("--listed", type=Path, default=Path("training/sources.csv"))
    parser.add_argument("--renderings", type=int, default=3, help="into how many photographs an object is pasted")
    default = Path(torchmetrics_sess.encoders.__file__).with_name("lite_descriptors.safetensors")
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    sources = Sources.of(arguments.folder, arguments.listed)
    segmenter = load_preset("lite").segmenter.build(torch.device(arguments.device))
    objects = see_objects(segmenter.network, sources, arguments.renderings)
    regions, images = see_photographs(segmenter, sources)

    mean, to = discriminant(objects[0::2], regions)
    print(f"objects held out, told apart: {told_apart(objects[1::2], mean, to):.4f} of pairs of pairs")
    print(f"without the map:              {told_apart(objects[1::2], regions.mean(0), torch.eye(len(mean))):.4f}")
    mean, to = discriminant(objects, regions)
    constants = {"token_mean": mean, "token_map": to.contiguous(), "image_mean": images.mean(0)}
    arguments.out.write_bytes(save({name: value.float() for name, value in constants.items()}))
    print(arguments.out)


def discriminant(
    objects: Sequence[Float[Tensor, "m d"]], regions: Float[Tensor, "n d"], dimensions: int = DIMENSIONS
) -> tuple[Float[Tensor, " d"], Float[Tensor, "d e"]]:
    """Return the mean, and the map onto the directions that tell things apart best.

    Args:
        objects: for each object, what it looks like in some pictures, two at least.
        regions: of photographs.
        dimensions: how many directions to keep.
    """
    seen = [views.double() for views in objects if len(views) > 1]
    within = torch.cat([(views - views.mean(0)) * (len(views) / (len(views) - 1)) ** 0.5 for views in seen])
    things = torch.stack([views.mean(0) for views in seen])
    weights = torch.cat(
        [torch.full((len(things),), 1 / len(things)), torch.full((len(regions),), REGIONS / len(regions))]
    )
    weights = (weights / weights.sum()).double()
    everything = torch.cat([things, regions.double()])
    mean = weights @ everything
    between = (everything - mean).T @ (weights[:, None] * (everything - mean))
    scatter = within.T @ within / len(within)
    scatter = scatter + RIDGE * scatter.trace() / len(mean) * torch.eye(len(mean), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(scatter)
    whiten = vectors @ torch.diag(values**-0.5) @ vectors.T
    _, directions = torch.linalg.eigh(whiten.T @ between @ whiten)
    to = whiten @ directions.flip(1)[:, :dimensions]
    # Signs are arbitrary: fixed, so that two runs give one file.
    to = to * to.gather(0, to.abs().argmax(0, keepdim=True)).sign()
    return mean, to


def told_apart(objects: Sequence[Tensor], mean: Tensor, to: Tensor) -> float:
    """Return how often two views of one object are more alike than views of two."""
    views = [functional.normalize((each.double() - mean.double()) @ to.double(), dim=-1) for each in objects]
    views = [each for each in views if len(each) > 1]
    first, second = torch.stack([each[0] for each in views]), torch.stack([each[1] for each in views])
    alike = first @ second.T
    others = alike[~torch.eye(len(alike), dtype=torch.bool)]
    return float((alike.diag()[:, None] > others).double().mean())


@torch.no_grad()
def see_objects(network: DinoSaliencyNetwork, sources: Sources, renderings: int) -> list[Float[Tensor, "m d"]]:
    """Return the mean embedding of the patches of every object, in several pictures, clean and damaged."""
    seen: list[list[Tensor]] = [[] for _ in sources.cutouts]
    side = 24
    codecs = load_codecs(sources.codecs)
    pictures = [
        (shown, pasted) for scene, pasted in _scenes(sources, renderings) for shown in _clean_and_damaged(scene, codecs)
    ]
    for scene, pasted in track(pictures, description="objects"):
        tokens: Tokens = network(squash(_images([scene], network), side * 14))
        for index, alpha in pasted:
            share = functional.adaptive_avg_pool2d(torch.from_numpy(alpha)[None], (side, side))[0].to(tokens.patches)
            inside = torch.where(share > 0.5, share, 0)
            if inside.sum() > 0:
                mean = (inside[..., None] * tokens.patches[0]).sum((0, 1)) / inside.sum()
                seen[index].append(mean.cpu())
    return [torch.stack(views) for views in seen if len(views) > 1]


@torch.no_grad()
def see_photographs(segmenter: DinoSegmenter, sources: Sources) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    """Return the descriptors of all regions, and of all photographs."""
    regions, images = [], []
    for path in track(sources.photographs, description="photographs"):
        [segmentation] = segmenter(_images([Image.open(path).convert("RGB")], segmenter.network))
        if segmentation.tokens is None or segmentation.image_tokens is None:
            raise ValueError("the segmenter must give tokens")
        regions.append(segmentation.tokens[0].cpu())
        images.append(segmentation.image_tokens[0].cpu())
    return torch.cat(regions), torch.stack(images)


def _scenes(sources: Sources, renderings: int) -> Iterator[tuple[Image.Image, list[tuple[int, NDArray[np.float32]]]]]:
    random = np.random.default_rng(5)
    for _ in range(renderings):
        order = random.permutation(len(sources.cutouts))
        for pair in zip(order[0::2], order[1::2], strict=False):
            path = sources.photographs[random.integers(len(sources.photographs))]
            scene = Image.open(path).convert("RGB").resize((SIDE, SIDE))
            pasted = []
            for index, middle in zip(pair, (0.28, 0.72), strict=True):
                thing = Image.open(sources.cutouts[index]).convert("RGBA")
                scale = random.uniform(0.25, 0.45) * SIDE / max(thing.size)
                thing = thing.resize((max(2, round(thing.width * scale)), max(2, round(thing.height * scale))))
                at = [
                    int(np.clip(where * SIDE - length / 2, 0, SIDE - length))
                    for where, length in zip(
                        (middle + random.uniform(-0.08, 0.08), 0.5 + random.uniform(-0.2, 0.2)), thing.size, strict=True
                    )
                ]
                scene.paste(thing, (at[0], at[1]), thing)
                alpha = Image.new("L", scene.size)
                alpha.paste(thing.getchannel("A"), (at[0], at[1]))
                pasted.append((int(index), np.asarray(alpha, dtype=np.float32) / np.float32(255)))
            yield scene, pasted


def _clean_and_damaged(scene: Image.Image, codecs: Sequence[LearnedCodec]) -> Iterator[Image.Image]:
    yield scene
    # The pixels are the seed: the same pictures in any order.
    random = np.random.default_rng(zlib.crc32(scene.tobytes()))
    visibility = 0.0
    while visibility < VISIBLE:
        damaged, visibility = damage(scene, random, clean=0, codecs=codecs)
    yield damaged


def _images(images: list[Image.Image], network: DinoSaliencyNetwork) -> list[Tensor]:
    return [image.to(network.mean.device) for image in prepare_images([pil_to_tensor(i) for i in images], "images")]


if __name__ == "__main__":
    main()
