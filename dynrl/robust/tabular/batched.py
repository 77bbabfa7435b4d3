"""Many robust problems of one shape at once: value iteration in JAX, `vmap` over problems, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from dynrl.robust.tabular.mdp import RobustMDP
from dynrl.robust.tabular.rectangular import TIE, Rectangular, SARectangular

__all__ = ["BatchSolution", "solve_batch"]


@dataclass(frozen=True, eq=False)
class BatchSolution:
    """`RobustSolution` of B problems.

    Attributes:
        value: `[B, S]`.
        q: `[B, S, A]`.
        policy: `[B, S, A]`.
        worst_kernel: `[B, S, A, S']`; rows of terminal states are those that the set would give them.
        residual: `[B]`, largest change of the last sweep.
        iterations: `[B]`, sweeps.
        bound_kind: `"exact"`, or `"hull"`: see `RobustSolution`.
    """

    value: np.ndarray
    q: np.ndarray
    policy: np.ndarray
    worst_kernel: np.ndarray
    residual: np.ndarray
    iterations: np.ndarray
    bound_kind: str


def solve_batch(
    problems: Sequence[RobustMDP], tolerance: float = 1e-9, max_iterations: int = 1_000_000
) -> BatchSolution:
    """Robust value iteration of many problems as one compiled program; the numbers of `robust_value_iteration`.

    Compiled once for each kind of set and shape; the data of the sets, rewards and discounts are arguments.

    Args:
        problems: of one shape, with ambiguity sets of one (s,a)-rectangular class, or lists of as many kernels, whose
            hulls are solved.
        tolerance: as for `robust_value_iteration`.

    Raises:
        ValueError: no problems, problems that do not go together, a tolerance that is not positive.
        RuntimeError: a problem that is not solved after `max_iterations` sweeps.
    """
    import jax

    if not tolerance > 0:
        raise ValueError(f"tolerance is {tolerance!r}, expected a positive number.")
    sets = _sets_of_one_kind(problems)
    data = tuple(np.stack(part) for part in zip(*(each.per_pair + each.shared for each in sets), strict=True))
    gamma = np.array([mdp.gamma for mdp in problems])
    safe = np.where(gamma > 0, gamma, 1.0)
    enough = np.where(gamma > 0, tolerance * (1 - gamma) / (2 * safe), np.inf)
    with jax.enable_x64(True):
        solved = _program(type(sets[0]).inner)(
            np.stack([mdp.reward for mdp in problems]),
            gamma,
            np.stack([mdp.terminal for mdp in problems]),
            data,
            enough,
            max_iterations,
        )
        value, q, policy, rows, residual, sweeps, change = (np.asarray(part) for part in solved)
    late = np.flatnonzero(change > enough)
    if len(late):
        raise RuntimeError(
            f"problem {late[0]} still changes by {change[late[0]]:.3g} after {max_iterations} sweeps; allow more."
        )
    kind = "exact" if all(isinstance(mdp.ambiguity, Rectangular) for mdp in problems) else "hull"
    return BatchSolution(value, q, policy, rows, residual, sweeps, kind)


def _sets_of_one_kind(problems: Sequence[RobustMDP]) -> list[SARectangular]:
    if not problems:
        raise ValueError("solve_batch got no problems.")
    sets = [mdp.rectangular for mdp in problems]
    checked = [each for each in sets if isinstance(each, SARectangular)]
    if len(checked) < len(sets):
        raise ValueError(
            "SL1 takes a linear program per state and has no batched form; solve those one by one with "
            "robust_value_iteration."
        )
    kinds = {(type(each).__name__, *(part.shape for part in each.per_pair)) for each in checked}
    kinds_of_reward = {mdp.reward.ndim for mdp in problems}
    if len(kinds) > 1 or len(kinds_of_reward) > 1:
        raise ValueError(
            f"the problems are of different kinds, {sorted(map(str, kinds))} with rewards of {sorted(kinds_of_reward)} "
            "axes; solve each kind in a batch of its own."
        )
    return checked


@cache
def _program(inner: Callable[..., Any]) -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def solve(
        reward: Any, gamma: Any, terminal: Any, data: tuple[Any, ...], enough: Any, max_iterations: Any
    ) -> tuple[Any, ...]:
        def sweep(value: Any) -> tuple[Any, Any, Any]:
            if reward.ndim == 2:
                rows = inner(jnp, *data, value)
                q = reward + gamma * rows @ value
            else:
                targets = reward + gamma * value
                rows = inner(jnp, *data, targets)
                q = (rows * targets).sum(axis=-1)
            q = jnp.where(terminal[:, None], 0.0, q)
            return q.max(axis=1), q, rows

        def step(carry: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
            value, _, number = carry
            after = sweep(value)[0]
            return after, jnp.abs(after - value).max(), number + 1

        def unfinished(carry: tuple[Any, Any, Any]) -> Any:
            return (carry[1] > enough) & (carry[2] < max_iterations)

        begin = step((jnp.zeros(reward.shape[0]), jnp.inf, 0))
        value, change, number = jax.lax.while_loop(unfinished, step, begin)
        after, q, rows = sweep(value)
        best = q.max(axis=1, keepdims=True)
        chosen = (q >= best - TIE * jnp.maximum(1.0, jnp.abs(best))).argmax(axis=1)
        policy = jnp.eye(q.shape[1])[chosen]
        return after, q, policy, rows, jnp.abs(after - value).max(), number, change

    return jax.jit(jax.vmap(solve, in_axes=(0, 0, 0, 0, 0, None)))
