import math
from typing import Any

import pytest

from torchmetrics_sess.config import describe, from_mapping
from torchmetrics_sess.matching import MatchingConfig


def test_defaults_are_the_released_settings() -> None:
    config = MatchingConfig()
    assert (config.theta, config.alpha, config.beta, config.iterations) == (0.2, 0.25, 0.05, 7)
    assert (config.update_order, config.assignment) == ("sequential", "one_to_one")
    assert (config.image_weight, config.cosine_floor) == (0.05, -1.0)


def test_every_setting_shows_in_the_signature() -> None:
    changed = {
        "update_order": "synchronous",
        "iterations": 3,
        "alpha": 0.5,
        "beta": 0.1,
        "theta": 0.3,
        "image_weight": 0.15,
        "assignment": "transport",
        "slack": 0.25,
        "balance": "lower",
        "cosine_floor": 0.0,
        "probability_center": 0.45,
        "probability_width": 0.2,
        "exponent": 2.0,
    }
    for name, value in changed.items():
        config = from_mapping(MatchingConfig, {name: value}, where="matching")
        assert describe(config) != describe(MatchingConfig())
    config = from_mapping(MatchingConfig, changed, where="matching")
    assert describe(config) == (
        "synchronous,it3,a0.5,b0.1,t0.3,img0.15,transport,slack0.25,lower,floor0,same0.45,width0.2,e2"
    )


def validate(name: str, value: Any) -> None:
    """Let a config check a value itself, past the type checker that tests run under and users do not."""
    config = MatchingConfig()
    object.__setattr__(config, name, value)
    config.__post_init__()


@pytest.mark.parametrize("name", ["alpha", "beta", "theta", "image_weight", "cosine_floor"])
@pytest.mark.parametrize("value", [-1.5, 1.5, math.nan])
def test_a_setting_out_of_range_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"`{name}` must be in \[(0|-1), 1\], got"):
        from_mapping(MatchingConfig, {name: value}, where="matching")


def test_a_share_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`alpha` must be in \[0, 1\], got -0.5"):
        MatchingConfig(alpha=-0.5)


def test_iterations_count() -> None:
    with pytest.raises(ValueError, match="`iterations` must be at least 0, got -1"):
        MatchingConfig(iterations=-1)
    with pytest.raises(TypeError, match=r"`iterations` must be int, got 7.0 \(float\)"):
        validate("iterations", 7.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slack", -0.1),
        ("slack", math.inf),
        ("probability_center", 1.5),
        ("probability_width", 0.0),
        ("exponent", -1.0),
        ("exponent", math.nan),
    ],
)
def test_a_number_that_makes_no_sense_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be .*, got {value}"):
        from_mapping(MatchingConfig, {name: value}, where="matching")


@pytest.mark.parametrize("name", ["update_order", "assignment", "balance"])
def test_unknown_choices_are_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be one of '.*', '.*', got 'random'"):
        validate(name, "random")
