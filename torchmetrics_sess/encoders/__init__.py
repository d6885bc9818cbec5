"""Objects and images to unit-norm embeddings."""

from torchmetrics_sess.encoders.dino import DinoEncoder, DinoEncoderConfig
from torchmetrics_sess.encoders.open_clip import OpenClipEncoder, OpenClipEncoderConfig

__all__ = ["DinoEncoder", "DinoEncoderConfig", "OpenClipEncoder", "OpenClipEncoderConfig"]
