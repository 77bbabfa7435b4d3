"""The rules of M2TD3 one by one, and a game whose max-min solution is known."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.robust import m2td3, worst_parameters
from dynrl.agents.robust.action_robust import ActionRobust, ActionRobustConfig
from dynrl.agents.robust.m2sac import M2SAC, M2SACConfig
from dynrl.agents.robust.m2td3 import M2TD3, M2TD3Config, M2TD3State, SoftM2TD3
from dynrl.agents.robust.worst_parameters import Candidates
from dynrl.learning import td3
from dynrl.learning.replay import Transitions
from dynrl.learning.sac import SACConfig
from dynrl.learning.td3 import TD3Config
from dynrl.testing.robust_probes import TARGET, GameVectorEnv

LEARNER = TD3Config(hidden=(32,), batch_size=64, actor_rate=1e-3, critic_rate=3e-3, discount=0.0)
CONFIG = M2TD3Config(learner=LEARNER, candidate_rate=1e-2, random_steps=1000, record_every=4000)
OBSERVATION = jnp.ones((8, 1))

max_min_step = jax.jit(m2td3.max_min_step, static_argnums=(0, 1))
renew_candidates = jax.jit(worst_parameters.renew_candidates, static_argnums=0)


class Product(eqx.Module):
    """A critic by hand: Q1(s, a, ω) = a ω."""

    def first(self, observation, action, extra):
        return action[..., 0] * extra[..., 0]


def by_hand(omega, probability=None):
    """A state whose critic is `Product` and whose candidates stand at `omega`."""
    learner = td3.initial_state(LEARNER, 1, 1, jax.random.key(0), 1)
    learner = learner._replace(critic=Product(), target_critic=Product())
    half = (jnp.asarray(omega) + 1) / 2
    raw = jnp.log(half / (1 - half))[:, None]
    candidates = worst_parameters.initial_candidates(
        M2TD3Config(candidates=len(omega), least_probability=0), 1, jax.random.key(1)
    )
    p = candidates.probability if probability is None else jnp.asarray(probability)
    return M2TD3State(learner, candidates._replace(raw=raw, probability=p))


def test_candidates_begin_uniform_in_the_box():
    raw = worst_parameters.fresh_raw(jax.random.key(0), (20_000, 2))
    omega = Candidates(raw, None, None).omega
    # mean 0 and variance 1/3 of a uniform on [-1, 1], within four standard errors
    assert np.abs(omega.mean(0)).max() < 4 * np.sqrt(1 / 3 / 20_000)
    assert np.abs(omega.var(0) - 1 / 3).max() < 4 * np.sqrt(4 / 45 / 20_000)


def test_policy_ascends_and_the_worst_candidate_alone_descends():
    omega = np.array([-0.5, 0.2, 0.6])
    state = by_hand(omega)
    action = float(state.learner.actor.mode(OBSERVATION)[0, 0])
    worst = int(np.argmin(action * omega))
    after = max_min_step(CONFIG, False, state, OBSERVATION, 0.25)
    # J = a ω: the worst ω goes against a, the policy's action with ω; the other candidates stay, to the bit.
    moved = np.asarray(after.candidates.omega - state.candidates.omega)[:, 0]
    assert np.sign(moved[worst]) == -np.sign(action)
    assert not np.delete(moved, worst).any()
    change = float(after.learner.actor.mode(OBSERVATION)[0, 0]) - action
    assert np.sign(change) == np.sign(omega[worst])
    expected = 0.75 / 3 + 0.25 * np.eye(3)[worst]
    np.testing.assert_allclose(after.candidates.probability, expected, rtol=1e-6)


def test_soft_policy_ascends_the_mean_over_candidates_instead():
    omega = np.array([-0.5, 0.2, 0.6])
    hard = by_hand(omega)
    action = float(hard.learner.actor.mode(OBSERVATION)[0, 0])
    worst = int(np.argmin(action * omega))
    p = np.full(3, 0.05)
    p[np.argmax(action * omega)] = 0.9
    assert np.sign(p @ omega) == -np.sign(omega[worst])
    after = max_min_step(CONFIG, True, by_hand(omega, p), OBSERVATION, 0.25)
    change = float(after.learner.actor.mode(OBSERVATION)[0, 0]) - action
    assert np.sign(change) == np.sign(p @ omega)


def test_one_adam_step_moves_a_candidate_by_its_rate():
    state = by_hand([-0.5, 0.2, 0.6])
    after = max_min_step(CONFIG, False, state, OBSERVATION, 0.25)
    moved = np.abs(np.asarray(after.candidates.raw - state.candidates.raw)).max()
    assert moved == pytest.approx(CONFIG.candidate_rate, rel=1e-3)


def test_close_and_idle_candidates_begin_anew():
    state = by_hand([0.0, 0.05, 0.7, -0.6], [0.4, 0.3, 0.27, 0.03])
    renewed = renew_candidates(CONFIG, state.candidates, jax.random.key(2))
    before, after = np.asarray(state.candidates.omega)[:, 0], np.asarray(renewed.omega)[:, 0]
    # 1 is within 0.1 of 0 and the later of the two; 3 is played less than 0.05.
    assert list(before == after) == [True, False, True, False]
    p = np.array([0.4, (0.4 + 0.27 + 0.03) / 3, 0.27, (0.4 + 0.3 + 0.27) / 3])
    np.testing.assert_allclose(renewed.probability, p / p.sum(), rtol=1e-5)
    # What stays keeps its Adam moments, what begins anew has none.
    marked = state.candidates._replace(moments=jax.tree.map(jnp.ones_like, state.candidates.moments))
    kept = jax.tree.leaves(renew_candidates(CONFIG, marked, jax.random.key(2)).moments)
    for leaf in kept:
        np.testing.assert_array_equal(np.asarray(leaf).reshape(4, -1)[:, 0], [1, 0, 1, 0])


def test_distance_is_counted_over_all_dimensions():
    raw = jnp.zeros((2, 2)).at[1].set(0.11)  # ω = 0.055 in each of two dimensions: 0.11 in L1
    candidates = Candidates(
        raw, worst_parameters.initial_candidates(CONFIG, 2, jax.random.key(0)).moments, jnp.full(2, 0.5)
    )
    candidates = candidates._replace(moments=jax.tree.map(lambda leaf: leaf[:2], candidates.moments))
    after = renew_candidates(CONFIG, candidates, jax.random.key(0))
    np.testing.assert_array_equal(after.raw, raw)


def test_noise_on_played_parameters_is_annealed_in_both_variants():
    hard = [worst_parameters.parameter_noise(CONFIG, progress, False) for progress in (0, 0.25, 0.5, 1)]
    soft = [worst_parameters.parameter_noise(CONFIG, progress, True) for progress in (0, 0.25, 0.5, 1)]
    np.testing.assert_allclose(hard, [1, 0.775, 0.55, 0.1])
    np.testing.assert_allclose(soft, [1, 0.55, 0.1, 0.1])


def test_targets_look_at_parameters_nearby_inside_the_box():
    """A critic Q' = ω and reward 0: the loss of a zero critic is the mean square of the perturbed ω, twice."""
    config = M2TD3Config(learner=TD3Config(discount=0.9, batch_size=4))

    class Multiple(eqx.Module):
        share: jax.Array

        def __call__(self, observation, action, extra):
            return self.share * jnp.stack([extra[:, 0]] * 2)

        def first(self, observation, action, extra):
            return action[..., 0] * self.share

    state = by_hand([0.1, 0.9])
    zero, omega = Multiple(jnp.zeros(())), Multiple(jnp.ones(()))
    moments = td3.optax.adam(3e-4).init(zero)
    learner = state.learner._replace(critic=zero, critic_moments=moments, target_critic=omega)
    rows = 4000
    batch = Transitions(
        *(jnp.zeros((rows, 1)), jnp.zeros((rows, 1)), jnp.zeros(rows), jnp.zeros((rows, 1)), jnp.zeros(rows)),
        extra=jnp.full((rows, 1), 1.0),
    )
    update = jax.jit(m2td3.update, static_argnums=(0, 1))
    _, loss = update(config, False, state._replace(learner=learner), batch, jax.random.key(0), 0.1)
    # ω = 1: half of the draws are clipped to 1, the others are 1 - |N(0, 0.2)|, cut off at 0.5.
    draws = np.clip(np.random.default_rng(0).normal(0, 0.2, 400_000), -0.5, 0.5)
    square = np.square(np.clip(1 + draws, -1, 1))
    expected = 2 * 0.81 * square.mean()
    assert float(loss) == pytest.approx(expected, abs=4 * 2 * 0.81 * square.std() / np.sqrt(rows))


def test_random_phase_is_the_papers_or_a_tenth_of_the_budget():
    assert M2TD3Config().first_steps(4_000_000) == 100_000
    assert M2TD3Config().first_steps(50_000) == 5000
    assert M2TD3Config(random_steps=7).first_steps(50_000) == 7


def test_more_probability_than_there_is_is_refused():
    with pytest.raises(ValueError, match="least_probability"):
        M2TD3Config(candidates=5, least_probability=0.2)


def make_vec(num_envs, sampler):
    return GameVectorEnv(TARGET, num_envs, sampler)


USET = GameVectorEnv(TARGET, 1).uset


def action_of(result):
    return float(result.policy.act(np.ones((1, 1), np.float32), result.policy.initial_carry(1))[0][0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_max_min_solution_is_found(seed):
    """Both ends of the interval are worst at the middle, which one candidate alone would never settle on."""
    result = M2TD3(CONFIG).train(make_vec, USET, 8000, seed)
    action = action_of(result)
    assert action == pytest.approx(TARGET.robust_action, abs=0.05)
    assert TARGET.worst_reward(action) > TARGET.robust_value - 0.06
    candidates = np.array(result.learned["candidates"])[:, 0]
    assert candidates.min() == pytest.approx(TARGET.low, abs=0.02)
    assert candidates.max() == pytest.approx(TARGET.high, abs=0.02)
    assert result.env_steps == {"training": 8000}


@pytest.mark.slow
def test_soft_variant_comes_close_and_nominal_training_does_not():
    deeper = dataclasses.replace(LEARNER, hidden=(32, 32))
    config = dataclasses.replace(CONFIG, learner=deeper)
    soft = action_of(SoftM2TD3(config).train(make_vec, USET, 12_000, 0))
    assert TARGET.worst_reward(soft) > TARGET.robust_value - 0.1
    nominal_td3 = ActionRobust(ActionRobustConfig(alpha=0.0, learner=deeper, random_steps=1000))
    nominal = action_of(nominal_td3.train(make_vec, USET, 6000, 0))
    assert nominal == pytest.approx(TARGET.nominal_action, abs=0.05)
    assert TARGET.worst_reward(nominal) < 0


@pytest.mark.slow
def test_sac_against_candidates_finds_the_max_min_solution_too():
    sac = SACConfig(
        hidden=(32, 32),
        batch_size=64,
        actor_rate=1e-3,
        discount=0.0,
        first_temperature=0.01,
        temperature_rate=1e-5,
    )
    result = M2SAC(M2SACConfig(sac=sac, candidate_rate=1e-2, random_steps=1000)).train(
        make_vec, USET, 8000, 0
    )
    assert action_of(result) == pytest.approx(TARGET.robust_action, abs=0.1)
    candidates = np.array(result.learned["candidates"])[:, 0]
    assert candidates.min() < TARGET.low + 0.1 and candidates.max() > TARGET.high - 0.1


@pytest.mark.slow
def test_same_seed_same_policy():
    results = [M2TD3(CONFIG).train(make_vec, USET, 2400, 3) for _ in range(2)]
    for one, other in zip(*(jax.tree.leaves(result.policy) for result in results), strict=True):
        np.testing.assert_array_equal(one, other)
    assert results[0].learned == results[1].learned
