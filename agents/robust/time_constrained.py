"""Time-constrained robust training: an adversary whose parameters can only drift.

Source: Zouitine, Bertoin, Clavier, Geist, Rachelson, "Time-Constrained Robust MDPs" (2024).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from dynrl.agents.robust.collection_config import CollectionConfig, check_positive
from dynrl.agents.robust.game_env import GameVectorEnv
from dynrl.agents.robust.rarl import BOTH, GamePlayers, GameResult, Seats, play
from dynrl.agents.robust.schedules import Schedule, drifting_parameters
from dynrl.agents.robust.training import Callback, MakeVec, check_budget, uniform_sampler
from dynrl.learning.networks import ActorPolicy, from_unit
from dynrl.learning.td3 import TD3Config

__all__ = ["OraclePolicy", "StackedPolicy", "TimeConstrained", "TimeConstrainedConfig", "scheduled_returns"]


@dataclass(frozen=True)
class TimeConstrainedConfig(CollectionConfig):
    """Settings of time-constrained training; the rest is in `CollectionConfig`.

    Attributes:
        sees: what the agent sees: `"vanilla"` the state; `"stacked"` also the previous state and action; `"oracle"`
            also the parameters, in [-1, 1].
        rate: L, greatest change of a parameter in one step, as a fraction of its range.
        agent, adversary: of the two TD3 learners; both learn from batches of the agent's size.
    """

    sees: Literal["vanilla", "stacked", "oracle"] = "vanilla"
    rate: float = 0.001  # L
    agent: TD3Config = field(default_factory=TD3Config)
    adversary: TD3Config = field(default_factory=TD3Config)

    def __post_init__(self) -> None:
        if self.sees not in ("vanilla", "stacked", "oracle"):
            raise ValueError(f"sees must be 'vanilla', 'stacked' or 'oracle', got {self.sees!r}")
        super().__post_init__()
        check_positive(self, "rate")


class StackedCarry(NamedTuple):
    """What a stacked policy remembers: `[N, o]`, `[N, a]` in unit actions, and whether there was a step, `[N, 1]`."""

    observation: Any
    action: Any
    begun: Any


class StackedPolicy(eqx.Module):
    """A policy of the observation, the one before and the action before.

    Attributes:
        actor: of `[s | previous s | previous action]`, unit actions.
        low, high: `[a]`, bounds of the environment's actions.
        observation_size: o.
    """

    actor: Any
    low: Float[Array, " a"]
    high: Float[Array, " a"]
    observation_size: int = eqx.field(static=True)

    def initial_carry(self, num_envs: int) -> StackedCarry:
        return StackedCarry(
            jnp.zeros((num_envs, self.observation_size), jnp.float32),
            jnp.zeros((num_envs, len(self.low)), jnp.float32),
            jnp.zeros((num_envs, 1), bool),
        )

    def act(
        self, observation: Float[Array, "b o"], carry: StackedCarry, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "b a"], StackedCarry]:
        observation = jnp.asarray(observation, jnp.float32)
        before = jnp.where(carry.begun, carry.observation, observation)
        seen = jnp.concatenate([observation, before, carry.action], axis=-1)
        unit = self.actor.mode(seen) if key is None else self.actor.explore(seen, key)
        return from_unit(unit, self.low, self.high), StackedCarry(
            observation, unit, jnp.ones_like(carry.begun)
        )


class OraclePolicy(eqx.Module):
    """A policy that is told the parameters: of `[s | psi in the unit cube]`, as `ParamObservation` makes it.

    Attributes:
        actor: of `[s | psi in [-1, 1]]`, unit actions.
        low, high: `[a]`, bounds of the environment's actions.
        observation_size: length of s.
    """

    actor: Any
    low: Float[Array, " a"]
    high: Float[Array, " a"]
    observation_size: int = eqx.field(static=True)

    def initial_carry(self, num_envs: int) -> tuple[()]:
        return ()

    def act(
        self, observation: Float[Array, "b o"], carry: tuple[()], key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "b a"], tuple[()]]:
        """Raises: ValueError: the observations lack the parameters."""
        if observation.shape[-1] <= self.observation_size:
            raise ValueError(
                f"this policy is told the parameters: it takes {self.observation_size} observations followed by psi in "
                f"the unit cube, got {observation.shape[-1]} numbers; wrap the environment in "
                "dynrl.robust.ParamObservation, or train with sees='vanilla' or 'stacked'"
            )
        observation = jnp.asarray(observation, jnp.float32)
        state, unit = observation[..., : self.observation_size], observation[..., self.observation_size :]
        seen = jnp.concatenate([state, 2 * unit - 1], axis=-1)
        action = self.actor.mode(seen) if key is None else self.actor.explore(seen, key)
        return from_unit(action, self.low, self.high), carry


class TimeConstrained:
    """Training against parameters that an adversary moves by at most L of their range per step.

    Problem: between the static adversary (constant parameters) and RARL's (free in every step) lies nature, whose
    parameters drift: `psi <- clip(psi + L b)`, `b in [-1, 1]^d`, from a uniform draw. Both play by TD3; the adversary
    sees state and parameters.

    When: parameters change slowly and unforeseeably (wear, temperature, load). `"oracle"` needs them measured
    (`OraclePolicy`). `"stacked"` infers them from the last step. Train with a small L
    and evaluate with a larger one and on fixed schedules (`scheduled_returns`).

    Guarantees: none.

    Source: Zouitine et al., 2024. L is a fraction of each range instead of raw units; the learner is TD3 on both sides.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = TimeConstrainedConfig

    def __init__(self, config: TimeConstrainedConfig | None = None) -> None:
        self.config = TimeConstrainedConfig() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> GameResult:
        """As `training.RobustLearner.train`; the adversary of the result sees `[s | psi in [-1, 1]]`."""
        config = self.config
        check_budget(budget)
        env = GameVectorEnv(make_vec(config.num_envs, uniform_sampler(uset)), uset, config.rate)
        beyond = {"vanilla": (), "stacked": env.history, "oracle": env.parameters}[config.sees]
        seats = Seats(env.own + beyond, env.own + env.parameters, env.action_size)
        players = GamePlayers((config.agent, config.adversary), seats, uset.dim, seed)
        result = play(config, env, players, [(BOTH, budget)], budget, seed, callback)
        if config.sees == "vanilla":
            return result
        alone: ActorPolicy = result.policy
        kind = StackedPolicy if config.sees == "stacked" else OraclePolicy
        policy = kind(alone.actor, alone.low, alone.high, env.observation_size)
        return GameResult(policy, result.env_steps, result.history, adversary=result.adversary)


def scheduled_returns(
    policy: Any,
    make_vec: MakeVec,
    uset: Any,
    schedule: Schedule,
    rate: float,
    episodes: int,
    steps: int,
    seed: int,
    sees_parameters: bool = False,
) -> np.ndarray:
    """Undiscounted returns `[episodes]` of a policy while the parameters drift on a fixed schedule.

    Each episode begins with parameters drawn uniformly from the set.

    Args:
        policy: a `RobustPolicy`.
        make_vec: makes vector environments.
        schedule: one of `schedules.SCHEDULES`.
        rate: L of the schedule, a fraction of each range per step.
        episodes: all played side by side.
        steps: at most, per episode.
        seed: of the starts, the random walk and the environments.
        sees_parameters: whether the policy takes `[s | psi in the unit cube]` (the oracle).
    """
    rng = np.random.default_rng(seed)
    begin = uset.sample(rng, episodes, method="uniform")
    paths = np.stack(
        [drifting_parameters(schedule, uset, rate, steps, start, rng) for start in begin], axis=1
    )
    env = make_vec(episodes, None)
    try:
        env.set_psi(begin)
        observation, _ = env.reset(seed=seed)
        carry, returns, alive = policy.initial_carry(episodes), np.zeros(episodes), np.ones(episodes, bool)
        before = begin
        for psi in paths:
            seen = observation
            if sees_parameters:
                seen = np.concatenate([observation, uset.to_unit(before)], axis=1)
            action, carry = policy.act(np.asarray(seen, np.float32), carry)
            env.set_psi(psi)
            observation, reward, terminated, truncated, _ = env.step(np.asarray(action))
            returns += np.where(alive, reward, 0.0)
            alive &= ~(terminated | truncated)
            before = psi
            if not alive.any():
                break
    finally:
        env.close()
    return returns
