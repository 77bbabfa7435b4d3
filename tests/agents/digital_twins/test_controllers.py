"""Controllers: hand computations, budgets met, and training that finds steady states known in closed form."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import fsolve

from dynrl.agents.digital_twins.controllers import (
    BangBang,
    BudgetSchedule,
    Constant,
    Controller,
    FeedbackNet,
    LinearFeedback,
    RandomDoses,
    Schedule,
    TwoWeights,
)
from dynrl.agents.digital_twins.lifting import lift
from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.mpc import Mpc
from dynrl.agents.digital_twins.objectives import SetPoint
from dynrl.agents.digital_twins.pontryagin import extremal
from dynrl.agents.digital_twins.search import best_constant, evolve
from dynrl.agents.digital_twins.shooting import shoot
from dynrl.agents.digital_twins.training import (
    DirectConfig,
    TrainConfig,
    predicted_cost,
    removal,
    rounded,
    train_on_agents,
    train_on_metamodel,
)

KEY = jax.random.key(0)
# Under u = (0, 0.03) the meadow rests near (0.1 + 0.03) / 0.001 = 130 sheep and 0.2 (1 - 130 / 200) / 0.002 = 35
# wolves; `doses` gives what exactly holds given numbers, where removals come before births.
OBJECTIVE, BEST = SetPoint((35.0, 130.0), tail=100), np.array([0.0, 0.03])


def doses(wolves: float, sheep: float) -> np.ndarray:
    """The command (u_s, u_w) under which a step of the noise-free meadow changes nothing."""

    def change(u: np.ndarray) -> list[float]:
        w, s = wolves * (1 - u[1]), sheep * (1 - u[0])
        return [w + w * (0.001 * s - 0.1) - wolves, s + s * 0.2 * (1 - s / 200) - 0.002 * s * w - sheep]

    return fsolve(change, BEST)


START = jnp.array([40.0, 90.0])


class ExactMeadow(Metamodel):
    """The noise-free meadow as a metamodel of stride 1."""

    scale: tuple[float, ...] = eqx.field(static=True, default=(50.0, 100.0))
    control_scale: tuple[float, ...] = eqx.field(static=True, default=(0.2, 0.2))
    stride: int = eqx.field(static=True, default=1)

    def step(self, z: Any, u: Any, context: Any) -> Any:
        w, s = (z * jnp.array(self.scale)) * (1 - u[::-1])
        after = [w + w * (0.001 * s - 0.1), s + s * 0.2 * (1 - s / 200) - 0.002 * s * w]
        return jax.nn.relu(jnp.stack(after)) / jnp.array(self.scale)


EXACT = ExactMeadow()


def decide(controller: Controller, macro: Any, memory: Any = None) -> np.ndarray:
    memory = controller.start() if memory is None else memory
    return np.asarray(controller(memory, jnp.asarray(macro, jnp.float32), KEY)[0])


def test_simple_laws_by_hand() -> None:
    np.testing.assert_allclose(decide(Constant(jnp.array([0.1, 0.2])), [1.0, 2.0]), [0.1, 0.2])
    bang = BangBang(jnp.array([0.1, 0.2]), jnp.array([5.0, 50.0]), (1, 0))
    np.testing.assert_allclose(decide(bang, [49.0, 6.0]), [0.1, 0.0])
    linear = LinearFeedback(
        jnp.array([[0.0, 0.1], [0.2, 0.0]]), jnp.array([0.0, 0.05]), (50.0, 100.0), (50.0, 100.0), (0.2, 0.2)
    )
    np.testing.assert_allclose(decide(linear, [75.0, 150.0]), [0.05, 0.15], rtol=1e-5)
    np.testing.assert_allclose(decide(linear, [500.0, 0.0]), [0.0, 0.2])
    np.testing.assert_allclose(decide(TwoWeights((0.2, 0.4), first=0.0), [1.0, 1.0]), [0.1, 0.2])
    drawn = decide(RandomDoses(jnp.array([0.1, 0.2])), [1.0, 1.0])
    assert (drawn >= 0).all() and (drawn <= [0.1, 0.2]).all()


def test_a_schedule_is_played_in_order_and_then_held() -> None:
    schedule, memory, seen = Schedule(jnp.array([[1.0], [2.0]])), None, []
    memory = schedule.start()
    for _ in range(3):
        u, memory = schedule(memory, START, KEY)
        seen.append(float(u[0]))
    assert seen == [1.0, 2.0, 2.0]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 24, elements=st.floats(-6, 6, width=32)), st.floats(1, 400), st.floats(1.0, 3.0))
def test_a_budget_is_spent_exactly_and_under_the_cap(logits: np.ndarray, budget: float, room: float) -> None:
    cap = room * budget / 24
    values = np.asarray(BudgetSchedule(jnp.asarray(logits), budget, cap * 1.001).values(), np.float64)
    assert values.min() >= 0 and values.max() <= cap * 1.0011
    assert values.sum() == pytest.approx(budget, rel=1e-3)


def test_a_budget_beyond_the_caps_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        BudgetSchedule(jnp.zeros(4), 100.0, 10.0)


def test_rounding_is_whole_with_the_slope_of_the_identity() -> None:
    x = jnp.array([0.2, 0.5, 1.7])
    np.testing.assert_array_equal(rounded(x), [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(jax.grad(lambda x: rounded(x).sum())(x), np.ones(3))


def test_an_untrained_net_gives_small_doses_and_knows_its_patient() -> None:
    net = FeedbackNet((50.0, 100.0), (0.2, 0.2), key=KEY, objective=OBJECTIVE, contexts=3, integral=True)
    assert decide(net, START).max() < 0.03
    other = net.for_patient(jnp.array([0.3, 0.0, -0.3]))
    assert not np.allclose(decide(net, START), decide(other, START))
    with pytest.raises(ValueError, match="objective"):
        FeedbackNet((1.0,), (1.0,), key=KEY, integral=True)


def test_two_weights_trained_on_the_metamodel_are_the_closed_form() -> None:
    """Fewer wolves than would stay: some sheep have to be removed as well."""
    rest, objective = jnp.array([25.0, 130.0]), SetPoint((25.0, 130.0), tail=100)
    config = TrainConfig(strides=60, skip=0, updates=250, batch=2, learning_rate=0.1, noise=0.0)
    found = train_on_metamodel(EXACT, TwoWeights((0.2, 0.2)), objective, rest[None], config=config)
    np.testing.assert_allclose(decide(found.controller, START), doses(25.0, 130.0), atol=5e-4)
    assert found.losses[-20:].mean() < 0.1 * found.losses[:5].mean()
    assert predicted_cost(EXACT, found.controller, objective, START, 400) < 0.002


def test_two_weights_trained_on_the_agents_are_the_closed_form(quiet: Any) -> None:
    """Values of the model, derivatives of a metamodel."""
    config = DirectConfig(
        steps=150, hold=1, skip=60, truncate=50, updates=120, batch=2, seeds=4, learning_rate=0.05
    )
    found = train_on_agents(quiet, TwoWeights((0.2, 0.2)), OBJECTIVE, "surrogate", EXACT, config=config)
    np.testing.assert_allclose(decide(found.controller, START), doses(35.0, 130.0), atol=0.004)
    assert found.agent_steps == 120 * 2 * 150


def test_direct_effects_alone_have_the_right_sign(meadow: Any) -> None:
    """Too many wolves: the crudest stand-in still learns to remove wolves, and lowers the cost."""
    objective = SetPoint((20.0, None), tail=50)
    first = TwoWeights((0.2, 0.2))
    config = DirectConfig(steps=50, hold=1, updates=30, batch=4, seeds=8, learning_rate=0.05)
    found = train_on_agents(meadow, first, objective, "direct", config=config)
    assert decide(found.controller, START)[1] > 1.5 * decide(first, START)[1]
    assert found.losses[-5:].mean() < found.losses[:5].mean()


def test_removal_is_the_share_that_is_left(meadow: Any) -> None:
    effect = removal(meadow, hold=3)
    np.testing.assert_allclose(effect(START, jnp.array([0.1, 0.0])), [40.0, 90.0 * 0.9**3], rtol=1e-5)
    with pytest.raises(ValueError, match="stride"):
        train_on_agents(
            meadow, TwoWeights((0.2, 0.2)), OBJECTIVE, "surrogate", EXACT, config=DirectConfig(hold=10)
        )


def test_the_tail_is_what_risk_training_lowers() -> None:
    """J depends on the start alone; the mean over starts and the mean of the worst of them want different doses."""
    starts = jnp.array([[45.0, 130.0], [45.0, 130.0], [45.0, 130.0], [90.0, 130.0]])
    objective = SetPoint((35.0, None))
    removed = {}
    for risk in (None, 0.25):
        config = TrainConfig(
            strides=3, skip=0, updates=150, batch=16, learning_rate=0.05, noise=0.0, risk=risk
        )
        found = train_on_metamodel(EXACT, TwoWeights((0.2, 1.0)), objective, starts, config=config)
        removed[risk] = decide(found.controller, START)[1]
    assert removed[0.25] > 1.2 * removed[None]


def test_shooting_reaches_the_set_point_and_beats_the_best_constant() -> None:
    shot = shoot(EXACT, OBJECTIVE, START, 120, iterations=80, skip=40)
    held = predicted_cost(EXACT, Constant(jnp.asarray(BEST)), SetPoint((35.0, 130.0), tail=80), START, 120)
    assert shot.predicted < min(held, 0.01)
    assert shot.macro.shape == (121, 2)


def test_pontryagin_and_shooting_agree() -> None:
    """The same problem in continuous and in discrete time: costs within a few per cent."""

    def slope(z: Any, u: Any) -> Any:
        w, s = z[0] * 50, z[1] * 100
        change = [w * (0.001 * s - 0.1 - u[1]), s * (0.2 * (1 - s / 200) - u[0]) - 0.002 * s * w]
        return jnp.stack(change) / jnp.array([50.0, 100.0])

    def instant(z: Any) -> Any:
        return OBJECTIVE.instant(z * jnp.array([50.0, 100.0]))

    found = extremal(
        slope, instant, START / jnp.array([50.0, 100.0]), 60.0, (0.2, 0.2), dose_weight=0.5, stride=1
    )
    assert abs(found.costate[-1]).max() < 1e-6
    fixed = shoot(
        EXACT, OBJECTIVE, START, 60, iterations=60, skip=0, first=np.asarray(found.schedule.values())
    )
    commands = np.asarray(found.schedule.values())
    running = float(OBJECTIVE.instant(jnp.asarray(found.z[1:-1] * np.array([50.0, 100.0]))).mean())
    assert found.cost >= fixed.predicted - 1e-3  # shooting does not pay for doses
    assert commands.min() >= 0 and commands.max() <= 0.2 + 1e-6
    assert running < float(OBJECTIVE.instant(START))
    with pytest.raises(ValueError, match="positive"):
        extremal(slope, instant, START, 10.0, (0.2, 0.2), dose_weight=0.0)


def test_mpc_holds_the_set_point(quiet: Any) -> None:
    controller = Mpc(EXACT, OBJECTIVE, horizon=15, iterations=8)
    held = lift(quiet, controller, OBJECTIVE, seeds=2, steps=250, hold=1)
    free = lift(quiet, None, OBJECTIVE, seeds=2, steps=250)
    assert held.cost.max() < 0.01 < free.cost.min()


def test_grid_search_finds_the_closed_form(quiet: Any) -> None:
    found = best_constant(quiet, OBJECTIVE, [(0.0, 0.02), (0.0, 0.02, 0.03, 0.04)], seeds=2, steps=400)
    np.testing.assert_allclose(decide(found.controller, START), BEST, atol=1e-6)
    assert found.agent_steps == 8 * 2 * 400
    with pytest.raises(ValueError, match="channels"):
        best_constant(quiet, OBJECTIVE, [(0.0,)])


@pytest.mark.slow
def test_evolution_improves_linear_feedback(meadow: Any) -> None:
    pytest.importorskip("cma")
    first = LinearFeedback(jnp.zeros((2, 2)), jnp.zeros(2), (35.0, 130.0), (50.0, 100.0), (0.2, 0.2))
    found = evolve(
        meadow, first, OBJECTIVE, generations=8, population=8, sigma=0.05, seeds=4, steps=200, hold=1
    )
    before = lift(meadow, first, OBJECTIVE, seeds=list(range(100, 132)), steps=200, hold=1).cost.mean()
    after = lift(
        meadow, found.controller, OBJECTIVE, seeds=list(range(100, 132)), steps=200, hold=1
    ).cost.mean()
    assert after < 0.6 * before
    assert found.agent_steps == (8 * 8 * 4 + 16) * 200
