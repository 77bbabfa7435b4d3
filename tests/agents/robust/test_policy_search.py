"""Policy search on a game with a known robust answer; policies on disk; searches that end with the budget."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynrl.agents.robust.candidate import CandidatePolicy, Expert
from dynrl.agents.robust.iwocs_config import SearchConfig
from dynrl.agents.robust.metered import MeteredEvaluator, StepsSpent, search_worst
from dynrl.agents.robust.policy_file import load_policy, save_policy
from dynrl.agents.robust.policy_search import LinearPolicy, PolicySearchConfig, WorstCasePolicySearch
from dynrl.agents.robust.specialist import initial_state
from dynrl.agents.robust.validity import PredictorValidity
from dynrl.agents.robust.vector_evaluation import VectorEvaluator
from dynrl.errors import FileFormatError
from dynrl.learning.networks import ActorPolicy, DeterministicActor
from dynrl.learning.sac import SACConfig
from dynrl.runs.array_file import read_arrays, write_arrays
from dynrl.testing.robust_probes import TARGET
from dynrl.testing.target_game import TARGET_SET, action_of, make_target

KEY = jax.random.key(0)


def linear(weight):
    return LinearPolicy(jnp.full((1, 1), weight), jnp.array([-1.0]), jnp.array([1.0]))


def test_it_finds_the_best_answer_to_the_worst_parameters():
    config = PolicySearchConfig(population=8, first_steps=10, points=3, lanes=16)
    found = WorstCasePolicySearch(config).train(make_target, TARGET_SET, 6000, seed=0)
    assert action_of(found.policy) == pytest.approx(TARGET.robust_action, abs=0.05)
    assert found.learned["worst"] == pytest.approx(10 * TARGET.robust_value, rel=0.05)
    assert found.total_steps <= 6000
    assert found.env_steps["search"] > 0


def test_a_reached_target_ends_the_training_and_the_seed_decides_everything():
    config = PolicySearchConfig(population=8, first_steps=10, points=3, lanes=16, target=4.0)
    first, second = (
        WorstCasePolicySearch(config).train(make_target, TARGET_SET, 6000, seed=3) for _ in range(2)
    )
    assert first.learned["worst"] >= 4.0
    assert first.total_steps < 6000
    assert (first.learned, first.env_steps) == (second.learned, second.env_steps)


def test_a_metered_search_stops_at_its_limit_and_keeps_what_it_met():
    meter = MeteredEvaluator(VectorEvaluator(make_target, 1, lanes=2), block=2)
    whole = search_worst(linear(1.0), meter, TARGET_SET, SearchConfig("grid", 100), limit=10_000, seed=0)
    assert whole.complete
    assert whole.psi == pytest.approx([-0.2])
    assert whole.value == pytest.approx(10 * (1 - 1.2**2), rel=1e-5)
    before = meter.spent
    cut = search_worst(linear(-1.0), meter, TARGET_SET, SearchConfig("grid", 100), limit=35, seed=0)
    assert not cut.complete
    assert 35 <= meter.spent - before < 35 + 20
    assert cut.models == 4
    with pytest.raises(StepsSpent):
        search_worst(linear(1.0), meter, TARGET_SET, SearchConfig("grid", 100), limit=0, seed=0)


def candidate():
    state = initial_state(SACConfig(hidden=(4,)), 1, 1, KEY)
    expert = Expert(state.actor, state.critic, PredictorValidity.of(state.critic, 1))
    return CandidatePolicy.of([expert, expert], [0.1, 0.2], state.actor, [-1.0], [1.0], 1)


@pytest.mark.parametrize(
    "policy",
    [
        linear(0.3),
        ActorPolicy(DeterministicActor(1, 1, KEY, hidden=(4,)), jnp.array([-1.0]), jnp.array([1.0])),
        candidate(),
    ],
    ids=["linear", "actor", "candidate"],
)
def test_a_policy_comes_back_from_disk_as_it_was(policy, tmp_path):
    back = load_policy(save_policy(policy, tmp_path / "policy.safetensors"))
    assert jax.tree.structure(back) == jax.tree.structure(policy)
    assert eqx.tree_equal(back, policy)
    assert action_of(back) == action_of(policy)


def test_only_policies_of_dynrl_are_rebuilt(tmp_path):
    path = save_policy(linear(0.3), tmp_path / "policy.safetensors")
    arrays, meta = read_arrays(path)
    for name in ("os:system", "dynrl.config:ConfigInput", "dynrl.agents.robust.policy_search:Gone"):
        write_arrays(path, arrays, {"policy": {**meta["policy"], "class": name}})
        with pytest.raises(FileFormatError, match="not a policy class"):
            load_policy(path)
    with pytest.raises(TypeError, match="cannot be saved"):
        save_policy(np.sin, path)
