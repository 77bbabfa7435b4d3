"""Gymnasium's classic control in JAX: the same worlds, every constant a leaf of `params` under Gymnasium's name."""

from dynrl.envs.classic_control.acrobot import Acrobot, AcrobotParams, AcrobotState
from dynrl.envs.classic_control.cartpole import CartPole, CartPoleParams, CartPoleState
from dynrl.envs.classic_control.mountain_car import (
    CarParams,
    CarState,
    ContinuousCarParams,
    ContinuousMountainCar,
    MountainCar,
)
from dynrl.envs.classic_control.pendulum import Pendulum, PendulumParams, PendulumState

__all__ = [
    "Acrobot",
    "AcrobotParams",
    "AcrobotState",
    "CarParams",
    "CarState",
    "CartPole",
    "CartPoleParams",
    "CartPoleState",
    "ContinuousCarParams",
    "ContinuousMountainCar",
    "MountainCar",
    "Pendulum",
    "PendulumParams",
    "PendulumState",
]
