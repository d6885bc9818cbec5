"""Images to masks."""

from typing import TYPE_CHECKING, Any

from torchmetrics_sess.segmenters.dino import DinoSegmenter, DinoSegmenterConfig

if TYPE_CHECKING:
    from torchmetrics_sess.segmenters.sam import SamSegmenter, SamSegmenterConfig

__all__ = ["DinoSegmenter", "DinoSegmenterConfig", "SamSegmenter", "SamSegmenterConfig"]


def __getattr__(name: str) -> Any:
    # Only whoever segments with SAM waits for its library.
    if name in ("SamSegmenter", "SamSegmenterConfig"):
        from torchmetrics_sess.segmenters import sam

        return getattr(sam, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
