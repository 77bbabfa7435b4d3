"""A policy of your own, in JAX, as a bundle: exported, proven equal, read back, and run without JAX."""

import tempfile
from pathlib import Path

import equinox as eqx
import gymnasium
import jax
import numpy as np

import dynrl  # noqa: F401  (registers dynrl/...)
from dynrl.policy import ActionDecoder, ObservationAssembler, PolicyBundle
from dynrl.policy.export import contract_of, export_policy
from dynrl.policy.exporters.equinox import export_jax

env = gymnasium.make("dynrl/ArmReach-v0")
contract = contract_of(env)  # which joints, in which order, unit and scale, how often, within which limits
network = eqx.nn.MLP(
    12, 3, 64, 2, jax.nn.tanh, jax.numpy.tanh, key=jax.random.key(0)
)  # trained, in real life

with tempfile.TemporaryDirectory() as folder:
    bundle = export_policy(export_jax(network, 12), contract, env, Path(folder) / "arm.bundle")
    print(f"largest difference in a fresh process: {bundle.contract.parity.max_abs_error:.0e}")
    bundle = PolicyBundle.load(Path(folder) / "arm.bundle")  # all a robot needs: NumPy and ONNX Runtime

session, observe, decode = (
    bundle.session(),
    ObservationAssembler(bundle.contract),
    ActionDecoder(bundle.contract),
)
measured = {"state/joint/position": np.array([0.1, -0.8, 1.3]), "state/joint/velocity": np.zeros(3)}
action = session(
    observe(measured, previous_action=np.zeros(3), clock_s=0.0)
)  # nobody sent a goal: the default one
targets = zip(contract.robot.joints, decode(action)["joint_target"].round(3).tolist(), strict=True)
print("joint targets in rad:", *(f"{joint} {target}" for joint, target in targets))
