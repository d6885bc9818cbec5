"""Images: tensors as users hand them in, and files as they lie in folders."""

from torchmetrics_sess.images.files import (
    FilePair,
    find_images,
    image_tensor,
    pair_files,
    read_image,
    read_pairs,
    read_shards,
)
from torchmetrics_sess.images.shards import find_shards, shard_of
from torchmetrics_sess.images.tensors import (
    NotFinite,
    OutOfRange,
    check_images,
    check_pair,
    float_images,
    prepare_images,
)

__all__ = [
    "FilePair",
    "NotFinite",
    "OutOfRange",
    "check_images",
    "check_pair",
    "find_images",
    "find_shards",
    "float_images",
    "image_tensor",
    "pair_files",
    "prepare_images",
    "read_image",
    "read_pairs",
    "read_shards",
    "shard_of",
]
