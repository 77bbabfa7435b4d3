"""Deep IWOCS on the game whose answers are known: budget, statuses, and stages that can be resumed."""

import jax
import numpy as np
import pytest

from dynrl.agents.robust.domain_randomisation import TrainingConfig
from dynrl.agents.robust.iwocs import DeepIWOCS
from dynrl.agents.robust.iwocs_config import IWOCSConfig, SearchConfig
from dynrl.learning.sac import SACConfig
from dynrl.robust import Param, UncertaintySet
from dynrl.testing.robust_probes import TARGET
from dynrl.testing.target_game import TARGET_SET, make_target

pytestmark = pytest.mark.slow

SAC = SACConfig(
    hidden=(16, 16), batch_size=32, actor_rate=3e-3, critic_rate=1e-2, discount=0.5, target_entropy=-3.0
)
TRAINING = TrainingConfig(sac=SAC, num_envs=8, random_steps=200, updates_per_step=0.25)
CONFIG = IWOCSConfig(
    training=TRAINING,
    iterations=2,
    thresholds=(0.1, 0.5),
    search=SearchConfig("grid", 5, lanes=8),
    default_share=0.3,
)


class Shelf:
    """Keeps every save; `load` gives the last."""

    def __init__(self, saved=()):
        self.saved = list(saved)

    def load(self):
        return self.saved[-1] if self.saved else None

    def save(self, arrays, meta):
        self.saved.append(({name: np.array(array) for name, array in arrays.items()}, {**meta}))


def leaves(policy):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(policy)]


def test_a_run_resumed_after_any_stage_ends_with_the_same_bytes():
    import json

    shelf = Shelf()
    whole = DeepIWOCS(CONFIG).train_in_stages(make_target, TARGET_SET, 6000, 0, None, shelf)
    assert len(shelf.saved) >= 5
    # what a checkpoint holds went through JSON
    stages = [(arrays, json.loads(json.dumps(meta))) for arrays, meta in shelf.saved]
    for count in (1, 2, 3, len(stages)):
        again = DeepIWOCS(CONFIG).train_in_stages(
            make_target, TARGET_SET, 6000, 0, None, Shelf(stages[:count])
        )
        assert again.learned == whole.learned
        assert again.env_steps == whole.env_steps
        for one, two in zip(leaves(again.policy), leaves(whole.policy), strict=True):
            np.testing.assert_array_equal(one, two)


def test_every_step_counts_and_nothing_is_certified_on_a_box():
    found = DeepIWOCS(CONFIG).train(make_target, TARGET_SET, 6000, seed=1)
    assert found.total_steps <= 6000 + 80  # a block of a search
    assert found.env_steps["search"] >= 3 * 50
    assert found.learned["status"] in ("stalled", "max_iter", "budget")
    assert found.learned["bound_kind"] == "estimated"
    # the first specialist's model is the worst one of the default policy: an end of the interval
    assert found.learned["models"][0][0] in (TARGET.low, TARGET.high)
    assert found.learned["lower"] == max(found.learned["worst"])


def test_a_set_of_one_model_is_plain_reinforcement_learning_and_certified():
    only = UncertaintySet([Param("attr:psi", 0.3, 0.3, nominal=0.3)])
    found = DeepIWOCS(CONFIG).train(make_target, only, 3000, seed=0)
    assert found.learned["status"] == "certified"
    assert found.env_steps == {"training": 3000}


def test_a_budget_for_the_default_policy_alone_says_so():
    config = IWOCSConfig(**{**vars(CONFIG), "default_share": 0.97})
    found = DeepIWOCS(config).train(make_target, TARGET_SET, 2000, seed=0)
    assert found.learned["status"] == "budget"
    assert found.learned["best_candidate"] == 0
