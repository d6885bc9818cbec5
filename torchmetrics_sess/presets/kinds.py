"""Which kinds of stage there are, and what the settings of one have to offer."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

# The class that holds a stage's settings and builds it, by kind; imported only when a preset asks for it.
STAGES = {
    "segmenter": {
        "dino": "torchmetrics_sess.segmenters.dino:DinoSegmenterConfig",
        "sam": "torchmetrics_sess.segmenters.sam:SamSegmenterConfig",
    },
    "relations": {
        "geometric": "torchmetrics_sess.relations.geometric:GeometricRelationsConfig",
        "ram": "torchmetrics_sess.relations.ram:RamRelationConfig",
    },
    "encoder": {
        "dino": "torchmetrics_sess.encoders.dino:DinoEncoderConfig",
        "open_clip": "torchmetrics_sess.encoders.open_clip:OpenClipEncoderConfig",
    },
}


@runtime_checkable
class StageConfig(Protocol):
    """The settings of one stage."""

    kind: ClassVar[str]

    def weights(self) -> list[str]:
        """Return the names, in ``torchmetrics_sess.weights.WEIGHTS``, of all that ``build`` will fetch."""
        ...

    def digests(self) -> list[str]:
        """Return the first 8 hex digits of the SHA-256 of every file of weights or constants that the stage uses."""
        ...

    def build(self, device: torch.device) -> Any:
        """Build the stage on ``device``, weights loaded and frozen."""
        ...


@runtime_checkable
class TextTowerConfig(Protocol):
    """The settings of an encoder that embeds text too."""

    def text_tower(self) -> str:
        """Name the model and the weights that embed text."""
        ...
