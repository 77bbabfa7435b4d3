"""Where an agent's experience is valid: an error of the last transition, large where its model does not hold."""

from __future__ import annotations

from typing import Literal, Protocol, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dynrl.agents.robust.specialist import TwinEnhancedCritic
from dynrl.learning.replay import Transitions

__all__ = ["GaussianValidity", "PredictorValidity", "ValidityModel", "quantile_threshold"]

Scaling = Literal["none", "replay"]


class ValidityModel(Protocol):
    """A pytree whose `error` JAX can trace; the agent takes part where the error is at most its threshold."""

    def fit(self, data: Transitions) -> Self:
        """The same model fitted to the agent's experience `[n, ...]`."""
        ...

    def error(self, observation: Array, action: Array, following: Array) -> Array:
        """How badly `observation, action -> following` fits, `[...]`, at least 0; actions are unit actions."""
        ...


class PredictorValidity(eqx.Module):
    """`|T^(s, a) - s'|` in the 1-norm (Zouitine et al., 2024, section 5).

    T^ is the mean of the twins' predictions.

    Attributes:
        critic: holds the two predictors.
        scale: `[o]`, divides the errors: ones as in the paper, or `o` times the standard deviation of each component
            in the replay, which makes the threshold dimensionless.
    """

    critic: TwinEnhancedCritic
    scale: Float[Array, " o"]
    scaling: Scaling = eqx.field(static=True)

    @classmethod
    def of(cls, critic: TwinEnhancedCritic, observation_size: int, scaling: Scaling = "none") -> Self:
        return cls(critic, jnp.ones(observation_size, jnp.float32), scaling)

    def fit(self, data: Transitions) -> Self:
        """Sets the scale; the predictor itself was trained with the agent."""
        if self.scaling == "none":
            return self
        spread = np.maximum(data.observation.std(axis=0), 1e-6) * data.observation.shape[-1]
        return type(self)(self.critic, jnp.asarray(spread, jnp.float32), self.scaling)

    def error(
        self,
        observation: Float[Array, "... o"],
        action: Float[Array, "... a"],
        following: Float[Array, "... o"],
    ) -> Float[Array, "..."]:
        predicted = self.critic.following(observation, action).mean(0)
        return (jnp.abs(predicted - following) / self.scale).sum(-1)


class GaussianValidity(eqx.Module):
    """One-class alternative without a network: Mahalanobis distance of `(s, a, s' - s)` to the experience.

    Divided by the square root of the dimension, so that a draw of a Gaussian experience scores about 1.

    Attributes:
        centre: `[2 o + a]`, mean of the experience.
        whitening: `[2 o + a, 2 o + a]`, inverse Cholesky factor of its covariance.
    """

    centre: Float[Array, " f"]
    whitening: Float[Array, "f f"]

    @classmethod
    def blank(cls, observation_size: int, action_size: int) -> Self:
        """To be fitted."""
        size = 2 * observation_size + action_size
        return cls(jnp.zeros(size, jnp.float32), jnp.eye(size, dtype=jnp.float32))

    def fit(self, data: Transitions) -> Self:
        features = np.concatenate(
            [data.observation, data.action, data.next_observation - data.observation], axis=-1
        ).astype(np.float64)
        covariance = np.cov(features, rowvar=False)
        # components that never vary would make the covariance singular
        covariance += np.eye(len(covariance)) * (1e-6 * np.trace(covariance) / len(covariance) + 1e-12)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance))
        return type(self)(
            jnp.asarray(features.mean(axis=0), jnp.float32), jnp.asarray(whitening, jnp.float32)
        )

    def error(
        self,
        observation: Float[Array, "... o"],
        action: Float[Array, "... a"],
        following: Float[Array, "... o"],
    ) -> Float[Array, "..."]:
        features = jnp.concatenate([observation, action, following - observation], axis=-1)
        return jnp.sqrt((((features - self.centre) @ self.whitening.T) ** 2).mean(-1))


def quantile_threshold(model: ValidityModel, data: Transitions, quantile: float) -> float:
    """The threshold that this share of the held-out experience `[n, ...]` passes.

    Raises:
        ValueError: a quantile outside (0, 1], or no experience.
    """
    if not 0 < quantile <= 1:
        raise ValueError(f"quantile must lie in (0, 1], got {quantile}")
    if not len(data.reward):
        raise ValueError("no held-out experience to take a quantile of")
    errors = model.error(
        jnp.asarray(data.observation), jnp.asarray(data.action), jnp.asarray(data.next_observation)
    )
    return float(np.quantile(np.asarray(errors, np.float64), quantile))
