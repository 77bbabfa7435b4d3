"""Figures of policy bundles for `dynrl bench deploy`: parity of every exporter, and damaged bundles."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np

from dynrl.bench import Figure
from dynrl.policy.bundle import PARITY_BAR, PolicyBundle
from dynrl.policy.errors import BundleError
from dynrl.policy.export import contract_of, export_policy
from dynrl.policy.exporters.exported import ExportedPolicy

_ENV = "dynrl/ArmReach-v0"
_FLIPS = 2000


def bundle_figures(quick: bool) -> Iterator[Figure]:
    """Parity of exported policies (the JAX ones only when quick) and the fate of damaged bundles."""
    env = gym.make(_ENV)
    with TemporaryDirectory(prefix="dynrl-bench-") as folder:
        kinds = _quick_policies() if quick else {**_quick_policies(), **_trained_policies()}
        for number, (name, make) in enumerate(kinds.items()):
            yield _parity_figure(name, make(env), env, Path(folder) / f"{number}.bundle")
        yield _damage_figure(Path(folder) / "0.bundle", Path(folder), 300 if quick else _FLIPS)


def _parity_figure(name: str, exported: ExportedPolicy, env: gym.Env, path: Path) -> Figure:
    parity = export_policy(exported, contract_of(env), env, path).contract.parity
    assert parity is not None
    return Figure(
        name=f"export parity, {name} ({parity.steps} actions in a fresh process)",
        bar=f"<= {PARITY_BAR:g}, returns equal",
        measured=f"{parity.max_abs_error:.1e}, {parity.episodes} of 5 episodes with equal return, none with another",
        passed=parity.max_abs_error <= PARITY_BAR and parity.episodes > 0,
    )


def _damage_figure(path: Path, folder: Path, cases: int) -> Figure:
    rng, slowest, loaded = np.random.default_rng(0), 0.0, 0
    archive = folder / "damaged.zip"
    good = {path / name: content for name, content in PolicyBundle.load(path).files().items()}
    good[archive] = PolicyBundle.load(path).write(archive).read_bytes()
    places = list(good)
    for _ in range(cases):
        place = places[rng.integers(len(places))]
        content = bytearray(good[place])
        position = int(rng.integers(len(content)))
        content[position] ^= int(rng.integers(1, 256))
        place.write_bytes(content if rng.random() < 0.8 else content[:position])
        start = time.perf_counter()
        try:
            PolicyBundle.load(archive if place == archive else path)
            loaded += 1
        except BundleError:
            pass
        slowest = max(slowest, time.perf_counter() - start)
        place.write_bytes(good[place])
    return Figure(
        name=f"{cases} damaged bundles (bytes changed, files cut; folders and archives)",
        bar="all BundleError, < 1 s each",
        measured=f"{loaded} loaded, slowest {1e3 * slowest:.0f} ms",
        passed=loaded == 0 and slowest < 1.0,
    )


def _sizes(env: gym.Env) -> tuple[int, int]:
    assert env.observation_space.shape is not None and env.action_space.shape is not None
    return env.observation_space.shape[0], env.action_space.shape[0]


def _mlp(env: gym.Env) -> ExportedPolicy:
    import equinox as eqx
    import jax

    from dynrl.policy.exporters.equinox import export_jax

    size, actions = _sizes(env)
    network = eqx.nn.MLP(size, actions, 256, 2, jax.nn.tanh, jax.numpy.tanh, key=jax.random.key(0))
    return export_jax(network, size)


def _gru(env: gym.Env) -> ExportedPolicy:
    import equinox as eqx
    import jax

    from dynrl.policy.exporters.equinox import export_recurrent_jax

    size, actions = _sizes(env)
    keys = jax.random.split(jax.random.key(0))
    cell, head = eqx.nn.GRUCell(size, 64, key=keys[0]), eqx.nn.Linear(64, actions, key=keys[1])

    def policy(observation: Any, memory: Any) -> tuple[Any, Any]:
        memory = cell(observation, memory)
        return jax.numpy.tanh(head(memory)), memory

    return export_recurrent_jax(policy, size, {"h": (64,)})


def _with_statistics() -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    return VecNormalize(DummyVecEnv([lambda: gym.make(_ENV)]))


def _sb3(name: str, steps: int, **settings: Any) -> Callable[[gym.Env], ExportedPolicy]:
    def make(env: gym.Env) -> ExportedPolicy:
        import stable_baselines3

        from dynrl.policy.exporters.sb3 import export_sb3

        algorithm = getattr(stable_baselines3, name)
        return export_sb3(
            algorithm("MlpPolicy", _with_statistics(), seed=0, device="cpu", **settings).learn(steps)
        )

    return make


def _sbx(name: str, steps: int, **settings: Any) -> Callable[[gym.Env], ExportedPolicy]:
    def make(env: gym.Env) -> ExportedPolicy:
        import sbx

        from dynrl.policy.exporters.sb3 import export_sbx

        algorithm = getattr(sbx, name)
        return export_sbx(algorithm("MlpPolicy", _with_statistics(), seed=0, **settings).learn(steps))

    return make


def _brax(env: gym.Env) -> ExportedPolicy:
    from brax.training.agents.ppo import train as ppo

    from dynrl.faces.brax import BraxEnv
    from dynrl.policy.exporters.brax import export_brax
    from dynrl.registry import make_functional

    world = BraxEnv(make_functional(_ENV))
    make_policy, trained, _ = ppo.train(
        environment=world,
        num_timesteps=20_000,
        episode_length=75,
        num_envs=16,
        unroll_length=25,
        batch_size=16,
        num_minibatches=4,
        num_updates_per_batch=4,
        normalize_observations=True,
        run_evals=False,
        num_evals=1,
        seed=0,
    )
    return export_brax(make_policy(trained, deterministic=True), world)


def _quick_policies() -> dict[str, Callable[[gym.Env], ExportedPolicy]]:
    return {"Equinox MLP": _mlp, "Equinox GRU": _gru}


def _trained_policies() -> dict[str, Callable[[gym.Env], ExportedPolicy]]:
    return {
        "SB3 PPO with VecNormalize": _sb3("PPO", 4096, n_steps=512),
        "SB3 SAC with VecNormalize": _sb3("SAC", 1000),
        "SBX PPO with VecNormalize": _sbx("PPO", 4096, n_steps=512),
        "SBX SAC with VecNormalize": _sbx("SAC", 1000),
        "Brax PPO": _brax,
    }
