"""The control problem on wolf–sheep–grass: costs, doses, limits, observations, pictures."""

from functools import cache

import gymnasium
import jax
import numpy as np
import pytest

from dynrl.abm import DoseLimits
from dynrl.envs.digital_twins.wolf_sheep import WolfSheepControl, WolfSheepParams, drawn_patient
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.faces.vector_env import VectorEnv
from dynrl.film import write_gif

SMALL = {
    "height": 9,
    "width": 8,
    "variant": "rw8",
    "capacity_sheep": 96,
    "capacity_wolves": 48,
    "target": (20.0, 5.0),
}


def face(**settings):
    return GymnasiumEnv(WolfSheepControl(**{**SMALL, **settings}))


@cache
def episode(**settings):
    """Observations, rewards, infos of an episode of constant doses."""
    env = face(**dict(settings))
    observation, info = env.reset(seed=3)
    seen, rewards, infos = [observation], [], [info]
    truncated = False
    while not truncated:
        observation, reward, terminated, truncated, info = env.step(np.array([0.05, 0.1], np.float32))
        assert not terminated
        seen.append(observation), rewards.append(reward), infos.append(info)
    return seen, np.array(rewards), infos


def cost(info, target=(20.0, 5.0)):
    return ((info["sheep"] - target[0]) / target[0]) ** 2 + ((info["wolves"] - target[1]) / target[1]) ** 2


def test_the_reward_is_the_relative_squared_distance_and_its_terms_sum_to_it():
    _, rewards, infos = episode(horizon=230)
    np.testing.assert_allclose(rewards, [-cost(info) for info in infos[1:]], rtol=1e-5)
    sums = [sum(info["reward_terms"].values()) for info in infos[1:]]
    np.testing.assert_allclose(rewards, sums, atol=1e-6, rtol=1e-6)


def test_j1_is_the_mean_cost_of_the_last_200_steps():
    _, rewards, infos = episode(horizon=230)
    assert infos[-1]["J1"] == pytest.approx(-rewards[-200:].mean(), rel=1e-5)
    assert infos[-1]["J1_full"] == pytest.approx(-rewards.mean(), rel=1e-5)
    assert infos[10]["J1"] == infos[10]["J1_full"]


def test_observations_are_scaled_counts():
    seen, _, infos = episode(horizon=230)
    scale = np.array([50, 200, 1000]) * 72 / 2601
    for observation, info in zip(seen, infos, strict=True):
        np.testing.assert_allclose(
            observation * scale, [info["wolves"], info["sheep"], info["grass"]], rtol=1e-5
        )


def test_removed_animals_and_doses_add_up():
    _, _, infos = episode(horizon=230)
    total = np.sum([info["removed"] for info in infos[1:]], axis=0)
    np.testing.assert_allclose(infos[-1]["removed_total"], total)
    assert infos[-1]["dose_total"] == pytest.approx(230 * 0.15, rel=1e-4)
    assert infos[-1]["dose_peak"] == pytest.approx(0.1)


def test_extinction_costs_on_and_does_not_end_the_episode():
    env = face(horizon=60)
    env.reset(seed=0, options={"initial_wolves": 0})
    for _ in range(5):
        _, reward, terminated, _, info = env.step(np.zeros(2, np.float32))
        assert not terminated and info["extinct"] and info["reward_terms"]["wolves"] == pytest.approx(-1)
        assert reward == pytest.approx(-cost(info), rel=1e-5)


def test_a_target_of_0_is_an_absolute_error():
    env = face(horizon=60, target=(20.0, 0.0))
    env.reset(seed=0)
    info = env.step(np.zeros(2, np.float32))[4]
    assert info["reward_terms"]["wolves"] == pytest.approx(-(info["wolves"] ** 2))


def test_the_target_changes_where_it_is_told_to():
    env = face(horizon=6, later_target=(10.0, 2.0), switch=3, show_target=True)
    env.reset(seed=0)
    for step in range(1, 7):
        observation, reward, *_, info = env.step(np.zeros(2, np.float32))
        target = (20.0, 5.0) if step < 3 else (10.0, 2.0)
        assert reward == pytest.approx(-cost(info, target), rel=1e-5)
        coming = (20.0, 5.0) if step + 1 < 3 else (10.0, 2.0)
        np.testing.assert_allclose(observation[3:] * np.array([200, 50]) * 72 / 2601, coming, rtol=1e-5)


def test_a_held_action_acts_in_every_step_and_costs_are_means():
    env = face(horizon=4, hold=3, rounding="half_up")
    env.reset(seed=1, options={"initial_sheep": 60, "initial_wolves": 0})
    for step in range(4):
        _, reward, _, truncated, info = env.step(np.array([0.1, 0.0], np.float32))
        assert truncated == (step == 3)
        assert info["removed"][0] >= 3
        assert reward == pytest.approx(sum(info["reward_terms"].values()), rel=1e-5)
    assert info["J1_full"] == pytest.approx(info["J1"], rel=1e-6)


def test_actions_outside_are_clipped_and_said_so_and_nan_is_refused():
    env = face(horizon=60)
    env.reset(seed=0)
    info = env.step(np.array([0.5, -1.0], np.float32))[4]
    assert info["clipped"] and info["action_projected"] and not info["limited"]
    np.testing.assert_allclose(info["dose"], [0.2, 0.0], rtol=1e-6)
    assert not env.step(np.array([0.2, 0.0], np.float32))[4]["clipped"]
    for wrong in ([np.nan, 0.0], [np.inf, 0.0], [0.1], "much"):
        with pytest.raises(ValueError):
            env.step(wrong)


def test_in_compiled_code_a_dose_that_is_no_number_is_none_and_is_remembered():
    env = WolfSheepControl(**SMALL, horizon=10)
    params = env.default_params
    state = env.initial(jax.random.key(0), params)
    after = jax.jit(env.transition)(state, np.array([np.nan, 0.1], np.float32), jax.random.key(1), params)
    info = env.transition_info(state, None, after, params)
    assert bool(info["invalid"]) and float(info["dose"][0]) == 0 and bool(info["action_projected"])
    assert np.isfinite(float(env.reward(state, None, after, None, params)))


def test_dose_limits_project_the_action_and_the_budget_is_observed():
    env = face(horizon=12, limits=DoseLimits(peak=0.15, interval=3, budget=0.5), obs="dict")
    observation, _ = env.reset(seed=0)
    assert observation["budget_left"] == [1.0]
    given = []
    for _ in range(12):
        observation, *_, info = env.step(np.array([0.2, 0.1], np.float32))
        given.append(info["dose"].sum())
        assert info["limited"] and info["action_projected"]
    np.testing.assert_allclose(given[:7], [0.25, 0, 0, 0.25, 0, 0, 0], atol=1e-6)
    assert observation["budget_left"][0] == pytest.approx(0, abs=1e-6)
    assert info["dose_total"] == pytest.approx(0.5)


def test_history_image_and_what_is_hidden():
    env = face(horizon=8, obs="dict", history=3, image=True, visible=("sheep",))
    env.reset(seed=0)
    for _ in range(4):
        observation, *_, info = env.step(np.array([0.1, 0.0], np.float32))
    assert env.observation_space.contains(observation)
    assert observation["macro"][0] == observation["macro"][2] == 0 < observation["macro"][1]
    np.testing.assert_allclose(observation["history"][:, 3], 0.5)
    np.testing.assert_array_equal(observation["history"][-1, :3], observation["macro"])
    grown, sheep, wolves = observation["image"].reshape(3, -1).sum(axis=1)
    assert (grown, sheep, wolves) == (info["grass"], info["sheep"], info["wolves"])


def test_noise_and_delay_of_observations():
    env = face(horizon=60, noise=0.1, observe_every=4)
    observation, info = env.reset(seed=0)
    scale, ratios, last = np.array([50, 200, 1000]) * 72 / 2601, [], observation
    for step in range(1, 60):
        observation, *_, info = env.step(np.zeros(2, np.float32))
        if step % 4:
            np.testing.assert_array_equal(observation, last)
        else:
            ratios.append(np.log(observation[2] * scale[2] / info["grass"]))
        last = observation
    assert len(ratios) == 14 and 0.04 < np.std(ratios) < 0.16


def test_every_episode_is_another_patient_and_a_named_one_is_that_one():
    env = face(horizon=60, spread=0.1)
    gains = [env.reset(seed=seed)[1]["patient"]["gain_wolf"] for seed in range(60)]
    assert abs(np.std(np.log(gains)) - 0.1) < 0.04 and len(set(gains)) == 60
    patient = WolfSheepParams(5, 13, 0.2, 0.1, 20, 30, 10)
    info = env.reset(seed=0, options={"patient": patient})[1]
    assert {name: pytest.approx(value) for name, value in patient._asdict().items()} == info["patient"]
    info = env.reset(seed=0, options={"patient": patient, "initial_sheep": 7})[1]
    assert info["sheep"] == 7


def test_a_patient_is_log_normal_in_five_constants():
    nominal = WolfSheepControl(**SMALL).model.params(p_sheep=0.95)
    keys = jax.random.split(jax.random.key(0), 2000)
    drawn = jax.vmap(lambda key: drawn_patient(key, nominal, 0.1))(keys)
    for name in ("gain_wolf", "gain_sheep", "p_wolf"):
        logs = np.log(np.asarray(getattr(drawn, name)) / getattr(nominal, name))
        assert abs(logs.mean()) < 4 * 0.1 / np.sqrt(2000) and abs(logs.std() - 0.1) < 0.01
    assert np.asarray(drawn.p_sheep).max() == 1.0
    assert drawn.regrowth.dtype == np.int32 and np.asarray(drawn.regrowth).std() > 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"wolf": 1}, "unknown reset option 'wolf'"),
        ({"p_sheep": 2.0}, "p_sheep is 2.0"),
        ({"initial_sheep": 97}, "initial_sheep is 97"),
        ({"initial_wolves": 1.5}, "initial_wolves is 1.5"),
    ],
)
def test_wrong_reset_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        face(horizon=60).reset(seed=0, options=options)


def test_a_batch_of_patients_in_one_compiled_call():
    env = WolfSheepControl(**SMALL, horizon=5)
    params = env.default_params
    patient = params.patient._replace(
        regrowth=np.array([0, 30], np.int32), initial_wolves=np.array([0, 3], np.int32)
    )
    vector = VectorEnv(env, 2, params=params._replace(patient=patient))
    vector.reset(seed=0)
    for _ in range(3):
        *_, info = vector.step(np.zeros((2, 2), np.float32))
    assert info["grass"][0] == 72 > info["grass"][1]
    assert info["wolves"][0] == 0 and info["patient"]["regrowth"].tolist() == [0, 30]


def test_the_picture_is_large_and_the_same_for_the_same_state(tmp_path):
    env = GymnasiumEnv(WolfSheepControl(horizon=3), render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    assert first.shape == (408, 408, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, env.render())
    colours = {tuple(pixel) for pixel in first.reshape(-1, 3)[::7].tolist()}
    assert len(colours) > 3
    path = write_gif(tmp_path / "film.gif", [first, 255 - first], fps=10)
    from PIL import Image

    with Image.open(path) as film:
        assert film.n_frames == 2 and film.size == (408, 408)
    assert [file.name for file in tmp_path.iterdir()] == ["film.gif"]
    with pytest.raises(ValueError, match="no frames"):
        write_gif(tmp_path / "film.gif", [])


@pytest.mark.parametrize(
    "wrong",
    [
        {"obs": "list"},
        {"horizon": 0},
        {"hold": 0},
        {"image": True},
        {"spread": -0.1},
        {"target": (1.0,)},
        {"later_target": (1.0, -1.0)},
        {"visible": ("foxes",)},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WolfSheepControl(**{**SMALL, **wrong})


@pytest.mark.parametrize(
    ("name", "cells"), [("WSG-SS", 51**2), ("WSG-SS-Patients", 51**2), ("WSG-SS-255", 255**2)]
)
def test_registered_names(name, cells):
    env = gymnasium.make(f"dynrl/{name}-v0").unwrapped.func_env
    assert env.model.grid.cells == cells and env.horizon == 600
    params = env.default_params
    np.testing.assert_allclose(params.target, np.array([200, 50]) * cells / 51**2, rtol=1e-6)
    assert float(params.spread) == pytest.approx(0.1 if "Patients" in name else 0.0)
    assert params.patient.initial_sheep == round(100 * cells / 51**2)
