"""Feedback for septic patients, found by CMA-ES on simulated patients, beside the best constant therapy and none."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dynrl.errors import ConfigError
from dynrl.faces.episode import Episode, advance, begin, key_from_seed
from dynrl.functional import FunctionalEnv, require_functional
from dynrl.registry import make_functional

__all__ = [
    "Outcomes",
    "SepsisPolicyConfig",
    "Ward",
    "constant_weights",
    "first_guess",
    "judge",
    "policy_action",
    "train_policy",
]


@dataclass(frozen=True)
class SepsisPolicyConfig:
    """Settings of the search.

    Attributes:
        env: name of the environment, made with `cohort=True` so that every key is another patient.
        env_kwargs: its settings; training may use a smaller grid than judging.
        patients: per candidate; all candidates of a generation meet the same ones (common random numbers).
        pools: sets of patients that the generations go through in turn.
        population: candidates per generation.
        generations: of CMA-ES, for the policy and for the best constant alike.
        sigma: first standard deviation.
        lanes: patients simulated side by side.
        seed: of the search and of the training patients.
    """

    env: str = "dynrl/Sepsis-v0"
    env_kwargs: Mapping[str, Any] = field(
        default_factory=lambda: {"grid": 31, "drugs": 11, "antibiotic": True, "horizon": 40}
    )
    patients: int = 20
    pools: int = 3
    population: int = 10
    generations: int = 6
    sigma: float = 0.8
    lanes: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("patients", "pools", "population", "generations", "lanes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.population < 4:
            raise ConfigError(f"population must be at least 4, got {self.population}")
        if not self.sigma > 0:
            raise ConfigError(f"sigma must be positive, got {self.sigma}")


class Outcomes(NamedTuple):
    """What became of patients `[N]` each.

    Attributes:
        died, healed: bool; neither means that time ran out.
        return_: sum of rewards.
        burden: mean share of missing oxygen over the decisions of a whole episode; 0 after healing, 0.8 after death.
        steps: model steps lived through after the burn-in.
    """

    died: np.ndarray
    healed: np.ndarray
    return_: np.ndarray
    burden: np.ndarray
    steps: np.ndarray


FEATURES = ("PAF", "TNF", "IL1", "GCSF", "IL8", "IL10")
_DEAD = 0.8
_CHANGED = ("TNF", "IL1", "PAF", "GCSF", "IL10", "IL8", "IFNg")
_RANGE = 1.2
_POSITIONS = np.array([5, 0, 6, 3, 8, 2])
"""Where the features stand in the observation (TNF, sTNFr, IL10, GCSF, IFNg, PAF, IL1, IL4, IL8, IL12, sIL1r)."""


def features(observation: Any) -> Any:
    """Logarithms of six mediators `[6]`, of order 1: totals range over three orders of magnitude."""
    level = (observation[_POSITIONS] + 1) / 2
    return jnp.log(level + 1e-3) / 3.5 + 1


def num_weights(env: FunctionalEnv, constant: bool) -> int:
    """Length of the weight vector: one bias per number of the action and, with feedback, what a gate adds to each, and
    the gate that they share."""
    size = env.action_space.shape[0]  # type: ignore[index]
    return size if constant else 2 * size + len(FEATURES) + 1


def policy_action(weights: Any, observation: Any, size: int) -> Any:
    """The action `[size]` for an observation `[11, ...]`.

    Numbers lie in [-1, 0.2], from full inhibition to a multiplier of 2.8 (more kills, whatever the drug), as
    `1.2 sigmoid(.) - 1`. Two therapies, `b` and `b + c`, are blended by a gate in (0, 1) that looks at the mediators:
    with so few parameters a few hundred patients suffice to find them. A constant has only the `b`.
    """
    level = weights[:size]
    if weights.shape[0] > size:
        change, gate = weights[size : 2 * size], weights[2 * size :]
        looked = features(observation) @ gate[: len(FEATURES)] + gate[-1]
        level = level + change * jax.nn.sigmoid(4 * looked)
    return _RANGE * jax.nn.sigmoid(level) - 1


def constant_weights(env: FunctionalEnv, action: Mapping[str, float]) -> np.ndarray:
    """Weights of the constant that plays `action` for the drugs named, at most 0.2, and 0 for the others; the
    antibiotic's name is `"antibiotic"`, off by default."""
    names = [*env.drug_names, "antibiotic"][: env.action_space.shape[0]]  # type: ignore[attr-defined, index]
    played = np.array([action.get(name, -1.0 if name == "antibiotic" else 0.0) for name in names])
    share = np.clip((played + 1) / _RANGE, 1e-6, 1 - 1e-6)
    return np.log(share / (1 - share))


class Ward:
    """Patients whose illness up to the first decision is computed once, and on whom policies are tried.

    The patients of a ward are simulated `lanes` at a time; a lane that becomes free takes the next pair of policy and
    patient, so no time is spent on those that have been healed or have died.

    Args:
        env: with `horizon`.
        seeds: one per patient; the same seed is the same patient and the same chance.
        lanes: patients side by side.
    """

    def __init__(self, env: FunctionalEnv, seeds: np.ndarray, lanes: int) -> None:
        self.env = require_functional(env)
        self.lanes = lanes
        keys = np.stack([key_from_seed(int(seed)) for seed in seeds])
        self.size = len(keys)
        padded = np.resize(np.arange(self.size), -(-self.size // lanes) * lanes).reshape(-1, lanes)
        admitted = [_admitted(self.env, keys[rows]) for rows in padded]
        self._episodes, self._observations = jax.tree.map(lambda *parts: jnp.concatenate(parts), *admitted)

    def outcomes(self, policies: np.ndarray) -> Outcomes:
        """Try each of `policies` `[K, weights]` on every patient; arrays are `[K, size]`."""
        jobs = [(row, patient) for row in range(len(policies)) for patient in range(self.size)]
        shape = (len(policies), self.size)
        result = Outcomes(
            died=np.zeros(shape, bool),
            healed=np.zeros(shape, bool),
            return_=np.zeros(shape),
            burden=np.zeros(shape),
            steps=np.zeros(shape, int),
        )
        horizon = self.env.horizon
        queue = iter(jobs)
        held: list[tuple[int, int] | None] = [next(queue, None) for _ in range(self.lanes)]
        patients = np.array([0 if job is None else job[1] for job in held])
        lanes = jax.tree.map(lambda leaf: leaf[patients], (self._episodes, self._observations))
        born = np.asarray(lanes[0].state.model.time)
        while any(job is not None for job in held):
            weights = np.stack([policies[0 if job is None else job[0]] for job in held])
            lanes, shown = _decided(self.env, *lanes, jnp.asarray(weights, jnp.float32))
            shown = jax.device_get(shown)
            renewed, taken = np.zeros(self.lanes, bool), np.zeros(self.lanes, int)
            for lane, job in enumerate(held):
                if job is None:
                    continue
                result.return_[job] += shown["reward"][lane]
                result.burden[job] += shown["missing"][lane]
                if shown["over"][lane]:
                    result.died[job], result.healed[job] = shown["died"][lane], shown["healed"][lane]
                    left = horizon - shown["decisions"][lane]
                    result.burden[job] = (result.burden[job] + _DEAD * result.died[job] * left) / horizon
                    result.steps[job] = shown["time"][lane] - born[lane]
                    held[lane] = following = next(queue, None)
                    if following is not None:
                        renewed[lane], taken[lane] = True, following[1]
            if renewed.any():
                lanes = _relaid(lanes, (self._episodes, self._observations), renewed, taken)
        return result


def train_policy(
    config: SepsisPolicyConfig, constant: bool = False, start: np.ndarray | None = None, verbose: bool = False
) -> np.ndarray:
    """Search weights by CMA-ES (Hansen 2016) for the least mean burden of the training patients, which says more than
    who lives and dies: how soon.

    Args:
        config: settings.
        constant: search among constant therapies; otherwise search what a gate adds to the constant `start`.
        start: constant to begin with; None for `first_guess`.
        verbose: print a line per generation.

    Returns:
        Weights for `policy_action`: the final mean of the search, which averages over the noise of generations.

    Raises:
        ImportError: `cma` is missing.
    """
    try:
        import cma
    except ImportError as error:
        raise ImportError("searching a sepsis policy needs cma: pip install 'dynrl[medical]'") from error
    env = make_functional(config.env, cohort=True, **config.env_kwargs)
    base = first_guess(env) if start is None else np.asarray(start, float)
    weights, free = (base, np.arange(len(base))) if constant else _gated(env, base)
    wards = [
        Ward(
            env,
            10_000 * (config.seed + 1) + config.patients * pool + np.arange(config.patients),
            config.lanes,
        )
        for pool in range(config.pools)
    ]
    options = {"popsize": config.population, "seed": config.seed + 1, "verbose": -9, "bounds": [-8, 8]}
    search = cma.CMAEvolutionStrategy(weights[free], config.sigma, options)
    for generation in range(config.generations):
        begun = time.perf_counter()
        drawn = search.ask()
        candidates = np.repeat(weights[None], len(drawn), 0)
        candidates[:, free] = drawn
        outcomes = wards[generation % config.pools].outcomes(candidates)
        search.tell(drawn, list(outcomes.burden.mean(1)))
        if verbose:
            print(
                f"generation {generation}: burden {outcomes.burden.mean():.3f}, best "
                f"{outcomes.burden.mean(1).min():.3f}, died {outcomes.died.mean():.3f}, least "
                f"{outcomes.died.mean(1).min():.3f}, {time.perf_counter() - begun:.0f} s",
                flush=True,
            )
    weights = weights.copy()
    weights[free] = search.result.xfavorite
    return weights


def _gated(env: FunctionalEnv, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of feedback that as yet changes nothing, and which of them are searched: what the gate adds to the drugs
    that matter, how it weighs damage (PAF) and calm (IL10), and its threshold; the constant stays."""
    size = len(base)
    weights = np.concatenate([base, np.zeros(num_weights(env, False) - size)])
    gate = 2 * size
    weights[gate + FEATURES.index("PAF")], weights[-1] = 2.0, -0.8
    drugs = [env.drug_names.index(name) for name in _CHANGED if name in env.drug_names]  # type: ignore[attr-defined]
    looks = [gate + FEATURES.index(name) for name in ("PAF", "IL10")]
    return weights, np.array([*(size + drug for drug in drugs), *looks, len(weights) - 1])


def first_guess(env: FunctionalEnv) -> np.ndarray:
    """Weights of a constant that trials of single drugs suggest: calm TNF, IL1 and GCSF, kill the infection."""
    calm = {"TNF": -0.8, "IL1": -0.9, "GCSF": -0.5, "PAF": -0.2, "antibiotic": 0.15}
    return np.clip(constant_weights(env, calm), -4, 4)


def judge(
    policies: Mapping[str, np.ndarray],
    env: FunctionalEnv,
    patients: int = 100,
    seed: int = 1_000_000,
    lanes: int = 4,
) -> dict[str, Outcomes]:
    """Try policies on the same fresh patients; arrays are `[patients]`. no therapy is `constant_weights(env, {})`."""
    ward = Ward(env, seed + np.arange(patients), lanes)
    return {
        name: Outcomes(*(leaf[0] for leaf in ward.outcomes(np.asarray(weights)[None])))
        for name, weights in policies.items()
    }


@partial(jax.jit, static_argnums=0)
def _admitted(env: FunctionalEnv, keys: Any) -> tuple[Episode, Any]:
    def admit(key: Any) -> tuple[Episode, Any]:
        episode, observation, _ = begin(env, key, env.default_params)
        return episode, observation

    return jax.vmap(admit)(keys)


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _decided(env: FunctionalEnv, episodes: Episode, observations: Any, weights: Any) -> Any:
    size = env.action_space.shape[0]  # type: ignore[index]
    cells = float(env.grid) ** 2  # type: ignore[attr-defined]

    def decide(episode: Episode, observation: Any, weights: Any) -> Any:
        action = policy_action(weights, observation, size)
        episode, outcome = advance(env, episode, action, env.default_params)
        shown = {name: outcome.info[name] for name in ("died", "healed", "time")}
        shown["reward"], shown["over"] = outcome.reward, outcome.terminated | outcome.truncated
        shown["missing"] = outcome.info["oxygen_deficit"] / cells
        shown["decisions"] = episode.elapsed
        return (episode, outcome.observation), shown

    return jax.vmap(decide)(episodes, observations, weights)


@jax.jit
def _relaid(lanes: Any, stored: Any, renewed: Any, taken: Any) -> Any:
    def relay(now: Any, ready: Any) -> Any:
        fresh = jnp.asarray(ready)[taken]
        return jnp.where(renewed.reshape(renewed.shape + (1,) * (fresh.ndim - 1)), fresh, now)

    return jax.tree.map(relay, lanes, stored)
