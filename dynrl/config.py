"""Configs: YAML and `key=value` overrides -> frozen dataclasses, checked by pydantic."""

import dataclasses
import difflib
import json
import re
import types
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from dynrl.errors import ConfigError

T = TypeVar("T")
COMMAND_LINE = "command line"


@dataclasses.dataclass(frozen=True)
class ConfigInput:
    """Values read from a file and the command line, not yet checked against a class.

    Attributes:
        values: nested plain values, overrides applied.
        source: the file, for messages.
        overridden: dotted keys that came from the command line.
        prefix: put before keys in messages, e.g. "agent.config.".
    """

    values: dict[str, Any]
    source: str
    overridden: frozenset[str] = frozenset()
    prefix: str = ""

    def take(self, key: str) -> tuple[Any, "ConfigInput"]:
        """The top-level value `key` (None when absent) and the rest."""
        rest = {name: value for name, value in self.values.items() if name != key}
        return self.values.get(key), dataclasses.replace(self, values=rest)

    def build(self, cls: type[T]) -> T:
        """An instance of the dataclass `cls`.

        Raises:
            ConfigError: unknown key, missing key, wrong type or refused value: one line with the key, where
                it came from, what came and what was expected.
        """
        return _validate(cls, self)

    def origin(self, key: str) -> str:
        """Where the value at the dotted `key` came from."""
        parents = [key[: match.start()] for match in re.finditer(r"\.", key)]
        given = any(name == key or name in parents or name.startswith(f"{key}.") for name in self.overridden)
        return COMMAND_LINE if given else self.source


def read_config(name: str, overrides: Sequence[str] = ()) -> ConfigInput:
    """Reads a config file and applies `key=value` overrides (dotted keys, YAML values).

    Args:
        name: a path, or the name of an installed config such as `bandits/ads`.

    Raises:
        ConfigError: missing, empty or malformed file; malformed override.
    """
    source, text = _find(name)
    values = parse_yaml(text, source)
    if values is None:
        raise ConfigError(f"{source}: the file is empty; expected `key: value` lines")
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: expected `key: value` lines at the top level, got {_describe(values)}")
    return apply_overrides(ConfigInput(values, source), overrides)


def apply_overrides(config: ConfigInput, overrides: Sequence[str]) -> ConfigInput:
    """Sets each `a.b=value` (the value read as YAML; the last one wins).

    Raises:
        ConfigError: no `=`, an empty part of the key, a malformed value, or a parent that is not a mapping.
    """
    values = _copy(config.values)
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"{COMMAND_LINE}: expected key=value, got {text!r}")
        *parents, last = key.split(".")
        target = values
        for part in parents:
            if target.get(part) is None:
                target[part] = {}
            target = target[part]
            if not isinstance(target, dict):
                raise ConfigError(f"{COMMAND_LINE}: {key}: {part!r} is {_describe(target)}, it has no keys")
        target[last] = parse_yaml(value, f"{COMMAND_LINE}: {key}")
    keys = {text.partition("=")[0] for text in overrides}
    return ConfigInput(values, config.source, config.overridden | keys)


def from_mapping(cls: type[T], values: Mapping[str, Any], source: str) -> T:
    """An instance of the dataclass `cls` from plain values; see `ConfigInput.build`."""
    return ConfigInput(dict(values), source).build(cls)


def to_mapping(config: Any) -> dict[str, Any]:
    """The plain values (as YAML and JSON hold them) of a config dataclass; `from_mapping` reverses it."""
    from pydantic import TypeAdapter

    return TypeAdapter(type(config)).dump_python(config, mode="json")


def installed_configs() -> list[str]:
    """Names of the configs that come with the package, e.g. `bandits/ads`."""
    root = resources.files("dynrl.configs")
    return sorted(_walk(root, ""))


def summary_of(name: str) -> str:
    """The first comment line of an installed config."""
    first = _find(name)[1].partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _walk(folder: Any, prefix: str) -> list[str]:
    names = []
    for entry in folder.iterdir():
        if entry.is_dir():
            names += _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            names.append(prefix + entry.name.removesuffix(".yaml"))
    return names


def _find(name: str) -> tuple[str, str]:
    path = Path(name)
    try:
        if path.is_file():
            return name, path.read_text(encoding="utf-8")
        if name in installed_configs():
            entry = resources.files("dynrl.configs").joinpath(f"{name}.yaml")
            return f"{name}.yaml", entry.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    advice = _did_you_mean(name, installed_configs()) or "`dynrl list` prints the installed configs"
    raise ConfigError(f"{name}: no such file and no installed config of that name; {advice}")


def parse_yaml(text: str, source: str) -> Any:
    """Plain values of a YAML text, with YAML 1.2's scalars: `1e5` is a number, `no` a string.

    Raises:
        ConfigError: a syntax error, with line and column; a key given twice; values other than JSON's.
    """
    import yaml

    try:
        values = yaml.load(text, Loader=_loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: not YAML: {str(error).splitlines()[0]}") from error
    try:
        json.dumps(values)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{source}: only plain values can be used here: {error}") from error
    return values


@lru_cache(maxsize=1)
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, list[tuple[str, Any]]] = {}  # noqa: RUF012 (as PyYAML declares it)

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key, _ in node.value:
                if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if key.value in seen:
                    problem = f"key {key.value!r} is given twice"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
            return super().construct_mapping(node, deep)

    number = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    rules = [
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9]+", "-+0123456789"),
        ("float", rf"{number}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("merge", r"<<", "<"),
    ]
    for tag, pattern, first in rules:
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{pattern})$"), list(first))
    Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))
    return Loader


@lru_cache(maxsize=64)
def _adapter(cls: Any) -> Any:
    from pydantic import ConfigDict, create_model

    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    return create_model("Root", __config__=config, value=(cls, ...))


def _validate(cls: type[T], config: ConfigInput) -> T:
    from pydantic import ValidationError

    values = _copy(config.values)
    schema: Any = cls
    while True:
        try:
            return _adapter(schema).model_validate_json(json.dumps({"value": values})).value
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
            if not any([_make_integer(values, error) for error in errors]):
                raise ConfigError(_explain(cls, config, errors)) from invalid


def _make_integer(values: Any, error: Any) -> bool:
    """Makes the value of an `int` field that is a whole float (`1e5`) an int; False if not one."""
    number = error["input"]
    if error["type"] not in ("int_type", "int_from_float") or not isinstance(number, float):
        return False
    *parents, last = error["loc"][1:]
    try:
        for part in parents:
            values = values[part]
        if not (number.is_integer() and values[last] == number):
            return False
        values[last] = int(number)
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _explain(cls: type, config: ConfigInput, errors: Sequence[Any]) -> str:
    error = errors[0]
    key = _key(config.values, error)
    origin = config.origin(key)
    if not key and config.overridden:
        origin = f"{config.source} with the settings of the {COMMAND_LINE}"
    where = ": ".join(part for part in (origin, (config.prefix + key).rstrip(".")) if part)
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        *parents, last = (str(part) for part in error["loc"][1:])
        fields = _fields_at(cls, parents)
        advice = _did_you_mean(last, fields) or f"known keys: {', '.join(fields)}"
        return f"{where}: unknown key; {advice}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{where}: this key is required"
    if error["type"] in ("value_error", "assertion_error"):
        return f"{where}: {error['msg'].split(', ', 1)[-1]}"
    same = [other["msg"] for other in errors if _key(config.values, other) == key]
    expected = " or ".join(dict.fromkeys(text.removeprefix("Input should be ") for text in same))
    for pydantic_word, word in (("an object", "a mapping"), ("a valid array", "a list")):
        expected = expected.replace(pydantic_word, word)
    return f"{where}: got {_describe(error['input'])}, expected {expected}"


def _key(values: Any, error: Any) -> str:
    """The dotted key of a pydantic error, without the names pydantic adds for the members of a union."""
    location = error["loc"][1:]
    parts = []
    for part in location:
        inside = isinstance(values, dict) and part in values
        if isinstance(values, list) and isinstance(part, int):
            inside = part < len(values)
        if inside:
            values = values[part]
        if inside or (part == location[-1] and error["type"].startswith("missing")):
            parts.append(str(part))
    return ".".join(parts)


def _fields_at(cls: Any, location: Sequence[str]) -> list[str]:
    """Field names of the dataclass found by following `location` through the annotations of `cls`."""
    for part in location:
        cls = next((found for option in _options(cls) if (found := _step_into(option, part))), None)
    for option in _options(cls):
        if dataclasses.is_dataclass(option):
            return [field.name for field in dataclasses.fields(option)]
    return []


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _step_into(annotation: Any, part: str) -> Any:
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return get_type_hints(annotation).get(part) or (annotation if part == annotation.__name__ else None)
    arguments = get_args(annotation)
    if not arguments:
        return None
    return arguments[-1] if get_origin(annotation) is dict else arguments[0]


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def _describe(value: Any) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "a list"}
    if value is None:
        return "nothing (null)"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    short = text if len(text) <= 40 else text[:37] + "..."
    return f"{short} ({kinds.get(type(value), type(value).__name__)})"


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, list) else value
