"""`dynrl bench rtb`: published clicks, planning and replay speed, large scale, first price, environments, ingestion."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dynrl import registry
from dynrl.agents.auctions.fluid import Fluid, FluidConfig
from dynrl.agents.auctions.linear import LinearBidder
from dynrl.agents.auctions.published import Campaign2997, figures_2997
from dynrl.agents.auctions.shading import ShadingBidder
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.campaign import Campaign
from dynrl.auctions.generator import GeneratedMarket
from dynrl.auctions.log import AuctionLog
from dynrl.auctions.market import Market, click_atoms
from dynrl.auctions.metrics import compare
from dynrl.auctions.model import CampaignModel
from dynrl.auctions.readers.measure import ingest_figures
from dynrl.auctions.replay import replay
from dynrl.auctions.rules import AuctionRules
from dynrl.auctions.value import (
    evaluate_bidder,
    first_price_bidder,
    first_price_table,
    scaled_bidder,
    table_bidder,
    value_table,
)
from dynrl.auctions.value.network import fit_network
from dynrl.bench import Figure
from dynrl.bench.one_core import alone_on_one_core
from dynrl.registry import Entry

MEGABYTE = 10**6


def figures(quick: bool) -> Iterator[Figure]:
    """All figures; `quick` leaves out the largest tables, most of the large log and the repeated comparisons, and takes
    shorter episodes where nothing is published."""
    campaign = Campaign2997.find()
    if campaign is None:
        print(
            "campaign 2997 (iPinYou, research only) is neither in $DYNRL_DATA nor in ../shared/data/rtb: "
            "its figures are left out",
            file=sys.stderr,
        )
    else:
        yield from figures_2997(campaign, quick)
    yield from generated_figures(quick)
    yield from first_price_figures(100 if quick else 500)
    yield from planning_figures(quick)
    yield from replay_figures()
    yield from environment_figures()
    yield from serving_figures()
    yield from ingestion_figures(20 if quick else 1000)


def at_most(name: str, bar: float, measured: float, unit: str = "", peer: str = "") -> Figure:
    """A figure whose bar is a largest value."""
    return Figure(name, f"≤ {bar:g}{unit}", f"{measured:.3g}{unit}", measured <= bar, peer)


def at_least(name: str, bar: float, measured: float, unit: str = "", peer: str = "") -> Figure:
    """A figure whose bar is a least value."""
    return Figure(name, f"≥ {bar:g}{unit}", f"{measured:.3g}{unit}", measured >= bar, peer)


def heavy_tailed(rows: int = 200_000, seed: int = 1) -> tuple[Market, AuctionLog]:
    """A generated market with a good click model, and held-out auctions of it."""
    generated = GeneratedMarket.draw(seed, segments=1, spread=2.0)
    train, held_out = generated.log(50_000, seed), generated.log(rows, seed + 1)
    assert train.theta is not None
    return Market.single(generated.pmf[0], click_atoms(train.theta, 64)), held_out


def generated_figures(quick: bool) -> Iterator[Figure]:
    """What knowing the request is worth where the click model is good: in the model exactly, and in replay."""
    market, held_out = heavy_tailed(100_000 if quick else 200_000)
    horizon = 500 if quick else 1000
    rules = AuctionRules(horizon, int(horizon * float(np.arange(301) @ market.price_pmf) / 32))
    episodes = held_out.episodes(rules.horizon)
    blind, aware = (value_table(m, rules.horizon, rules.budget) for m in (market.blind(), market))
    worth = evaluate_bidder(table_bidder(blind), market, rules.horizon, rules.budget)
    ordered = bool((blind.rows <= worth.rows + 1e-9).all() and (worth.rows <= aware.rows + 1e-9).all())
    yield Figure(
        f"V_blind ≤ V_RLB ≤ V* at every (t, b), heavy-tailed generated market, T = {horizon}",
        "everywhere",
        str(ordered),
        ordered,
    )
    values = [table.value(rules.horizon, rules.budget) for table in (worth, aware)]
    gain = values[1] / values[0] - 1
    yield Figure(
        "CTR-aware RLB over RLB in that model, exact expected clicks (c0 = 1/32)",
        "≥ 0 %",
        f"{gain:+.2%}",
        gain >= 0,
        f"{values[1]:.4f} against {values[0]:.4f}",
    )
    first, second = (replay(table_bidder(table), episodes, rules) for table in (aware, blind))
    found = compare(first, second, "expected_clicks")
    low, high = found.gain_interval
    yield Figure(
        f"the same in replay of {len(held_out):,} held-out auctions: predicted clicks",
        "95 % interval above 0",
        f"{found.gain:+.2%} ({low:+.2%} to {high:+.2%})",
        low > 0,
        f"{first.expected_clicks.sum():.1f} against {second.expected_clicks.sum():.1f}",
    )


def first_price_figures(horizon: int) -> Iterator[Figure]:
    """The first-price plan against truthful bidding and unconstrained shading, exact in the model under a budget."""
    market, _ = heavy_tailed(1000)
    budget = int(horizon * float(np.arange(301) @ market.price_pmf) / 8)
    plan = first_price_bidder(first_price_table(market, horizon, budget), market)
    win = np.cumsum(market.pmf, axis=1)
    slopes = np.geomspace(30, 1000, 12) / market.theta_avg
    worth = {
        "plan": _first_price_worth(plan, market, horizon, budget),
        "truthful": max(_first_price_worth(LinearBidder(s, 300), market, horizon, budget) for s in slopes),
        "shaded": max(
            _first_price_worth(ShadingBidder(s, win, 300), market, horizon, budget) for s in slopes
        ),
    }
    peers = f"{worth['truthful']:.4f} truthful, {worth['shaded']:.4f} shaded (best of 12 values each)"
    better = worth["plan"] > max(worth["truthful"], worth["shaded"])
    yield Figure(
        f"first price, T = {horizon}, c0 = 1/8: exact expected clicks of the plan",
        "> both",
        f"{worth['plan']:.4f}",
        better,
        peers,
    )


def _first_price_worth(bidder: Bidder, market: Market, horizon: int, budget: int) -> float:
    return evaluate_bidder(bidder, market, horizon, budget, pricing="first").value(horizon, budget)


def planning_figures(quick: bool) -> Iterator[Figure]:
    """Seconds for whole float64 tables on one core, after compilation; the peer is the published Python program."""
    tables = [
        (1000, 1969, 1, 0.06, "9.3 s (published code)"),
        (1000, 1969, 64, 0.6, ""),
        (1000, 31508, 1, 2.0, "178 s at B = 15754 (published code)"),
    ]
    if not quick:
        tables.append((3500, 160_001, 1, 35.0, ""))
    measured = alone_on_one_core(seconds_of_tables, [table[:3] for table in tables])
    for (horizon, budget, atoms, bar, peer), seconds in zip(tables, measured, strict=True):
        what = "value table" if atoms == 1 else f"value table with {atoms} click probabilities (R*)"
        yield at_most(f"{what}, T = {horizon}, B = {budget}, one core", bar, seconds, " s", peer)


def seconds_of_tables(tables: list[tuple[int, int, int]]) -> list[float]:
    """`table_seconds` of several (T, B, click probabilities), one after the other."""
    return [table_seconds(*table) for table in tables]


def table_seconds(horizon: int, budget: int, atoms: int) -> float:
    """Least seconds of several to solve a whole table, compilation left out."""
    rng = np.random.default_rng(0)
    pmf = GeneratedMarket.draw(0).pmf[0]
    market = Market.single(pmf, np.sort(rng.lognormal(-6, 1, atoms)))

    def solve() -> None:
        assert np.isfinite(value_table(market, horizon, budget).rows[-1, -1])

    solve()
    return min(_seconds(solve) for _ in range(1 if budget > 10**5 else 2 if budget > 10**4 else 5))


def replay_figures() -> Iterator[Figure]:
    """Auctions replayed per second on one core, with the totals of one episode at a time."""
    rate, same, sequential = alone_on_one_core(replay_rate)
    peer = f"{sequential:.3g}/s (NumPy policy, one auction at a time)"
    yield at_least("replay of RLB, 3120 parallel episodes, one core: auctions", 5e6, rate, "/s", peer)
    yield Figure("wins, clicks and cost of the parallel and the sequential replay", "equal", str(same), same)


def replay_rate() -> tuple[float, bool, float]:
    """(auctions per second of RLB in 3120 parallel episodes, whether 20 of them equal the sequential play of the served
    policy, auctions per second of that)."""
    market, _ = heavy_tailed(1000)
    log = GeneratedMarket.draw(1, segments=1, spread=2.0).log(3120 * 200, 5)
    rules = AuctionRules(200, 2000)
    episodes, bidder = log.episodes(200), table_bidder(value_table(market.blind(), 200, 2000))
    parallel = replay(bidder, episodes, rules)
    rate = len(log) / min(_seconds(lambda: replay(bidder, episodes, rules)) for _ in range(5))
    policy, count = bidder.serving(), 20
    started = time.perf_counter()
    totals = np.array([_play_alone(policy, episodes, rules, number) for number in range(count)])
    sequential = count * rules.horizon / (time.perf_counter() - started)
    expected = np.stack([parallel.clicks, parallel.wins, parallel.cost], axis=1)[:count]
    return rate, bool((totals == expected).all()), sequential


def _play_alone(policy: Any, episodes: Any, rules: AuctionRules, number: int) -> tuple[int, int, int]:
    left, clicks, wins = rules.budget, 0, 0
    columns = (
        np.asarray(column)[:, number].tolist() for column in (episodes.theta, episodes.price, episodes.click)
    )
    for row, (theta, price, click) in enumerate(zip(*columns, strict=True)):
        if policy.bid(rules.horizon - row, left, theta) >= price:
            left, clicks, wins = left - price, clicks + click, wins + 1
    return clicks, wins, rules.budget - left


def environment_figures() -> Iterator[Figure]:
    """The environments' own measurements, asked for by name: this wing does not import the other."""
    steps, rates = alone_on_one_core(environment_rates)
    for name, rate in steps.items():
        yield at_least(f"{name}: single Gymnasium env, one core", 1e5, rate, " steps/s")
    peer = f"{rates['numpy']:.3g}/s (NumPy twin), kernel alone {rates['kernel']:.3g}/s"
    yield at_least(
        "48 advertisers × 3 slots, whole time steps, one core", 2e5, rates["episode"], " requests/s", peer
    )


def environment_rates() -> tuple[dict[str, float], dict[str, float]]:
    """(steps per second of the single environments by name, requests per second of the multi-slot auction by part)."""
    steps = registry.load(Entry("steps", "dynrl.envs.auctions.measure:single_steps_per_second", ""))
    requests = registry.load(Entry("requests", "dynrl.envs.auctions.measure:slot_requests_per_second", ""))
    return {name: steps(name) for name in ("dynrl/BidReplay-v0", "dynrl/BidSim-v0")}, requests()


def serving_figures() -> Iterator[Figure]:
    """Microseconds for one bid of the policies that are exported, NumPy alone."""
    market, _ = heavy_tailed(1000)
    campaign = Campaign.from_log(GeneratedMarket.draw(0).log(10_000, 0))
    fluid = Fluid.make_bidder(FluidConfig(), CampaignModel(campaign, market), AuctionRules(1000, 5000))
    table = value_table(market.blind(), 1000, 5000)
    rlb = table_bidder(table).serving()
    # less training than an agent's makes no bid quicker
    network: Any = scaled_bidder(
        fit_network(table, market.theta_avg, steps=300, batch=512), "map_action", "win"
    )
    nn = network.serving()
    yield _bid_time("RLB", rlb, 1000)
    yield _bid_time("RLB at T = 100 000 (mapped)", rlb, 100_000)
    yield _bid_time("RLB-NN", nn, 1000)
    yield _bid_time("RLB-NN at T = 100 000 (mapped)", nn, 100_000)
    yield _bid_time("Fluid", fluid.serving(), 1000)
    asked = _requests(1000)
    same = np.mean([nn.best_price(*each) == nn.best_price_of_network(*each) for each in asked])
    yield Figure(
        "bids of the exported RLB-NN that are those of its network, summed tick by tick",
        "100 %",
        f"{same:.1%}",
        bool(same == 1),
    )


def _bid_time(name: str, policy: Any, horizon: int) -> Figure:
    asked = _requests(horizon)

    def ask() -> None:
        for t, b, theta in asked:
            policy.bid(t, b, theta)

    # many short runs: one of them will not be interrupted by other programs
    microseconds = min(_seconds(ask) for _ in range(30)) / len(asked) * 1e6
    return at_most(f"one bid of the exported {name}", 10.0, microseconds, " µs")


def _requests(horizon: int) -> list[tuple[int, int, float]]:
    """(t, b, theta) of 1000 auctions from `horizon` on, with any money left."""
    rng = np.random.default_rng(0)
    money, theta = rng.integers(0, 5000, 1000).tolist(), rng.lognormal(-5.5, 1.0, 1000).clip(0, 1).tolist()
    return list(zip(range(horizon, horizon - 1000, -1), money, theta, strict=True))


def ingestion_figures(megabytes: int) -> Iterator[Figure]:
    """Time and memory for a generated iPinYou log, the first time and from the cache."""
    seen = ingest_figures(megabytes * MEGABYTE)
    what = f"iPinYou log of {seen['bytes'] / 1e9:.2g} GB"
    rate = f"{seen['first_mb_per_s']:.0f} MB/s"
    yield at_most(f"{what}: peak memory", 1.5, seen["first_peak_bytes"] / 1e9, " GB", rate)
    first, second = seen["first_seconds"], seen["second_seconds"]
    yield Figure(
        f"{what}: second read, from the cache",
        "faster",
        f"{second:.2f} s",
        second < first,
        f"{first:.1f} s first",
    )


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
