"""The photographs that ship with scikit-image and scikit-learn, so that no example needs a download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def load_photographs(names: Iterable[str], longer_side: int) -> dict[str, Image.Image]:
    """Return photographs by name, as RGB and shrunk to a longer side of at most ``longer_side`` pixels.

    Raises:
        FileNotFoundError: if neither package has a photograph of that name.
    """
    import skimage.data
    import sklearn.datasets

    folders = [Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images"]
    photographs = {}
    for name in names:
        paths = [path for folder in folders for path in folder.glob(f"{name}.*") if path.suffix in (".png", ".jpg")]
        if not paths:
            raise FileNotFoundError(f"neither scikit-image nor scikit-learn ships a photograph named {name!r}")
        with Image.open(paths[0]) as file:
            photograph = file.convert("RGB")
        photograph.thumbnail((longer_side, longer_side), Image.Resampling.LANCZOS)
        photographs[name] = photograph
    return photographs


def pixels(image: Image.Image) -> Float[Tensor, "3 h w"]:
    """Return the pixels of an RGB image, in [0, 1]."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)
