"""A policy that has learnt nothing and sways: to try a robot file, a network or a loop before there is a real one."""

from __future__ import annotations

from typing import Any

import numpy as np

from dynrl.policy import (
    ActionTerm,
    Contract,
    Control,
    Limits,
    ObservationTerm,
    PolicyBundle,
    RobotModel,
    Workspace,
)
from dynrl.robots.description import Robot

STEPS = 32
SWAY = 0.35
"""Largest distance from the home pose, as a share of the way to the nearer limit."""


def sample_bundle(
    robot: Robot,
    period: float = 0.02,
    hidden: int = 32,
    seed: int = 0,
    period_of_sway: float = 2.0,
    workspace: Workspace | None = None,
    extra_terms: tuple[ObservationTerm, ...] = (),
) -> PolicyBundle:
    """A bundle for a robot that takes joint positions.

    Args:
        robot: to sway.
        period: seconds between two calls.
        hidden: units of each of the two hidden layers.
        seed: of the weights.
        period_of_sway: seconds.
        workspace: to keep.
        extra_terms: further observations, which nearly do not matter.
    """
    contract = _contract(robot, period, period_of_sway, workspace, extra_terms)
    rng = np.random.default_rng(seed)
    layers = _layers(contract, hidden, rng)
    observations = np.clip(rng.normal(0, 1, (STEPS, 1, contract.observation_size)), -5, 5).astype(np.float32)
    actions = _run(layers, observations)
    return PolicyBundle.make(
        _graph(layers), contract, {"in.observation": observations, "out.action": actions}
    )


def _contract(
    robot: Robot,
    period: float,
    period_of_sway: float,
    workspace: Workspace | None,
    extra_terms: tuple[ObservationTerm, ...],
) -> Contract:
    home = robot.home_position
    reach = SWAY * np.minimum(np.minimum(robot.upper - home, home - robot.lower), 1.0)
    return Contract(
        name=f"{robot.name}_sway",
        control=Control(period),
        robot=RobotModel(robot.name, robot.names),
        observation=(
            ObservationTerm("joint_position", "state/joint/position", unit="rad", offset="default_pose"),
            ObservationTerm("joint_velocity", "state/joint/velocity", unit="rad/s", scale=0.1),
            ObservationTerm("previous_action", "memory/action"),
            ObservationTerm("phase", "clock/phase", period=period_of_sway),
            *extra_terms,
        ),
        action=(
            ActionTerm(
                "joint_target",
                "target/joint/position",
                unit="rad",
                scale=tuple(float(value) for value in reach),
                offset="default_pose",
                clip=(-1.0, 1.0),
            ),
        ),
        default_pose=tuple(float(value) for value in home),
        limits=Limits(
            position=tuple(joint.position for joint in robot.joints),
            velocity=tuple(joint.velocity for joint in robot.joints),
            acceleration=tuple(joint.acceleration for joint in robot.joints),
        ),
        workspace=workspace,
    )


def _layers(contract: Contract, hidden: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights `[in, out]` and biases: the phase matters, everything else hardly does."""
    importance = np.concatenate(
        [np.full(size, 1.5 if name == "phase" else 0.02) for name, size in contract.term_sizes().items()]
    )
    first = rng.normal(0, 1, (contract.observation_size, hidden)) * importance[:, None]
    second = rng.normal(0, hidden**-0.5, (hidden, hidden))
    third = rng.normal(0, 1.5 * hidden**-0.5, (hidden, contract.action_size))
    return [
        (weights.astype(np.float32), np.zeros(weights.shape[1], np.float32))
        for weights in (first, second, third)
    ]


def _run(layers: list[tuple[np.ndarray, np.ndarray]], values: np.ndarray) -> np.ndarray:
    for weights, bias in layers:
        values = np.tanh(values @ weights + bias)
    return values.astype(np.float32)


def _graph(layers: list[tuple[np.ndarray, np.ndarray]]) -> Any:
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants, name = [], [], "observation"
    for number, (weights, bias) in enumerate(layers):
        last = number == len(layers) - 1
        constants += [
            numpy_helper.from_array(weights, f"w{number}"),
            numpy_helper.from_array(bias, f"b{number}"),
        ]
        nodes.append(helper.make_node("Gemm", [name, f"w{number}", f"b{number}"], [f"z{number}"]))
        output = "action" if last else f"h{number}"
        nodes.append(helper.make_node("Tanh", [f"z{number}"], [output]))
        name = output
    sizes = (1, layers[0][0].shape[0]), (1, layers[-1][0].shape[1])
    inputs, outputs = (
        [helper.make_tensor_value_info(label, TensorProto.FLOAT, size)]
        for label, size in zip(("observation", "action"), sizes, strict=True)
    )
    graph = helper.make_graph(nodes, "sway", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    return model
