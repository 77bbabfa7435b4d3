"""A three-joint arm in closed form: yaw, shoulder, elbow; the robot `arm` computes the same in MuJoCo.

Yaw turns the vertical plane in which shoulder and elbow move, so the mass matrix is that of a planar double pendulum
beside one number for the yaw. With c2 = cos(shoulder), ca = cos(shoulder + elbow), s2 and sa alike, the centres of mass
of upper arm and forearm are at the radii r2 = l2 c2 and r3 = L2 c2 + l3 ca from the yaw axis.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

JOINTS = ("yaw", "shoulder", "elbow")


class ArmParams(NamedTuple):
    """Every constant of the arm and of its position controller; leaves `[3]` are in the order of `JOINTS`.

    Attributes:
        mass: of turret, upper arm and forearm `[3]`, kg.
        centre: distance of the centre of mass of upper arm and forearm from their joint `[2]`, m.
        length: height of the shoulder, upper arm, forearm to the tool `[3]`, m.
        inertia: principal moments of the three bodies about their centres of mass `[3, 3]`, kg m².
        armature: inertia of the motors, at the joints `[3]`, kg m².
        damping: of the joints `[3]`, N m s/rad.
        gravity: m/s².
        kp, kd, effort: of the position controller `[3]`, N m/rad, N m s/rad, N m.
        low, high, velocity, acceleration: limits of the commanded position `[3]`, rad, rad/s, rad/s².
        default_pose: where an action of zero commands the joints `[3]`, rad.
        action_scale: radians per unit of action `[3]`.
        goal_spread: goals are where the tool is at the default pose plus up to this `[3]`, rad.
        start_spread: the same of the first pose `[3]`, rad.
    """

    mass: Any
    centre: Any
    length: Any
    inertia: Any
    armature: Any
    damping: Any
    gravity: Any
    kp: Any
    kd: Any
    effort: Any
    low: Any
    high: Any
    velocity: Any
    acceleration: Any
    default_pose: Any
    action_scale: Any
    goal_spread: Any
    start_spread: Any


def default_arm() -> ArmParams:
    """The arm of `dynrl.robots` called `arm`, in float32."""
    values = ArmParams(
        mass=[0.8, 0.9, 0.5],
        centre=[0.15, 0.12],
        length=[0.15, 0.30, 0.25],
        inertia=[[0.002, 0.002, 0.002], [0.0006, 0.007, 0.007], [0.0003, 0.003, 0.003]],
        armature=[0.05, 0.05, 0.05],
        damping=[0.1, 0.1, 0.1],
        gravity=9.81,
        kp=[60.0, 80.0, 40.0],
        kd=[6.0, 8.0, 3.0],
        effort=[25.0, 25.0, 15.0],
        low=[-2.4, -2.0, 0.0],
        high=[2.4, 0.6, 2.4],
        velocity=[2.5, 2.5, 3.0],
        acceleration=[15.0, 15.0, 20.0],
        default_pose=[0.0, -0.9, 1.4],
        action_scale=[1.2, 0.7, 0.8],
        goal_spread=[0.9, 0.5, 0.6],
        start_spread=[0.2, 0.2, 0.2],
    )
    return ArmParams(*(np.asarray(value, np.float32) for value in values))


def tool_position(position: Any, params: ArmParams) -> Any:
    """Where the tool is, `[..., 3]` metres in the frame of the base, at joint positions `[..., 3]`."""
    yaw, shoulder, bend = position[..., 0], position[..., 1], position[..., 1] + position[..., 2]
    radius = params.length[1] * jnp.cos(shoulder) + params.length[2] * jnp.cos(bend)
    height = params.length[0] - params.length[1] * jnp.sin(shoulder) - params.length[2] * jnp.sin(bend)
    return jnp.stack([radius * jnp.cos(yaw), radius * jnp.sin(yaw), height], axis=-1)


def physics_step(position: Any, velocity: Any, command: Any, dt: float, params: ArmParams) -> tuple[Any, Any]:
    """One step of `dt` seconds: `(position, velocity)` of the joints, `[3]` each.

    Semi-implicit Euler with the joints' and the controller's damping taken implicitly, as MuJoCo's `implicitfast`.
    """
    wanted = params.kp * (command - position) - params.kd * velocity
    free = jnp.abs(wanted) < params.effort
    torque = jnp.clip(wanted, -params.effort, params.effort) - params.damping * velocity
    damping = params.damping + jnp.where(free, params.kd, 0.0)
    mass, bias = _mass_and_bias(position, velocity, params)
    diagonal = jnp.stack([mass[0], mass[1], mass[2]]) + dt * damping
    force = torque - bias
    determinant = diagonal[1] * diagonal[2] - mass[3] * mass[3]
    acceleration = jnp.stack(
        [
            force[0] / diagonal[0],
            (diagonal[2] * force[1] - mass[3] * force[2]) / determinant,
            (diagonal[1] * force[2] - mass[3] * force[1]) / determinant,
        ]
    )
    velocity = velocity + dt * acceleration
    return position + dt * velocity, velocity


def _mass_and_bias(position: Any, velocity: Any, params: ArmParams) -> tuple[Any, Any]:
    """((M11, M22, M33, M23), Coriolis and gravity torques `[3]`)."""
    _, m2, m3 = params.mass
    l2, l3 = params.centre
    upper = params.length[1]
    inertia = params.inertia
    c2, s2 = jnp.cos(position[1]), jnp.sin(position[1])
    ca, sa = jnp.cos(position[1] + position[2]), jnp.sin(position[1] + position[2])
    c3, s3 = jnp.cos(position[2]), jnp.sin(position[2])
    r2, r3 = l2 * c2, upper * c2 + l3 * ca
    yaw = (
        inertia[0, 2]
        + m2 * r2 * r2
        + m3 * r3 * r3
        + inertia[1, 0] * s2 * s2
        + inertia[1, 2] * c2 * c2
        + inertia[2, 0] * sa * sa
        + inertia[2, 2] * ca * ca
    )
    elbow = m3 * l3 * l3 + inertia[2, 1]
    coupling = elbow + m3 * upper * l3 * c3
    shoulder = m2 * l2 * l2 + inertia[1, 1] + m3 * upper * upper + elbow + 2.0 * m3 * upper * l3 * c3
    # How the yaw inertia changes with shoulder and elbow.
    twist = 2.0 * sa * ca * (inertia[2, 0] - inertia[2, 2])
    by_elbow = -2.0 * m3 * r3 * l3 * sa + twist
    by_shoulder = (
        -2.0 * m2 * r2 * l2 * s2
        - 2.0 * m3 * r3 * (upper * s2 + l3 * sa)
        + 2.0 * s2 * c2 * (inertia[1, 0] - inertia[1, 2])
        + twist
    )
    h = m3 * upper * l3 * s3
    v1, v2, v3 = velocity[0], velocity[1], velocity[2]
    bias = jnp.stack(
        [
            v1 * (by_shoulder * v2 + by_elbow * v3),
            -h * (2.0 * v2 * v3 + v3 * v3)
            - 0.5 * by_shoulder * v1 * v1
            - params.gravity * (m2 * l2 * c2 + m3 * (upper * c2 + l3 * ca)),
            h * v2 * v2 - 0.5 * by_elbow * v1 * v1 - params.gravity * m3 * l3 * ca,
        ]
    )
    armature = params.armature
    return (yaw + armature[0], shoulder + armature[1], elbow + armature[2], coupling), bias


def command_step(desired: Any, command: Any, speed: Any, dt: float, params: ArmParams) -> tuple[Any, Any]:
    """The next commanded position and its speed, `[3]` each: as close to `desired` as the limits allow.

    The same rule as the safety filter of a deployment, so that a policy meets nothing new on the robot: position limits
    are never crossed, speed and acceleration stay within theirs, and there is always room left to brake.
    """
    reach = params.acceleration * dt
    above, below = jnp.maximum(params.high - command, 0.0), jnp.maximum(command - params.low, 0.0)
    up = jnp.maximum(jnp.sqrt(2.0 * params.acceleration * above) - 0.5 * reach, 0.0)
    down = jnp.maximum(jnp.sqrt(2.0 * params.acceleration * below) - 0.5 * reach, 0.0)
    top = jnp.minimum(jnp.minimum(speed + reach, params.velocity), jnp.minimum(up, above / dt))
    bottom = jnp.maximum(jnp.maximum(speed - reach, -params.velocity), jnp.maximum(-down, -below / dt))
    wanted = (jnp.clip(desired, params.low, params.high) - command) / dt
    speed = jnp.clip(wanted, bottom, top)
    return command + speed * dt, speed
