"""The inner problems: nature's worst row of an ambiguity set, `argmin over p of p · z`.

Every function takes the namespace `xp` (`numpy` or `jax.numpy`), the data of the sets `[..., n]` and the targets `z`,
`[n]` for all rows or `[..., n]`, and returns the minimising rows `[..., n]`. The text is the same for NumPy and JAX;
float64 is expected.

Sources: Iyengar (2005) and Nilim & El Ghaoui (2005) for the duals; Petrik & Subramanian (2014) for L1; Ben-Tal et al.
(2013) for φ-divergences; Givan, Leach & Dean (2000) for intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dynrl.robust.tabular.rows import gather, point_mass, running_sum, scatter


def finite_rows(xp: Any, candidates: Any, mask: Any, targets: Any) -> Any:
    """The best of `candidates [..., K, n]` where `mask [..., K]`; ties go to the lowest index."""
    worth = (candidates * targets[..., None, :]).sum(axis=-1) if targets.ndim > 1 else candidates @ targets
    chosen = xp.argmin(xp.where(mask, worth, xp.inf), axis=-1)
    return xp.take_along_axis(candidates, chosen[..., None, None], axis=-2)[..., 0, :]


def l1_rows(xp: Any, nominal: Any, budget: Any, targets: Any) -> Any:
    """`Σ|p − p0| ≤ b`: b/2 of mass goes from the successors with the largest targets to the smallest."""
    order = xp.argsort(targets, axis=-1, stable=True)[..., ::-1]
    ordered = gather(xp, nominal, order)
    moved = xp.minimum(budget / 2, 1 - ordered[..., -1])[..., None]
    before = running_sum(xp, ordered) - ordered
    taken = xp.clip(moved - before, 0.0, ordered)
    lowest = xp.arange(ordered.shape[-1]) == ordered.shape[-1] - 1
    taken = xp.where(lowest, 0.0, taken)
    return scatter(xp, ordered - taken + lowest * taken.sum(axis=-1, keepdims=True), order)


def interval_rows(xp: Any, lower: Any, upper: Any, targets: Any) -> Any:
    """`l ≤ p ≤ u`: what `l` leaves of the mass goes to the smallest targets first, up to `u`."""
    order = xp.argsort(targets, axis=-1, stable=True)
    low, room = gather(xp, lower, order), gather(xp, upper - lower, order)
    slack = 1 - low.sum(axis=-1, keepdims=True)
    given = xp.clip(slack - (running_sum(xp, room) - room), 0.0, room)
    return scatter(xp, low + given, order)


def contamination_rows(xp: Any, nominal: Any, share: Any, targets: Any) -> Any:
    """`(1 − ε) p0 + ε q`: q is all on the smallest target."""
    return (1 - share)[..., None] * nominal + share[..., None] * point_mass(xp, targets)


def kl_rows(xp: Any, nominal: Any, radius: Any, targets: Any) -> Any:
    """`KL(p‖p0) ≤ β`: the tilted row `p ∝ p0 exp(−t z)` whose divergence is β, or the support's smallest target."""
    depth, lowest_mass, bottom = _depth(xp, nominal, targets)
    radius = xp.broadcast_to(radius, nominal.shape[:-1])
    inside = (radius > 0) & (radius < -xp.log(lowest_mass))
    wanted = xp.where(inside, radius, 1.0)

    def tilted(tilt: Any) -> tuple[Any, Any, Any]:
        shrink = xp.expm1(-tilt[..., None] * depth)
        mass = 1 + (nominal * shrink).sum(axis=-1)
        row = nominal * (shrink + 1) / mass[..., None]
        mean = (row * depth).sum(axis=-1)
        variance = (row * (depth - mean[..., None]) ** 2).sum(axis=-1)
        return -tilt * mean - xp.log1p((nominal * shrink).sum(axis=-1)), variance, row

    def closer(step: Any, place: tuple[Any, ...]) -> tuple[Any, ...]:
        low, high, now, _ = place
        tilt = xp.exp(now)
        divergence, variance, _row = tilted(tilt)
        too_far = divergence > wanted
        low, high = xp.where(too_far, low, now), xp.where(too_far, now, high)
        # Newton on log KL against log t, nearly a line while the tilt is small; halving keeps it honest.
        ratio = xp.log(xp.maximum(divergence, 1e-300) / wanted)
        newton = now - ratio * divergence / xp.maximum(tilt**2 * variance, 1e-300)
        trusted = (newton > low) & (newton < high) & (step % 3 != 2)
        done = ~inside | (xp.abs(ratio) <= 1e-11)
        return low, high, xp.where(done, now, xp.where(trusted, newton, (low + high) / 2)), done

    # KL of the tilted row is at most t²/8 for depths in [0, 1] (Hoeffding), so the tilt is at least √(8β).
    start = 0.5 * xp.log(8 * wanted)
    place = _iterate(xp, closer, (start - 1, start * 0 + 45.0, start, start > xp.inf), limit=150)
    row = tilted(xp.exp(place[2]))[2]
    worst = xp.where(bottom, nominal, 0.0) / lowest_mass[..., None]
    return xp.where(inside[..., None], row, xp.where((radius > 0)[..., None], worst, nominal))


def chi2_rows(xp: Any, nominal: Any, radius: Any, targets: Any) -> Any:
    """`Σ (p − p0)² / p0 ≤ β`: `p ∝ p0 (η − z)₊`, where η is a root of a quadratic between two of the targets.

    With the k smallest targets in play, of mass m₀, mean μ and variance σ² under p0, the divergence is β where
    `(η − μ)² = σ² / ((1 + β) m₀ − 1)`.
    """
    depth, lowest_mass, bottom = _depth(xp, nominal, targets)
    order = xp.argsort(xp.where(nominal > 0, depth, 2.0), axis=-1, stable=True)
    mass, x = gather(xp, xp.broadcast_to(nominal, depth.shape), order), gather(xp, depth, order)
    total, first, second = (running_sum(xp, mass * x**power) for power in (0, 1, 2))
    mean = first / xp.maximum(total, 1e-300)
    spread = xp.maximum(second / xp.maximum(total, 1e-300) - mean**2, 0.0)
    surplus = (1 + radius)[..., None] * total - 1
    level = mean + xp.sqrt(spread / xp.maximum(surplus, 1e-300))
    following = xp.concatenate([x[..., 1:], xp.full_like(x[..., :1], xp.inf)], axis=-1)
    last = xp.argmax((surplus > 0) & (level <= following), axis=-1)[..., None]
    played = (xp.arange(x.shape[-1]) <= last) & (mass > 0)
    share = xp.where(played, mass, 0.0)
    part = share.sum(axis=-1, keepdims=True)
    centre = (share * x).sum(axis=-1, keepdims=True) / part
    # Once more from the centre: the difference of two sums of squares loses half of the digits.
    variance = (share * (x - centre) ** 2).sum(axis=-1, keepdims=True) / part
    left = xp.maximum((1 + radius)[..., None] * part - 1, 1e-300)
    width = xp.sqrt(variance / left)
    tilted = share / part * xp.maximum(1 + (centre - x) / xp.where(width > 0, width, 1.0), 0.0)
    row = scatter(xp, xp.where(width > 0, tilted / tilted.sum(axis=-1, keepdims=True), share / part), order)
    worst = xp.where(bottom, nominal, 0.0) / lowest_mass[..., None]
    free = radius >= 1 / lowest_mass - 1
    return xp.where((radius > 0)[..., None], xp.where(free[..., None], worst, row), nominal)


def wasserstein_rows(xp: Any, nominal: Any, radius: Any, cost: Any, targets: Any) -> Any:
    """Transport within `ρ`: mass at x goes to `argmin_y z(y) + λ d(x, y)`, with λ such that the price is ρ.

    Between the two plans around λ, mixed to cost exactly ρ, the row is optimal. `cost` is `[n, n]`.
    """
    z = targets[..., None, :]
    n = targets.shape[-1]

    def plan(price: Any) -> tuple[Any, Any]:
        chosen = xp.argmin(z + price[..., None, None] * cost, axis=-1)
        paid = (nominal * cost[xp.arange(n), chosen]).sum(axis=-1)
        arrived = (xp.eye(n, dtype=cost.dtype)[chosen] * nominal[..., None]).sum(axis=-2)
        return arrived, paid

    def closer(step: Any, place: tuple[Any, ...]) -> tuple[Any, ...]:
        low, high, _ = place
        middle = (low + high) / 2
        dear = plan(middle)[1] > radius
        low, high = xp.where(dear, middle, low), xp.where(dear, high, middle)
        return low, high, high - low <= 1e-15 * high

    zero = xp.zeros(nominal.shape[:-1], dtype=nominal.dtype)
    away = xp.where(cost > 0, cost, xp.inf).min()
    most = (targets.max(axis=-1) - targets.min(axis=-1)) / away * (1 + 1e-9) + 1e-300
    place = _iterate(xp, closer, (zero, zero + most, zero > 1), limit=80)
    (far, far_paid), (near, near_paid) = plan(place[0]), plan(place[1])
    between = xp.where(
        far_paid > radius,
        (radius - near_paid) / xp.where(far_paid > near_paid, far_paid - near_paid, 1.0),
        1.0,
    )
    between = xp.clip(between, 0.0, 1.0)[..., None]
    return between * far + (1 - between) * near


def _depth(xp: Any, nominal: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Targets of the support scaled to [0, 1], the nominal mass of its smallest, and where that is."""
    support = nominal > 0
    targets = xp.broadcast_to(targets, nominal.shape)
    low = xp.where(support, targets, xp.inf).min(axis=-1, keepdims=True)
    depth = xp.where(support, targets - low, 0.0)
    scale = depth.max(axis=-1, keepdims=True)
    bottom = support & (depth == 0)
    return depth / xp.where(scale > 0, scale, 1.0), xp.where(bottom, nominal, 0.0).sum(axis=-1), bottom


def _iterate(xp: Any, closer: Callable[..., Any], place: tuple[Any, ...], limit: int) -> tuple[Any, ...]:
    """Repeats `place = closer(step, place)` until all of the last leaf is true, at most `limit` times."""
    if xp.__name__ == "numpy":
        step = 0
        while step < limit and not place[-1].all():
            place, step = closer(step, place), step + 1
        return place
    from jax import lax

    def unfinished(carry: tuple[Any, ...]) -> Any:
        return (carry[0] < limit) & ~carry[1][-1].all()

    return lax.while_loop(unfinished, lambda carry: (carry[0] + 1, closer(*carry)), (0, place))[1]
