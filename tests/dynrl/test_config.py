"""Configs: what is read, and the one line that each mistake gives."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynrl.config import (
    apply_overrides,
    from_mapping,
    installed_configs,
    parse_yaml,
    read_config,
    summary_of,
    to_mapping,
)
from dynrl.errors import ConfigError


@dataclass(frozen=True)
class Optimizer:
    rate: float = 0.1
    steps: int = 3

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}")


@dataclass(frozen=True)
class Config:
    size: int
    optimizer: Optimizer = Optimizer()
    agents: dict[str, Optimizer] = field(default_factory=dict)
    weights: tuple[float, ...] = ()
    pair: tuple[int, str] | None = None
    mode: Literal["fast", "slow"] = "fast"
    either: int | str = 3
    folder: Path | None = None
    free: dict[str, Any] = field(default_factory=dict)
    rule: Optimizer | float = 1.0


def build(text: str, overrides: list[str], tmp_path: Path) -> Config:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    return read_config(str(path), overrides).build(Config)


def test_every_kind_of_field_is_read_and_comes_back_from_its_own_text(tmp_path: Path) -> None:
    text = """
        size: 1e5
        optimizer: {rate: 1e-3}
        agents: {a: {steps: 2e3}, b: {}}
        weights: [1, 2e3, .inf]
        pair: [1, no]
        mode: slow
        either: text
        folder: a/b
        free: {length: 1.0, deep: {list: [1, null]}}
        rule: {rate: 3}
    """
    config = build(text, [], tmp_path)
    assert config == Config(
        size=100_000,
        optimizer=Optimizer(0.001),
        agents={"a": Optimizer(steps=2000), "b": Optimizer()},
        weights=(1.0, 2000.0, float("inf")),
        pair=(1, "no"),
        mode="slow",
        either="text",
        folder=Path("a/b"),
        free={"length": 1.0, "deep": {"list": [1, None]}},
        rule=Optimizer(3.0),
    )
    assert build(yaml.safe_dump(to_mapping(config)), [], tmp_path) == config


def test_overrides_are_typed_like_the_file_and_the_last_wins(tmp_path: Path) -> None:
    overrides = ["optimizer.rate=1e-2", "size=7", "size=8", "agents.a.steps=4", "weights=[1,2]", "either=5"]
    config = build("size: 1", overrides, tmp_path)
    assert config.optimizer.rate == 0.01
    assert config.size == 8
    assert config.agents == {"a": Optimizer(steps=4)}
    assert config.weights == (1.0, 2.0)
    assert config.either == 5


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("size: true", [], "file.yaml: size: got True (a boolean), expected a valid integer"),
        ("size: 1.5", [], "file.yaml: size: got 1.5 (a number), expected a valid integer"),
        ("size: '3'", [], "file.yaml: size: got '3' (a string), expected a valid integer"),
        ("size:", [], "file.yaml: size: got nothing (null), expected a valid integer"),
        ("optimizer: {}", [], "file.yaml: size: this key is required"),
        ("size: 1\noptimzer: {}", [], "file.yaml: optimzer: unknown key; did you mean 'optimizer'?"),
        ("size: 1\noptimizer: {x: 1}", [], "file.yaml: optimizer.x: unknown key; known keys: rate, steps"),
        ("size: 1", ["optimizer.rat=3"], "command line: optimizer.rat: unknown key; did you mean 'rate'?"),
        ("size: 1", ["agents.a.stps=3"], "command line: agents.a.stps: unknown key; did you mean 'steps'?"),
        ("size: 1\nrule: {rat: 3}", [], "file.yaml: rule.rat: unknown key; did you mean 'rate'?"),
        ("size: 1", ["mode=quick"], "command line: mode: got 'quick' (a string), expected 'fast' or 'slow'"),
        ("size: 1", ["optimizer.rate=-1"], "command line: optimizer: rate must be at least 0, got -1.0"),
        ("size: 1", ["optimizer.rate=true"], "optimizer.rate: got True (a boolean), expected a valid number"),
        ("size: 1\nweights: [1, a]", [], "file.yaml: weights.1: got 'a' (a string), expected a valid number"),
        ("size: 1\nweights: 3", [], "file.yaml: weights: got 3 (an integer), expected a list"),
        ("size: 1\noptimizer: 3", [], "file.yaml: optimizer: got 3 (an integer), expected a mapping"),
        ("size: 1", ["size.x=3"], "command line: size.x: 'size' is 1 (an integer), it has no keys"),
        ("size: 1", ["size"], "command line: expected key=value, got 'size'"),
        ("size: 1", ["a..b=1"], "command line: expected key=value, got 'a..b=1'"),
        ("size: 1", ["weights=[1"], "command line: weights, line 1, column 3"),
        ("", [], "file.yaml: the file is empty"),
        ("# only a comment", [], "file.yaml: the file is empty"),
        ("- 1\n- 2", [], "file.yaml: expected `key: value` lines at the top level, got [1, 2] (a list)"),
        ("size: 1\nweights: [1,", [], "file.yaml, line 2, column 13:"),
        ("size: 1\nsize: 2", [], "file.yaml, line 2, column 1: key 'size' is given twice"),
        ("size: !!python/object:os.system x", [], "file.yaml, line 1, column 7: could not determine"),
        ("free: &a {self: *a}", [], "file.yaml: only plain values can be used here"),
        ("free: {d: !!timestamp 2020-01-01}", [], "file.yaml: only plain values can be used here"),
    ],
)
def test_each_mistake_is_one_line(text: str, overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        build(text, overrides, tmp_path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file and no installed config"):
        read_config("nowhere/at_all")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not a text file in UTF-8"):
        read_config(str(binary))


def test_a_wrong_name_of_an_installed_config_gets_a_suggestion() -> None:
    name = installed_configs()[0]
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        read_config(name + "x")


def test_every_installed_config_says_what_it_is_and_names_an_experiment() -> None:
    for name in installed_configs():
        assert summary_of(name), name
        assert isinstance(read_config(name).values["experiment"], str), name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e5", 1e5),
        ("-1.5E-3", -0.0015),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("12:30", "12:30"),
        ("yes", "yes"),
        ("true", True),
        ("010", 10),
        ("2020-01-01", "2020-01-01"),
        ("1.2.3", "1.2.3"),
        ("", None),
        ("~", None),
    ],
)
def test_scalars_are_read_as_in_yaml_1_2(text: str, value: Any) -> None:
    read = parse_yaml(text, "x")
    assert read == value
    assert type(read) is type(value)


text = st.text("ab:[]{}&*!-#\n 1.e\"'|>%@=~", max_size=20)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["size", "optimizer", "weights", "rule", "pair", "free"]), plain))
def test_any_plain_values_build_or_give_one_line(values: dict[str, Any]) -> None:
    try:
        config = from_mapping(Config, values, "here")
    except ConfigError as error:
        assert "here" in str(error)
    else:
        assert from_mapping(Config, to_mapping(config), "here") == config


@given(text)
def test_any_text_is_yaml_or_a_config_error(text: str) -> None:
    try:
        parse_yaml(text, "here")
    except ConfigError as error:
        assert str(error).startswith("here")


@given(st.lists(text, max_size=3))
def test_any_override_is_applied_or_a_config_error(overrides: list[str]) -> None:
    config = read_config(installed_configs()[0])
    try:
        assert isinstance(apply_overrides(config, overrides).values, dict)
    except ConfigError as error:
        assert str(error).startswith("command line")
