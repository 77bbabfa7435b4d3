"""Known dynamics and the neural networks that steer them, trained through the solver (NODEC, AI Pontryagin)."""

from dynrl.dynamics.controller import StateController, TimeController
from dynrl.dynamics.neural_control import ControlProblem, NeuralControlConfig, Steered, steer
from dynrl.dynamics.solvers import DiffraxSolver, Rk4, Solution, integrate_control
from dynrl.dynamics.systems import Kuramoto, LinearSystem, NetworkSirx

__all__ = [
    "ControlProblem",
    "DiffraxSolver",
    "Kuramoto",
    "LinearSystem",
    "NetworkSirx",
    "NeuralControlConfig",
    "Rk4",
    "Solution",
    "StateController",
    "Steered",
    "TimeController",
    "integrate_control",
    "steer",
]
