"""From training data to the `Market` that dynamic programming takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.campaign import DELTA_MAX, Campaign
from dynrl.auctions.landscape.counting import from_counts, product_limit
from dynrl.auctions.landscape.landscape import Tie
from dynrl.auctions.landscape.observations import PriceObservations
from dynrl.auctions.landscape.segments import fit_segments
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market, click_atoms

__all__ = ["equal_mass_atoms", "market_from"]


def market_from(
    source: Campaign | AuctionLog,
    theta: ArrayLike | None = None,
    *,
    segments: str | None = None,
    atoms: int = 64,
    laplace: float = 1.0,
    kappa: float = 200.0,
    delta_max: int = DELTA_MAX,
    tie: Tie = "win",
) -> Market:
    """The market that training data describe.

    Prices come from counting with Laplace smoothing, corrected for lost rows where the log has any (`product_limit`);
    click probabilities from atoms of equal mass.

    Args:
        source: a campaign's counts, or a training log. A campaign has its own largest price.
        theta: `[N]`, click probabilities of training requests; None for those of the log, and for a campaign the single
            atom `theta_avg`.
        segments: name of the log's categories that make the segments, each with its own prices (backed off to all rows)
            and its own atoms. Rows of unknown segment count for the prices of all rows only; a segment without rows has
            the prices and atoms of all rows and share 0.
        atoms: K, click probabilities per segment (fewer without segments when there are fewer rows).
        laplace: pseudo-observations at each price.
        kappa: auctions that the prices of all rows are worth in a segment.
        delta_max: largest price considered, for logs.
        tie: whether a bid equal to the price won, in the auctions of the log.

    Without segments the atoms are `click_atoms`, the published recipe; with segments `equal_mass_atoms`, because a
    segment may have few rows.

    Raises:
        ValueError: no click probabilities, rows that do not fit, segments of a campaign, or an unknown category.
    """
    if isinstance(source, Campaign):
        if segments is not None:
            raise ValueError("a campaign's counts have no segments; make the market from the training log")
        pmf = from_counts(source.price_counts, source.above, laplace).probabilities
        return Market.single(pmf, [source.theta_avg] if theta is None else click_atoms(theta, atoms))
    if theta is not None:
        source = source.with_theta(np.asarray(theta, np.float64))
    if source.theta is None:
        raise ValueError("the log has no click probabilities: apply a click model first, or give theta")
    observations = PriceObservations.from_log(source)
    if segments is None:
        pmf = product_limit(observations, delta_max, tie, laplace).probabilities
        return Market.single(pmf, click_atoms(source.theta, atoms))
    if segments not in source.categories:
        known = ", ".join(source.categories) or "none"
        raise ValueError(f"the log has no categories {segments!r} (it has: {known})")
    column = source.categories[segments]
    count = len(column.names)
    landscape = fit_segments(
        observations, column.codes, count, delta_max=delta_max, tie=tie, kappa=kappa, laplace=laplace
    )
    rows = np.bincount(column.codes[column.codes >= 0], minlength=count)
    if rows.sum() == 0:
        raise ValueError(f"every row's segment ({segments}) is unknown")
    parts = [source.theta[column.codes == code] if rows[code] else source.theta for code in range(count)]
    values = np.stack([equal_mass_atoms(part, atoms) for part in parts])
    return Market(landscape.table, values, np.full(values.shape, 1 / atoms), rows / rows.sum())


def equal_mass_atoms(theta: ArrayLike, count: int = 64) -> NDArray[np.float64]:
    """`count` atoms of exactly equal mass with the mean of the click probabilities `[N]`: means of the quantile slices
    ((k-1)/K, k/K), a row at a border being shared between its two slices.

    Equals `click_atoms` when N is a multiple of `count`.

    Raises:
        ValueError: no click probabilities, or `count` below 1.
    """
    ordered = np.sort(np.asarray(theta, np.float64))
    if len(ordered) == 0 or count < 1:
        raise ValueError(f"cannot make {count} atoms of {len(ordered)} click probabilities")
    borders = np.linspace(0, len(ordered), count + 1)
    cumulated = np.interp(borders, np.arange(len(ordered) + 1), np.concatenate([[0.0], np.cumsum(ordered)]))
    means = np.diff(cumulated) * count / len(ordered)
    # Rounding in the cumulated sums must not undo the order, nor leave the range of the data.
    return np.maximum.accumulate(np.clip(means, ordered[0], ordered[-1]))
