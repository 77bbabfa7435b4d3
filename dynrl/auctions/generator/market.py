"""A made-up ad market whose true prices and click probabilities are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.campaign import DELTA_MAX
from dynrl.auctions.log import AuctionLog, Categories, Features

__all__ = ["GeneratedMarket", "generate_log"]

Array = NDArray[np.float64]

FIRST_DAY = np.datetime64("2013-06-06T00:00:00.000", "ms")
"""A Thursday: the first day of season 2."""

ROUND_PRICES = (10, 20, 30, 50, 63, 80, 100, 118, 140, 160, 200, 227, 238, 277, 294, 300)
"""Prices that carry 5 to 10 times the mass of their neighbours, like floors and fixed bids in real histograms."""

SIZES = ("300x250", "728x90", "336x280", "160x600", "960x90", "1000x90", "250x250", "468x60")
AGENTS = (
    *("windows_ie", "windows_chrome", "windows_other", "android_safari", "ios_safari", "windows_sogou"),
    *("mac_safari", "windows_firefox", "windows_theworld", "linux_chrome"),
)
FLOORS = (0, 5, 20, 50, 60, 140)
LOGGING_BID = 300

HOURS = np.array(
    [30, 21, 15, 11, 9, 11, 18, 30, 44, 53, 57, 57, 56, 55, 56, 58, 58, 56, 57, 62, 67, 66, 58, 43]
)
"""Traffic by hour of the day, relative: low before dawn, highest in the evening."""

_CARDINALITY = {
    **{"region": 35, "city": 300, "domain": 800, "slotid": 2000, "IP": 4000, "creative": 12, "useragent": 10},
    **{"slotvisibility": 4, "slotformat": 3, "usertag": 400},
}
_COLUMNS = (
    *(
        "weekday",
        "hour",
        "IP",
        "region",
        "city",
        "exchange",
        "domain",
        "slotid",
        "slot_size",
        "slotvisibility",
    ),
    *("slotformat", "creative", "advertiser", "useragent"),
)
_CALIBRATION_ROWS = 40_000


@dataclass(frozen=True, eq=False)
class GeneratedMarket:
    """The truth behind generated logs. Segments are ad exchanges; within one, price and clicks are independent.

    Clicks follow a logistic model over one-hot features and user tags: logit = w_0 + sum of the weights of the row's
    features, so click probabilities have a heavy right tail.

    Attributes:
        pmf: float64 `[S, delta_max + 1]`, probability of each market price per segment; rows sum to 1.
        share: float64 `[S]`, probability of each segment.
        names: texts of the categories of each column.
        popularity: float64 `[K]` per column, probabilities of its categories.
        weights: float64 `[D]`, true weight of every feature; 0 is the intercept.
        offsets: first feature of each column, and of `usertag`.
        tag_sets: int `[sets, 4]`, the tags of each set that a user may have; -1 for none.
        advertiser: number of the advertiser, which is the campaign.
    """

    pmf: Array
    share: Array
    names: dict[str, tuple[str, ...]]
    popularity: dict[str, Array]
    weights: Array
    offsets: dict[str, int]
    tag_sets: NDArray[np.int64]
    advertiser: int

    @classmethod
    def draw(
        cls,
        seed: int,
        segments: int = 3,
        delta_max: int = DELTA_MAX,
        click_rate: float = 0.004,
        spread: float = 1.3,
        advertiser: int = 9999,
    ) -> GeneratedMarket:
        """A market at random.

        Args:
            seed: same seed, same market.
            segments: S, number of ad exchanges.
            click_rate: mean click probability.
            spread: standard deviation of the logit of the click probability over rows, about.

        Raises:
            ValueError: names the argument.
        """
        if segments < 1:
            raise ValueError(f"segments is {segments}, expected at least 1")
        if delta_max < 1:
            raise ValueError(f"delta_max is {delta_max}, expected at least 1 tick")
        if not 0 < click_rate < 1:
            raise ValueError(f"click_rate is {click_rate}, expected a probability in (0, 1)")
        if not spread >= 0:
            raise ValueError(f"spread is {spread}, expected a non-negative number")
        rng = np.random.default_rng([seed, 1])
        names = _names(segments, advertiser, rng)
        popularity = {column: _popularity(len(names[column]), rng) for column in (*_COLUMNS, "usertag")}
        popularity["hour"] = HOURS / HOURS.sum()
        share = rng.dirichlet(np.full(segments, 4.0))
        popularity["exchange"] = share
        pmf = np.stack([_spiky_prices(rng, delta_max) for _ in range(segments)])
        tag_sets = np.where(
            np.arange(4) < rng.integers(0, 5, (500, 1)), rng.integers(0, len(names["usertag"]), (500, 4)), -1
        )
        offsets, first = {}, 1
        for column in (*_COLUMNS, "usertag"):
            offsets[column], first = first, first + len(names[column])
        weights = rng.standard_t(4, first) * spread / np.sqrt(2 * len(_COLUMNS))
        market = cls(pmf, share, names, popularity, weights, offsets, tag_sets, advertiser)
        market._set_click_rate(click_rate, seed)
        weights.flags.writeable = False
        return market

    @property
    def delta_max(self) -> int:
        """Largest price, in ticks."""
        return self.pmf.shape[1] - 1

    @property
    def dimension(self) -> int:
        """D, number of features."""
        return len(self.weights)

    def log(
        self,
        rows: int,
        seed: int,
        days: float = 7.0,
        theta_noise: float = 0.0,
        start: np.datetime64 = FIRST_DAY,
    ) -> AuctionLog:
        """Auctions in order of time.

        Args:
            rows: N.
            seed: same seed, same log.
            days: length of the period; traffic follows the hour of the day.
            theta_noise: standard deviation of the error of the logit of the predicted probability `theta`; 0 predicts
                the truth.
            start: first instant of the period.

        Returns:
            A log with every column set but `won`; `numbers["true_theta"]` holds the true click probabilities and
            `categories["exchange"]` the segments (code s is row s of `pmf`).

        Raises:
            ValueError: names the argument.
        """
        if rows < 1:
            raise ValueError(f"rows is {rows}, expected at least 1")
        if not (days > 0 and theta_noise >= 0):
            raise ValueError(
                f"days is {days} and theta_noise {theta_noise}, expected positive and non-negative"
            )
        rng = np.random.default_rng([seed, 2])
        timestamp = self._times(rows, days, start, rng)
        codes = self._codes(timestamp, rng)
        sets = rng.integers(0, len(self.tag_sets), rows)
        features = self._features(codes, sets)
        logit = self._logits(features)
        theta = _sigmoid(logit)
        price = self._prices(codes["exchange"], rng)
        floor = np.asarray(FLOORS)[rng.integers(0, len(FLOORS), rows)]
        predicted = _sigmoid(logit + theta_noise * rng.standard_normal(rows)) if theta_noise else theta
        categories = {name: Categories(code, self.names[name]) for name, code in codes.items()}
        categories["usertag"] = Categories(sets.astype(np.int32), self._tag_texts)
        return AuctionLog(
            click=(rng.random(rows) < theta).astype(np.uint8),
            price=price,
            theta=predicted,
            floor=np.where(floor <= price, floor, 0).astype(np.int32),
            bid=np.full(rows, max(LOGGING_BID, self.delta_max), np.int32),
            timestamp=timestamp,
            campaign=np.full(rows, self.advertiser, np.int64),
            features=features,
            categories=categories,
            numbers={"true_theta": theta},
        )

    @cached_property
    def _tag_texts(self) -> tuple[str, ...]:
        tags = self.names["usertag"]
        return tuple(
            ",".join(tags[tag] for tag in row if tag >= 0) or "null" for row in self.tag_sets.tolist()
        )

    @cached_property
    def _tag_counts(self) -> NDArray[np.int64]:
        return (self.tag_sets >= 0).sum(1)

    @cached_property
    def _price_table(self) -> Array:
        # Segment s occupies (s, s + 1]: one searchsorted draws the prices of all segments.
        cdf = np.cumsum(self.pmf, 1)
        return (cdf / cdf[:, -1:] + np.arange(len(cdf))[:, None]).ravel()

    def _prices(self, segment: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
        place = np.searchsorted(self._price_table, segment + rng.random(len(segment)), side="right")
        return np.minimum(place - segment * (self.delta_max + 1), self.delta_max).astype(np.int32)

    def _times(
        self, rows: int, days: float, start: np.datetime64, rng: np.random.Generator
    ) -> NDArray[np.datetime64]:
        # Uniform draws pushed through the inverse of the cumulated traffic.
        first = int((start - start.astype("datetime64[D]")) / np.timedelta64(1, "h"))
        hours = np.arange(int(np.ceil(days * 24)))
        traffic = np.cumsum(HOURS[(first + hours) % 24] * np.minimum(1, days * 24 - hours))
        edges = np.concatenate([[0.0], traffic / traffic[-1]])
        ends = np.append(np.arange(len(hours)), days * 24)
        hour = np.interp(np.sort(rng.random(rows)), edges, ends)
        return start + (hour * 3_600_000).astype(np.int64).astype("timedelta64[ms]")

    def _codes(
        self, timestamp: NDArray[np.datetime64], rng: np.random.Generator
    ) -> dict[str, NDArray[np.int32]]:
        day = timestamp.astype("datetime64[D]")
        derived = {
            "weekday": (day.astype(np.int64) + 4) % 7,
            "hour": (timestamp - day).astype(np.int64) // 3_600_000,
        }
        codes = {}
        for column in _COLUMNS:
            code = derived.get(column)
            if code is None:
                cdf = np.cumsum(self.popularity[column])
                code = np.searchsorted(cdf / cdf[-1], rng.random(len(timestamp)), side="right")
            codes[column] = code.astype(np.int32)
        return codes

    def _features(self, codes: dict[str, NDArray[np.int32]], sets: NDArray[np.int64]) -> Features:
        fixed = 1 + len(_COLUMNS)
        tags = self._tag_counts[sets]
        indptr = np.zeros(len(sets) + 1, np.int64)
        np.cumsum(fixed + tags, out=indptr[1:])
        indices = np.zeros(indptr[-1], np.int32)
        for place, column in enumerate(_COLUMNS, 1):
            indices[indptr[:-1] + place] = self.offsets[column] + codes[column]
        for place in range(self.tag_sets.shape[1]):
            rows = np.flatnonzero(tags > place)
            indices[indptr[rows] + fixed + place] = self.offsets["usertag"] + self.tag_sets[sets[rows], place]
        return Features(indices, indptr, self.dimension)

    def _logits(self, features: Features) -> Array:
        return np.add.reduceat(self.weights[features.indices], features.indptr[:-1])

    def _set_click_rate(self, click_rate: float, seed: int) -> None:
        rng = np.random.default_rng([seed, 3])
        self.weights[0] = 0.0
        timestamp = self._times(_CALIBRATION_ROWS, 7.0, FIRST_DAY, rng)
        sets = rng.integers(0, len(self.tag_sets), _CALIBRATION_ROWS)
        logits = self._logits(self._features(self._codes(timestamp, rng), sets))
        low, high = -40.0, 40.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if _sigmoid(logits + middle).mean() < click_rate else (low, middle)
        self.weights[0] = (low + high) / 2


def generate_log(
    rows: int,
    seed: int,
    *,
    days: float = 7.0,
    theta_noise: float = 0.0,
    segments: int = 3,
    delta_max: int = DELTA_MAX,
    click_rate: float = 0.004,
    spread: float = 1.3,
    advertiser: int = 9999,
) -> AuctionLog:
    """A log of a market drawn from the same seed; see `GeneratedMarket.draw` and `GeneratedMarket.log`."""
    market = GeneratedMarket.draw(seed, segments, delta_max, click_rate, spread, advertiser)
    return market.log(rows, seed, days, theta_noise)


def _sigmoid(logit: Array) -> Array:
    return 1 / (1 + np.exp(-logit))


def _popularity(count: int, rng: np.random.Generator) -> Array:
    """Zipf-like shares in random order."""
    weight = rng.permutation(1 / (1.0 + np.arange(count)))
    return weight / weight.sum()


def _spiky_prices(rng: np.random.Generator, delta_max: int) -> Array:
    price = np.arange(delta_max + 1)
    body = np.zeros(delta_max + 1)
    for _ in range(3):
        centre, width = np.log(rng.uniform(0.05, 0.6) * delta_max), rng.uniform(0.3, 0.8)
        body += (
            rng.uniform(0.3, 1.0)
            * np.exp(-0.5 * ((np.log(price + 0.5) - centre) / width) ** 2)
            / (price + 0.5)
        )
    body /= body.sum()
    for spike in ROUND_PRICES:
        if spike <= delta_max:
            body[spike] *= rng.uniform(5, 10)
    return body / body.sum()


def _names(segments: int, advertiser: int, rng: np.random.Generator) -> dict[str, tuple[str, ...]]:
    return {
        "weekday": tuple("0123456"),
        "hour": tuple(f"{hour:02d}" for hour in range(24)),
        "exchange": tuple(str(number) for number in range(1, segments + 1)),
        "slot_size": SIZES,
        "advertiser": (str(advertiser),),
        "useragent": AGENTS,
        "region": tuple(str(number) for number in range(1, _CARDINALITY["region"] + 1)),
        "city": tuple(str(number) for number in range(1, _CARDINALITY["city"] + 1)),
        "domain": _tokens(_CARDINALITY["domain"], 9, rng),
        "slotid": _tokens(_CARDINALITY["slotid"], 12, rng),
        "IP": tuple(f"{a}.{b}.{c}.*" for a, b, c in _distinct(_CARDINALITY["IP"], rng)),
        "creative": _tokens(_CARDINALITY["creative"], 16, rng),
        "slotvisibility": tuple(str(number) for number in range(_CARDINALITY["slotvisibility"])),
        "slotformat": tuple(str(number) for number in range(_CARDINALITY["slotformat"])),
        "usertag": tuple(str(10_000 + number) for number in range(_CARDINALITY["usertag"])),
    }


def _tokens(count: int, length: int, rng: np.random.Generator) -> tuple[str, ...]:
    return tuple(rng.bytes(length).hex() for _ in range(count))


def _distinct(count: int, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    numbers = rng.choice(223 * 256 * 256, count, replace=False)
    return [(1 + int(n) // 65536, int(n) // 256 % 256, int(n) % 256) for n in numbers]
