"""What is published of campaign 2997 (Cai et al., WSDM 2017, and the code released with it), measured again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dynrl.agents.auctions.fluid import Fluid, FluidConfig
from dynrl.agents.auctions.linear import LinearBidder, tune_lin
from dynrl.agents.auctions.ss_mdp import BlindBidder
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.landscape import market_from
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market
from dynrl.auctions.metrics import compare
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.readers import read_log
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import ValueTable, evaluate_bidder, evaluate_policy, table_bidder, value_table
from dynrl.auctions.value.bidders import Scale
from dynrl.bench import Figure

RATIOS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
B0 = (10, 15, 20, 85, 130)
"""Tuned b0 of the published linear bidder at the ratios above."""

TOTALS = {
    "RLB": (
        (78, 39680, 304375),
        (119, 57267, 609392),
        (176, 77791, 1220832),
        (260, 103316, 2444319),
        (389, 131194, 4833773),
    ),
    "SS-MDP": (
        (80, 40395, 306639),
        (115, 58866, 613597),
        (179, 81808, 1226466),
        (255, 108064, 2451195),
        (382, 134649, 4808148),
    ),
    "SS-MDP, released code": ((80, 40395, 306637),),
    "Mcpc": (
        (48, 14752, 307751),
        (82, 29034, 614884),
        (144, 57564, 1228618),
        (244, 96292, 2102858),
        (254, 98718, 2168396),
    ),
    "Lin": (
        (71, 32208, 203610),
        (77, 38978, 270386),
        (93, 45924, 363934),
        (242, 83979, 2451952),
        (377, 121167, 4808009),
    ),
}
"""(clicks, wins, cost) of the whole test log, T = 1000, at the ratios above."""

HORIZONS = (200, 400, 600, 800, 1000)
TOTALS_BY_HORIZON = {
    "RLB": (
        (227, 93972, 1925300),
        (230, 94329, 1942628),
        (232, 94469, 1949104),
        (227, 94477, 1950410),
        (229, 94613, 1954621),
    ),
    "SS-MDP": (
        (229, 98530, 1945455),
        (231, 98951, 1955805),
        (227, 99212, 1960159),
        (225, 99283, 1960369),
        (227, 99353, 1961580),
    ),
}
"""The same at c0 = 0.2 for the horizons above."""

VALUES = (1.0282246712921606, 1.4369844116458492, 2.0061951215686302, 2.755371727660529, 3.61227762172619)
"""V(999, B) at the ratios above."""

LARGE_SCALE: dict[Scale, tuple[tuple[int, int], ...]] = {
    "map_action": ((23, 98420), (45, 393802), (134, 1575422)),
    "segment": ((20, 98447), (48, 393849), (131, 1575407)),
}
"""(clicks, cost) of rows 50 001 to 100 000 of the validation file as one episode, c0 = 1/32, 1/8, 1/2."""

STATIC_B0 = (10, 20, 30, 45, 60, 90)
"""Linear bidders whose expected clicks were compared."""

IN_THE_MODEL = {"blind": 0.7324690, "best static Lin": 0.6445800, "RLB": 0.8099615, "CTR-aware": 0.8130000}
"""Expected clicks, T = 500, c0 = 1/32 (B = 984), 64 atoms from the validation file."""


@dataclass(frozen=True, eq=False)
class Campaign2997:
    """The development data: training statistics, rows of the training period, the test log."""

    campaign: Campaign
    validation: AuctionLog
    test: AuctionLog

    @classmethod
    def find(cls) -> Campaign2997 | None:
        """The data in `$DYNRL_DATA` or in `../shared/data/rtb`; None where they are absent."""
        given = [Path(os.environ["DYNRL_DATA"])] if "DYNRL_DATA" in os.environ else []
        for folder in (*given, *(path / "rtb" for path in given), Path("..") / "shared" / "data" / "rtb"):
            if (folder / "2997.info.json").is_file():
                logs = (read_log(folder / f"2997.{part}.theta.txt") for part in ("validation", "test"))
                return cls(Campaign.from_info(folder / "2997.info.json"), *logs)
        return None

    def rules(self, horizon: int, ratio: float) -> AuctionRules:
        """Episodes of `horizon` auctions at the budget ratio."""
        return AuctionRules(horizon, self.campaign.budget(horizon, ratio), self.campaign.delta_max)

    def model(self) -> CampaignModel:
        """What bidders are told of the training period."""
        return CampaignModel.from_campaign(self.campaign, self.validation.theta, train=self.validation)


def figures_2997(data: Campaign2997, quick: bool) -> Iterator[Figure]:
    """All figures of campaign 2997; `quick` leaves out the two largest budgets, whose tables take longest, most
    horizons and static linear bidders, and the comparison of the large-scale maps."""
    blind = market_from(data.campaign)
    tables = [
        value_table(blind, 1000, data.rules(1000, ratio).budget)
        for ratio in (RATIOS[:3] if quick else RATIOS)
    ]
    yield from _published_totals(data, blind, tables, HORIZONS[:2] if quick else HORIZONS)
    yield _published_values(tables)
    yield from _in_the_model(data, STATIC_B0[1:3] if quick else STATIC_B0)
    yield from _ctr_aware_replay(data, RATIOS[:1] if quick else (RATIOS[0], RATIOS[-1]))
    yield from _fluid(data, HORIZONS[-1:] if quick else HORIZONS, 2 if quick else 10)
    yield from _large_scale(data, tables[2], quick)


def _published_totals(
    data: Campaign2997, blind: Market, tables: list[ValueTable], horizons: tuple[int, ...]
) -> Iterator[Figure]:
    episodes, average = data.test.episodes(1000), data.campaign.theta_avg
    compat = value_table(blind, 1000, data.rules(1000, RATIOS[0]).budget, reference_compat=True)
    bidders: dict[str, list[Bidder]] = {
        "RLB": [table_bidder(table) for table in tables],
        "SS-MDP": [BlindBidder(table_bidder(table), average) for table in tables],
        "SS-MDP, released code": [BlindBidder(table_bidder(compat), average)],
        "Mcpc": [LinearBidder(data.campaign.cpc, data.campaign.delta_max)] * len(RATIOS),
        "Lin": [LinearBidder(b0 / average, data.campaign.delta_max) for b0 in B0],
    }
    for name, published in TOTALS.items():
        rows = zip(bidders[name][: len(tables)], RATIOS, strict=False)
        found = tuple(replay(bidder, episodes, data.rules(1000, ratio)).totals() for bidder, ratio in rows)
        yield Figure(
            f"2997, T = 1000: clicks, wins, cost of {name} at {len(found)} budgets",
            "the published integers",
            _shown(found),
            found == published[: len(tables)],
        )
    totals = [_totals_at(data, blind, horizon) for horizon in horizons]
    for name, published in TOTALS_BY_HORIZON.items():
        found = tuple(each[name] for each in totals)
        yield Figure(
            f"2997, c0 = 0.2, T = {', '.join(map(str, horizons))}: clicks, wins, cost of {name}",
            "the published integers",
            _shown(found),
            found == published[: len(horizons)],
        )


def _totals_at(data: Campaign2997, blind: Market, horizon: int) -> dict[str, tuple[int, int, int]]:
    rules, episodes = data.rules(horizon, 0.2), data.test.episodes(horizon)
    rlb = table_bidder(value_table(blind, horizon, rules.budget))
    bidders = {"RLB": rlb, "SS-MDP": BlindBidder(rlb, data.campaign.theta_avg)}
    return {name: replay(bidder, episodes, rules).totals() for name, bidder in bidders.items()}


def _shown(totals: tuple[tuple[int, ...], ...]) -> str:
    return "; ".join("/".join(map(str, row)) for row in totals)


def _published_values(tables: list[ValueTable]) -> Figure:
    errors = [
        abs(table.value(999, table.budget) - value) for table, value in zip(tables, VALUES, strict=False)
    ]
    errors.append(abs(tables[0].value(999, 0) - 1.4170514047853219e-05))
    return Figure(
        f"2997: V(999, B) at {len(tables)} budgets and V(999, 0)",
        "error ≤ 1e-12",
        f"{max(errors):.1e}",
        max(errors) <= 1e-12,
    )


def _in_the_model(data: Campaign2997, slopes: tuple[int, ...]) -> Iterator[Figure]:
    market = data.model().market
    horizon, budget = 500, data.rules(500, RATIOS[0]).budget
    blind, aware = value_table(market.blind(), horizon, budget), value_table(market, horizon, budget)
    worth = evaluate_policy(blind, market)
    static = [LinearBidder(b0 / market.theta_avg, 300) for b0 in slopes]
    linear = max(evaluate_bidder(bidder, market, horizon, budget).value(horizon, budget) for bidder in static)
    values = [table.value(horizon, budget) for table in (blind, worth, aware)]
    found = dict(zip(IN_THE_MODEL, (values[0], linear, values[1], values[2]), strict=True))
    for name, published in IN_THE_MODEL.items():
        error = abs(found[name] - published)
        of = f" of b0 = {', '.join(map(str, slopes))}" if "Lin" in name else ""
        yield Figure(
            f"2997, in the model (T = 500, c0 = 1/32): expected clicks of {name}{of}",
            f"{published:.7f} ± 1e-6",
            f"{found[name]:.7f}",
            error <= 1e-6,
        )
    ordered = bool((blind.rows <= worth.rows + 1e-12).all() and (worth.rows <= aware.rows + 1e-12).all())
    yield Figure("2997: V_blind ≤ V_RLB ≤ V* at every (t, b)", "everywhere", str(ordered), ordered)


def _ctr_aware_replay(data: Campaign2997, ratios: tuple[float, ...]) -> Iterator[Figure]:
    market, episodes = data.model().market, data.test.episodes(1000)
    for ratio in ratios:
        rules = data.rules(1000, ratio)
        aware, blind = (
            replay(table_bidder(value_table(m, 1000, rules.budget)), episodes, rules)
            for m in (market, market.blind())
        )
        found = compare(aware, blind, "expected_clicks")
        clicks = compare(aware, blind, "clicks")
        fewest, most = clicks.difference_interval
        low, high = found.gain_interval
        yield Figure(
            f"2997, held-out replay, c0 = 1/{round(1 / ratio)}: predicted clicks of CTR-aware RLB over RLB",
            "reported (a weak click model, AUC 60 %)",
            f"{found.gain:+.1%} ({low:+.1%} to {high:+.1%})",
            True,
            f"clicks {clicks.difference:+.0f} ({fewest:+.0f} to {most:+.0f})",
        )


def _fluid(data: Campaign2997, horizons: tuple[int, ...], splits: int) -> Iterator[Figure]:
    model, rng = data.model(), np.random.default_rng(0)
    spent, better, settings = [], 0, 0
    for horizon in horizons:
        episodes = data.test.episodes(horizon)
        for ratio in RATIOS:
            rules = data.rules(horizon, ratio)
            fluid = replay(Fluid.make_bidder(FluidConfig(), model, rules), episodes, rules)
            lin = replay(tune_lin(model, rules), episodes, rules)
            if ratio == RATIOS[-1]:
                whole = fluid.auctions == horizon
                spent.append(float(fluid.cost[whole].sum() / fluid.budget[whole].sum()))
            for split in range(1 + splits):
                chosen = np.ones(len(fluid.clicks)) if split == 0 else rng.random(len(fluid.clicks)) < 0.5
                better += int((fluid.clicks * chosen).sum() >= (lin.clicks * chosen).sum())
                settings += 1
    yield Figure(
        f"2997, c0 = 1/2, T in {horizons}: least share of the budget that Fluid spends",
        "≥ 93 %",
        f"{min(spent):.1%}",
        min(spent) >= 0.93,
    )
    share = better / settings
    yield Figure(
        f"2997: Fluid's clicks not below tuned Lin's, of {settings} settings (T, c0, halves of the episodes)",
        "≥ 80 %",
        f"{share:.1%}",
        share >= 0.8,
    )


def _large_scale(data: Campaign2997, table: ValueTable, quick: bool) -> Iterator[Figure]:
    later = data.validation.take(slice(50_000, None))
    for scale, published in LARGE_SCALE.items():
        played = (
            _large_replay(data, table, scale, later, 50_000, ratio)
            for ratio in (RATIOS[0], RATIOS[2], RATIOS[4])
        )
        found = tuple((clicks, cost) for clicks, _, cost in played)
        yield Figure(
            f"2997, one episode of T = 50 000, exact T0 = 1000 table: clicks, cost of {scale}",
            "the published integers",
            _shown(found),
            found == published,
        )
    started = time.perf_counter()
    _large_replay(data, table, "map_action", data.test, 100_000, RATIOS[2])
    seconds = time.perf_counter() - started
    yield Figure(
        "2997, the whole test log at T = 100 000 by map-action", "≤ 10 s", f"{seconds:.1f} s", seconds <= 10
    )
    if quick:
        return
    scales: tuple[Scale, ...] = ("map_action", "segment", "map_value")
    clicks = {
        scale: [_large_replay(data, table, scale, data.test, 100_000, ratio)[0] for ratio in RATIOS]
        for scale in scales
    }
    sums = {scale: sum(each) for scale, each in clicks.items()}
    share = sums["map_action"] / max(sums["segment"], sums["map_value"])
    yield Figure(
        "2997, T = 100 000: clicks of map-action, five budgets together",
        "≥ 99 % of the best of segment and map-value",
        f"{sums['map_action']} ({share:.1%})",
        share >= 0.99,
        "; ".join(f"{scale} {sums[scale]} = {'+'.join(map(str, each))}" for scale, each in clicks.items()),
    )


def _large_replay(
    data: Campaign2997, table: ValueTable, scale: Scale, log: AuctionLog, horizon: int, ratio: float
) -> tuple[int, int, int]:
    return replay(table_bidder(table, scale), log.episodes(horizon), data.rules(horizon, ratio)).totals()
