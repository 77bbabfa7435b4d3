"""`experiment: bidding`: bidders fitted on training auctions, compared by replay of held-out ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from dynrl import registry
from dynrl.agents.auctions.agent import BidAgent
from dynrl.agents.auctions.report import print_report, report_rows
from dynrl.agents.auctions.scene import draw_scene
from dynrl.auctions.bidder import Bidder
from dynrl.auctions.dataset import AuctionData, Dataset, check_files, prepare
from dynrl.auctions.hindsight import hindsight
from dynrl.auctions.log import EpisodeArrays
from dynrl.auctions.market import Market
from dynrl.auctions.replay import ReplayResult, replay
from dynrl.auctions.rules import AuctionRules
from dynrl.config import from_mapping
from dynrl.errors import ConfigError
from dynrl.runs.run import Run

__all__ = ["BiddingComparison", "BiddingExperiment", "drawn_episodes"]

_TOTALS = tuple(field.name for field in dataclasses.fields(ReplayResult) if field.name != "trace")


@dataclass(frozen=True)
class BiddingComparison:
    """Settings of `experiment: bidding`.

    Attributes:
        bidders: by label, in the order of the report: `agent`, the name of a bidding agent, and settings of its config.
        data: where the auctions come from, and how they are split and given click probabilities.
        horizon: T, auctions per episode.
        budget_ratios: c0; an episode has floor(CPM of the training part * T * c0) ticks.
        budget: ticks per episode, instead of `budget_ratios`.
        reference: label of the bidder that the others are compared with; None for the last one.
        tie: whether a bid equal to the market price wins.
        pricing: a winner pays the market price (`"second"`) or its bid (`"first"`).
        seed: of bidders that draw.
    """

    bidders: dict[str, dict[str, Any]]
    data: AuctionData = field(default_factory=AuctionData)
    horizon: int = 1000
    budget_ratios: tuple[float, ...] = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
    budget: int | None = None
    reference: str | None = None
    tie: Literal["win", "lose"] = "win"
    pricing: Literal["second", "first"] = "second"
    seed: int = 0


class BiddingExperiment:
    """Fits every bidder of a `BiddingComparison` for every budget, and replays the held-out auctions.

    Beside the run's own files it leaves `report.json` and `comparison.png`. A run that was stopped goes on with the
    next pair of budget and bidder; click probabilities, once fitted, are in the checkpoint.

    Raises:
        ConfigError: an unknown bidder, or settings that make no sense.
    """

    Config: ClassVar[type] = BiddingComparison

    def __init__(self, config: BiddingComparison) -> None:
        self.config = config
        if config.horizon < 1:
            raise ConfigError(f"horizon must be at least 1, got {config.horizon}")
        if not config.bidders:
            raise ConfigError("bidders is empty: name at least one, e.g. bidders: {RLB: {agent: RLB}}")
        if config.budget is None and not config.budget_ratios:
            raise ConfigError("budget_ratios is empty: give at least one c0, or a budget in ticks")
        if any(not (np.isfinite(ratio) and ratio > 0) for ratio in config.budget_ratios):
            raise ConfigError(f"budget_ratios must be positive, got {list(config.budget_ratios)}")
        if config.budget is not None and config.budget < 1:
            raise ConfigError(f"budget must be at least 1 tick, got {config.budget}")
        self.reference = config.reference or list(config.bidders)[-1]
        if self.reference not in config.bidders:
            known = ", ".join(config.bidders)
            raise ConfigError(f"reference: no bidder is called {self.reference!r}; there are {known}")
        check_files(config.data)
        self.agents = {label: _agent(label, settings) for label, settings in config.bidders.items()}
        self.results: dict[tuple[int, str], ReplayResult] = {}
        self._fitted: dict[
            str, Bidder
        ] = {}  # for the middle ratio only: a value table may take hundreds of MB

    def train(self, run: Run) -> None:
        """Fits and replays bidder after bidder, on from the last checkpoint, and writes the report."""
        saved = run.restore()
        arrays: Mapping[str, np.ndarray] = {} if saved is None else saved.arrays
        data = prepare(self.config.data, arrays)
        print(data.summary(), flush=True)
        self.load(arrays)
        ratios, episodes = self.ratios(data), self.episodes(data)
        jobs = [(number, label) for number in range(len(ratios)) for label in self.agents]
        with run.progress(len(jobs), "bidders", len(self.results)) as progress:
            for step, (number, label) in enumerate(jobs):
                if (number, label) in self.results:
                    continue
                played = replay(
                    self.bidder(data, number, label),
                    episodes,
                    self.rules(data, number),
                    seed=self.config.seed,
                )
                self.results[number, label] = played
                clicks, wins, cost = played.totals()
                row: dict[str, float | str] = {"bidder": label, "c0": ratios[number]}
                row |= {"clicks": clicks, "wins": wins, "cost": cost}
                row["expected_clicks"] = float(played.expected_clicks.sum())
                run.log(step, row)
                run.checkpoint(step, {**data.thetas(), **self.state()})
                progress.advance(1, f"{label}, c0 = {ratios[number]:.4g}: {clicks} clicks")
        self.report(run, data)

    def ratios(self, data: Dataset) -> list[float]:
        """Budget ratios c0, or the one that `budget` amounts to."""
        if self.config.budget is None:
            return list(self.config.budget_ratios)
        return [self.config.budget / (data.model.campaign.cpm * self.config.horizon)]

    def rules(self, data: Dataset, number: int) -> AuctionRules:
        """The rules of an episode at the ratio of that number."""
        c, campaign = self.config, data.model.campaign
        try:
            budget = c.budget or campaign.budget(c.horizon, c.budget_ratios[number])
        except ValueError as error:
            raise ConfigError(f"budget_ratios: {error}") from error
        return AuctionRules(c.horizon, budget, campaign.delta_max, c.tie, c.pricing)

    def bidder(self, data: Dataset, number: int, label: str) -> Bidder:
        """The bidder of a label, fitted for the ratio of that number."""
        if label in self._fitted and number == self.middle(data):
            return self._fitted[label]
        kind, config = self.agents[label]
        try:
            bidder = kind.make_bidder(config, data.model, self.rules(data, number))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"bidders.{label}: {error}") from error
        if number == self.middle(data):
            self._fitted[label] = bidder
        return bidder

    def episodes(self, data: Dataset) -> EpisodeArrays:
        """The held-out auctions as episodes."""
        try:
            return data.held_out.episodes(self.config.horizon, self.config.data.segments)
        except ValueError as error:
            raise ConfigError(f"data: held-out part: {error}") from error

    def state(self) -> dict[str, np.ndarray]:
        """All results as named arrays."""
        return {
            f"{number}/{label}/{name}": getattr(result, name)
            for (number, label), result in self.results.items()
            for name in _TOTALS
        }

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state` gave."""
        self.results = {}
        for number in range(max(len(self.config.budget_ratios), 1)):
            for label in self.agents:
                own: dict[str, Any] = {name: arrays.get(f"{number}/{label}/{name}") for name in _TOTALS}
                if own["clicks"] is not None:
                    self.results[number, label] = ReplayResult(**own)

    def report(self, run: Run, data: Dataset) -> None:
        """Prints the table; writes report.json and comparison.png into the run."""
        ratios, episodes = self.ratios(data), self.episodes(data)
        optima = [hindsight(episodes, self.rules(data, number)) for number in range(len(ratios))]
        rows = report_rows(self.results, ratios, optima, self.reference)
        print_report(rows, data.summary())
        text = json.dumps([row.as_json() for row in rows], indent=2)
        run.artifact("report.json").write_text(text + "\n", encoding="utf-8")
        print(f"picture:     {draw_scene(self, data, run.artifact('comparison.png'))}")
        print(f"export:      dynrl export {run.path} --name {self.main_label()!r} --out FOLDER")
        print(f"TensorBoard: tensorboard --logdir {run.path}")

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Plays every bidder for fresh episodes of auctions drawn from the market model, at the middle budget.

        Returns:
            Mean clicks per episode and share of the budget spent, by bidder.
        """
        data = self._restore(run)
        number = self.middle(data)
        rules = self.rules(data, number)
        drawn = drawn_episodes(data.model.market, rules.horizon, episodes, seed)
        figures: dict[str, float] = {}
        for label in self.agents:
            played = replay(self.bidder(data, number, label), drawn, rules, seed=seed)
            figures[f"{label}: clicks per episode"] = float(played.clicks.mean())
            figures[f"{label}: predicted clicks per episode"] = float(played.expected_clicks.mean())
            figures[f"{label}: share of the budget spent"] = float((played.cost / rules.budget).mean())
        return figures

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Draws the picture of one run."""
        if len(runs) != 1:
            raise ConfigError("a comparison of bidders is a picture by itself: name one run")
        return [draw_scene(self, self._restore(runs[0]), out)]

    def export(self, run: Run, out: Path, name: str | None) -> list[Path]:
        """Writes one bidder as a NumPy-only policy: `policy.npz`, `bid_policy.py` to load it with, `policy.json`.

        Args:
            name: label of the bidder, fitted for the middle budget ratio, or `LABEL@C0` for another ratio of the run;
                None for the main one.
        """
        data = self._restore(run)
        label, _, ratio = (name or self.main_label()).partition("@")
        if label not in self.agents:
            raise ConfigError(f"--name: no bidder is called {label!r}; there are {', '.join(self.agents)}")
        number = self._number(data, ratio)
        rules = self.rules(data, number)
        folder = self.bidder(data, number, label).serving().export(out)
        about = {"bidder": label, "run": str(run.path), **dataclasses.asdict(rules)}
        (folder / "policy.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return sorted(folder.iterdir())

    def main_label(self) -> str:
        """The first bidder of the config: its bids and values are drawn, and it is exported unless another is named."""
        return next(iter(self.agents))

    def middle(self, data: Dataset) -> int:
        """Number of the budget ratio that is shown where only one can be."""
        return len(self.ratios(data)) // 2

    def _restore(self, run: Run) -> Dataset:
        saved = run.restore()
        if saved is None:
            raise ConfigError(f"{run.path} has no checkpoint yet")
        self.load(saved.arrays)
        return prepare(self.config.data, saved.arrays)

    def _number(self, data: Dataset, text: str) -> int:
        ratios = self.ratios(data)
        if not text:
            return self.middle(data)
        try:
            return [abs(ratio - float(text)) < 1e-9 for ratio in ratios].index(True)
        except ValueError:
            known = ", ".join(f"{ratio:g}" for ratio in ratios)
            raise ConfigError(f"--name: {text!r} is no budget ratio of this run; there are {known}") from None


def drawn_episodes(market: Market, horizon: int, count: int, seed: int) -> EpisodeArrays:
    """`count` episodes of auctions drawn from a market: segment, then price and click probability, then the click.

    A price in the market's tail (above `delta_max`) is drawn as `delta_max + 1`, which no bid reaches.
    """
    rng = np.random.default_rng(seed)
    shape = (horizon, count)
    segment = rng.choice(len(market.share), size=shape, p=market.share).astype(np.int32)
    price, theta = np.empty(shape, np.int32), np.empty(shape)
    for number in range(len(market.share)):
        rows = segment == number
        levels = np.cumsum(market.pmf[number])
        price[rows] = np.searchsorted(levels, rng.random(rows.sum()), side="right")
        theta[rows] = rng.choice(market.theta[number], size=rows.sum(), p=market.theta_mass[number])
    click = (rng.random(shape) < theta).astype(np.uint8)
    return EpisodeArrays(click, price, theta, np.zeros(shape, np.int32), segment, np.ones(shape, bool))


def _agent(label: str, settings: Mapping[str, Any]) -> tuple[type[BidAgent], Any]:
    settings = dict(settings)
    name = settings.pop("agent", None)
    if name is None:
        raise ConfigError(f"bidders.{label} has no key 'agent' naming the algorithm, e.g. agent: RLB")
    try:
        kind = registry.find_agent(name)
    except ValueError as error:
        raise ConfigError(f"bidders.{label}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, BidAgent)):
        raise ConfigError(f"bidders.{label}: {name} is not a bidding agent")
    return kind, from_mapping(kind.Config, settings, f"bidders.{label}")
