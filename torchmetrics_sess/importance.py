"""How much each object of an image matters: where viewers look, and how the objects relate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.config import setting
from torchmetrics_sess.geometry import mask_sums

# The square that spectral residual works on.
_SIDE = 64
# Small enough to change no weight that a viewer would notice, large enough to stay a normal float32.
_FLOOR = 1e-12


@dataclass(frozen=True)
class ImportanceConfig:
    """Settings of ``object_importance``; the defaults are those of the published numbers.

    Args:
        k1: root taken of the saliency under a mask; larger values bring large and small objects closer together.
        k2: root taken of an object's share in its relations.
        k3: weight of saliency against relations, in [0, 1].
        saliency: where the saliency map comes from: ``"spectral_residual"`` computes it from the image,
            ``"segmenter"`` takes the one that the segmenter's own network gives.
        threshold: what is below so many times the mean saliency of the image is not salient; at least 0.
        floor: what is not salient counts by, as a share of what is most salient; in [0, 1].
        focus: power to which saliency is raised, pixel by pixel; positive. With ``threshold`` 0, ``floor`` 0 and
            ``focus`` 1, saliency is left as it is.

    Raises:
        ValueError: for a root or power that is not positive, a share outside [0, 1], a negative threshold or an unknown
            source of saliency.

    Examples:
        >>> ImportanceConfig(k3=0.5)
        ImportanceConfig(k1=2.5, k2=3.0, k3=0.5, saliency='spectral_residual', threshold=0.0, floor=0.0, focus=1.0)
    """

    k1: float = setting(2.5, short="k1_")
    k2: float = setting(3.0, short="k2_")
    k3: float = setting(0.8, short="k3_")
    saliency: Literal["spectral_residual", "segmenter"] = setting("spectral_residual", short="")
    threshold: float = setting(0.0, short="cut")
    floor: float = setting(0.0, short="floor")
    focus: float = setting(1.0, short="focus")

    def __post_init__(self) -> None:
        for name in ("k1", "k2", "focus"):
            root = getattr(self, name)
            if not (math.isfinite(root) and root > 0):
                raise ValueError(f"`{name}` must be a positive number, got {root}")
        for name in ("k3", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}")
        if not (math.isfinite(self.threshold) and self.threshold >= 0):
            raise ValueError(f"`threshold` must be a number of at least 0, got {self.threshold}")
        if self.saliency not in ("spectral_residual", "segmenter"):
            raise ValueError(f"`saliency` must be 'spectral_residual' or 'segmenter', got {self.saliency!r}")


_DEFAULT = ImportanceConfig()


def spectral_residual(images: Shaped[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """Compute spectral-residual saliency maps: what is unusual in the log amplitude of an image's spectrum.

    Agrees with OpenCV's ``StaticSaliencySpectralResidual`` to about 1e-4, without needing OpenCV. Like there, images
    are taken as bytes: float images are rounded to 256 levels first.

    Args:
        images: RGB, uint8 or floating point in [0, 1], ``[b, 3, h, w]``.

    Returns:
        float32 in [0, 1], ``[b, h, w]``, on the device of ``images``.

    Raises:
        ValueError: if ``images`` is not ``[b, 3, h, w]``.
        TypeError: if ``images`` is neither uint8 nor floating point.

    Source:
        Hou and Zhang, *Saliency Detection: A Spectral Residual Approach*, CVPR 2007.

    Examples:
        >>> import torch
        >>> image = torch.zeros(1, 3, 96, 96)
        >>> image[..., 40:56, 40:56] = 1.0
        >>> saliency = spectral_residual(image)
        >>> saliency.shape, bool(saliency[0, 48, 48] > saliency[0, 8, 8])
        (torch.Size([1, 96, 96]), True)
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"`images` must be [b, 3, h, w], got shape {list(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise TypeError(f"`images` must be uint8, or floating point in [0, 1], got {images.dtype}")
    with torch.autocast(images.device.type, enabled=False):
        spectrum = torch.fft.fft2(_thumbnail(images).float())
        amplitude = spectrum.abs()
        log_amplitude = amplitude.log1p()
        residual = log_amplitude - functional.avg_pool2d(_mirror(log_amplitude, 1), 3, stride=1)
        # What is below the rounding noise of the transform has no meaningful phase: without this, flat regions would
        # give saliency that differs from one machine to the next.
        noise = torch.finfo(amplitude.dtype).eps * amplitude[:, :1, :1]
        phase = torch.where(amplitude > noise, spectrum / amplitude, 1)
        energy = _blur(torch.fft.ifft2(residual.exp() * phase).abs()).square()
        saliency = energy / energy.amax(dim=(1, 2), keepdim=True)
        resized = functional.interpolate(saliency[:, None], images.shape[2:], mode="bilinear", align_corners=False)
    return resized[:, 0].clamp(0, 1)


def object_importance(
    saliency: Float[Tensor, "*b h w"],
    masks: Bool[Tensor, "*b n h w"] | Float[Tensor, "*b n h w"],
    confidence: Float[Tensor, "*b n n"],
    config: ImportanceConfig = _DEFAULT,
    valid: Bool[Tensor, "*b n"] | None = None,
) -> Float[Tensor, "*b n"]:
    """Weigh the objects of an image by the saliency under their masks and by their part in the relations.

    With the saliency ``S`` (what ``focus_saliency`` leaves of it), masks ``M`` and confidences ``c``::

        s_i = (sum over pixels p of M_i[p] S[p]) ** (1 / k1)                       scaled to sum 1
        r_i = (sum over j of (c_ij + c_ji) s_i / (s_i + s_j)) ** (1 / k2)          scaled to sum 1
        w_i = k3 s_i + (1 - k3) r_i

    Where there is no saliency, or no relation, all objects share equally in that term.

    Args:
        saliency: where viewers look, not negative, ``[h, w]``, or ``[*b, h, w]`` for a batch; its scale is irrelevant.
        masks: pixels of the objects, or how far every pixel belongs to each, ``[*b, n, h, w]``; they may overlap.
        confidence: probability of the relation of every ordered pair (subject, object), ``[*b, n, n]``; values
            below 0 mean that there is none. The diagonal is ignored.
        config: roots and weights.
        valid: which slots hold an object, ``[*b, n]``; all of them if not given.

    Returns:
        Positive weights that sum to 1 over the objects of an image, ``[*b, n]``, 0 in slots that hold no object; in
        the dtype of ``saliency``, but at least float32.

    Raises:
        ValueError: if the shapes do not agree.
        TypeError: if ``masks`` is neither boolean nor floating point.

    Source:
        Fan et al., *Semantic Similarity Score for Measuring Visual Similarity at Semantic Level*, IEEE IoT-J 2024.

    Examples:
        >>> import torch
        >>> masks = torch.zeros(2, 8, 8, dtype=torch.bool)
        >>> masks[0, :4], masks[1, 4:] = True, True
        >>> saliency = masks[0] + 0.25
        >>> object_importance(saliency, masks, confidence=torch.tensor([[-1.0, 0.9], [-1.0, -1.0]]))
        tensor([0.6352, 0.3648])
    """
    _check_shapes(saliency, masks, confidence, valid)
    mass = mask_sums(masks, focus_saliency(saliency, config)[..., None, :, :])[..., 0]
    if valid is None:
        valid = torch.ones_like(mass, dtype=torch.bool)
    salience = _shares(_root(mass, config.k1), valid)

    pair = salience[..., :, None] + salience[..., None, :]
    part = _quotient(salience[..., :, None], pair, 0.5)
    itself = torch.eye(masks.shape[-3], dtype=torch.bool, device=masks.device)
    related = valid[..., :, None] & valid[..., None, :] & ~itself & (confidence > 0)
    strength = torch.where(related, confidence.to(mass.dtype), 0)
    relation = _shares(_root(((strength + strength.mT) * part).sum(-1), config.k2), valid)

    importance = config.k3 * salience + (1 - config.k3) * relation
    return _shares(importance.clamp_min(_FLOOR), valid).to(torch.promote_types(saliency.dtype, torch.float32))


def focus_saliency(saliency: Float[Tensor, "*b h w"], config: ImportanceConfig) -> Float[Tensor, "*b h w"]:
    """Leave of a saliency map what stands out: ``(max(S - threshold * mean(S), 0) / its maximum + floor) ** focus``.

    Args:
        saliency: not negative, ``[*b, h, w]``.
        config: says how much; the default leaves the map as it is.

    Returns:
        ``[*b, h, w]``; a map of equal values stays one.

    Examples:
        >>> focus_saliency(torch.tensor([[0.2, 0.2, 0.8]]), ImportanceConfig(threshold=1.0, floor=0.1, focus=2.0))
        tensor([[0.0100, 0.0100, 1.2100]])
    """
    if config.threshold == 0 and config.floor == 0 and config.focus == 1:
        return saliency
    above = (saliency - config.threshold * saliency.mean((-2, -1), keepdim=True)).clamp_min(0)
    highest = above.amax((-2, -1), keepdim=True)
    return (_quotient(above, highest, 1.0) + config.floor) ** config.focus


def _check_shapes(saliency: Tensor, masks: Tensor, confidence: Tensor, valid: Tensor | None) -> None:
    if masks.dtype != torch.bool and not masks.is_floating_point():
        raise TypeError(f"`masks` must be boolean or floating point, got {masks.dtype}")
    if masks.ndim < 3:
        raise ValueError(f"`masks` must be [*b, n, h, w], got shape {list(masks.shape)}")
    *batch, n, height, width = masks.shape
    expected = {
        "saliency": (saliency, [*batch, height, width]),
        "confidence": (confidence, [*batch, n, n]),
        "valid": (valid, [*batch, n]),
    }
    for name, (value, shape) in expected.items():
        if value is not None and list(value.shape) != shape:
            raise ValueError(f"`{name}` must be {shape} for masks {list(masks.shape)}, got {list(value.shape)}")


def _shares(weights: Float[Tensor, "*b n"], valid: Bool[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
    """Scale the weights of the valid slots to sum 1; equal shares where all of them are 0."""
    objects = valid.to(weights.dtype)
    weights = weights * objects
    equal = objects / objects.sum(-1, keepdim=True).clamp_min(1)
    return _quotient(weights, weights.sum(-1, keepdim=True), equal)


def _quotient(part: Tensor, whole: Tensor, otherwise: Tensor | float) -> Tensor:
    """Return ``part / whole``, or ``otherwise`` where ``whole`` is 0: there, a division would make gradients NaN."""
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), otherwise)


def _root(values: Tensor, degree: float) -> Tensor:
    """Return a root whose slope is 0, not infinite, at 0."""
    return values.where(values > 0, 1) ** (1 / degree) * (values > 0)


def _thumbnail(images: Shaped[Tensor, "b 3 h w"]) -> Int[Tensor, "b 64 64"]:
    """Shrink to a grey square in the integer arithmetic of OpenCV, byte by byte the same.

    A spectrum divided by its own amplitude forgives nothing: the last bit of a pixel shows in the map.
    """
    (rows, row_weights), (columns, column_weights) = (_taps(size, images.device) for size in images.shape[2:])
    # Only the pixels that the square is interpolated from need converting.
    pixels = images[:, :, rows.view(-1, 1), columns.view(-1)]
    if images.is_floating_point():
        pixels = (pixels.float() * 255).round().clamp(0, 255)
    red, green, blue = pixels.int().unbind(1)
    grey = (9798 * red + 19235 * green + 3735 * blue + 2**14) >> 15
    weighted = grey.view(-1, _SIDE, 2, _SIDE, 2) * row_weights[:, :, None, None] * column_weights
    return (weighted.sum(dim=(2, 4)) + 2**15) >> 16


def _taps(size: int, device: torch.device) -> tuple[Int[Tensor, "64 2"], Int[Tensor, "64 2"]]:
    """Return the two pixels that each pixel of the square lies between, and their weights in 256ths."""
    position = 2 * ((2 * torch.arange(_SIDE, device=device) + 1) * size - _SIDE)
    position = position.clamp(0, 256 * (size - 1))
    before, fraction = position // 256, position % 256
    return torch.stack([before, (before + 1).clamp(max=size - 1)], 1), torch.stack([256 - fraction, fraction], 1)


def _mirror(maps: Float[Tensor, "b h w"], border: int) -> Float[Tensor, "b h+2*{border} w+2*{border}"]:
    return functional.pad(maps, (border,) * 4, mode="reflect")


def _blur(maps: Float[Tensor, "b h w"]) -> Float[Tensor, "b h w"]:
    """Blur with the five central taps of a Gaussian of standard deviation 8."""
    taps = torch.exp(-torch.arange(-2, 3, device=maps.device, dtype=maps.dtype).square() / (2 * 8**2))
    kernel = torch.outer(taps, taps) / taps.sum().square()
    return functional.conv2d(_mirror(maps, 2)[:, None], kernel[None, None])[:, 0]
