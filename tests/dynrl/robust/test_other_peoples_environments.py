"""Environments that are not ours: arrays written in place, any space of observations, attributes that are computed."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from dynrl.robust import (
    ActionDelay,
    HistoryObservation,
    Param,
    RobustEnv,
    UncertaintySet,
    check_effect,
    make_robust_vec,
)


class Adder(gymnasium.Env):
    """Observes `max(k, 6) + action` in one array that it fills anew at every step; `broken` makes that NaN."""

    observation_space = spaces.Box(-99, 99, (1,))
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self) -> None:
        self.k, self.broken = 2, False
        self._shown = np.zeros(1, np.float32)

    @property
    def twice(self) -> float:
        return 2.0 * self.k

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._shown[:] = 0
        return self._shown, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        self._shown[:] = np.nan if self.broken else max(self.k, 6) + action
        return self._shown, 0.0, False, False, {}


class Named(gymnasium.Env):
    """A `Dict` of observations, without numbers where `k` is above 8."""

    observation_space = spaces.Dict({"place": spaces.Box(-9, 9, (2,)), "room": spaces.Discrete(3)})
    action_space = spaces.Discrete(2)

    def __init__(self) -> None:
        self.k = 2

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        return {"place": np.zeros(2, np.float32), "room": 0}, {}

    def step(self, action: Any) -> tuple[dict, float, bool, bool, dict]:
        place = np.full(2, np.nan if self.k > 8 else 1, np.float32)
        return {"place": place, "room": 1}, 1.0, False, False, {}


WHOLE = UncertaintySet([Param("attr:k", 0, 20, dtype=int)])
DELAY = UncertaintySet([Param("delay.action", 0, 2)])


@pytest.mark.parametrize(
    "env", [ActionDelay(Adder(), 1), RobustEnv(Adder(), DELAY, sticky=True)], ids=["wrapper", "parameter"]
)
def test_a_caller_may_fill_the_same_action_again(env: gymnasium.Env) -> None:
    env.reset(options={"psi": [1]} if isinstance(env, RobustEnv) else None)
    action, shown = np.zeros(1, np.float32), []
    for number in (0.25, 0.5, 0.75):
        action[:] = number
        shown.append(float(env.step(action)[0][0]))
    assert shown == [6.0, 6.25, 6.5]


def test_history_of_observations_that_are_written_in_place() -> None:
    env = HistoryObservation(Adder(), 1)
    env.reset()
    shown = [env.step(np.array([number], np.float32))[0].tolist() for number in (0.25, 0.5)]
    # [now | before, action]
    assert shown == [[6.25, 0.0, 0.25], [6.5, 6.25, 0.5]]


def test_the_last_observation_before_a_divergence_is_kept_though_written_over() -> None:
    env = RobustEnv(Adder(), WHOLE)
    env.reset()
    env.step(np.zeros(1))
    env.unwrapped.broken = True
    observation, reward, terminated, _, info = env.step(np.zeros(1))
    assert (observation.tolist(), reward, terminated, info["diverged"]) == ([6.0], 0.0, True, True)


def test_numbers_that_are_none_are_found_in_a_dict_of_observations() -> None:
    env = RobustEnv(Named(), WHOLE)
    env.reset(options={"psi": [8]})
    assert not env.step(0)[2]
    env.reset(options={"psi": [9]})
    observation, _, terminated, _, info = env.step(0)
    assert terminated and info["diverged"] and observation["place"].tolist() == [0, 0]


def test_whole_numbers_stay_whole_at_the_edge_of_a_dead_interval() -> None:
    (effect,) = check_effect(WHOLE, Adder, steps=3, episodes=1, warn=False)
    assert effect.dead == ((0.0, 6.0),)


def test_what_lanes_cannot_do_is_said() -> None:
    with pytest.raises(ValueError, match="FlattenObservation"):
        make_robust_vec(Named, WHOLE, 2)
    one = Adder()
    with pytest.raises(ValueError, match="the same environment twice"):
        make_robust_vec(lambda: one, WHOLE, 2)
    for count in (0, 2.0, True):
        with pytest.raises(ValueError, match=r"num_envs is .*positive integer"):
            make_robust_vec(Adder, WHOLE, count)


def test_an_attribute_that_is_computed_is_refused_before_anything_is_set() -> None:
    with pytest.raises(ValueError, match=r"'attr:twice': Adder computes 'twice'.*nobody set it"):
        RobustEnv(Adder(), UncertaintySet([Param("attr:twice", 1, 9)]))


def test_a_body_without_a_name_is_pushed_by_its_index() -> None:
    env = gymnasium.make("InvertedPendulum-v5")
    robust = RobustEnv(env, UncertaintySet([Param("force:#2[0]", -3, 3)]))
    robust.reset(options={"psi": [2.5]})
    np.testing.assert_array_equal(env.unwrapped.data.xfrc_applied[2], [2.5, 0, 0, 0, 0, 0])  # type: ignore[attr-defined]
    for target, said in (("force:#9[0]", "the model has 3 bodies"), ("force:*[0]", "acts on one body")):
        with pytest.raises(ValueError, match=said):
            RobustEnv(env, UncertaintySet([Param(target, -3, 3)]))
