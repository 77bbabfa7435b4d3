"""From any (t, b) to one that a small-scale plan knows, by the ratio b / t."""

from __future__ import annotations

from typing import Any, Protocol

import jax.numpy as jnp

from dynrl.auctions.bidder import Request

__all__ = ["Plan", "quotient", "to_plan", "whole"]


class Plan(Protocol):
    """Anything known for `1 <= t <= horizon` and `0 <= b <= budget`."""

    @property
    def horizon(self) -> Any: ...

    @property
    def budget(self) -> Any: ...


def to_plan(t: Any, b: Any, plan: Plan) -> tuple[Any, Any]:
    """(t, b) itself where the plan knows it, else one that it knows with the same ratio b / t.

    `t > T0` becomes `(T0, floor(b T0 / t))`, then `b > B0` becomes `(floor(t B0 / b), B0)`.
    """
    horizon, budget = plan.horizon, plan.budget
    long = t > horizon
    b = jnp.where(long, quotient(b * horizon, t), b)
    t = jnp.where(long, horizon, t)
    rich = b > budget
    t = jnp.where(rich, jnp.maximum(quotient(t * budget, b), 1), t)
    return t, jnp.where(rich, budget, b)


def whole(request: Request) -> tuple[Any, Any]:
    """(t, b) of a request as whole numbers of 64 bits."""
    return jnp.asarray(request.t_left, jnp.int64), jnp.asarray(request.b_left, jnp.int64)


def quotient(a: Any, b: Any) -> Any:
    """floor(a / b) of whole numbers below 2^53, by floating-point division, which runs in vectors.

    Correct: a quotient is either whole, and then exact, or further from a whole number than rounding reaches.
    """
    return jnp.floor(jnp.asarray(a, jnp.float64) / b).astype(jnp.int64)
