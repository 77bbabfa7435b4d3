"""Budgets over named channels: the user's money and names outside, DynLin-UCB's scaled vectors inside."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.agents.bandits import BudgetAllocator, DynLinUCB
from dynrl.agents.bandits.log_bounds import bounds_from_gain, impulse_response
from dynrl.bandits import BudgetSet, DLBSystem, UnexcitedInputError, identify_gain
from dynrl.errors import FileFormatError

CHANNELS = ("search", "video", "radio")
MONEY = 1_641_952.0
REWARD = 5_000.0
SYSTEM = DLBSystem(
    A=[[0.5, 0.1, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.2]],
    B=[[0.4, 0.0, 0.0], [0.0, -0.1, 0.0], [0.0, 0.0, 0.1]],
    omega=[0.5, 0.2, 0.1],
    theta=[0.0, 0.3, 0.1],
)
"""In units of MONEY and REWARD; h = (0.4, 0.2571…, 0.1125), so it is best to fill search, then video."""


class Market:
    """SYSTEM in the user's units, its state carried over for ever."""

    def __init__(self, noise=0.0, seed=0, x0=(0.0, 0.0, 0.0)):
        self.noise, self.rng, self.x = noise, np.random.default_rng(seed), np.array(x0)

    def spend(self, amounts):
        u = np.array([amounts[name] for name in CHANNELS]) / MONEY
        reward = SYSTEM.omega @ self.x + SYSTEM.theta @ u + self.noise * self.rng.standard_normal()
        self.x = SYSTEM.A @ self.x + SYSTEM.B @ u
        return REWARD * reward


def make(**changes):
    arguments = {"upper": MONEY, "reward_bound": 0.6 * REWARD, "noise": 0.01 * REWARD, "tau": 1.2}
    return BudgetAllocator(CHANNELS, **({"total": 1.5 * MONEY} | arguments | changes))


def play(allocator, market, periods):
    allocations = []
    for _ in range(periods):
        allocations.append(allocator.next())
        allocator.observe(market.spend(allocations[-1].amounts))
    return allocations


def log(periods=600, stretch=20, seed=0, noise=0.01):
    market, rng = Market(noise, seed), np.random.default_rng(seed)
    table = {
        name: np.repeat(rng.uniform(0, 0.5 * MONEY, periods // stretch), stretch)
        for name in reversed(CHANNELS)
    }
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    return pd.DataFrame(table).assign(sales=[market.spend(row) for row in rows], month="May")


def test_learns_the_best_split_in_money():
    allocator = make(units="EUR", reward_units="sales")
    play(allocator, Market(noise=0.01), 3000)
    best = allocator.recommend()
    assert best.amounts == {"search": MONEY, "video": 0.5 * MONEY, "radio": 0.0}
    worth = REWARD * float(SYSTEM.h @ [1, 0.5, 0])
    assert best.interval[0] < worth < best.interval[1] and best.value == pytest.approx(worth, rel=0.01)
    assert best.reason == "exploiting"
    assert str(best).startswith("search 1,641,952.00, video 820,976.00, radio 0.00 EUR: keep for")
    second = allocator.evaluate(pd.Series({"video": MONEY, "radio": 0.0, "search": 0.5 * MONEY}))
    assert allocator.certificate() >= second.interval[1] - best.interval[0] - 1e-9


@pytest.mark.filterwarnings("ignore:after its hold")  # effects add up to more than `reward_bound` here
@pytest.mark.parametrize("seed", range(12))
def test_intervals_hold_where_the_assumptions_are_met_with_equality(seed):
    rng, rho, cap, bound, noise = np.random.default_rng(seed), 0.6, 1.01 * 2.0**seed, 99.0, 2.0
    immediate, later = (rng.choice([-1, 1], 3) * bound / cap for _ in range(2))
    allocator = BudgetAllocator(
        CHANNELS, 2 * cap, upper=cap, reward_bound=bound, noise=noise, rho_bar=rho, delta=0.05, baseline=7.0
    )
    carried = later @ (rng.choice([0, 1], 3) * cap)
    for _ in range(400):
        allocation = allocator.next()
        u = np.array(list(allocation.amounts.values()))
        assert allocation.interval[0] <= 7.0 + (immediate + later) @ u <= allocation.interval[1]
        allocator.observe(7.0 + immediate @ u + carried + noise * rng.standard_normal())
        carried = rho * carried + (1 - rho) * later @ u


def test_equals_the_bare_agent_on_scaled_numbers():
    allocator = make(settings={"lambda_": 0.5})
    scale, reward_scale = allocator.spend_scale, allocator.reward_scale
    actions = BudgetSet(np.zeros(3), np.full(3, MONEY / scale), 1.5 * MONEY / scale)
    agent = DynLinUCB(actions, allocator.agent.config)
    one, other = Market(0.01), Market(0.01)
    for _ in range(300):
        amounts, action = allocator.next().amounts, agent.act()
        assert list(amounts.values()) == (action * scale).tolist()
        allocator.observe(one.spend(amounts))
        agent.update(other.spend(dict(zip(CHANNELS, action * scale, strict=True))) / reward_scale)


@given(
    total=st.floats(1e-3, 1e12),
    caps=st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3),
    equality=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_allocations_of_any_scale_keep_the_limits(total, caps, equality):
    caps = [cap * total for cap in caps]
    if equality:
        total = min(total, sum(caps))
    upper = dict(zip(CHANNELS, caps, strict=True))
    allocator = BudgetAllocator(
        CHANNELS, total, 0.0, upper, equality, reward_bound=total, noise=0.0, rho_bar=0.5
    )
    assert allocator.agent.action_set.bounding_box()[1].max() <= 1.0
    for _ in range(20):
        amounts = allocator.next().amounts
        assert all(0.0 <= amounts[name] <= upper[name] for name in CHANNELS)
        spent = sum(amounts.values())
        assert spent <= total * (1 + 1e-12) and (not equality or spent >= total * (1 - 1e-9))
        allocator.observe(0.3 * amounts["video"])


def test_order_of_names_never_matters():
    def run(names):
        limits = {name: cap * MONEY for name, cap in zip(CHANNELS, (1.0, 0.6, 0.3), strict=True)}
        upper = pd.Series({name: limits[name] for name in names})
        lower = pd.DataFrame({name: [0.1 * limits[name]] for name in names})
        return play(make(upper=upper, lower=lower), Market(0.01), 100)

    assert run(CHANNELS) == run(("radio", "search", "video"))


def test_zero_on_a_channel_leaves_its_carry_over():
    allocator, market = make(settings={"settle": 0}), Market(x0=(0.3, 0.2, 0.1))
    allocations = play(allocator, market, 60)
    u = np.array([[a.amounts[name] for name in CHANNELS] for a in allocations]) / MONEY
    assert any((before > 0) and (after == 0) for before, after in zip(u[:, 0], u[1:, 0], strict=False))
    x = np.array([0.3, 0.2, 0.1])
    start = np.array([np.linalg.matrix_power(SYSTEM.A, t) @ x for t in range(61)])
    response = SYSTEM.markov_parameters(61)
    convolution = [sum(response[s] @ u[t - s] for s in range(t + 1)) for t in range(60)]
    replay = Market(x0=(0.3, 0.2, 0.1))
    rewards = [replay.spend(a.amounts) / REWARD for a in allocations]
    np.testing.assert_allclose(rewards, np.array(convolution) + start[:60] @ SYSTEM.omega, atol=1e-12)


def test_holds_are_the_papers():
    allocator = make(tau=1.0, settings={"settle": 0})
    first, rest = allocator.next(), play(allocator, Market(), 25)
    assert first.periods == 1 and first.reason == "exploring"
    starts = [a.periods for a, left in zip(rest, [1, *(r.periods for r in rest)], strict=False) if left == 1]
    assert starts[:9] == [1, 2, 2, 3, 3, 3, 3, 4, 4]
    assert make(tau=1.0, warmup=5, settings={"settle": 0}).next().periods == 6


def test_limits_change_between_holds_only():
    allocator, market = make(largest_total=2 * MONEY), Market(0.01)
    kept = allocator.next().periods
    play(allocator, market, 3)
    with pytest.raises(RuntimeError, match=rf"kept for {kept - 3} more period\(s\).*after period {kept} "):
        allocator.change_limits(total=MONEY)
    play(allocator, market, kept - 3)
    V = allocator.agent.ellipsoid()[1]
    allocator.change_limits(
        total=2 * MONEY, upper={"radio": 0.4 * MONEY, "video": MONEY, "search": 0.8 * MONEY}
    )
    assert (allocator.agent.ellipsoid()[1] == V).all()
    later = play(allocator, market, 400)
    assert all(a.amounts["radio"] <= 0.4 * MONEY and a.amounts["search"] <= 0.8 * MONEY for a in later)
    assert max(sum(a.amounts.values()) for a in later) == pytest.approx(2 * MONEY)
    while allocator.periods_left:
        play(allocator, market, 1)
    allocator.change_limits(total=0.7 * MONEY)
    assert allocator.recommend().amounts == {"search": 0.7 * MONEY, "video": 0.0, "radio": 0.0}


def test_more_money_than_planned_is_refused():
    allocator = make()
    with pytest.raises(ValueError, match="larger largest_total from the start"):
        allocator.change_limits(total=2 * MONEY)
    assert sum(allocator.next().amounts.values()) == 1.5 * MONEY
    with pytest.raises(ValueError, match="larger largest_total"):
        make(largest_total=MONEY)


@pytest.mark.parametrize("change", [False, True])
def test_a_saved_allocator_continues_identically(tmp_path, change):
    allocator, market = make(largest_total=3 * MONEY, warmup=1, baseline=10.0, seed=3), Market(0.01)
    play(allocator, market, 201)
    if change:
        while allocator.periods_left:
            play(allocator, market, 1)
        allocator.change_limits(total=2 * MONEY, lower=0.1 * MONEY)
    play(allocator, market, 1)
    allocator.next()
    allocator.save(tmp_path / "budget")
    loaded = BudgetAllocator.load(tmp_path / "budget")
    assert loaded.limits == allocator.limits and loaded.period == allocator.period
    for _ in range(50):
        assert loaded.next() == allocator.next()
        reward = market.spend(allocator.next().amounts)
        loaded.observe(reward)
        allocator.observe(reward)
    allocator.agent.save(tmp_path / "agent")
    with pytest.raises(FileFormatError, match="holds no budget allocator"):
        BudgetAllocator.load(tmp_path / "agent")


def test_a_baseline_shifts_values_only():
    plain, shifted = make(), make(baseline=1024.0)
    one, other = Market(), Market()
    for _ in range(100):
        a, b = plain.next(), shifted.next()
        assert a.amounts == b.amounts and b.value == pytest.approx(a.value + 1024.0, abs=1e-6)
        plain.observe(one.spend(a.amounts))
        shifted.observe(other.spend(b.amounts) + 1024.0)


def test_misuse_leaves_the_run_where_it_was():
    allocator = make()
    with pytest.raises(RuntimeError, match="call next\\(\\) once"):
        allocator.observe(1.0)
    before = allocator.next()
    with pytest.raises(ValueError, match="reward of round 1 is nan"):
        allocator.observe(float("nan"))
    assert allocator.next() == before and allocator.period == 0
    with pytest.warns(UserWarning, match="reward_bound"):
        for _ in range(before.periods):
            allocator.next()
            allocator.observe(10 * REWARD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ["a", "b", "a"]}, "'a' more than once"),
        ({"channels": []}, "at least one channel"),
        ({"channels": "search"}, "sequence of names"),
        ({"lower": {"search": 1.0}}, "lower must name each channel once; missing: video, radio"),
        ({"upper": dict.fromkeys([*CHANNELS, "serch"], 1e6)}, "'serch' .did you mean 'search'"),
        ({"upper": pd.Series([1.0, 2.0, 3.0, 4.0], [*CHANNELS, "video"])}, "'video' more than once"),
        ({"upper": [1.0, 1.0, 1.0]}, "by channel name .* got list"),
        ({"lower": -1.0}, r"lower\['search'\] must be at least 0"),
        ({"lower": dict.fromkeys(CHANNELS, float("nan"))}, r"lower\['search'\] must be finite"),
        ({"lower": MONEY}, "lower limits sum to .*above the total"),
        ({"equality": True, "upper": 1.0}, "upper limits sum to 3, below the total"),
        ({"total": float("inf")}, "total must be finite"),
        ({"reward_bound": 0.0}, "reward_bound must be a finite number > 0"),
        ({"noise": -1.0}, "noise must be at least 0"),
        ({"tau": None}, "exactly one of rho_bar and tau"),
        ({"delta": 2.0}, "delta must be strictly between 0 and 1"),
        ({"settings": {"lambda": 1.0}}, "did you mean 'lambda_'"),
    ],
)
def test_bad_input_is_named(changes, message):
    arguments = {"channels": CHANNELS, "total": 1.5 * MONEY, "reward_bound": REWARD, "noise": 1.0, "tau": 2.0}
    with pytest.raises((ValueError, TypeError), match=message):
        BudgetAllocator(**(arguments | changes))


def test_from_log_knows_carry_over_and_learns_faster():
    allocator = BudgetAllocator.from_log(log(), CHANNELS, "sales", 1.5 * MONEY, upper=MONEY)
    gain = allocator.identified
    assert gain.channels == CHANNELS
    np.testing.assert_allclose(gain.h * MONEY / REWARD, SYSTEM.h, atol=0.02)
    rho_bar = min(0.999, gain.rho + 2 * gain.rho_se + 0.02)
    assert allocator.agent.config.rho_bar == rho_bar and rho_bar >= SYSTEM.rho
    assert allocator.agent.learned_epochs >= 20 and allocator.period == 0
    best = allocator.recommend()
    assert best.amounts == {"search": MONEY, "video": 0.5 * MONEY, "radio": 0.0}
    assert best.interval[0] < REWARD * float(SYSTEM.h @ [1, 0.5, 0]) < best.interval[1]
    shuffled = log()[["video", "sales", "radio", "search"]]
    same = BudgetAllocator.from_log(shuffled, CHANNELS, "sales", 1.5 * MONEY, upper=MONEY)
    assert same.next() == allocator.next()


@pytest.mark.parametrize(
    ("table", "reward", "error", "message"),
    [
        (log(60), "profit", ValueError, "no column 'profit'; it has: radio, video, search, sales"),
        (log(60), "search", ValueError, "'search' is one of the channels"),
        (log(60).drop(columns="video"), "sales", ValueError, "no column 'video'"),
        (log(60).rename(columns={"month": "sales"}), "sales", ValueError, "'sales' more than once"),
        (log(60).assign(video=np.nan), "sales", ValueError, "'video' .*not finite, the first in row 0: nan"),
        (log(60), "month", ValueError, "column 'month' of the table is not numeric"),
        (log(200).assign(radio=7.0), "sales", UnexcitedInputError, "do not vary radio"),
        ([[1.0, 2.0]], "sales", TypeError, "by channel name"),
    ],
)
def test_bad_logs_are_named(table, reward, error, message):
    with pytest.raises(error, match=message):
        BudgetAllocator.from_log(table, CHANNELS, reward, MONEY)


def test_bounds_of_a_log_without_noise_are_the_systems():
    rng = np.random.default_rng(0)
    u = rng.uniform(0, 1, (300, 3))
    market = Market()
    y = np.array([market.spend(dict(zip(CHANNELS, MONEY * row, strict=True))) / REWARD for row in u])
    gain = identify_gain(u, y, order=3)
    np.testing.assert_allclose(impulse_response(gain, 40), SYSTEM.markov_parameters(40), atol=1e-9)
    told = bounds_from_gain(gain, caution=1.0)
    assert told["rho_bar"] == pytest.approx(SYSTEM.rho + 0.02, abs=1e-6)
    assert told["theta_bar"] == pytest.approx(np.linalg.norm(SYSTEM.theta))
    sizes = np.linalg.norm(SYSTEM.markov_parameters(200)[1:], axis=1)
    assert (sizes <= told["b_bar"] * told["rho_bar"] ** np.arange(199) + 1e-9).all()
    assert told["b_bar"] == pytest.approx((sizes / told["rho_bar"] ** np.arange(199)).max(), rel=1e-6)


def test_an_agent_from_a_log_keeps_h_in_its_ellipsoid():
    table = log()
    u = table[list(CHANNELS)].to_numpy() / MONEY
    actions = BudgetSet(np.zeros(3), np.ones(3), 1.5)
    agent = DynLinUCB.from_log(actions, u, table["sales"].to_numpy() / REWARD, delta=0.05)
    h_hat, V, beta = agent.ellipsoid()
    assert np.sqrt((h_hat - SYSTEM.h) @ V @ (h_hat - SYSTEM.h)) < beta
    np.testing.assert_array_equal(agent.recommended()[1], [1, 0.5, 0])
    with pytest.raises(ValueError, match="unstable"), pytest.warns(UserWarning):
        growing = np.cumsum(np.cumsum(u[:, 0]))
        DynLinUCB.from_log(actions, u, growing, order=2, delta=0.05)
