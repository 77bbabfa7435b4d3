"""`policy.yaml`: strict reading, and writing."""

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

from dynrl.config import from_mapping, parse_yaml
from dynrl.errors import ConfigError
from dynrl.policy.consistency import check_format
from dynrl.policy.contract import Contract
from dynrl.policy.errors import BundleFormat

SIZE_LIMIT = 2**20
DEPTH_LIMIT = 32

_ORDER = (
    "format",
    "name",
    "created",
    "control",
    "model",
    "robot",
    "observation",
    "normalisation",
    "action",
    "default_pose",
    "gains",
    "limits",
    "workspace",
    "state",
    "sim",
    "provenance",
    "parity",
)


def read_contract(content: bytes, source: str = "policy.yaml") -> Contract:
    """The contract in the bytes of a YAML file.

    Raises:
        BundleFormat: larger than 1 MiB, not UTF-8, not YAML, with anchors, aliases or tags, a key unknown or given
            twice, a wrong type, a number that is not finite, another format.
        BundleContract, BundleState: see `Contract`.
    """
    values = read_strict_yaml(content, source)
    if not isinstance(values, dict):
        raise BundleFormat(
            f"{source}: found no `key: value` lines at the top level, expected those of a contract"
        )
    if isinstance(values.get("format"), str):
        check_format(values["format"])
    try:
        return from_mapping(Contract, values, source)
    except ConfigError as error:
        raise BundleFormat(_with_brackets(str(error), source)) from error


def read_strict_yaml(content: bytes, source: str) -> Any:
    """Plain values of an untrusted YAML text: no anchors, aliases, tags, repeated keys, NaN or infinity.

    Raises:
        BundleFormat: any of these, or more than 1 MiB.
    """
    if len(content) > SIZE_LIMIT:
        raise BundleFormat(f"{source}: found {len(content)} bytes, expected at most {SIZE_LIMIT}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleFormat(f"{source}: found bytes that are not UTF-8 (byte {error.start})") from error
    _refuse_references(text, source)
    try:
        values = parse_yaml(text, source)
    except ConfigError as error:
        raise BundleFormat(str(error)) from error
    for key, number in _numbers(values, ""):
        if not math.isfinite(number):
            raise BundleFormat(f"{source}: {key}: found {number}, expected a finite number")
    return values


def _refuse_references(text: str, source: str) -> None:
    import yaml

    opening = (
        yaml.FlowSequenceStartToken,
        yaml.FlowMappingStartToken,
        yaml.BlockSequenceStartToken,
        yaml.BlockMappingStartToken,
    )
    closing = (yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken, yaml.BlockEndToken)
    depth = 0
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            depth += isinstance(token, opening) - isinstance(token, closing)
            if depth > DEPTH_LIMIT:
                raise BundleFormat(
                    f"{source}, line {token.start_mark.line + 1}: found more than {DEPTH_LIMIT} levels of values, "
                    "expected those of a contract"
                )
            if isinstance(token, (yaml.AliasToken, yaml.AnchorToken, yaml.TagToken)):
                kind = type(token).__name__.removesuffix("Token").lower()
                raise BundleFormat(
                    f"{source}, line {token.start_mark.line + 1}: found the {kind} {token.value!r}, "
                    "expected plain values"
                )
    except yaml.YAMLError as error:
        raise BundleFormat(f"{source}: not YAML: {' '.join(str(error).split())}") from error


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _numbers(part, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _numbers(part, f"{key}[{index}]")
    elif isinstance(value, float):
        yield key, value


def _with_brackets(message: str, source: str) -> str:
    """`observation.1.scale` -> `observation[1].scale` in the key of a config message."""
    rest = message.removeprefix(f"{source}: ")
    key, colon, text = rest.partition(": ")
    key = re.sub(r"[.]([0-9]+)(?=[.]|$)", r"[\1]", key)
    return f"{source}: {key}{colon}{text}"


def plain_values(contract: Contract) -> dict[str, Any]:
    """The contract as YAML and JSON hold it, without what is as by default."""
    values = _plain(contract)
    values["format"] = contract.format
    return {key: values[key] for key in _ORDER if key in values}


def write_contract(contract: Contract) -> str:
    """The text of `policy.yaml`; `read_contract` gives the same contract back.

    Raises:
        BundleFormat: a number that is not finite.
    """
    text = dump_yaml(plain_values(contract))
    if read_contract(text.encode(), "the contract to write") != contract:
        raise AssertionError("the contract does not survive writing and reading")
    return text


def dump_yaml(values: Any) -> str:
    """YAML text of plain values, in their order, without anchors."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(
        values, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (tuple, list)) else value


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
