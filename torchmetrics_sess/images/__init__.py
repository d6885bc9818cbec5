"""Images: tensors as users hand them in, and files as they lie in folders."""

from torchmetrics_sess.images.files import FilePair, find_images, image_tensor, pair_files, read_image, read_pairs
from torchmetrics_sess.images.tensors import check_pair, prepare_images

__all__ = [
    "FilePair",
    "check_pair",
    "find_images",
    "image_tensor",
    "pair_files",
    "prepare_images",
    "read_image",
    "read_pairs",
]
