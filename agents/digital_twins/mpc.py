"""Model-predictive control: the next commands are optimised on the metamodel, the first is given, and again."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from dynrl.agents.digital_twins.controllers import Controller
from dynrl.agents.digital_twins.metamodel import Metamodel, roll_out
from dynrl.agents.digital_twins.objectives import SetPoint

__all__ = ["Mpc"]

Array = Any


class Mpc(Controller):
    """Receding horizon by normalised gradient steps from the last plan, moved on by one stride.

    Compiled like any controller, so whole cohorts are controlled in one program. Its sample cost is that of the
    metamodel alone.

    Attributes:
        metamodel: what the future is computed on; its stride is the hold to use.
        context: of the patient `[c]`.
    """

    metamodel: Metamodel
    context: Array
    objective: SetPoint = eqx.field(static=True)
    horizon: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    dose_weight: float = eqx.field(static=True)

    def __init__(
        self,
        metamodel: Metamodel,
        objective: SetPoint,
        *,
        context: Array | None = None,
        horizon: int = 10,
        iterations: int = 10,
        rate: float = 0.3,
        dose_weight: float = 0.0,
    ) -> None:
        """Makes the controller.

        Args:
            metamodel: fitted.
            objective: the set-point.
            context: of the patient; none by default.
            horizon: strides looked ahead.
            iterations: gradient steps per decision.
            rate: largest change of a plan's logit per gradient step.
            dose_weight: on the mean dose as a share of the largest.
        """
        self.metamodel, self.objective = metamodel, objective
        self.context = jnp.zeros(0) if context is None else jnp.asarray(context, jnp.float32)
        self.horizon, self.iterations, self.rate, self.dose_weight = horizon, iterations, rate, dose_weight

    def start(self) -> Any:
        return jnp.full((self.horizon, len(self.metamodel.control_scale)), -3.0)

    def for_patient(self, context: Array) -> Mpc:
        return eqx.tree_at(lambda c: c.context, self, jnp.asarray(context, jnp.float32))

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        high = jnp.asarray(self.metamodel.control_scale)

        def cost(plan: Array) -> Array:
            share = jax.nn.sigmoid(plan)
            future = roll_out(self.metamodel, macro, share * high, self.context)
            return self.objective.instant(future[1:]).mean() + self.dose_weight * share.mean()

        def improve(plan: Array, number: Array) -> tuple[Array, None]:
            gradient = jax.grad(cost)(plan)
            size = jnp.abs(gradient).max() + 1e-12
            rate = self.rate * (1 - number / self.iterations)
            return jnp.clip(plan - rate * gradient / size, -9.0, 5.0), None

        plan, _ = jax.lax.scan(improve, memory, jnp.arange(self.iterations))
        return high * jax.nn.sigmoid(plan[0]), jnp.concatenate([plan[1:], plan[-1:]])
