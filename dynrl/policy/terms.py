"""The one formula between sensors, policy and commands. Pure NumPy; nothing is allocated per call.

observation term = clip((raw - offset) * scale), joints in the term's order, `history` samples
observation      = the terms one after the other; then clip((x - mean) / std) where the contract normalises
target           = clip(raw) * scale + offset (+ measured value | + previous command)
"""

import math
from collections.abc import Mapping

import numpy as np

from dynrl.policy.contract import ActionTerm, Contract, ObservationTerm
from dynrl.policy.errors import BundleContract
from dynrl.policy.kinds import MUSCLE, OBSERVATION_KINDS


class ObservationAssembler:
    """Builds the observation of a contract, term by term.

    Args:
        contract: of the policy.

    Attributes:
        parts: name of each term -> its view `[history * size]` of the observation, before normalisation.

    A fresh assembler, and one after `reset()`, fills every history with the first sample that it sees.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        size = contract.observation_size
        self._terms = np.zeros(size)
        self._observation = np.zeros(size, np.float32)
        self.parts: dict[str, np.ndarray] = {}
        self._builders: list[_Term] = []
        start = 0
        for term in contract.observation:
            builder = _Term(contract, term)
            stop = start + builder.size * term.history
            self.parts[term.name] = self._terms[start:stop]
            builder.bind(self.parts[term.name])
            self._builders.append(builder)
            start = stop
        self._mean = self._std = None
        if contract.normalisation.where == "yaml":
            self._mean = np.asarray(contract.normalisation.mean, float)
            self._std = np.asarray(contract.normalisation.std, float)
        self._bound = contract.normalisation.clip
        self._normalised = np.zeros(size)

    def reset(self) -> None:
        """Forgets the histories."""
        for builder in self._builders:
            builder.first = True

    def __call__(
        self, values: Mapping[str, np.ndarray], previous_action: np.ndarray, clock_s: float
    ) -> np.ndarray:
        """The observation, float32 `[observation_size]`. The next call overwrites it.

        Args:
            values: raw SI values by name of term or, where that is absent, by kind. Joint states hold one number per
                joint of `robot.joints`, in that order, muscle states two; commands are in the order of their term,
                rotations xyzw, poses position then rotation. A command that is absent takes its term's `default`.
            previous_action: raw output of the policy at the last tick `[action_size]`, zeros at activation.
            clock_s: seconds since activation, for `clock/phase`.

        Raises:
            KeyError: a value is missing (the message names term and kind).
            ValueError: a value of another length.
        """
        for builder in self._builders:
            builder.update(values, previous_action, clock_s)
        if self._mean is None or self._std is None:
            self._observation[:] = self._terms
            return self._observation
        np.subtract(self._terms, self._mean, out=self._normalised)
        np.divide(self._normalised, self._std, out=self._normalised)
        if self._bound is not None:
            np.clip(self._normalised, -self._bound, self._bound, out=self._normalised)
        self._observation[:] = self._normalised
        return self._observation


class _Term:
    """One observation term and its history."""

    def __init__(self, contract: Contract, term: ObservationTerm) -> None:
        self.term = term
        shape = contract.sample_shape(term)
        self.size = math.prod(shape)
        self.first = True
        self.offset = _per_element(contract, term, self.size)
        self.scale = np.broadcast_to(np.asarray(term.scale, float), (self.size,))
        self.default = None if term.default is None else np.asarray(term.default, float)
        self.order, self.whole = _source_order(contract, term, self.size)
        self.sample = np.zeros(self.size)
        self.sign_at = self.size - 4 if term.canonical else None
        self.missing = f"the observation needs {term.name!r} ({term.kind}), which nobody has given"

    def bind(self, view: np.ndarray) -> None:
        """Makes `view` `[history * size]` the place where the samples stand."""
        self.history = view.reshape(self.term.history, self.size)

    def update(self, values: Mapping[str, np.ndarray], previous_action: np.ndarray, clock_s: float) -> None:
        """Takes a sample in."""
        sample = self.sample
        self._read(values, previous_action, clock_s)
        np.subtract(sample, self.offset, out=sample)
        np.multiply(sample, self.scale, out=sample)
        if self.term.clip is not None:
            np.clip(sample, *self.term.clip, out=sample)
        history = self.history
        if self.first:
            history[:] = sample
            self.first = False
        elif self.term.history_order == "oldest_first":
            history[:-1] = history[1:]
            history[-1] = sample
        else:
            history[1:] = history[:-1]
            history[0] = sample

    def _read(self, values: Mapping[str, np.ndarray], previous_action: np.ndarray, clock_s: float) -> None:
        kind = self.term.kind
        if kind == "memory/action":
            self.sample[:] = previous_action
            return
        if kind == "clock/phase":
            assert self.term.period is not None
            angle = 2.0 * math.pi * (clock_s / self.term.period % 1.0)
            self.sample[0], self.sample[1] = math.sin(angle), math.cos(angle)
            return
        value = values.get(self.term.name)
        if value is None:
            value = values.get(kind)
        if value is None:
            value = self.default
            if value is None:
                raise KeyError(self.missing)
        flat = np.reshape(value, -1)
        if len(flat) != self.whole:
            raise ValueError(f"{self.term.name!r} ({kind}) has {len(flat)} numbers, expected {self.whole}")
        if self.order is None:
            self.sample[:] = flat
        else:
            np.take(flat, self.order, out=self.sample, mode="clip")
        if self.sign_at is not None:
            w = self.sample[3 + self.sign_at] if self.term.quaternion == "xyzw" else self.sample[self.sign_at]
            if w < 0:
                np.negative(self.sample[self.sign_at :], out=self.sample[self.sign_at :])


class ActionDecoder:
    """Turns raw actions into targets.

    Args:
        contract: of the policy.

    Attributes:
        saturated: bool `[action_size]`, which elements the last raw action had outside `clip`.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.saturated = np.zeros(contract.action_size, bool)
        self.targets: dict[str, np.ndarray] = {}
        self._parts: list[_Target] = []
        start = 0
        for term in contract.action:
            part = _Target(contract, term, start, self.saturated)
            self._parts.append(part)
            self.targets[term.name] = part.target
            start += part.size

    def __call__(
        self,
        raw_action: np.ndarray,
        measured: Mapping[str, np.ndarray] | None = None,
        previous_command: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Name of each action term -> float64 target, in the order of the term's joints. The next call overwrites them.

        Args:
            raw_action: output of the policy `[action_size]`, finite.
            measured: raw values by kind, as `ObservationAssembler` takes them; for terms relative to them.
            previous_command: last command by name of term, as this returns them; for terms relative to it.

        Raises:
            KeyError: a reference that a relative term needs is missing.
        """
        for part in self._parts:
            part.update(raw_action, measured, previous_command)
        return self.targets


class _Target:
    """One action term."""

    def __init__(self, contract: Contract, term: ActionTerm, start: int, saturated: np.ndarray) -> None:
        self.term = term
        self.size = math.prod(contract.sample_shape(term))
        self.span = slice(start, start + self.size)
        self.saturated = saturated[self.span]
        self.above = np.zeros(self.size, bool)
        self.offset = _per_element(contract, term, self.size)
        self.scale = np.broadcast_to(np.asarray(term.scale, float), (self.size,))
        self.target = np.zeros(self.size)
        self.reference = np.zeros(self.size)
        self.measured_kind = term.kind.replace("target/", "state/", 1)
        if term.mode == "relative_to_measured" and self.measured_kind not in OBSERVATION_KINDS:
            raise BundleContract(f"action term {term.name!r}: {term.kind} has no measured counterpart")
        self.order = _joint_order(contract, term)

    def update(
        self,
        raw_action: np.ndarray,
        measured: Mapping[str, np.ndarray] | None,
        previous_command: Mapping[str, np.ndarray] | None,
    ) -> None:
        """Computes the target from the action."""
        target = self.target
        target[:] = raw_action[self.span]
        if self.term.clip is not None:
            low, high = self.term.clip
            np.less(target, low, out=self.saturated)
            np.greater(target, high, out=self.above)
            np.logical_or(self.saturated, self.above, out=self.saturated)
            np.clip(target, low, high, out=target)
        np.multiply(target, self.scale, out=target)
        np.add(target, self.offset, out=target)
        if self.term.mode == "relative_to_measured":
            if measured is None or self.measured_kind not in measured:
                raise KeyError(f"action term {self.term.name!r} needs the measured {self.measured_kind}")
            whole = np.reshape(measured[self.measured_kind], -1)
            if self.order is None:
                self.reference[:] = whole
            else:
                np.take(whole, self.order, out=self.reference, mode="clip")
            np.add(target, self.reference, out=target)
        elif self.term.mode == "relative_to_previous_command":
            if previous_command is None or self.term.name not in previous_command:
                raise KeyError(f"action term {self.term.name!r} needs its previous command")
            np.add(target, previous_command[self.term.name], out=target)


def _per_element(contract: Contract, term: ObservationTerm | ActionTerm, size: int) -> np.ndarray:
    """The offset of a term, `[size]`."""
    offset = contract.default_pose_of(term) if term.offset == "default_pose" else term.offset
    return np.broadcast_to(np.asarray(offset, float), (size,))


def _joint_order(contract: Contract, term: ObservationTerm | ActionTerm) -> np.ndarray | None:
    """Where the elements of a joint or muscle term stand in the values of `robot.joints`; None: in their own order."""
    if term.joints == "all" or ("joint/" not in term.kind and "muscle/" not in term.kind):
        return None
    index = np.array([contract.robot.joints.index(joint) for joint in term.joints], int)
    if "muscle/" in term.kind:
        index = np.stack([2 * index, 2 * index + 1], axis=1).reshape(-1)
    return index


def _source_order(contract: Contract, term: ObservationTerm, size: int) -> tuple[np.ndarray | None, int]:
    """(where the elements of a term stand in its source, length of the source)."""
    if term.quaternion == "wxyz":
        head = np.arange(size - 4)
        return np.concatenate([head, size - 4 + np.array([3, 0, 1, 2])]), size
    order = _joint_order(contract, term)
    if order is None or term.kind.startswith("command/"):
        return (None, size)
    per_joint = 2 if OBSERVATION_KINDS[term.kind] == MUSCLE else 1
    return order, per_joint * len(contract.robot.joints)
