"""Made-up data sets of human judgements in the formats of the real ones, and made-up answers of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.results import Row


def save_image(path: Path, *, noise: float, seed: int = 0, size: tuple[int, int] = (24, 20)) -> None:
    """Save the picture of a seed, under noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.random.default_rng(seed).uniform(60, 190, (*size, 3))
    noisy = picture + noise * np.random.default_rng(seed + 1000).standard_normal(picture.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


def make_tid2013(folder: Path) -> Path:
    """Make a TID2013 of three references with four levels of noise; file names differ in case from the list."""
    lines = []
    for reference, on_disk in enumerate(["I01.BMP", "I02.BMP", "i25.bmp"]):
        save_image(folder / "reference_images" / on_disk, noise=0, seed=reference)
        stem = on_disk.partition(".")[0]
        for level in (1, 2, 3, 4):
            name = f"{stem}_01_{level}.bmp"
            save_image(folder / "distorted_images" / name, noise=8 * level, seed=reference)
            lines.append(f"{7 - level + 0.01 * reference:.5f} {name.lower() if level % 2 else name.upper()}")
    (folder / "mos_with_names.txt").write_text("\r\n".join(lines) + "\r\n")
    return folder


def make_kadid(folder: Path) -> Path:
    """Make a KADID-10k of two references with three levels of noise."""
    lines = ["dist_img,ref_img,dmos,var"]
    for reference in (1, 2):
        save_image(folder / "images" / f"I{reference:02}.png", noise=0, seed=reference)
        for level in (1, 2, 3):
            name = f"I{reference:02}_01_{level:02}.png"
            save_image(folder / "images" / name, noise=9 * level, seed=reference)
            lines.append(f"{name},I{reference:02}.png,{5 - level:.2f},0.6")
    (folder / "dmos.csv").write_text("\n".join(lines))
    return folder


def make_nights(folder: Path) -> Path:
    """Make a NIGHTS of six triplets, of which four count; people choose the side with less noise."""
    lines = ["id,left_vote,right_vote,votes,ref_path,left_path,right_path,split,is_imagenet"]
    for index, (votes, split) in enumerate(
        [(8, "test"), (6, "test"), (5, "test"), (9, "train"), (7, "test"), (6, "test")]
    ):
        right = index % 2
        save_image(folder / "ref" / "000" / f"{index}.png", noise=0, seed=index)
        for side, noise in (("0", 5 + 20 * right), ("1", 25 - 20 * right)):
            save_image(folder / "distort" / "000" / f"{index}_{side}.png", noise=noise, seed=index)
        paths = f"ref/000/{index}.png,distort/000/{index}_0.png,distort/000/{index}_1.png"
        lines.append(f"{index},{1 - right},{right},{votes},{paths},{split},FALSE")
    (folder / "data.csv").write_text("\n".join(lines))
    return folder


def make_sis(folder: Path) -> Path:
    """Make a list of four image pairs as Crisscrossed Captions has them."""
    names = [f"COCO_val2014_{index:012}.jpg" for index in range(5)]
    for index, name in enumerate(names):
        save_image(folder / "coco" / "val2014" / name, noise=10 * index)
    lines = ["image1,image2,agg_score,sampling_method"]
    lines += [f"{names[0]},{names[index]},{5 - index},i2i_csim" for index in (1, 2, 3, 4)]
    (folder / "sis_val.csv").write_text("\n".join(lines) + "\n")
    return folder


def make_plain(folder: Path) -> Path:
    """Make a list of five pairs, one of them of different sizes."""
    lines = ["human_score, image_a, image_b"]
    for index in range(5):
        save_image(folder / f"{index}.png", noise=0, seed=index)
        size = (24, 20) if index < 4 else (30, 20)
        save_image(folder / "changed" / f"{index}.png", noise=6 + 6 * index, seed=index, size=size)
        lines.append(f"{-index},{index}.png,changed/{index}.png")
    (folder / "pairs.csv").write_text("\n".join(lines))
    return folder


CODECS = ("fine", "fair", "poor")


def make_images(folder: Path, originals: int = 6) -> tuple[Path, list[Path]]:
    """Make small originals, and what three codecs made of them: noise of three strengths."""
    for index in range(originals):
        save_image(folder / "origin" / f"{index}.png", noise=0, seed=index, size=(24, 20))
        for level, codec in enumerate(CODECS):
            save_image(folder / codec / f"{index}.png", noise=10 + 40 * level, seed=index, size=(24, 20))
    return folder / "origin", [folder / codec for codec in CODECS]


def make_ratings(
    folder: Path, *, originals: int = 6, raters: int = 4, kinds: tuple[str, ...] = ("rate", "choose")
) -> Path:
    """Make a study of ``make_images``, in which people see every step of noise, but now and then one too many."""
    make_images(folder, originals)
    generator = np.random.default_rng(0)
    lines = ["rater,role,kind,origin,recon,other,answer"]
    for rater in range(raters):
        for index in range(originals):
            if "rate" in kinds:
                for level, codec in enumerate(CODECS):
                    answer = 5 - 2 * level if generator.random() < 0.8 else 4 - level
                    lines.append(f"p{rater},question,rate,origin/{index}.png,{codec}/{index}.png,,{answer}")
                lines.append(f"p{rater},check,rate,origin/{index}.png,origin/{index}.png,,5")
            if "choose" in kinds:
                for left, right in (("fine", "fair"), ("poor", "fair"), ("fine", "poor")):
                    better = CODECS.index(left) < CODECS.index(right)
                    choice = "equal" if generator.random() < 0.2 else "left" if better else "right"
                    paths = f"origin/{index}.png,{left}/{index}.png,{right}/{index}.png"
                    lines.append(f"p{rater},question,choose,{paths},{choice}")
    path = folder / "ratings.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(folder: Path, originals: int = 6) -> list[Row]:
    """Return scores that fall with every codec, and one that is far too high."""
    return [
        Row(
            FilePair(
                f"{index}.png", str(folder / "origin" / f"{index}.png"), str(folder / codec / f"{index}.png"), codec
            ),
            1.0 if (codec, index) == ("poor", 0) else 0.9 - 0.3 * level - 0.01 * index,
            metrics={"psnr": 30.0, "ssim": 0.9},
            signature="SeSS|stub",
        )
        for level, codec in enumerate(CODECS)
        for index in range(originals)
    ]
