from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from torchmetrics_sess.config import coerce, describe, from_mapping, nearest, setting


@dataclass(frozen=True)
class Settings:
    rounds: int = setting(3, short="it")
    share: float = setting(0.5, short="s")
    order: Literal["up", "down"] = setting("up", short="")
    width: int | None = setting(None, short="w")
    strict: bool = setting(False, short="strict:")
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.rounds < 0:
            raise ValueError(f"`rounds` must not be negative, got {self.rounds}")


def test_values_arrive_checked_and_the_rest_keeps_its_default() -> None:
    values = {"rounds": 1, "share": 1, "order": "down", "width": 7, "strict": True, "chunk": 2}
    assert from_mapping(Settings, values, where="stage") == Settings(1, 1.0, "down", 7, True, 2)
    assert type(from_mapping(Settings, {"share": 1}, where="stage").share) is float
    assert from_mapping(Settings, {"width": None}, where="stage") == Settings()
    assert from_mapping(Settings, {}, where="stage") == Settings()


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"round": 1}, ValueError, "unknown setting `stage.round`; did you mean `stage.rounds`?"),
        ({"zzz": 1}, ValueError, "unknown setting `stage.zzz`; valid: chunk, order, rounds, share, strict, width"),
        ({"rounds": -1}, ValueError, "`rounds` must not be negative, got -1"),
        ({"rounds": 1.0}, TypeError, "`stage.rounds` must be int, got 1.0 (float)"),
        ({"rounds": "1"}, TypeError, "`stage.rounds` must be int, got '1' (str)"),
        ({"rounds": None}, TypeError, "`stage.rounds` must be int, got None (NoneType)"),
        ({"rounds": True}, TypeError, "`stage.rounds` must be int, got True (bool)"),
        ({"share": True}, TypeError, "`stage.share` must be float, got True (bool)"),
        ({"strict": 1}, TypeError, "`stage.strict` must be bool, got 1 (int)"),
        ({"width": "wide"}, TypeError, "`stage.width` must be int or NoneType, got 'wide' (str)"),
        ({"order": "sideways"}, ValueError, "`stage.order` must be one of 'up', 'down', got 'sideways'"),
        ({"order": ["up"]}, ValueError, "`stage.order` must be one of 'up', 'down', got ['up']"),
    ],
)
def test_anything_else_is_refused_by_name(values: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        from_mapping(Settings, values, where="stage")
    assert str(caught.value) == message


def test_a_hint_names_the_nearest_or_all() -> None:
    assert nearest("iteration", ["iterations", "alpha"], prefix="m.") == "; did you mean `m.iterations`?"
    assert nearest("q", ["b", "a"]) == "; valid: a, b"


@pytest.mark.parametrize("hint", [float, float | None])
def test_an_integer_is_a_number_too(hint: Any) -> None:
    value = coerce(2, hint, "x")
    assert (value, type(value)) == (2.0, float)


def test_a_description_holds_what_can_change_a_score() -> None:
    assert describe(Settings()) == "it3,s0.5,up,wNone,strict:False"
    assert describe(Settings(), long=True) == "rounds=3,share=0.5,order=up,width=None,strict=False"
    assert describe(Settings(chunk=1)) == describe(Settings())


@given(a=st.floats(allow_nan=False), b=st.floats(allow_nan=False))
@hypothesis_settings(derandomize=True, max_examples=100)
def test_numbers_that_differ_are_described_differently(a: float, b: float) -> None:
    assert (describe(Settings(share=a)) == describe(Settings(share=b))) == (a == b or {a, b} == {0.0})


def test_close_numbers_are_told_apart_and_round_ones_stay_short() -> None:
    assert describe(Settings(share=0.1)) != describe(Settings(share=0.1 + 1e-12))
    assert "s0.1000001," in describe(Settings(share=0.1000001))
    assert "s1e-05," in describe(Settings(share=1e-5))
    assert "s1," in describe(Settings(share=1.0))
