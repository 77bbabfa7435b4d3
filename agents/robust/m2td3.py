"""M2TD3 and Soft-M2TD3: TD3 against several learned worst cases of the parameters.

Source: Tanabe, Sato, Fukuchi, Sakuma, Akimoto, "Max-Min Off-Policy Actor-Critic Method Focusing on Worst-Case
Robustness to Model Misspecification" (2022), and the authors' published code for what the paper leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.agents.robust.game_env import from_half_ranges, in_half_ranges
from dynrl.agents.robust.recorder import Recorder
from dynrl.agents.robust.training import (
    Callback,
    Collection,
    MakeVec,
    TrainResult,
    run_off_policy,
    sizes_of,
)
from dynrl.learning import td3
from dynrl.learning.networks import ActorPolicy
from dynrl.learning.replay import Replay, Transitions
from dynrl.learning.td3 import TD3Config, TD3State

__all__ = ["M2TD3", "M2TD3Config", "SoftM2TD3"]


@dataclass(frozen=True)
class M2TD3Config:
    """Settings of M2TD3. The parameters ω are counted in half-ranges: every interval of the set becomes [-1, 1].

    Attributes:
        learner: of actor and critics; the paper's batch is 100.
        candidates: worst cases followed at once.
        candidate_rate: Adam's learning rate on them.
        noise_begin, noise_end: standard deviation of the noise on a played candidate at the beginning and at the end
            of its annealing.
        target_noise, noise_clip: of the noise on the parameters in the critics' targets.
        least_distance: L1 distance at or below which one of two candidates begins anew.
        least_probability: of being played, below which a candidate begins anew.
        num_envs: lanes of the vector environment.
        random_steps: environment steps with random actions and uniform parameters before learning; None for the
            paper's 100 000, or a tenth of the budget where that is less.
        updates_per_step: critic updates per environment step.
        capacity: transitions remembered.
        record_every: environment steps between two records of the history.
    """

    learner: TD3Config = field(default_factory=lambda: TD3Config(batch_size=100))
    candidates: int = 5  # N
    candidate_rate: float = 3e-4
    noise_begin: float = 1.0  # sigma of omega
    noise_end: float = 0.1
    target_noise: float = 0.2
    noise_clip: float = 0.5
    least_distance: float = 0.1  # d_thre
    least_probability: float = 0.05  # p_thre
    num_envs: int = 8
    random_steps: int | None = None
    updates_per_step: float = 1.0
    capacity: int = 1_000_000
    record_every: int = 5000

    def __post_init__(self) -> None:
        for name in ("candidates", "num_envs", "capacity", "record_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("candidate_rate", "updates_per_step"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.candidates * self.least_probability >= 1:
            raise ValueError(
                f"least_probability must be below 1 / candidates = {1 / self.candidates:.3g}, else every candidate "
                f"would begin anew in every episode; got {self.least_probability}"
            )

    def first_steps(self, budget: int) -> int:
        """Environment steps of the random phase."""
        return min(100_000, budget // 10) if self.random_steps is None else self.random_steps


class Candidates(NamedTuple):
    """The worst cases that the policy trains against.

    Attributes:
        raw: `[K, d]`, free; `2 sigmoid(raw) - 1` is ω.
        moments: Adam's state of each candidate, leading axis K, so that one's step does not move the others.
        probability: `[K]` of being played, p.
    """

    raw: Any
    moments: Any
    probability: Any

    @property
    def omega(self) -> Any:
        """`[K, d]` in (-1, 1)."""
        return 2 * jax.nn.sigmoid(self.raw) - 1


class M2TD3State(NamedTuple):
    """All that is learnt: TD3 with ω as the critics' extra input, and the candidates."""

    learner: TD3State
    candidates: Candidates


def fresh_raw(key: Any, shape: tuple[int, ...]) -> Any:
    """Candidates uniform in the box, before the sigmoid."""
    uniform = jax.random.uniform(key, shape, minval=1e-4, maxval=1 - 1e-4)
    return jnp.log(uniform) - jnp.log1p(-uniform)


def initial_candidates(config: M2TD3Config, dim: int, key: Any) -> Candidates:
    """Uniform candidates, each as likely to be played."""
    raw = fresh_raw(key, (config.candidates, dim))
    moments = jax.vmap(optax.adam(config.candidate_rate).init)(raw)
    return Candidates(raw, moments, jnp.full(config.candidates, 1 / config.candidates))


def parameter_noise(config: M2TD3Config, progress: float, soft: bool) -> float:
    """Standard deviation of the noise on played candidates; annealed over the training, or its first half (soft)."""
    done = min(max((2 if soft else 1) * progress, 0.0), 1.0)
    return config.noise_begin + done * (config.noise_end - config.noise_begin)


def candidate_values(actor: Any, critic: Any, observation: Any, omega: Any) -> Any:
    """`J_k = mean Q1(s, actor(s), ω_k)` for `omega [K, d]`, `[K]`."""
    action = actor.mode(observation)

    def value(one: Any) -> Any:
        return critic.first(
            observation, action, jnp.broadcast_to(one, (*action.shape[:-1], one.shape[-1]))
        ).mean()

    return jax.vmap(value)(omega)


def play_more(probability: Any, worst: Any, rate: Any) -> Any:
    """`p <- (1 - c) p + c e_k` for the worst candidate k."""
    return (1 - rate) * probability + rate * jax.nn.one_hot(worst, probability.shape[0])


def renew_candidates(config: M2TD3Config, candidates: Candidates, key: Any) -> Candidates:
    """Candidates that follow another one, or that are hardly ever the worst, begin anew.

    The later one of two that are close is drawn uniformly, as is every one whose probability is too low; its
    probability becomes the mean of the others', and all are normalised.
    """
    omega, p = candidates.omega, candidates.probability
    distance = jnp.abs(omega[:, None] - omega[None]).sum(-1)
    earlier = jnp.tril(jnp.ones_like(distance, bool), -1)
    renewed = ((distance <= config.least_distance) & earlier).any(axis=1) | (p < config.least_probability)
    raw = jnp.where(renewed[:, None], fresh_raw(key, candidates.raw.shape), candidates.raw)
    first = jax.vmap(optax.adam(config.candidate_rate).init)(raw)
    moments = jax.tree.map(partial(_where_row, renewed), first, candidates.moments)
    others = (p.sum() - p) / max(len(p) - 1, 1)
    p = jnp.where(renewed, others, p)
    return Candidates(raw, moments, p / p.sum())


def _where_row(rows: Any, new: Any, old: Any) -> Any:
    return jnp.where(rows.reshape(-1, *([1] * (new.ndim - 1))), new, old)


def update(
    config: M2TD3Config, soft: bool, state: M2TD3State, batch: Transitions, key: Any, rate: Any
) -> tuple[M2TD3State, Any]:
    """One update on transitions `[B, ...]` whose extra column is ω; returns the state and the critics' loss.

    Args:
        rate: c of the probabilities' update.
    """
    learner = state.learner
    action_key, omega_key = jax.random.split(key)
    next_action = td3.smoothed_action(
        config.learner, learner.target_actor, batch.next_observation, action_key
    )
    noise = td3.clipped_noise(omega_key, batch.extra.shape, config.target_noise, config.noise_clip)
    next_omega = jnp.clip(batch.extra + noise, -1, 1)
    targets = td3.critic_targets(config.learner, learner, batch, next_action, next_omega)
    learner, loss = td3.critic_step(config.learner, learner, batch, targets)
    state = M2TD3State(learner, state.candidates)

    def move(state: M2TD3State) -> M2TD3State:
        return max_min_step(config, soft, state, batch.observation, rate)

    return td3.delayed(config.learner, state, learner.updates, move), loss


def max_min_step(
    config: M2TD3Config, soft: bool, state: M2TD3State, observation: Any, rate: Any
) -> M2TD3State:
    """The policy goes up, the worst candidate down, on the same observations `[B, o]` (Algorithm 1)."""
    learner, candidates = state
    values = candidate_values(learner.actor, learner.critic, observation, candidates.omega)
    worst = jnp.argmin(values)

    def worst_value(actor: Any, raw: Any) -> Any:
        omega = 2 * jax.nn.sigmoid(raw) - 1
        return candidate_values(actor, learner.critic, observation, omega[None])[0]

    def expected_loss(actor: Any) -> Any:
        return -candidates.probability @ candidate_values(
            actor, learner.critic, observation, candidates.omega
        )

    raw = candidates.raw[worst]
    uphill, downhill = _gradients(worst_value, learner.actor, raw)
    gradient = eqx.filter_grad(expected_loss)(learner.actor) if soft else jax.tree.map(jnp.negative, uphill)
    moments = jax.tree.map(lambda leaf: leaf[worst], candidates.moments)
    step, moments = optax.adam(config.candidate_rate).update(downhill, moments)
    candidates = Candidates(
        candidates.raw.at[worst].add(step),
        jax.tree.map(lambda leaf, new: leaf.at[worst].set(new), candidates.moments, moments),
        play_more(candidates.probability, worst, rate),
    )
    learner = td3.track(config.learner, td3.actor_step(config.learner, learner, gradient))
    return M2TD3State(learner, candidates)


def _gradients(function: Any, actor: Any, raw: Any) -> tuple[Any, Any]:
    return eqx.filter_grad(lambda both: function(*both))((actor, raw))


@partial(jax.jit, static_argnums=(0, 1))
def update_many(
    config: M2TD3Config, soft: bool, state: M2TD3State, batches: Transitions, key: Any, rate: Any
) -> tuple[M2TD3State, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K]`."""
    return td3.scanned(
        lambda state, batch, key: update(config, soft, state, batch, key, rate), state, batches, key
    )


_renewed = jax.jit(renew_candidates, static_argnums=0)
_explored = jax.jit(lambda actor, observation, key: actor.explore(observation, key))


class _Player:
    """The learner that `run_off_policy` drives, and the sampler that gives each episode its parameters."""

    def __init__(self, config: M2TD3Config, soft: bool, uset: Any, budget: int, seed: int) -> None:
        self.config, self.soft, self.uset, self.budget = config, soft, uset, budget
        self.random_steps = config.first_steps(budget)
        self.network_key, candidate_key, self.key = jax.random.split(jax.random.key(seed), 3)
        self.candidates = initial_candidates(config, uset.dim, candidate_key)
        self.learner: Any = None
        self.steps, self.length, self.calls = 0, 0, 0

    def begin(self, sizes: tuple[int, int]) -> None:
        """Draws the networks: the environment, which needs the sampler, knows their sizes."""
        self.learner = td3.initial_state(self.config.learner, *sizes, self.network_key, self.uset.dim)

    def explore(self, observation: np.ndarray, key: jax.Array) -> np.ndarray:
        return _explored(self.learner.actor, observation, key)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        rate = 1 / (self.config.num_envs * max(self.length, 1))
        state = M2TD3State(self.learner, self.candidates)
        (self.learner, self.candidates), losses = update_many(
            self.config, self.soft, state, batches, self._next_key(), rate
        )
        return {"critic_loss": float(losses[-1])}

    def sample(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Parameters `[count, d]` of the episodes about to begin, in natural units."""
        if self.steps < self.random_steps:
            return self.uset.sample(rng, count, method="uniform")
        self.candidates = _renewed(self.config, self.candidates, self._next_key())
        p = np.asarray(self.candidates.probability, np.float64)
        played = np.asarray(self.candidates.omega)[rng.choice(len(p), size=count, p=p / p.sum())]
        deviation = parameter_noise(self.config, self.steps / self.budget, self.soft)
        omega = np.clip(played + rng.normal(0, deviation, played.shape), -1, 1)
        return from_half_ranges(self.uset, omega)

    def omega(self, env: Any) -> np.ndarray:
        """The parameters of every lane, `[N, d]` in [-1, 1]."""
        return in_half_ranges(self.uset, env.psi)

    def _next_key(self) -> jax.Array:
        self.calls += 1
        return jax.random.fold_in(self.key, self.calls)


class M2TD3:
    """Max-min TD3: a policy for the worst parameters of a set, held for whole episodes.

    Problem: `max_policy min_{psi in set} E[sum discount^t r_t]` over parameters that one episode keeps (a static
    adversary). The critics see the parameters, the policy does not. Several candidate worst cases are followed down
    by gradient, because the inner minimum is not convex; the policy goes up on whichever is worst by its critic.

    When: parameters are a box of a few dimensions, the simulator lets them be chosen, and the worst case matters more
    than the average. `SoftM2TD3` trades some worst case for stability.

    Guarantees: none; both steps are stochastic gradients on learned critics, and the worst case found in training is
    no certificate. Search afterwards (`dynrl.robust.worst_case_search`).

    Source: Tanabe et al., 2022. Differences from the authors' code, each because that code does otherwise than the
    paper says or than it should: parameters are scaled to [-1, 1] in critic, noise and distances (units do not
    matter); noise is independent for every action component, and noisy actions are clipped; a time limit bootstraps;
    the noise on played parameters is annealed in both variants. With several lanes the candidates are drawn for each
    lane, and c is 1 / (lanes * length of the last episode): lanes that end together otherwise wipe out p.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = M2TD3Config
    soft: ClassVar[bool] = False

    def __init__(self, config: M2TD3Config | None = None) -> None:
        self.config = M2TD3Config() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """As `training.RobustLearner.train`; `learned` holds the candidates in natural units and their p."""
        config = self.config
        player = _Player(config, self.soft, uset, budget, seed)
        env = make_vec(config.num_envs, player.sample)
        sizes = sizes_of(env)
        player.begin(sizes)
        recorder = Recorder(config.record_every, "training", callback, lambda: _learned(player))

        def after_step(collection: Collection, metrics: Mapping[str, float]) -> bool:
            player.steps = collection.steps
            player.length = collection.lengths[-1] if collection.lengths else 0
            return recorder(collection, metrics)

        try:
            collection = run_off_policy(
                env,
                player,
                Replay(min(config.capacity, budget + config.num_envs), *sizes, uset.dim),
                steps=budget,
                random_steps=player.random_steps,
                batch_size=config.learner.batch_size,
                updates_per_step=config.updates_per_step,
                seed=seed,
                extra=player.omega,
                after_step=after_step,
            )
        finally:
            env.close()
        policy = ActorPolicy.of(player.learner.actor, env.single_action_space)
        return TrainResult(policy, {"training": collection.steps}, recorder.history, _learned(player))


class SoftM2TD3(M2TD3):
    """M2TD3 whose policy ascends the mean over the candidates, each weighted by how often it was the worst.

    Smoother than `M2TD3`, better on average and at times in the worst case; the noise on played parameters is
    annealed over the first half of the training. Source: Tanabe et al., 2022, section 4.
    """

    soft: ClassVar[bool] = True


def _learned(player: _Player) -> dict[str, Any]:
    candidates = player.candidates
    psi = from_half_ranges(player.uset, candidates.omega)
    return {"candidates": psi.tolist(), "probability": np.asarray(candidates.probability).tolist()}
