"""The formula of observation and action, against itself written out in plain Python."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.policy import (
    ActionDecoder,
    ActionTerm,
    BundleContract,
    Contract,
    Control,
    Normalisation,
    ObservationAssembler,
    ObservationTerm,
    RobotModel,
)

from .conftest import JOINTS, make_contract

POSITION, VELOCITY = "state/joint/position", "state/joint/velocity"
finite = st.floats(-100, 100, width=32)
triples = st.tuples(finite, finite, finite)


def values(position, velocity, gravity=(0.0, 0.0, -1.0), goal=None):
    given = {POSITION: position, VELOCITY: velocity, "state/body/projected_gravity": gravity}
    if goal is not None:
        given["goal"] = goal
    return {name: np.array(value, float) for name, value in given.items()}


def by_hand(contract, samples, actions, times):
    """The observation after the last sample, element by element."""
    joints = {joint: index for index, joint in enumerate(JOINTS)}
    result = []
    for term in contract.observation:
        history = []
        for sample, action, time in zip(samples, actions, times, strict=True):
            if term.kind == "memory/action":
                raw = list(action)
            elif term.kind == "clock/phase":
                raw = [math.sin(2 * math.pi * time / term.period), math.cos(2 * math.pi * time / term.period)]
            elif term.kind in (POSITION, VELOCITY):
                raw = [sample[term.kind][joints[joint]] for joint in contract.joints_of(term)]
            else:
                raw = list(sample.get(term.name, sample.get(term.kind, term.default)))
            pose = dict(zip(JOINTS, contract.default_pose, strict=True))
            offset = term.offset
            if offset == "default_pose":
                offset = [pose[joint] for joint in contract.joints_of(term)]
            scale = term.scale if isinstance(term.scale, tuple) else [term.scale] * len(raw)
            offset = offset if isinstance(offset, (tuple, list)) else [offset] * len(raw)
            scaled = [(r - o) * s for r, o, s in zip(raw, offset, scale, strict=True)]
            if term.clip:
                scaled = [min(max(number, term.clip[0]), term.clip[1]) for number in scaled]
            history.append(scaled)
        padded = [history[0]] * (term.history - len(history)) + history[-term.history :]
        if term.history_order == "newest_first":
            padded = padded[::-1]
        result += [number for row in padded for number in row]
    return result


@given(
    st.lists(st.tuples(triples, triples, triples, st.none() | triples, triples), min_size=1, max_size=5),
    st.sampled_from(["oldest_first", "newest_first"]),
    st.integers(1, 4),
)
def test_the_observation_is_what_the_formula_says(steps, order, length):
    contract = make_contract()
    first, second, *rest = contract.observation
    second = dataclasses.replace(second, history=length, history_order=order)
    contract = dataclasses.replace(contract, observation=(first, second, *rest))
    assemble = ObservationAssembler(contract)
    samples, actions, times = [], [], []
    for index, (position, velocity, gravity, goal, action) in enumerate(steps):
        samples.append(values(position, velocity, gravity, goal))
        actions.append(np.array(action, np.float32))
        times.append(0.02 * index)
        observation = assemble(samples[-1], actions[-1], times[-1])
        expected = np.array(by_hand(contract, samples, actions, times))
        assert observation.dtype == np.float32
        np.testing.assert_allclose(observation, expected, rtol=1e-6, atol=1e-6)
    assemble.reset()
    again = assemble(samples[-1], actions[-1], times[-1])
    np.testing.assert_allclose(
        again, by_hand(contract, samples[-1:], actions[-1:], times[-1:]), rtol=1e-6, atol=1e-6
    )


def test_no_sample_is_kept_by_reference_and_no_output_is_new():
    assemble = ObservationAssembler(make_contract())
    sample = values((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))
    first = assemble(sample, np.zeros(3), 0.0)
    before = first.copy()
    sample[POSITION][:] = 5.0
    np.testing.assert_array_equal(first, before)
    assert assemble(sample, np.zeros(3), 0.0) is first


def test_normalisation_comes_last():
    contract = make_contract()
    size = contract.observation_size
    mean, std = tuple(np.linspace(-1, 1, size)), tuple(np.linspace(0.1, 2, size))
    plain = ObservationAssembler(contract)
    normalised = ObservationAssembler(
        dataclasses.replace(contract, normalisation=Normalisation("yaml", mean, std, 2.0))
    )
    sample = values((0.1, 5.0, 0.3), (1.0, -9.0, 3.0))
    raw = plain(sample, np.ones(3), 0.1).astype(float)
    expected = np.clip((raw - mean) / std, -2.0, 2.0)
    np.testing.assert_allclose(normalised(sample, np.ones(3), 0.1), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected).max() == 2.0


def test_a_missing_or_short_value_is_named():
    assemble = ObservationAssembler(make_contract())
    with pytest.raises(KeyError, match="joint_velocity"):
        assemble({POSITION: np.zeros(3)}, np.zeros(3), 0.0)
    with pytest.raises(ValueError, match=r"'joint_position' .* has 2 numbers, expected 3"):
        assemble(values((0.0, 0.0), (0.0, 0.0, 0.0)), np.zeros(3), 0.0)
    with pytest.raises(ValueError, match="has 1 numbers"):
        assemble(values((0.0,), (0.0, 0.0, 0.0)), np.zeros(3), 0.0)


def rotation_contract(**changes):
    term = ObservationTerm("rotation", "state/body/rotation", **changes)
    action = ActionTerm("push", "target/joint/effort", unit="N.m")
    return Contract("r", Control(0.01), RobotModel("r", ("a",)), (term,), (action,))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0.5, -0.5, 0.1, -0.7]),
        ({"quaternion": "wxyz"}, [-0.7, 0.5, -0.5, 0.1]),
        ({"canonical": True}, [-0.5, 0.5, -0.1, 0.7]),
        ({"quaternion": "wxyz", "canonical": True}, [0.7, -0.5, 0.5, -0.1]),
    ],
)
def test_rotations_arrive_as_xyzw(changes, expected):
    assemble = ObservationAssembler(rotation_contract(**changes))
    given = {"state/body/rotation": np.array([0.5, -0.5, 0.1, -0.7])}
    np.testing.assert_allclose(assemble(given, np.zeros(1), 0.0), expected, rtol=1e-6)


def test_muscles_come_in_pairs_in_the_order_of_the_joints():
    contract = Contract(
        "m",
        Control(0.01),
        RobotModel("m", ("a", "b")),
        (ObservationTerm("pressure", "state/muscle/pressure", joints=("b", "a"), unit="Pa", scale=0.5),),
        (
            ActionTerm(
                "pressure_target",
                "target/muscle/pressure",
                joints=("b",),
                unit="Pa",
                scale=10.0,
                mode="relative_to_measured",
            ),
        ),
    )
    given = {"state/muscle/pressure": np.array([1.0, 2.0, 3.0, 4.0])}
    observation = ObservationAssembler(contract)(given, np.zeros(2), 0.0)
    np.testing.assert_allclose(observation, [1.5, 2.0, 0.5, 1.0])
    targets = ActionDecoder(contract)(np.array([1.0, -1.0]), given)
    np.testing.assert_allclose(targets["pressure_target"], [13.0, -6.0])


@given(triples)
def test_the_target_is_what_the_formula_says(raw):
    contract = make_contract()
    decode = ActionDecoder(contract)
    target = decode(np.array(raw, np.float32))["joint_target"]
    clipped = np.clip(np.array(raw, np.float32).astype(float), -1.0, 1.0)
    np.testing.assert_allclose(target, clipped * 0.25 + np.array(contract.default_pose), rtol=1e-12)
    np.testing.assert_array_equal(decode.saturated, np.abs(raw) > 1.0)


def test_relative_targets_need_what_they_are_relative_to():
    contract = make_contract()
    (term,) = contract.action
    raw = np.array([0.5, 0.0, -0.5], np.float32)

    def decoder(mode, **changes):
        changed = dataclasses.replace(term, mode=mode, offset=0.0, **changes)
        return ActionDecoder(dataclasses.replace(contract, action=(changed,)))

    relative = decoder("relative_to_measured")
    np.testing.assert_allclose(
        relative(raw, {POSITION: np.array([1.0, 2.0, 3.0])})["joint_target"], [1.125, 2.0, 2.875]
    )
    with pytest.raises(KeyError, match="measured"):
        relative(raw)
    previous = decoder("relative_to_previous_command")
    np.testing.assert_allclose(
        previous(raw, None, {"joint_target": np.array([1.0, 1.0, 1.0])})["joint_target"], [1.125, 1.0, 0.875]
    )
    with pytest.raises(KeyError, match="previous command"):
        previous(raw)
    with pytest.raises(BundleContract, match="no measured counterpart"):
        body = ActionTerm("walk", "target/body/velocity", mode="relative_to_measured")
        ActionDecoder(dataclasses.replace(contract, action=(body,)))


def test_actions_of_several_terms_lie_one_after_the_other():
    contract = make_contract()
    (term,) = contract.action
    first = dataclasses.replace(term, joints=("wrist",))
    second = ActionTerm("speed", "target/joint/velocity", joints=("lift", "base"), unit="rad/s", scale=2.0)
    targets = ActionDecoder(dataclasses.replace(contract, action=(first, second)))(np.array([1.0, 5.0, -5.0]))
    np.testing.assert_allclose(targets["joint_target"], [1.25])
    np.testing.assert_allclose(targets["speed"], [10.0, -10.0])
