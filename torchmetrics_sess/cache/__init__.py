"""Scene graphs of images that were seen before: a validation compares with the same targets every epoch."""

from torchmetrics_sess.cache.graph_cache import CacheInfo, GraphCache

__all__ = ["CacheInfo", "GraphCache"]
