"""What is a head's configuration, and for which bases it is one."""

import json
from dataclasses import replace

import pytest
from heads import small_model

from smoldiff.errors import HeadMismatch, ModelError
from smoldiff.head.checkpoint import base_facts, new_config
from smoldiff.head.config import FORMAT, MUST_AGREE, HeadConfig, default_taps


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def config(model):
    return new_config(model)


@pytest.mark.parametrize(
    ("num_layers", "num_taps", "taps"),
    [
        (36, 5, (7, 14, 22, 29, 36)),
        (12, 5, (2, 5, 7, 10, 12)),
        (4, 5, (1, 2, 3, 4)),
        (4, 1, (4,)),
        (1, 5, (1,)),
    ],
)
def test_taps_are_spread_evenly_and_end_with_the_last_layer(num_layers, num_taps, taps):
    assert default_taps(num_layers, num_taps) == taps


def test_taps_never_repeat():
    for num_layers in range(1, 90):
        for num_taps in range(1, 12):
            taps = default_taps(num_layers, num_taps)
            assert list(taps) == sorted(set(taps))
            assert taps[0] >= 1
            assert taps[-1] == num_layers


def test_what_is_not_given_follows_from_the_base(config):
    assert (config.hidden_size, config.num_heads, config.num_kv_heads) == (32, 4, 2)
    assert (config.head_dim, config.num_layers, config.taps) == (8, 3, (1, 2, 3, 4))
    assert config.base.architecture == "SmolLM3ForCausalLM"
    assert config.base.vocab_size == 300


def test_zero_stands_for_what_follows_from_the_base_and_false_for_false(model):
    found = new_config(model, hidden_size=0, num_heads=0, has_copy=False)
    assert (found.hidden_size, found.num_heads, found.has_copy) == (32, 4, False)


def test_given_sizes_are_taken_as_they_are(model):
    found = new_config(model, hidden_size=16, num_heads=2, num_kv_heads=1, intermediate_size=24)
    assert (found.hidden_size, found.head_dim, found.intermediate_size) == (16, 8, 24)


def test_a_configuration_survives_json(config):
    assert HeadConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.parametrize("found", [None, FORMAT + 1])
def test_another_format_says_what_to_do(config, found):
    with pytest.raises(ModelError, match=f"format is {found}, .* reads {FORMAT}; use the smoldiff"):
        HeadConfig.from_json({**config.to_json(), "format": found})


@pytest.mark.parametrize(
    "change",
    [
        {"base": None},
        {"base": {"name": "a"}},
        {"taps": 4},
        {"num_wheels": 4},
        {"hidden_size": "32"},
        {"num_layers": 0},
        {"num_layers": True},
        {"copy_dim": -8},
        {"num_kv_heads": 3},
        {"head_dim": 7},
        {"taps": []},
        {"taps": [0, 4]},
        {"taps": [1, 2]},
        {"taps": [2, 1, 4]},
        {"taps": [2, 2, 4]},
        {"taps": [2, 5]},
        {"taps": ["2", 4]},
    ],
    ids=str,
)
def test_what_makes_no_head_is_a_clear_error(config, change):
    with pytest.raises(ModelError, match=f"{next(iter(change))}|configuration cannot be read"):
        HeadConfig.from_json({**config.to_json(), **change})


@pytest.mark.parametrize("raw", [[], "head", None, 3])
def test_what_is_no_object_is_a_clear_error(raw):
    with pytest.raises(ModelError, match="expected a JSON object"):
        HeadConfig.from_json(raw)


@pytest.mark.parametrize("name", MUST_AGREE)
def test_a_head_fits_no_base_that_differs_and_says_in_what(config, name):
    other = replace(config.base, name="other", **{name: getattr(config.base, name) * 2})
    with pytest.raises(
        HeadMismatch, match=rf"{name} .*other, has .*train a head for this one"
    ) as e:
        config.check(other)
    assert e.value.field == name


def test_a_base_may_change_its_name_and_its_revision(model, config):
    config.check(replace(base_facts(model), name="moved", revision="abc"))
