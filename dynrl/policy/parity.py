"""Does the exported policy act as the trained one? Asked of the file on disk, in a process of its own.

python -m dynrl.policy.parity BUNDLE REFERENCE      prints {"steps": ..., "max_abs_error": ..., "largest_action": ...}
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dynrl.policy.bundle import PARITY_BAR, PolicyBundle
from dynrl.policy.errors import BundleError, BundleParity
from dynrl.policy.exporters.exported import ExportedPolicy

STEPS, RECURRENT_STEPS = 1000, 256
RETURN_BAR = 1e-3
_SHAKES, _ROUNDING = 3, np.float32(1e-6)


@dataclass(frozen=True)
class Reference:
    """What the trained policy did.

    Attributes:
        observations: `[steps, n]`.
        actions: `[steps, m]`.
        starts: where the policy's memory was fresh `[steps]`.
    """

    observations: np.ndarray
    actions: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Episode:
    """One episode, played in an environment.

    Attributes:
        observations: `[steps, n]`, before each action.
        return_: sum of rewards.
        terminated: how it ended.
    """

    observations: np.ndarray
    return_: float
    terminated: bool


def play(env: gym.Env, policy: Any, seed: int) -> Episode:
    """One episode of `policy`, which has `reset()` and maps an observation `[n]` to an action `[m]`."""
    observation, _ = env.reset(seed=seed)
    policy.reset()
    observations, total = [], 0.0
    shape = env.action_space.shape
    while True:
        observations.append(np.array(observation, np.float32).reshape(-1))
        action = np.array(policy(observations[-1]), env.action_space.dtype).reshape(shape)
        observation, reward, terminated, truncated, _ = env.step(action)
        total += float(reward)
        if terminated or truncated:
            return Episode(np.stack(observations), total, bool(terminated))


class TrainedPolicy:
    """An exported policy's `step` with its memory inside, for `play`."""

    def __init__(self, exported: ExportedPolicy) -> None:
        self._exported = exported
        self.reset()

    def reset(self) -> None:
        """Forgets."""
        self._state: Any = self._exported.first_state()

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        """Action `[m]` for an observation `[n]`."""
        action, self._state = self._exported.step(observation[None], self._state)
        return action[0]


def reference_of(exported: ExportedPolicy, seen: np.ndarray, rng: np.random.Generator) -> Reference:
    """The trained policy on observations that it meets, on their extremes, and between these.

    Args:
        exported: the policy.
        seen: observations of episodes `[steps, n]`.
        rng: of the observations in between.

    Every element is pushed to the smallest and to the largest value seen, the others as they were; then all elements at
    once are drawn between these, until there are 1000 observations. A policy with memory walks through them in order,
    and starts afresh between the two parts.
    """
    low, high = seen.min(axis=0), seen.max(axis=0)
    base = seen[rng.integers(len(seen), size=2 * len(low))]
    pushed = base.copy()
    index = np.arange(len(low))
    pushed[index, index] = low
    pushed[len(low) + index, index] = high
    missing = max(STEPS - len(seen) - len(pushed), 64)
    between = rng.uniform(low, high, (missing, len(low))).astype(np.float32)
    corners = np.stack([low, high]).astype(np.float32)
    observations = np.concatenate([seen, pushed, between, corners]).astype(np.float32)
    starts = np.zeros(len(observations), bool)
    starts[[0, len(seen)]] = True
    policy, actions = TrainedPolicy(exported), []
    for observation, start in zip(observations, starts, strict=True):
        if start:
            policy.reset()
        actions.append(policy(observation))
    return Reference(observations, np.stack(actions), starts)


def compare(bundle: PolicyBundle, reference: Reference) -> dict[str, float]:
    """Largest difference between the bundle's actions and the reference's."""
    session = bundle.session()
    worst = 0.0
    for observation, action, start in zip(
        reference.observations, reference.actions, reference.starts, strict=True
    ):
        if start:
            session.reset()
        difference = np.abs(session(observation) - action).max(initial=0.0)
        worst = float(difference) if not difference <= worst else worst
    return {
        "steps": len(reference.actions),
        "max_abs_error": worst,
        "largest_action": float(np.abs(reference.actions).max(initial=0.0)),
    }


def compare_in_fresh_process(path: Path, reference: Reference, folder: Path) -> dict[str, float]:
    """`compare` for the bundle at `path`, by a new Python that has seen nothing of the training.

    Args:
        folder: where the reference may be written.

    Raises:
        BundleParity: the difference is above 1e-5 · max(1, largest action), or the process fails.
    """
    from dynrl.runs.array_file import write_arrays

    stored = folder / "reference.safetensors"
    arrays = {
        "observations": reference.observations,
        "actions": reference.actions,
        "starts": reference.starts,
    }
    write_arrays(stored, arrays, {})
    command = [sys.executable, "-m", "dynrl.policy.parity", str(path), str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BundleParity(f"the exported policy cannot be run in a fresh process: {last}")
    figures: dict[str, float] = json.loads(done.stdout)
    bar = PARITY_BAR * max(1.0, figures["largest_action"])
    if not figures["max_abs_error"] <= bar:
        raise BundleParity(
            f"policy.onnx: found actions that differ by {figures['max_abs_error']:.3g} from the trained policy's, "
            f"expected at most {bar:.3g} over {figures['steps']} observations; nothing was written"
        )
    return figures


def check_closed_loop(
    env: gym.Env, exported: ExportedPolicy, bundle: PolicyBundle, seeds: Sequence[int]
) -> int:
    """Plays the same episodes with the trained policy and with the bundle; returns how many it could compare.

    Chaotic episodes tell nothing: those where the trained policy itself, its actions moved by a few roundings, does not
    get its own return again. They are left out.

    Args:
        env: the environment.
        exported: the trained policy.
        bundle: what was made of it.
        seeds: of the episodes.

    Raises:
        BundleParity: other lengths or ends, or returns that differ by more than a thousandth.
    """
    trained, session = TrainedPolicy(exported), bundle.session()
    compared = 0
    for seed in seeds:
        expected, found = play(env, trained, seed), play(env, session, seed)
        if _same(expected, found):
            compared += 1
        elif all(_same(expected, play(env, _Rounded(trained, shake), seed)) for shake in range(_SHAKES)):
            raise BundleParity(
                f"the episode of seed {seed}: found a return of {found.return_:.6g} after {len(found.observations)} "
                f"steps with the exported policy, expected {expected.return_:.6g} after {len(expected.observations)}"
            )
    return compared


def _same(expected: Episode, found: Episode) -> bool:
    """Whether two episodes end alike, with returns within a thousandth of each other."""
    ends = [(len(episode.observations), episode.terminated) for episode in (expected, found)]
    difference = abs(found.return_ - expected.return_)
    return ends[0] == ends[1] and difference <= RETURN_BAR * max(abs(expected.return_), 1e-9)


class _Rounded:
    """A policy whose actions are off by a few roundings of float32."""

    def __init__(self, policy: TrainedPolicy, seed: int) -> None:
        self._policy, self._seed = policy, seed

    def reset(self) -> None:
        self._policy.reset()
        self._rng = np.random.default_rng(self._seed)

    def __call__(self, observation: np.ndarray) -> np.ndarray:
        action = self._policy(observation)
        signs = self._rng.choice([-1.0, 1.0], action.shape).astype(np.float32)
        # towards zero only: an action at the border of its space must stay inside
        return action * (1 - _ROUNDING * (signs > 0))


def main(arguments: Sequence[str]) -> int:
    """Compares and prints; see the module."""
    from dynrl.runs.array_file import read_arrays

    path, stored = arguments
    arrays, _ = read_arrays(Path(stored))
    try:
        figures = compare(PolicyBundle.load(path), Reference(**arrays))
    except BundleError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
