from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from torchmetrics_sess.precision import full_precision

BACKENDS: Any = torch.backends
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
OPERATORS = {
    CPU: (BACKENDS.mkldnn.matmul, BACKENDS.mkldnn.conv),
    CUDA: (BACKENDS.cuda.matmul, BACKENDS.cudnn.conv),
}


SWITCHES: dict[str, Callable[[], object]] = {
    "all": lambda: BACKENDS.fp32_precision,
    "cuda.matmul": lambda: BACKENDS.cuda.matmul.fp32_precision,
    "cudnn.conv": lambda: BACKENDS.cudnn.conv.fp32_precision,
    "cudnn.rnn": lambda: BACKENDS.cudnn.rnn.fp32_precision,
    "mkldnn.matmul": lambda: BACKENDS.mkldnn.matmul.fp32_precision,
    "mkldnn.conv": lambda: BACKENDS.mkldnn.conv.fp32_precision,
    "matmul": torch.get_float32_matmul_precision,
    "cuda.matmul.allow_tf32": lambda: BACKENDS.cuda.matmul.allow_tf32,
    "cudnn.allow_tf32": lambda: BACKENDS.cudnn.allow_tf32,
}


def flags() -> dict[str, object]:
    return {name: value_of(switch) for name, switch in SWITCHES.items()}


def value_of(switch: Callable[[], object]) -> object:
    try:
        return switch()
    except RuntimeError:
        # Torch refuses to read a switch of the one kind while one of the other kind says something else.
        return "refused"


@pytest.fixture(autouse=True)
def _untouched_flags() -> Iterator[None]:
    # Whatever ran before may have left its own choice.
    _reset()
    yield
    _reset()


def _reset() -> None:
    torch.set_float32_matmul_precision("highest")
    BACKENDS.fp32_precision = "none"
    for operator in (*OPERATORS[CPU], BACKENDS.cuda.matmul):
        operator.fp32_precision = "none"
    BACKENDS.cudnn.allow_tf32 = True


def by_the_old_switches(level: str) -> None:
    torch.set_float32_matmul_precision(level)


def by_the_new_switches(level: str) -> None:
    for operators in OPERATORS.values():
        for operator in operators:
            operator.fp32_precision = level


def for_all_libraries(level: str) -> None:
    BACKENDS.fp32_precision = level


CHOICES = [
    (by_the_old_switches, "highest"),
    (by_the_old_switches, "high"),
    (by_the_old_switches, "medium"),
    (by_the_new_switches, "tf32"),
    (for_all_libraries, "tf32"),
    (for_all_libraries, "ieee"),
]


@pytest.mark.parametrize(("choose", "level"), CHOICES)
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_block_is_exact_and_the_choice_is_restored(device: torch.device, choose: Any, level: str) -> None:
    choose(level)
    before = flags()
    with full_precision(device):
        assert {operator.fp32_precision for operator in OPERATORS[device]} <= {"ieee", "none"}
    assert flags() == before
    with pytest.raises(KeyError), full_precision(device):
        raise KeyError
    assert flags() == before


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_an_operator_takes_over_from_its_library_stays_so(device: torch.device) -> None:
    BACKENDS.fp32_precision = "tf32"
    with full_precision(device):
        pass
    BACKENDS.fp32_precision = "ieee"
    assert {operator.fp32_precision for operator in OPERATORS[device]} == {"ieee"}


def test_nothing_is_touched_where_nothing_needs_to_be() -> None:
    before = flags()
    with full_precision(CPU):
        assert flags() == before


def test_modes_end_at_the_block_and_return_after_it() -> None:
    try:
        torch.set_default_dtype(torch.bfloat16)
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
            with full_precision(CPU):
                assert not torch.is_autocast_enabled("cpu")
                assert not torch.is_grad_enabled()
                assert torch.get_default_dtype() == torch.float32
                weight = torch.ones(2, 2, requires_grad=True)
                assert (weight @ weight).dtype == torch.float32
            assert torch.is_autocast_enabled("cpu")
            assert torch.is_grad_enabled()
            assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)


def test_blocks_nest() -> None:
    torch.set_float32_matmul_precision("medium")
    before = flags()
    with full_precision(CPU), full_precision(CUDA), full_precision(CPU):
        pass
    assert flags() == before


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_blocks_of_threads_overlap(device: torch.device) -> None:
    for_all_libraries("tf32")
    before = flags()
    entered, left = threading.Event(), threading.Event()
    found: list[object] = []

    def outlast() -> None:
        with full_precision(device):
            entered.set()
            left.wait(60)
            found.append(torch.get_default_dtype())
            found.extend(operator.fp32_precision for operator in OPERATORS[device])

    try:
        torch.set_default_dtype(torch.bfloat16)
        thread = threading.Thread(target=outlast)
        with full_precision(device):
            thread.start()
            entered.wait(60)
        left.set()
        thread.join()
        assert found == [torch.float32, "ieee", "ieee"]
        assert torch.get_default_dtype() == torch.bfloat16
        assert flags() == before
    finally:
        torch.set_default_dtype(torch.float32)
