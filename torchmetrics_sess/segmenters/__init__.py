"""Images to masks."""

from torchmetrics_sess.segmenters.dino import DinoSegmenter, DinoSegmenterConfig
from torchmetrics_sess.segmenters.sam import SamSegmenter, SamSegmenterConfig

__all__ = ["DinoSegmenter", "DinoSegmenterConfig", "SamSegmenter", "SamSegmenterConfig"]
