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

from dynrl.agents.robust.candidate_training import CandidatePlayer, train_against_candidates
from dynrl.agents.robust.training import (
    Callback,
    MakeVec,
    TrainResult,
)
from dynrl.agents.robust.worst_parameters import (
    Candidates,
    CandidateSampler,
    CandidatesConfig,
    descend,
    near_parameters,
)
from dynrl.learning import td3
from dynrl.learning.replay import Transitions
from dynrl.learning.td3 import TD3Config, TD3State

__all__ = ["M2TD3", "M2TD3Config", "SoftM2TD3"]


@dataclass(frozen=True)
class M2TD3Config(CandidatesConfig):
    """Settings of M2TD3: those of `CandidatesConfig`, and the learner's.

    Attributes:
        learner: of actor and critics; the paper's batch is 100.
    """

    learner: TD3Config = field(default_factory=lambda: TD3Config(batch_size=100))


class M2TD3State(NamedTuple):
    """All that is learnt: TD3 with ω as the critics' extra input, and the candidates."""

    learner: TD3State
    candidates: Candidates


def candidate_values(actor: Any, critic: Any, observation: Any, omega: Any) -> Any:
    """`J_k = mean Q1(s, actor(s), ω_k)` for `omega [K, d]`, `[K]`."""
    action = actor.mode(observation)

    def value(one: Any) -> Any:
        return critic.first(
            observation, action, jnp.broadcast_to(one, (*action.shape[:-1], one.shape[-1]))
        ).mean()

    return jax.vmap(value)(omega)


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
    next_omega = near_parameters(config, batch.extra, omega_key)
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
    candidates = descend(config, candidates, worst, downhill, rate)
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


class _Player(CandidatePlayer):
    """TD3 with its sampler."""

    def __init__(
        self, config: M2TD3Config, sampler: CandidateSampler, sizes: tuple[int, int], key: Any
    ) -> None:
        self.config, self.sampler, self.batch_size = config, sampler, config.learner.batch_size
        self.learner = td3.initial_state(config.learner, *sizes, key, sampler.uset.dim)

    def learn(self, batches: Transitions) -> Mapping[str, float]:
        sampler = self.sampler
        state = M2TD3State(self.learner, sampler.candidates)
        (self.learner, sampler.candidates), losses = update_many(
            self.config, sampler.soft, state, batches, sampler.next_key(), sampler.rate
        )
        return {"critic_loss": float(losses[-1])}


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
        return train_against_candidates(
            self.config, self.soft, _Player, make_vec, uset, budget, seed, callback
        )


class SoftM2TD3(M2TD3):
    """M2TD3 whose policy ascends the mean over the candidates, each weighted by how often it was the worst.

    Smoother than `M2TD3`, better on average and at times in the worst case; the noise on played parameters is
    annealed over the first half of the training. Source: Tanabe et al., 2022, section 4.
    """

    soft: ClassVar[bool] = True
