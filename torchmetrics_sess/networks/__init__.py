"""Networks that are written here, not taken from a library."""

from torchmetrics_sess.networks.vision_transformer import DinoSaliencyNetwork, Tokens

__all__ = ["DinoSaliencyNetwork", "Tokens"]
