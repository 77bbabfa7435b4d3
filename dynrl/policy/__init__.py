"""Policies that leave the house: a bundle of an ONNX graph and the contract that says what its numbers mean.

bundle = PolicyBundle.load("reach.bundle")
session = bundle.session()
observe, decode = ObservationAssembler(bundle.contract), ActionDecoder(bundle.contract)
targets = decode(session(observe(values, previous_action, clock_s)))
"""

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import (
    ActionTerm,
    Contract,
    Control,
    Gains,
    Limits,
    Model,
    Normalisation,
    ObservationTerm,
    ParityRecord,
    Provenance,
    RobotModel,
    Simulation,
    StateTensor,
    Workspace,
)
from dynrl.policy.errors import (
    BundleContract,
    BundleError,
    BundleFormat,
    BundleHash,
    BundleModel,
    BundleNotFound,
    BundleParity,
    BundlePath,
    BundleRobot,
    BundleState,
)
from dynrl.policy.session import PolicySession
from dynrl.policy.terms import ActionDecoder, ObservationAssembler

__all__ = [
    "ActionDecoder",
    "ActionTerm",
    "BundleContract",
    "BundleError",
    "BundleFormat",
    "BundleHash",
    "BundleModel",
    "BundleNotFound",
    "BundleParity",
    "BundlePath",
    "BundleRobot",
    "BundleState",
    "Contract",
    "Control",
    "Gains",
    "Limits",
    "Model",
    "Normalisation",
    "ObservationAssembler",
    "ObservationTerm",
    "ParityRecord",
    "PolicyBundle",
    "PolicySession",
    "Provenance",
    "RobotModel",
    "Simulation",
    "StateTensor",
    "Workspace",
]
