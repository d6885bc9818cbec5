"""Two ways to send a photograph over a noisy channel, given the same number of channel uses.

Both send ``USES_PER_PIXEL`` real symbols of mean power 1 a pixel over a channel that adds white Gaussian noise. What a
receiver must know to make sense of the rest (JPEG headers, block variances) is taken to arrive unharmed.

* :func:`send_analog` is joint source-channel coding without a network, after SoftCast (Jakubczak and Katabi, *A
  Cross-Layer Design for Scalable Mobile Video*, MobiCom 2011): transform coefficients are scaled and sent as they are,
  so that the picture degrades with the channel.
* :func:`send_digital` is a JPEG file under a channel code of long blocks such as LDPC codes: flawless above some signal
  to noise ratio, and broken below it.
"""

from __future__ import annotations

import io
import math
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

USES_PER_PIXEL = 1.0
# The grid of blocks that the coefficients of one colour plane are cut into; each has one variance and one gain.
BLOCKS_PER_SIDE = 24

# Rate 3/4 with 4 amplitudes a symbol, the frame of the LDPC code of Wi-Fi: 1944 coded bits.
BITS_PER_USE = 1.5
USES_PER_FRAME = 972
BITS_PER_FRAME = round(BITS_PER_USE * USES_PER_FRAME)
# How much more signal real codes need than the best of their length.
CODE_GAP_DB = 1.0

_SCAN = re.compile(rb"\xff\xda")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = b"\xff\xd9"


def send_analog(image: Image.Image, snr_db: float, seed: int = 0) -> Image.Image:
    """Return what a linear receiver of least mean squared error makes of an image sent uncoded."""
    from scipy.fft import dctn, idctn

    planes = np.asarray(image.convert("YCbCr"), dtype=np.float64).transpose(2, 0, 1)
    means = planes.mean((1, 2), keepdims=True)
    coefficients = dctn(planes - means, axes=(1, 2), norm="ortho")
    block = _blocks(*planes.shape)
    size = np.bincount(block.ravel())
    variance = np.bincount(block.ravel(), (coefficients**2).ravel()) / np.maximum(size, 1) + 1e-9

    order = np.argsort(-variance, kind="stable")
    uses = USES_PER_PIXEL * image.width * image.height
    sent = np.zeros(len(size), dtype=bool)
    sent[order] = np.cumsum(size[order]) <= uses
    # A mean error of all coefficients is least if a gain falls with the fourth root of the variance.
    power = size[sent].sum() / (size * np.sqrt(variance))[sent].sum()
    gain = np.where(sent, np.sqrt(power) * variance**-0.25, 0.0)

    noise_variance = 10 ** (-snr_db / 10)
    noise = np.random.default_rng(seed).normal(0, math.sqrt(noise_variance), coefficients.shape)
    received = gain[block] * coefficients + noise
    estimate = gain * variance / (gain**2 * variance + noise_variance)
    decoded = idctn(estimate[block] * received, axes=(1, 2), norm="ortho") + means
    pixels = decoded.transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels, mode="YCbCr").convert("RGB")


def send_digital(image: Image.Image, snr_db: float, seed: int = 0) -> Image.Image:
    """Return the JPEG image that arrives: the best one that fits, with the errors that the channel code leaves.

    Frames that cannot be decoded keep the bit errors of the symbols. Restart markers, one per row of blocks, keep an
    error from spreading further.
    """
    file = best_jpeg(image)
    header, scan = _split(file)
    pieces = [piece.replace(b"\xff\x00", b"\xff") for piece in _RESTART.split(scan)]
    bits = np.unpackbits(np.frombuffer(b"".join(pieces), dtype=np.uint8))
    random = np.random.default_rng(seed)
    frames = -(-len(bits) // BITS_PER_FRAME)
    lost = random.random(frames) < frame_error_rate(snr_db)
    wrong = random.random(len(bits)) < symbol_bit_error_rate(snr_db)
    bits ^= wrong & np.repeat(lost, BITS_PER_FRAME)[: len(bits)]
    return _decode(header, _cut(np.packbits(bits).tobytes(), [len(piece) for piece in pieces]))


def best_jpeg(image: Image.Image) -> bytes:
    """Return the JPEG file of highest quality that fits the channel, or that of quality 1 if none does."""
    limit = BITS_PER_USE * USES_PER_PIXEL * image.width * image.height
    low, high = 1, 95
    while low < high:
        quality = (low + high + 1) // 2
        if 8 * len(_jpeg(image, quality)) <= limit:
            low = quality
        else:
            high = quality - 1
    return _jpeg(image, low)


def frame_error_rate(snr_db: float) -> float:
    """Return how many frames are lost, by the normal approximation of Polyanskiy, Poor and Verdú (2010)."""
    snr = 10 ** ((snr_db - CODE_GAP_DB) / 10)
    capacity = math.log2(1 + snr) / 2
    dispersion = snr * (snr + 2) / (2 * (snr + 1) ** 2) * math.log2(math.e) ** 2
    return _tail((capacity - BITS_PER_USE) * math.sqrt(USES_PER_FRAME / dispersion))


def symbol_bit_error_rate(snr_db: float) -> float:
    """Return how many bits are wrong if four amplitudes, Gray-coded, are decided symbol by symbol."""
    return 0.75 * _tail(math.sqrt(10 ** (snr_db / 10) / 5))


def _tail(z: float) -> float:
    return math.erfc(z / math.sqrt(2)) / 2


def _blocks(planes: int, height: int, width: int) -> NDArray[np.int64]:
    row = np.arange(height) * BLOCKS_PER_SIDE // height
    column = np.arange(width) * BLOCKS_PER_SIDE // width
    plane = np.arange(planes)[:, None, None]
    return (plane * BLOCKS_PER_SIDE + row[:, None]) * BLOCKS_PER_SIDE + column


def _jpeg(image: Image.Image, quality: int) -> bytes:
    with io.BytesIO() as file:
        image.save(file, "JPEG", quality=quality, restart_marker_rows=1)
        return file.getvalue()


def _split(file: bytes) -> tuple[bytes, bytes]:
    found = _SCAN.search(file)
    if found is None or not file.endswith(_END):
        raise ValueError("`file` must be a baseline JPEG file")
    start = found.end() + int.from_bytes(file[found.end() : found.end() + 2], "big")
    return file[:start], file[start : -len(_END)]


def _cut(data: bytes, lengths: list[int]) -> list[bytes]:
    ends = np.cumsum(lengths).tolist()
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _decode(header: bytes, pieces: list[bytes]) -> Image.Image:
    scan = b""
    for index, piece in enumerate(pieces):
        marker = bytes([0xFF, 0xD0 + (index - 1) % 8]) if index else b""
        scan += marker + piece.replace(b"\xff", b"\xff\x00")
    strict = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(header + scan + _END)) as image:
            return image.convert("RGB")
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = strict
