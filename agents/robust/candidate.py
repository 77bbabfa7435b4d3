"""The candidate policy of deep IWOCS: the most pessimistic of the valid experts acts.

At each step the experts whose model explains the last transition each propose an action; the proposal with the lowest
plain value is taken, the default policy's where no expert is valid (Zouitine et al., 2024, section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from dynrl.agents.robust.specialist import TwinEnhancedCritic
from dynrl.learning.networks import GaussianActor, from_unit

__all__ = ["CandidatePolicy", "Expert", "Memory"]

DEFAULT = -1


class Expert(eqx.Module):
    """A frozen specialist.

    Attributes:
        actor: proposes.
        critic: whose plain value judges the proposal.
        validity: a `ValidityModel`.
    """

    actor: GaussianActor
    critic: TwinEnhancedCritic
    validity: Any

    def value(self, observation: Float[Array, "... o"], action: Float[Array, "... a"]) -> Float[Array, "..."]:
        """The lower one of the twins' plain values."""
        return self.critic.plain(observation, action).min(0)


class Memory(NamedTuple):
    """What the candidate remembers of each lane.

    Attributes:
        observation: `[B, o]`, the last one.
        action: `[B, a]`, the last unit action.
        present: `[B]`, False at the beginning of an episode: then every expert is valid.
    """

    observation: Float[Array, "b o"]
    action: Float[Array, "b a"]
    present: Bool[Array, " b"]


class CandidatePolicy(eqx.Module):
    """A `dynrl.robust.policy.RobustPolicy` with memory, made by `of`.

    Attributes:
        experts: an `Expert` whose arrays lead with the axis E, one row per specialist.
        thresholds: `[E]`, rho of each expert; data, so that trying others compiles nothing.
        default: the actor that acts where no expert is valid.
        low, high: `[a]`, bounds of the environment's actions.
        observation_size: o.
    """

    experts: Expert
    thresholds: Float[Array, " e"]
    default: GaussianActor
    low: Float[Array, " a"]
    high: Float[Array, " a"]
    observation_size: int = eqx.field(static=True)

    @classmethod
    def of(
        cls,
        experts: Sequence[Expert],
        thresholds: Sequence[float],
        default: GaussianActor,
        low: Any,
        high: Any,
        observation_size: int,
    ) -> Self:
        """Stacks experts of one shape.

        Raises:
            ValueError: no experts, or not one threshold for each.
        """
        if not experts or len(experts) != len(thresholds):
            raise ValueError(
                f"expected one threshold per expert and at least one expert, got {len(experts)} experts and "
                f"{len(thresholds)} thresholds"
            )
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *experts)
        bounds = jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32)
        return cls(stacked, jnp.asarray(thresholds, jnp.float32), default, *bounds, observation_size)

    def initial_carry(self, num_envs: int) -> Memory:
        return Memory(
            jnp.zeros((num_envs, self.observation_size), jnp.float32),
            jnp.zeros((num_envs, len(self.low)), jnp.float32),
            jnp.zeros(num_envs, bool),
        )

    def act(
        self, observation: Float[Array, "b o"], carry: Memory, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "b a"], Memory]:
        """Modes of the actors, or their random actions where a key is given; ties go to the oldest expert."""
        observation = jnp.asarray(observation, jnp.float32)
        action, _ = self.decide(observation, carry, key)
        memory = Memory(observation, action, jnp.ones(len(observation), bool))
        return from_unit(action, self.low, self.high), memory

    def decide(
        self, observation: Float[Array, "b o"], carry: Memory, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, "b a"], Int[Array, " b"]]:
        """The unit action, and who proposed it: the expert's number, or -1 for the default policy."""

        def act(actor: GaussianActor) -> Array:
            return actor.mode(observation) if key is None else actor.explore(observation, key)

        def propose(expert: Expert) -> tuple[Array, Array, Array]:
            action = act(expert.actor)
            error = expert.validity.error(carry.observation, carry.action, observation)
            return action, expert.value(observation, action), error

        actions, values, errors = jax.vmap(propose)(self.experts)
        valid = (errors <= self.thresholds[:, None]) | ~carry.present
        chosen = jnp.argmin(jnp.where(valid, values, jnp.inf), axis=0)
        proposed = jnp.take_along_axis(actions, chosen[None, :, None], axis=0)[0]
        some = valid.any(axis=0)
        action = jnp.where(some[:, None], proposed, act(self.default))
        return action, jnp.where(some, chosen, DEFAULT)

    def pessimistic_value(self, observation: Float[Array, "b o"]) -> Float[Array, " b"]:
        """`max_a min_j Q_j(s, a)` over the experts' own proposals at the start of an episode, `[B]`.

        The stopping test compares it with the discounted return of the worst model.
        """
        observation = jnp.asarray(observation, jnp.float32)
        action, _ = self.decide(observation, self.initial_carry(len(observation)))
        values = jax.vmap(lambda expert: expert.value(observation, action))(self.experts)
        return values.min(axis=0)
