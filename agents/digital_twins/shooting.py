"""Direct shooting: the commands of a whole horizon, optimised through a metamodel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from dynrl.agents.digital_twins.controllers import BudgetSchedule, Schedule
from dynrl.agents.digital_twins.metamodel import Metamodel, roll_out
from dynrl.agents.digital_twins.objectives import SetPoint, Yield

__all__ = ["Shot", "shoot", "shoot_budget"]

Array = Any


class Shot(NamedTuple):
    """A schedule found by shooting.

    Attributes:
        schedule: one command per stride of the metamodel.
        predicted: its cost (or yield) on the metamodel.
        macro: the predicted run `[K + 1, n]`.
        iterations: of L-BFGS.
    """

    schedule: Schedule
    predicted: float
    macro: np.ndarray
    iterations: int


def shoot(
    metamodel: Metamodel,
    objective: SetPoint,
    start: Array,
    strides: int,
    *,
    context: Array | None = None,
    first: Array | None = None,
    iterations: int = 100,
    skip: int = 3,
) -> Shot:
    """Piecewise-constant commands of least mean cost after the first `skip` strides, by L-BFGS with bounds.

    Args:
        metamodel: fitted.
        objective: the set-point.
        start: macrostate `[n]`.
        strides: K, length of the horizon.
        context: of the patient `[c]`.
        first: commands to begin with `[K, m]`; a twentieth of the largest unless given.
        iterations: at most.
        skip: strides that do not count.
    """
    high = np.asarray(metamodel.control_scale)
    shape = (strides, len(high))
    given = jnp.zeros(0) if context is None else jnp.asarray(context)

    def cost(unit: Array) -> Array:
        macro = roll_out(metamodel, start, unit.reshape(shape) * high, given)
        return objective.instant(macro[1 + skip :]).mean()

    begin = np.full(shape, 0.05) if first is None else np.asarray(first) / high
    unit, value, count = _minimise(cost, begin.reshape(-1), [(0.0, 1.0)] * begin.size, iterations)
    commands = jnp.asarray(unit.reshape(shape) * high, jnp.float32)
    return Shot(Schedule(commands), value, np.asarray(roll_out(metamodel, start, commands, given)), count)


def shoot_budget(
    metamodel: Metamodel,
    objective: Yield,
    start: Array,
    strides: int,
    budget: float,
    cap: float,
    *,
    context: Array | None = None,
    starts: int = 4,
    iterations: int = 200,
    seed: int = 0,
) -> Shot:
    """The schedule of one inflow that spends exactly `budget` and yields the most product, by L-BFGS.

    Yields have several local optima (one pulse or many), so L-BFGS starts from `starts` first schedules: a flat one and
    random ones with ever stronger pulses.

    Args:
        metamodel: fitted, with one control channel.
        objective: which component is the product.
        start: macrostate `[n]`.
        strides: K, length of the horizon.
        budget: total inflow over all steps.
        cap: largest inflow per step.
        context, iterations: as for `shoot`.
        starts, seed: of the first schedules.
    """
    given = jnp.zeros(0) if context is None else jnp.asarray(context)
    blank = BudgetSchedule(jnp.zeros(strides), budget / metamodel.stride, cap)

    def loss(logits: Array) -> Array:
        commands = eqx.tree_at(lambda s: s.commands, blank, logits).values()
        macro = roll_out(metamodel, start, commands, given)
        return -objective.harvest(macro, metamodel.stride) / budget

    rng = np.random.default_rng(seed)
    best: tuple[np.ndarray, float, int] | None = None
    for number in range(starts):
        begin = rng.normal(size=strides) * number
        found = _minimise(loss, begin, [(-12.0, 12.0)] * strides, iterations)
        if best is None or found[1] < best[1]:
            best = found
    assert best is not None
    schedule = eqx.tree_at(lambda s: s.commands, blank, jnp.asarray(best[0], jnp.float32))
    macro = roll_out(metamodel, start, schedule.values(), given)
    return Shot(schedule, -best[1], np.asarray(macro), best[2])


def _minimise(
    cost: Callable[[Array], Array], begin: np.ndarray, bounds: list, iterations: int
) -> tuple[np.ndarray, float, int]:
    gradient = jax.jit(jax.value_and_grad(cost))

    def both(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = gradient(jnp.asarray(x, jnp.float32))
        return float(value), np.asarray(slope, np.float64)

    found = minimize(both, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": iterations})
    if not np.isfinite(found.fun):
        raise FloatingPointError("shooting left the range of the metamodel: its cost is not finite")
    return found.x, float(found.fun), int(found.nit)
