"""Brax's trainers in a run: PPO and SAC on functional environments, their networks stored without pickle."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynrl import registry
from dynrl.errors import ConfigError, FileFormatError
from dynrl.physics.mjx_model import import_mjx
from dynrl.runs.array_file import read_arrays, write_arrays
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree

ALGORITHMS = ("brax.PPO", "brax.SAC")

# What an experiment says elsewhere, or what would write files of Brax's own.
_OURS = {
    "environment",
    "eval_env",
    "num_timesteps",
    "episode_length",
    "num_envs",
    "seed",
    "num_evals",
    "progress_fn",
}
_OURS |= {
    "network_factory",
    "policy_params_fn",
    "checkpoint_logdir",
    "save_checkpoint_path",
    "restore_checkpoint_path",
}
_OURS |= {"wrap_env", "wrap_env_fn", "randomization_fn", "restore_params", "run_evals"}


def is_brax_name(name: str) -> bool:
    """Whether `name` is like `brax.PPO`."""
    return name.startswith("brax.")


class BraxModel:
    """One of Brax's algorithms on one functional environment.

    Args:
        name: one of `ALGORITHMS`.
        env_id, env_kwargs: the environment; a MuJoCo task runs on MJX.
        config: arguments of Brax's `train` by name, and `network`: those of its network factory.
        num_envs: episodes side by side.
        seed: of everything random.

    Raises:
        ConfigError: Brax is not installed, no such algorithm or setting, or an environment that it cannot learn on.
    """

    def __init__(
        self,
        name: str,
        env_id: str,
        env_kwargs: Mapping[str, Any],
        config: Mapping[str, Any],
        num_envs: int,
        seed: int,
    ) -> None:
        if name not in ALGORITHMS:
            raise ConfigError(f"agent.name: {name} is not known; there are {', '.join(ALGORITHMS)}")
        kwargs = dict(env_kwargs)
        if kwargs.pop("backend", "mjx") != "mjx":
            raise ConfigError(f"env.kwargs.backend: {name} trains on 'mjx'; leave backend out")
        try:
            import_mjx()  # Brax imports it too, and it would print that Warp is not there
            from dynrl.faces.brax import BraxEnv

            self.env = BraxEnv(registry.make_functional(env_id, **kwargs))
        except (ImportError, TypeError, ValueError) as error:
            raise ConfigError(f"agent: {name} cannot learn on {env_id}: {error}") from error
        if self.env.episode_length is None:
            raise ConfigError(f"agent: {name} needs episodes of limited length; {env_id} has no horizon")
        self.name, self.num_envs, self.seed = name, num_envs, seed
        settings = {key: _tuples(value) for key, value in config.items()}
        network = settings.pop("network", {})
        self._train, factory, self._make_policy_of = _parts(name)
        _refuse_unknown(f"agent.config of {name}", settings, self._train, _OURS)
        _refuse_unknown(
            f"agent.config.network of {name}", network, factory, {"observation_size", "action_size"}
        )
        self._settings, self._factory = settings, partial(factory, **network)
        if name == "brax.PPO":
            batch = settings.get("batch_size", 32) * settings.get("num_minibatches", 16)
            if batch % num_envs:
                raise ConfigError(
                    f"num_envs: {num_envs} does not divide batch_size * num_minibatches, which is {batch}"
                )
        self._params: Any = None
        self._policy: Any = None

    def learn(
        self, total_timesteps: int, log_every: int, report: Callable[[int, float, float], None]
    ) -> None:
        """Train from the beginning.

        Args:
            total_timesteps: of all copies together; Brax rounds it up.
            log_every: steps between two evaluations, about.
            report: called with (steps so far, mean return, mean length) of Brax's own evaluation episodes.
        """

        def progress(steps: int, metrics: Mapping[str, Any]) -> None:
            report(
                int(steps), float(metrics["eval/episode_reward"]), float(metrics["eval/avg_episode_length"])
            )

        _, params, _ = self._train(
            environment=self.env,
            num_timesteps=total_timesteps,
            episode_length=self.env.episode_length,
            num_envs=self.num_envs,
            num_evals=max(total_timesteps // log_every, 1) + 1,
            network_factory=self._factory,
            progress_fn=progress,
            seed=self.seed,
            **self._settings,
        )
        self._use(params[:2])

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[np.ndarray, Any]:
        """Actions for one observation or a batch of them; always the policy's mode."""
        observation = np.asarray(observation, np.float32)
        single = observation.shape == self.env.func_env.observation_space.shape
        rows = observation.reshape(1 if single else len(observation), -1)
        actions = np.asarray(self._policy(rows))
        return (actions[0] if single else actions), state

    def save(self, path: Path) -> None:
        """Write the policy's network and the moments of observations as one safetensors file."""
        write_arrays(path, flatten_tree(self._params, "policy"), {"agent": self.name})

    def load(self, path: Path) -> None:
        """Take over what `save` wrote.

        Raises:
            FileFormatError: damaged file, another algorithm, other shapes.
        """
        import jax
        import jax.numpy as jnp
        from brax.training.acme import running_statistics, specs

        arrays, meta = read_arrays(path)
        if meta.get("agent") != self.name:
            raise FileFormatError(f"{path} holds a {meta.get('agent')}, not a {self.name}")
        moments = running_statistics.init_state(
            specs.Array((self.env.observation_size,), np.dtype("float32"))
        )
        template = (moments, self._networks().policy_network.init(jax.random.key(0)))
        template = jax.tree.map(jnp.asarray, template)  # one of the moments' settings is a Python number
        self._use(unflatten_tree(template, arrays, "policy"))

    def _networks(self) -> Any:
        from brax.training.acme import running_statistics

        sizes = (self.env.observation_size, self.env.action_size)
        if self._settings.get("normalize_observations", False):
            return self._factory(*sizes, preprocess_observations_fn=running_statistics.normalize)
        return self._factory(*sizes)

    def _use(self, params: Any) -> None:
        import jax

        self._params = params
        policy = self._make_policy_of(self._networks())(params, deterministic=True)

        @jax.jit
        def act(observations: Any) -> Any:
            return jax.vmap(self.env.to_bounds)(policy(observations, jax.random.key(0))[0])

        self._policy = act


def _parts(name: str) -> tuple[Any, Any, Any]:
    if name == "brax.PPO":
        from brax.training.agents.ppo import networks as ppo_networks
        from brax.training.agents.ppo import train as ppo

        return ppo.train, ppo_networks.make_ppo_networks, ppo_networks.make_inference_fn
    from brax.training.agents.sac import networks as sac_networks
    from brax.training.agents.sac import train as sac

    return sac.train, sac_networks.make_sac_networks, sac_networks.make_inference_fn


def _refuse_unknown(where: str, settings: Mapping[str, Any], function: Any, ours: set[str]) -> None:
    known = set(inspect.signature(function).parameters) - ours
    if unknown := sorted(set(settings) - known):
        raise ConfigError(f"{where} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(value) if isinstance(value, list) else value
