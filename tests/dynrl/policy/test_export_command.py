"""From a run folder to a bundle, by the command line."""

import gymnasium as gym
import numpy as np
import pytest
import yaml

from dynrl.cli import main
from dynrl.policy import PolicyBundle
from dynrl.policy.parity import play
from dynrl.policy.yaml_text import write_contract

pytest.importorskip("stable_baselines3", reason="needs stable-baselines3: pip install 'dynrl[sb3]'")

SHORT = ("total_timesteps=600", "agent.config.n_steps=128", "agent.config.batch_size=64", "seeds=[3, 4]")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "reach"
    assert main(["train", "deploy/reach", *SHORT, "--out", str(path)]) == 0
    return path


def test_a_run_becomes_a_bundle_that_plays_the_same_episodes(run, tmp_path, capsys):
    target = tmp_path / "reach.bundle"
    assert main(["export", str(run), "-o", str(target), "--name", "seed-4"]) == 0
    printed = capsys.readouterr().out
    assert str(target) in printed and "parity: " in printed
    bundle = PolicyBundle.load(target)
    provenance = bundle.contract.provenance
    assert (provenance.run, provenance.seed) == ("reach", 4)
    assert provenance.versions["dynrl"]
    assert len(provenance.config_sha256) == 64

    from dynrl.policy.export import contract_of
    from dynrl.runs.learn import LearnExperiment, config_of
    from dynrl.runs.run import Run

    opened = Run.open(run)
    experiment = LearnExperiment(config_of(opened))
    agent = experiment._load_agent(gym.make("dynrl/ArmReach-v0"), 4, run / "agents" / "seed-4.safetensors")

    class Agent:
        def reset(self):
            pass

        def __call__(self, observation):
            return agent.predict(observation, deterministic=True)[0]

    env = gym.make("dynrl/ArmReach-v0")
    for seed in (100, 101):
        expected, found = play(env, Agent(), seed), play(env, bundle.session(), seed)
        assert len(found.observations) == len(expected.observations)
        assert found.return_ == pytest.approx(expected.return_, rel=1e-3)
    assert contract_of(env).observation == bundle.contract.observation
    mean, (low, high) = provenance.return_mean, provenance.return_iqm_ci
    returns = [play(env, bundle.session(), seed).return_ for seed in range(20)]
    assert mean == pytest.approx(np.mean(returns), rel=1e-3)
    assert low <= high


def test_terms_may_come_from_a_file_and_a_zip_is_one_file(run, tmp_path, capsys):
    import dataclasses

    from dynrl.envs.reach import ArmReach

    contract = dataclasses.replace(ArmReach().policy_contract(), name="renamed")
    terms = tmp_path / "terms.yaml"
    terms.write_text(write_contract(contract))
    target = tmp_path / "reach.zip"
    assert main(["export", str(run), "-o", str(target), "--contract", str(terms)]) == 0
    assert PolicyBundle.load(target).contract.name == "renamed"
    values = yaml.safe_load(terms.read_text())
    values["observation"] = values["observation"][:-1]
    terms.write_text(yaml.safe_dump(values))
    capsys.readouterr()
    assert main(["export", str(run), "-o", str(tmp_path / "b"), "--contract", str(terms)]) == 2
    error = capsys.readouterr().err
    assert "the terms give joint_position 3 + joint_velocity 3 + goal 3 = 9" in error
    assert not (tmp_path / "b").exists()


def test_what_cannot_be_exported_says_why(run, tmp_path, capsys):
    def refusal(*arguments):
        capsys.readouterr()
        assert main(["export", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    target = tmp_path / "x.bundle"
    assert "there is seed-3, seed-4" in refusal(run, "-o", target, "--name", "seed-9")
    target.mkdir()
    assert "found something there" in refusal(run, "-o", target)
    ads = tmp_path / "ads"
    assert (
        main(["train", "learn/ads", "total_timesteps=50", "agent.config.horizon=50", "--out", str(ads)]) == 0
    )
    assert "declares no contract" in refusal(ads, "-o", tmp_path / "y.bundle")
    missing = "cannot be read"
    assert missing in refusal(run, "-o", tmp_path / "z", "--contract", tmp_path / "no.yaml")
    assert "no policy that can become an ONNX graph" in refusal(
        ads, "-o", tmp_path / "y.bundle", "--contract", _terms(tmp_path)
    )


def _terms(folder):
    from dynrl.envs.reach import ArmReach

    path = folder / "arm.yaml"
    path.write_text(write_contract(ArmReach().policy_contract()))
    return path


@pytest.mark.slow
def test_the_shipped_config_learns_to_reach(tmp_path):
    """`dynrl train deploy/reach && dynrl export`: the bundle brings the tool within 5 cm, from 30 fresh starts."""
    assert main(["train", "deploy/reach", "--out", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "reach.bundle")]) == 0
    session, env = PolicyBundle.load(tmp_path / "reach.bundle").session(), gym.make("dynrl/ArmReach-v0")
    distances = []
    for seed in range(1000, 1030):
        observation, info = env.reset(seed=seed)
        for _ in range(75):
            observation, _, _, _, info = env.step(session(observation))
        distances.append(float(info["distance"]))
    assert np.median(distances) < 0.05
    assert np.quantile(distances, 0.9) < 0.1
