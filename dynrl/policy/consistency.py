"""What a contract must satisfy beyond the types of its fields."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dynrl.policy.errors import BundleContract, BundleFormat, BundleState
from dynrl.policy.kinds import ACTION_KINDS, FORMAT, OBSERVATION_KINDS, SHAPES, UNITS, closest

if TYPE_CHECKING:
    from dynrl.policy.contract import ActionTerm, Contract, ObservationTerm


def check_contract(contract: "Contract") -> None:
    """Refuses a contract that contradicts itself; the checks go from the outside in.

    Raises:
        BundleFormat: another format.
        BundleContract: anything else, except
        BundleState: a recurrent tensor named twice, or with an axis below 1.
    """
    check_format(contract.format)
    _check_control(contract)
    _check_joints(contract)
    _check_terms(contract)
    _check_normalisation(contract)
    _check_limits(contract)
    _check_gains(contract)
    _check_workspace(contract)
    _check_state(contract)
    if contract.model is not None:
        _check_model(contract)


def wrong(key: str, found: Any, expected: str) -> BundleContract:
    """The error that says what stands at `key`."""
    return BundleContract(f"{key}: found {found}, expected {expected}")


def check_format(text: str) -> None:
    """Refuses another format, and says which version reads a newer one."""
    if text == FORMAT:
        return
    newer = re.fullmatch(r"dynrl\.policy/([0-9]{1,6})", text)
    if newer and int(newer[1]) > 1:
        raise BundleFormat(
            f"format: found {text!r}, this version of dynrl reads {FORMAT!r}; install a dynrl that reads policy format "
            f"{int(newer[1])}"
        )
    raise BundleFormat(f"format: found {text!r}, expected {FORMAT!r}")


def _check_control(contract: "Contract") -> None:
    period = contract.control.period
    if not 0.0005 <= period <= 1.0:
        raise wrong("control.period", period, "seconds, from 0.0005 to 1")
    nanoseconds = period * 1e9
    if abs(round(nanoseconds) - nanoseconds) > 1e-9 * nanoseconds:
        raise wrong("control.period", repr(period), "a whole number of nanoseconds (to 1e-9, relative)")
    if contract.control.decimation < 1:
        raise wrong("control.decimation", contract.control.decimation, "a whole number of at least 1")


def _check_joints(contract: "Contract") -> None:
    joints = contract.robot.joints
    twice = [joint for index, joint in enumerate(joints) if joint in joints[:index]]
    if twice:
        raise wrong("robot.joints", f"{twice[0]!r} twice", "every joint once")
    if "" in joints:
        raise wrong("robot.joints", "an empty name", "the name of a joint")
    if contract.default_pose is not None:
        _check_length("default_pose", contract.default_pose, joints)


def _check_length(key: str, values: Sequence[Any], joints: Sequence[str]) -> None:
    if len(values) != len(joints):
        raise wrong(key, f"{len(values)} numbers", f"{len(joints)}, one per joint of robot.joints")


def _check_terms(contract: "Contract") -> None:
    groups: tuple[tuple[str, Sequence[Any], dict[str, Any]], ...] = (
        ("action", contract.action, ACTION_KINDS),
        ("observation", contract.observation, OBSERVATION_KINDS),
    )
    for group, terms, kinds in groups:
        if not terms:
            raise wrong(group, "no term", "at least one")
        names: set[str] = set()
        for index, term in enumerate(terms):
            key = f"{group}[{index}]"
            if not term.name or term.name in names:
                raise wrong(f"{key}.name", repr(term.name), "a name that no other term has")
            names.add(term.name)
            _check_term(contract, key, term, kinds)
    for index, term in enumerate(contract.observation):
        _check_observation_term(contract, f"observation[{index}]", term)
    if contract.observation_size > 2**24:
        raise wrong("observation", f"{contract.observation_size} numbers in all", "at most 2^24")


def _check_term(contract: "Contract", key: str, term: Any, kinds: dict[str, Any]) -> None:
    if term.kind not in kinds:
        raise wrong(f"{key}.kind", repr(term.kind), f"one of {', '.join(closest(term.kind, list(kinds)))}")
    if term.unit not in UNITS:
        raise wrong(f"{key}.unit", repr(term.unit), f"one of {', '.join(UNITS)}")
    if term.joints != "all":
        for position, joint in enumerate(term.joints):
            if joint not in contract.robot.joints:
                raise wrong(
                    f"{key}.joints",
                    repr(joint),
                    f"joints of robot.joints: {', '.join(contract.robot.joints)}",
                )
            if joint in term.joints[:position]:
                raise wrong(f"{key}.joints", f"{joint!r} twice", "every joint once")
    if term.clip is not None and not term.clip[0] < term.clip[1]:
        raise wrong(f"{key}.clip", list(term.clip), "[low, high] with low < high")
    if hasattr(term, "shape") and term.shape is not None:
        _check_shape(key, term)
    elif kinds[term.kind] is None:
        raise wrong(f"{key}.shape", "nothing", f"the shape of {term.kind}, e.g. [height, width, channels]")
    _check_scaling(contract, key, term)


def _check_shape(key: str, term: "ObservationTerm") -> None:
    if not term.shape or min(term.shape) < 1:
        raise wrong(f"{key}.shape", list(term.shape or ()), "whole numbers of at least 1")
    if term.kind in SHAPES:
        allowed = SHAPES[term.kind]
        if allowed is not None and term.shape not in allowed:
            shapes = " or ".join(str(list(shape)) for shape in allowed)
            raise wrong(f"{key}.shape", list(term.shape), shapes)
    elif OBSERVATION_KINDS[term.kind] != term.shape:
        expected = OBSERVATION_KINDS[term.kind]
        known = str(list(expected)) if isinstance(expected, tuple) else "no shape: it follows from the joints"
        raise wrong(f"{key}.shape", list(term.shape), known)


def _check_scaling(contract: "Contract", key: str, term: "ObservationTerm | ActionTerm") -> None:
    size = math.prod(contract.sample_shape(term))
    for name, value in (("scale", term.scale), ("offset", term.offset)):
        if isinstance(value, tuple) and len(value) != size:
            raise wrong(f"{key}.{name}", f"{len(value)} numbers", f"one number, or {size}")
    scales = term.scale if isinstance(term.scale, tuple) else (term.scale,)
    if 0.0 in scales:
        raise wrong(f"{key}.scale", 0.0, "numbers other than 0")
    if term.offset == "default_pose":
        if not term.kind.endswith("joint/position"):
            raise wrong(f"{key}.offset", "'default_pose'", f"numbers: {term.kind} is no joint position")
        if contract.default_pose is None:
            raise wrong("default_pose", "nothing", f"one number per joint, since {key}.offset refers to it")


def _check_observation_term(contract: "Contract", key: str, term: "ObservationTerm") -> None:
    if not 1 <= term.history <= 1000:
        raise wrong(f"{key}.history", term.history, "a number of samples from 1 to 1000")
    command = term.kind.startswith("command/")
    for name, value in (("default", term.default), ("timeout", term.timeout)):
        if value is not None and not command:
            raise wrong(f"{key}.{name}", value, f"nothing: {term.kind} is no command")
    if term.default is not None and len(term.default) != math.prod(contract.sample_shape(term)):
        raise wrong(
            f"{key}.default", f"{len(term.default)} numbers", f"{math.prod(contract.sample_shape(term))}"
        )
    if term.timeout is not None and term.timeout <= 0:
        raise wrong(f"{key}.timeout", term.timeout, "seconds above 0, or null")
    if (term.kind == "clock/phase") != (term.period is not None):
        expected = "seconds of one turn" if term.period is None else f"nothing: {term.kind} has no period"
        raise wrong(f"{key}.period", term.period, expected)
    if term.period is not None and term.period <= 0:
        raise wrong(f"{key}.period", term.period, "seconds above 0")
    rotation = term.kind == "state/body/rotation" or (
        term.kind.endswith("pose") and contract.sample_shape(term) == (7,)
    )
    if not rotation and (term.canonical or term.quaternion != "xyzw"):
        raise wrong(f"{key}.quaternion", "set", f"nothing: {term.kind} holds no quaternion")
    if term.noise_std < 0:
        raise wrong(f"{key}.noise_std", term.noise_std, "a number >= 0")


def _check_normalisation(contract: "Contract") -> None:
    given = contract.normalisation
    if given.clip is not None and given.clip <= 0:
        raise wrong("normalisation.clip", given.clip, "a number above 0, or null")
    size = contract.observation_size
    for name, values in (("mean", given.mean), ("std", given.std)):
        if given.where == "yaml" and (values is None or len(values) != size):
            found = "nothing" if values is None else f"{len(values)} numbers"
            raise wrong(f"normalisation.{name}", found, f"{size} numbers, one per element of the observation")
        if given.where != "yaml" and values is not None:
            raise wrong(
                f"normalisation.{name}", "numbers", f"null, since normalisation.where is {given.where}"
            )
    if given.std is not None and min(given.std) <= 0:
        raise wrong("normalisation.std", min(given.std), "numbers above 0")


def _check_limits(contract: "Contract") -> None:
    limits, joints = contract.limits, contract.robot.joints
    for name in ("velocity", "acceleration", "effort"):
        values = getattr(limits, name)
        if values is not None:
            _check_length(f"limits.{name}", values, joints)
            for index, value in enumerate(values):
                if value <= 0:
                    raise wrong(f"limits.{name}[{index}]", value, f"a number above 0 for {joints[index]}")
    if limits.position is None:
        return
    _check_length("limits.position", limits.position, joints)
    for index, pair in enumerate(limits.position):
        if pair is None:
            continue
        if not pair[0] < pair[1]:
            raise wrong(f"limits.position[{index}]", list(pair), "[low, high] with low < high")
        if contract.default_pose is not None and not pair[0] <= contract.default_pose[index] <= pair[1]:
            raise wrong(
                f"default_pose[{index}]",
                contract.default_pose[index],
                f"{joints[index]} within its limits {list(pair)}",
            )


def _check_gains(contract: "Contract") -> None:
    if contract.gains is None:
        return
    for name, values in (("kp", contract.gains.kp), ("kd", contract.gains.kd)):
        if values is not None:
            _check_length(f"gains.{name}", values, contract.robot.joints)
            if values and min(values) < 0:
                raise wrong(f"gains.{name}", min(values), "numbers >= 0")


def _check_workspace(contract: "Contract") -> None:
    if contract.workspace is not None:
        low, high = contract.workspace.box
        if not all(a < b for a, b in zip(low, high, strict=True)):
            raise wrong("workspace.box", [list(low), list(high)], "[low corner, high corner] with low < high")


def _check_state(contract: "Contract") -> None:
    inputs = ["observation"] if contract.model is None else list(contract.model.inputs.values())
    outputs = ["action"] if contract.model is None else list(contract.model.outputs.values())
    for index, tensor in enumerate(contract.state):
        for side, name, taken in (("input", tensor.input, inputs), ("output", tensor.output, outputs)):
            if name in taken:
                raise BundleState(
                    f"state[{index}].{side}: found {name!r} a second time, expected its own name"
                )
            taken.append(name)
        if not tensor.shape or min(tensor.shape) < 1:
            raise BundleState(
                f"state[{index}].shape: found {list(tensor.shape)}, expected whole numbers of at least 1"
            )


def _check_model(contract: "Contract") -> None:
    model = contract.model
    assert model is not None
    if model.file != "policy.onnx":
        raise wrong("model.file", repr(model.file), "'policy.onnx'")
    if not re.fullmatch(r"[0-9a-f]{64}", model.sha256):
        raise wrong("model.sha256", repr(model.sha256), "64 hexadecimal digits")
    if set(model.inputs) != {"observation"}:
        raise wrong("model.inputs", sorted(model.inputs), "the one key 'observation'")
    if set(model.outputs) != {"action"}:
        raise wrong("model.outputs", sorted(model.outputs), "the one key 'action'")
