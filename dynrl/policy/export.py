"""From a trained policy to a bundle on disk: nothing is there until parity is proven."""

import dataclasses
import datetime
import tempfile
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.contract import Contract, Model, ParityRecord, Provenance
from dynrl.policy.errors import BundleContract, BundlePath
from dynrl.policy.exporters.exported import ExportedPolicy
from dynrl.policy.parity import (
    RECURRENT_STEPS,
    STEPS,
    Reference,
    TrainedPolicy,
    check_closed_loop,
    compare_in_fresh_process,
    play,
    reference_of,
)

_EXAMPLES = 64
_EPISODES, _MOST_EPISODES = 20, 1000
_CLOSED_LOOP = 5


@runtime_checkable
class DeclaresContract(Protocol):
    """An environment that knows what its observation and action mean on a robot."""

    def policy_contract(self) -> Contract:
        """The contract of a policy trained here, without `model`, `parity` and `provenance`."""
        ...


def contract_of(env: gym.Env) -> Contract:
    """The contract that an environment declares, by itself or through its functional environment.

    Raises:
        BundleContract: it declares none.
    """
    bare = env.unwrapped
    for candidate in (bare, getattr(bare, "func_env", None)):
        if isinstance(candidate, DeclaresContract):
            return candidate.policy_contract()
    name = bare.spec.id if bare.spec else type(bare).__name__
    raise BundleContract(
        f"{name} declares no contract: found no method policy_contract(), expected one, or the terms in a file: "
        "`--contract TERMS.yaml`, a policy.yaml without `model`"
    )


def export_policy(
    exported: ExportedPolicy,
    contract: Contract,
    env: gym.Env,
    path: str | PathLike[str],
    *,
    provenance: Provenance | None = None,
    seed: int = 0,
) -> PolicyBundle:
    """Writes a bundle, after having shown that it acts as the trained policy.

    The policy plays at least 20 episodes and 1000 steps in `env`; what it saw, and the extremes of that, is given to
    the exported file in a fresh process; then both play the same episodes.

    Args:
        exported: by one of `dynrl.policy.exporters`.
        contract: what the numbers mean; see `contract_of`.
        env: a single Gymnasium environment with Box spaces, the one of training.
        path: where to write; a zip archive where it ends in `.zip`.
        provenance: of the run; the returns of the episodes are added.
        seed: of the episodes (`seed`, `seed + 1`, ...).

    Returns:
        The bundle, as read back from disk.

    Raises:
        BundleParity: the exported policy acts differently.
        BundleError: the graph does not fit the contract, or the bundle cannot be written.
    """
    target = Path(path)
    if target.exists() or target.is_symlink():
        raise BundlePath(f"{target}: found something there, expected a free name; name another")
    seen, returns = _evaluate(exported, env, seed)
    reference = reference_of(exported, seen, np.random.default_rng(seed))
    names = Model("policy.onnx", "0" * 64, 17, {"observation": "observation"}, {"action": "action"})
    contract = dataclasses.replace(
        contract,
        model=names,
        state=exported.state,
        created=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        provenance=_with_returns(provenance or Provenance(), returns),
    )
    bundle = PolicyBundle.make(
        exported.model, contract, _examples(exported, reference), exported.initial_state
    )
    with tempfile.TemporaryDirectory(prefix="dynrl-export-") as folder:
        written = bundle.write(Path(folder) / target.name)
        figures = compare_in_fresh_process(written, reference, Path(folder))
        seeds = range(seed, seed + _CLOSED_LOOP)
        episodes = check_closed_loop(env, exported, PolicyBundle.load(written), seeds)
    record = ParityRecord(exported.framework, int(figures["steps"]), figures["max_abs_error"], episodes)
    proven = dataclasses.replace(bundle, contract=dataclasses.replace(bundle.contract, parity=record))
    proven.write(target)
    return PolicyBundle.load(target)


def _evaluate(exported: ExportedPolicy, env: gym.Env, seed: int) -> tuple[np.ndarray, list[float]]:
    """Observations `[steps, n]` and returns of enough episodes."""
    wanted = max(STEPS, RECURRENT_STEPS)
    policy, seen, returns = TrainedPolicy(exported), [], []
    for index in range(_MOST_EPISODES):
        episode = play(env, policy, seed + index)
        seen.append(episode.observations)
        returns.append(episode.return_)
        if len(returns) >= _EPISODES and sum(map(len, seen)) >= wanted:
            break
    return np.concatenate(seen), returns


def _with_returns(provenance: Provenance, returns: Sequence[float]) -> Provenance:
    from dynrl.statistics import stratified_bootstrap

    low, high = stratified_bootstrap(np.array(returns))
    return dataclasses.replace(
        provenance, return_mean=float(np.mean(returns)), return_iqm_ci=(float(low), float(high))
    )


def _examples(exported: ExportedPolicy, reference: Reference) -> Mapping[str, np.ndarray]:
    """The first steps of the reference, as one stretch of memory."""
    state: Any = exported.first_state()
    rows: dict[str, list[np.ndarray]] = {}
    pairs = {tensor.input: tensor.output for tensor in exported.state}
    for observation in reference.observations[:_EXAMPLES]:
        action, following = exported.step(observation[None], state)
        row = {"in.observation": observation[None], "out.action": action}
        row |= {f"in.{name}": state[name] for name in pairs}
        row |= {f"out.{pairs[name]}": following[name] for name in pairs}
        for name, value in row.items():
            rows.setdefault(name, []).append(np.asarray(value, np.float32))
        state = following
    return {name: np.stack(values) for name, values in rows.items()}
