"""M2SAC: soft actor-critic against several learned worst cases of the parameters.

M2TD3 (Tanabe et al., 2022) with SAC (Haarnoja et al., 2018) in place of TD3, so that robust methods built on SAC can be
compared with a max-min method of the same learner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from dynrl.agents.robust.candidate_training import CandidatePlayer, train_against_candidates
from dynrl.agents.robust.training import Callback, MakeVec, TrainResult
from dynrl.agents.robust.worst_parameters import (
    Candidates,
    CandidateSampler,
    CandidatesConfig,
    descend,
    near_parameters,
)
from dynrl.learning.networks import GaussianActor, TwinCritic, polyak
from dynrl.learning.replay import Transitions
from dynrl.learning.sac import SACConfig, SACState, adam, temperature_step
from dynrl.learning.sac import descend as sac_descend
from dynrl.learning.sac import initial_state as initial_sac
from dynrl.learning.td3 import scanned

__all__ = ["M2SAC", "M2SACConfig"]


@dataclass(frozen=True)
class M2SACConfig(CandidatesConfig):
    """Settings of M2SAC: those of `CandidatesConfig`, and the learner's.

    Attributes:
        sac: of actor, critics and temperature.
    """

    sac: SACConfig = field(default_factory=SACConfig)


class M2SACState(NamedTuple):
    """All that is learnt: SAC with ω as the critics' extra input, and the candidates."""

    learner: SACState
    candidates: Candidates


def initial_learner(config: SACConfig, sizes: tuple[int, int], dim: int, key: Any) -> SACState:
    """SAC whose critics see `dim` parameters."""
    sac_key, critic_key = jax.random.split(key)
    critic = TwinCritic(*sizes, critic_key, config.hidden, dim)
    moments = adam(config, config.critic_rate).init(eqx.filter(critic, eqx.is_array))
    return initial_sac(config, *sizes, sac_key)._replace(
        critic=critic, target=critic, critic_optimiser=moments
    )


def soft_values(
    actor: GaussianActor, critic: TwinCritic, temperature: Any, batch: Any, omega: Any, key: Any
) -> tuple[Any, Any]:
    """`J_k = mean [min(Q1, Q2)(s, a, ω_k) - α log π(a|s)]` for `omega [K, d]`, `[K]`; and mean `log π`, `[]`."""
    action, log_density = actor.sample(batch.observation, key)

    def value(one: Any) -> Any:
        extra = jnp.broadcast_to(one, (*log_density.shape, one.shape[-1]))
        return (critic(batch.observation, action, extra).min(0) - temperature * log_density).mean()

    return jax.vmap(value)(omega), log_density.mean()


def update(config: M2SACConfig, state: M2SACState, batch: Any, key: Any, rate: Any) -> tuple[M2SACState, Any]:
    """One update on transitions `[B, ...]` whose extra column is ω; returns the state and the critics' loss."""
    sac, learner, candidates = config.sac, state.learner, state.candidates
    temperature = jnp.exp(learner.log_temperature)
    target_key, omega_key, actor_key = jax.random.split(key, 3)

    following, following_log = learner.actor.sample(batch.next_observation, target_key)
    next_omega = near_parameters(config, batch.extra, omega_key)
    soft = learner.target(batch.next_observation, following, next_omega).min(0) - temperature * following_log
    goal = batch.reward + sac.discount * (1 - batch.terminated) * soft

    def critic_loss(critic: TwinCritic) -> Any:
        return 0.5 * jnp.square(critic(batch.observation, batch.action, batch.extra) - goal).mean(-1).sum()

    loss, gradient = eqx.filter_value_and_grad(critic_loss)(learner.critic)
    critic, critic_moments = sac_descend(
        adam(sac, sac.critic_rate), gradient, learner.critic_optimiser, learner.critic
    )

    values, _ = soft_values(learner.actor, critic, temperature, batch, candidates.omega, actor_key)
    worst = jnp.argmin(values)

    def worst_value(both: tuple[GaussianActor, Any]) -> tuple[Any, Any]:
        actor, raw = both
        omega = 2 * jax.nn.sigmoid(raw) - 1
        value, log_density = soft_values(actor, critic, temperature, batch, omega[None], actor_key)
        return value[0], log_density

    (uphill, downhill), log_density = eqx.filter_grad(worst_value, has_aux=True)(
        (learner.actor, candidates.raw[worst])
    )
    loss_gradient = jax.tree.map(jnp.negative, uphill)
    actor, actor_moments = sac_descend(
        adam(sac, sac.actor_rate), loss_gradient, learner.actor_optimiser, learner.actor
    )
    log_temperature, temperature_moments = temperature_step(sac, learner, log_density, batch)
    learner = learner._replace(
        actor=actor,
        critic=critic,
        target=polyak(learner.target, critic, sac.averaging),
        log_temperature=log_temperature,
        actor_optimiser=actor_moments,
        critic_optimiser=critic_moments,
        temperature_optimiser=temperature_moments,
    )
    return M2SACState(learner, descend(config, candidates, worst, downhill, rate)), loss


@partial(jax.jit, static_argnums=0)
def update_many(
    config: M2SACConfig, state: M2SACState, batches: Transitions, key: Any, rate: Any
) -> tuple[M2SACState, Any]:
    """K updates on transitions `[K, B, ...]`, compiled into one call; losses `[K]`."""
    return scanned(lambda state, batch, key: update(config, state, batch, key, rate), state, batches, key)


class _Player(CandidatePlayer):
    """SAC with its sampler."""

    def __init__(
        self, config: M2SACConfig, sampler: CandidateSampler, sizes: tuple[int, int], key: Any
    ) -> None:
        self.config, self.sampler, self.batch_size = config, sampler, config.sac.batch_size
        self.learner = initial_learner(config.sac, sizes, sampler.uset.dim, key)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        sampler = self.sampler
        state = M2SACState(self.learner, sampler.candidates)
        (self.learner, sampler.candidates), losses = update_many(
            self.config, state, batches, sampler.next_key(), sampler.rate
        )
        return {"critic_loss": float(losses[-1])}


class M2SAC:
    """Max-min SAC: `M2TD3`'s problem and its candidates, learnt by soft actor-critic.

    When: to compare with methods that learn by SAC (domain randomisation, IWOCS) on equal terms: part of what is
    published as a lead over M2TD3 is SAC's lead over TD3.

    Guarantees: none, as `M2TD3`.

    Source: ours, from Tanabe et al., 2022, and Haarnoja et al., 2018. The policy ascends, and the worst candidate
    descends, the soft value; both move in every update.

    Args:
        config: settings.
    """

    Config: ClassVar[type] = M2SACConfig

    def __init__(self, config: M2SACConfig | None = None) -> None:
        self.config = M2SACConfig() if config is None else config

    def train(
        self, make_vec: MakeVec, uset: Any, budget: int, seed: int, callback: Callback | None = None
    ) -> TrainResult:
        """As `training.RobustLearner.train`; `learned` holds the candidates in natural units and their p."""
        return train_against_candidates(self.config, False, _Player, make_vec, uset, budget, seed, callback)
