"""The candidate policy against a loop over lanes and experts; what makes an expert valid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.robust.candidate import CandidatePolicy, Expert, Memory
from dynrl.agents.robust.specialist import Specialist, initial_state
from dynrl.agents.robust.validity import GaussianValidity, PredictorValidity, quantile_threshold
from dynrl.learning.networks import GaussianActor
from dynrl.learning.replay import Transitions
from dynrl.learning.sac import SACConfig

OBSERVED, ACTED, B = 3, 2, 16
CONFIG = SACConfig(hidden=(8, 8), critic_rate=1e-2, averaging=0.1, discount=0.8, first_temperature=1.0)


def expert(seed):
    state = initial_state(CONFIG, OBSERVED, ACTED, jax.random.key(seed))
    return Expert(state.actor, state.critic, PredictorValidity.of(state.critic, OBSERVED))


EXPERTS = [expert(seed) for seed in range(3)]
DEFAULT = GaussianActor(OBSERVED, ACTED, jax.random.key(9), hidden=(8, 8))
LOW, HIGH = [-2.0, 0.0], [2.0, 1.0]


def candidate(thresholds, experts=EXPERTS):
    return CandidatePolicy.of(experts, thresholds, DEFAULT, LOW, HIGH, OBSERVED)


def lanes(seed=0):
    one, two, three, four = jax.random.split(jax.random.key(seed), 4)
    observation = jax.random.normal(one, (B, OBSERVED))
    memory = Memory(
        observation + 0.3 * jax.random.normal(two, (B, OBSERVED)),
        jax.random.uniform(three, (B, ACTED), minval=-1, maxval=1),
        jax.random.bernoulli(four, 0.8, (B,)),
    )
    return observation, memory


decide = jax.jit(CandidatePolicy.decide)
mode_of = jax.jit(lambda actor, observation: actor.mode(observation))


@jax.jit
def judgement(who, observation, memory):
    """The error, the value and the proposal of one expert alone, `[B]`, `[B]` and `[B, a]`."""
    proposal = who.actor.mode(observation)
    error = who.validity.error(memory.observation, memory.action, observation)
    return error, who.value(observation, proposal), proposal


def test_it_is_the_most_pessimistic_of_the_valid_experts():
    thresholds = [0.5, 0.6, 0.7]
    observation, memory = lanes()
    action, chosen = decide(candidate(thresholds), observation, memory)
    judged = [jax.device_get(judgement(who, observation, memory)) for who in EXPERTS]
    default = jax.device_get(mode_of(DEFAULT, observation))
    for lane in range(B):
        values = []
        for threshold, (errors, worths, _) in zip(thresholds, judged, strict=True):
            valid = not memory.present[lane] or errors[lane] <= threshold
            values.append(float(worths[lane]) if valid else np.inf)
        best = int(np.argmin(values)) if np.isfinite(values).any() else -1
        assert chosen[lane] == best
        expected = default[lane] if best == -1 else judged[best][2][lane]
        np.testing.assert_allclose(action[lane], expected, atol=1e-5)
    assert len(set(np.asarray(chosen).tolist())) >= 3, "the case distinguishes nothing"


def test_everyone_is_valid_at_the_beginning_and_equals_go_to_the_oldest():
    observation, _ = lanes()
    policy = candidate([-1.0, -1.0], experts=[EXPERTS[1], EXPERTS[1]])
    carry = policy.initial_carry(B)
    assert (decide(policy, observation, carry)[1] == 0).all()
    action, carry = jax.jit(CandidatePolicy.act)(policy, observation, carry)
    np.testing.assert_allclose(carry.observation, observation)
    assert (np.asarray(action) >= LOW).all() and (np.asarray(action) <= HIGH).all()
    assert (decide(policy, observation, carry)[1] == -1).all()


def test_other_thresholds_compile_nothing():
    compiled = []

    @jax.jit
    def act(policy, observation, carry):
        compiled.append(1)
        return policy.act(observation, carry)

    observation, memory = lanes()
    results = [act(candidate([rho] * 3), observation, memory)[0] for rho in (0.1, 0.5, 1.0)]
    assert len(compiled) == 1
    assert not np.allclose(results[0], results[2])


def test_one_threshold_per_expert():
    with pytest.raises(ValueError, match="3 experts and 1 thresholds"):
        candidate([0.1])


@pytest.mark.slow
def test_plain_values_leave_out_the_entropy_bonus_that_soft_ones_hold():
    rng, shape = np.random.default_rng(0), (600, 32)
    ones = np.ones((*shape, OBSERVED), np.float32)
    action = rng.uniform(-1, 1, (*shape, ACTED)).astype(np.float32)
    none = np.zeros(shape, np.float32)
    batches = Transitions(ones, action, none + 1, ones, none, np.zeros((*shape, 0), np.float32))
    config = SACConfig(**{**vars(CONFIG), "actor_rate": 1e-9, "temperature_rate": 1e-9})
    learner = Specialist(config, initial_state(config, OBSERVED, ACTED, jax.random.key(0)))
    learner.learn(batches)
    state, here = learner.state, np.ones((64, OBSERVED), np.float32)
    sampled, log_density = state.actor.sample(here, jax.random.key(5))
    plain, soft = state.critic.plain(here, sampled), state.critic.soft(here, sampled)
    np.testing.assert_allclose(plain, 1 / (1 - 0.8), rtol=0.05)
    bonus = -float(np.mean(state.actor.sample(np.ones((4096, OBSERVED)), jax.random.key(6))[1]))
    np.testing.assert_allclose(soft.mean(), 5 + 0.8 / 0.2 * bonus, rtol=0.1)
    np.testing.assert_allclose(state.critic.following(here, sampled), 1, atol=0.1)
    assert np.isfinite(np.asarray(log_density)).all()


def gaussian_experience(count, seed=0):
    rng = np.random.default_rng(seed)
    observation, action = rng.normal(2, 3, (count, OBSERVED)), rng.normal(0, 0.3, (count, ACTED))
    following = observation + rng.normal(0, 0.1, (count, OBSERVED))
    columns = (observation, action, np.zeros(count), following, np.zeros(count), np.zeros((count, 0)))
    return Transitions(*(column.astype(np.float32) for column in columns))


def test_gaussian_errors_are_chi_of_the_experience_and_grow_outside():
    data = gaussian_experience(20_000)
    model = GaussianValidity.blank(OBSERVED, ACTED).fit(data)
    fresh = gaussian_experience(5_000, seed=1)
    errors = np.asarray(
        model.error(*(jnp.asarray(c) for c in (fresh.observation, fresh.action, fresh.next_observation)))
    )
    np.testing.assert_allclose((errors**2).mean(), 1.0, rtol=0.05)
    elsewhere = model.error(fresh.observation, fresh.action, fresh.next_observation + 1.0)
    assert np.min(elsewhere) > np.quantile(errors, 0.99)


def test_the_quantile_threshold_passes_its_share():
    data = gaussian_experience(4_000)
    model = GaussianValidity.blank(OBSERVED, ACTED).fit(data)
    threshold = quantile_threshold(model, data, 0.95)
    errors = np.asarray(model.error(data.observation, data.action, data.next_observation))
    assert (errors <= threshold + 1e-6).mean() == pytest.approx(0.95, abs=0.001)
    with pytest.raises(ValueError, match="quantile"):
        quantile_threshold(model, data, 0.0)


def test_replay_scaling_makes_the_predictors_error_free_of_units():
    data = gaussian_experience(4_000)
    critic = EXPERTS[0].critic
    raw = PredictorValidity.of(critic, OBSERVED).fit(data)
    scaled = PredictorValidity.of(critic, OBSERVED, "replay").fit(data)
    point = (data.observation[0], data.action[0], data.next_observation[0])
    difference = np.abs(np.asarray(critic.following(*point[:2]).mean(0)) - point[2])
    np.testing.assert_allclose(raw.error(*point), difference.sum(), rtol=1e-5)
    expected = (difference / data.observation.std(0)).mean()
    np.testing.assert_allclose(scaled.error(*point), expected, rtol=1e-4)
