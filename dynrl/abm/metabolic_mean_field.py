"""The regulated metabolic network as if it were well mixed: a deterministic map of its macrostate.

Molecules are taken to be scattered independently, so a cell holds at least one of X with probability 1 − exp(−X / A).
That ignores how enzymes deplete their own cells: substrate and intermediate come out right within about 10 %, while the
yield is overestimated by 10 to 45 %. A controller found here must be judged on the agent-based model.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

__all__ = ["mean_field_step"]


def mean_field_step(x: Any, u: Any, params: Any, *, length: int = 40, n1: int = 60, n2: int = 120) -> Any:
    """One step of expected numbers.

    Args:
        x: free S, I, P, E1 free, E1 inhibited, E2 half, E2 full `[..., 7]`, the macrostate of `MetabolicGrid`.
        u: inflow of substrate, molecules per step `[...]`.
        params: the rates, with the fields of `MetabolicParams`.
        length: side of the grid.
        n1, n2: numbers of enzymes.

    Returns:
        `(x after the step [..., 7], molecules harvested in it [...])`.
    """
    s, i, p, e1_free, e1_inhibited, e2_half, e2_full = jnp.moveaxis(jnp.asarray(x, float), -1, 0)
    r = params

    def present(amount: Any) -> Any:
        return 1 - jnp.exp(-amount / length**2)

    e1_bound, e2_empty = n1 - e1_free - e1_inhibited, n2 - e2_half - e2_full
    s, i, h, p = (s + u) * (1 - r.delta_s), i * (1 - r.delta_i), p * r.kx, p * (1 - r.kx)
    v_p = e1_free * r.ah * present(p)
    v_s = (e1_free - v_p) * r.a1 * present(s)
    w0, w1 = e2_empty * r.a2 * present(i), e2_half * r.a2 * present(i)
    d, made, freed, blocked = (e2_half - w1) * r.d2, e2_full * r.c2, e1_bound * r.c1, e1_inhibited * r.ch
    after = (
        s - v_s,
        i - w0 - w1 + d + freed,
        p - v_p + made + blocked,
        e1_free - v_p - v_s + freed + blocked,
        e1_inhibited + v_p - blocked,
        e2_half + w0 - w1 - d,
        e2_full + w1 - made,
    )
    return jnp.stack(after, -1), h
