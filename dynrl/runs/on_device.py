"""`experiment: on_device`: PPO on a functional environment, all seeds side by side in one compiled program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dynrl import registry
from dynrl.config import read_config
from dynrl.errors import ConfigError, FileFormatError, RunError
from dynrl.learning.on_device import PPO, Curve, checked_spaces, initial_seeds, proceed_seeds
from dynrl.runs.array_file import read_arrays, write_arrays
from dynrl.runs.checkpoint import flatten_tree, unflatten_tree
from dynrl.runs.episodes import return_figures
from dynrl.runs.learn import EnvChoice
from dynrl.runs.run import Run

_AGENT = "dynrl.learning.on_device:PPO"


@dataclass(frozen=True)
class OnDeviceConfig:
    """Settings of `experiment: on_device`.

    Attributes:
        env: what is learnt on: a functional environment, with the arguments of its class.
        ppo: hyper-parameters.
        seeds: trained side by side.
        log_every: environment steps of each seed between two rows of metrics; rounded to whole updates.
        checkpoint_every: steps between two checkpoints; rounded to whole rows.
    """

    env: EnvChoice
    ppo: PPO = field(default_factory=PPO)
    seeds: tuple[int, ...] = (0,)
    log_every: int = 5_000
    checkpoint_every: int = 50_000

    def __post_init__(self) -> None:
        for name in ("log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be one or more different numbers >= 0, got {list(self.seeds)}")


class OnDeviceExperiment:
    """Trains all seeds as one program, piece by piece; a resumed run ends as one that never stopped."""

    Config: ClassVar[type] = OnDeviceConfig

    def __init__(self, config: OnDeviceConfig) -> None:
        self.config = config
        try:
            self.env = registry.make_functional(config.env.id, **config.env.kwargs)
            checked_spaces(self.env)
        except (ValueError, TypeError, ImportError) as error:
            raise ConfigError(f"env: {error}") from error

    def train(self, run: Run) -> None:
        """Trains from the last checkpoint to the end, and stores one policy per seed."""
        import jax

        ppo, seeds = self.config.ppo, self.config.seeds
        states = initial_seeds(ppo, self.env, jax.vmap(jax.random.key)(np.array(seeds)))
        checkpoint = run.restore()
        if checkpoint is not None:
            states = unflatten_tree(states, checkpoint.arrays, "ppo")
        steps_per_update = ppo.num_envs * ppo.num_steps
        piece = max(self.config.log_every // steps_per_update, 1)
        done = saved = checkpoint.step if checkpoint else 0
        total = ppo.num_updates * steps_per_update
        with run.progress(total * len(seeds), "steps", done * len(seeds)) as progress:
            while done < total:
                updates = min(piece, (total - done) // steps_per_update)
                states, curve = jax.device_get(proceed_seeds(ppo, self.env, states, updates))
                done += updates * steps_per_update
                headline = self._log(run, done, curve, progress.rate())
                progress.advance(updates * steps_per_update * len(seeds), headline)
                if done - saved >= self.config.checkpoint_every and done < total:
                    run.checkpoint(done, flatten_tree(states, "ppo"))
                    saved = done
        for index, seed in enumerate(seeds):
            policy = ppo.policy(self.env, jax.tree.map(lambda leaf, row=index: leaf[row], states))
            write_arrays(run.artifact(_file(seed)), flatten_tree(policy, "policy"), {"agent": _AGENT})
        run.checkpoint(done, flatten_tree(states, "ppo"))

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Returns over `episodes` fresh episodes per seed, acting deterministically."""
        missing = [each for each in self.config.seeds if not (run.path / _file(each)).exists()]
        if missing:
            raise RunError(
                f"{run.path} has no trained policy yet; go on with `dynrl train --resume {run.path}`"
            )
        return return_figures(
            [self._returns(self.load(run, each), episodes, seed) for each in self.config.seeds]
        )

    def load(self, run: Run, seed: int) -> Any:
        """The policy of one seed, a `dynrl.learning.on_device.PPOPolicy`.

        Raises:
            FileFormatError: damaged, or of another algorithm.
        """
        import jax

        path = run.path / _file(seed)
        arrays, meta = read_arrays(path)
        if meta.get("agent") != _AGENT:
            raise FileFormatError(f"{path} holds a {meta.get('agent')}, not a {_AGENT}")
        untrained = self.config.ppo.initial_state(self.env, jax.random.key(0))
        return unflatten_tree(self.config.ppo.policy(self.env, untrained), arrays, "policy")

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Episode return against steps, one curve per environment, seeds and runs pooled."""
        from dynrl.plotting import align, plot_curves

        series: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for run in runs:
            config = read_config(str(run.config_path)).take("experiment")[1].build(OnDeviceConfig)
            columns = run.metrics()
            if "episode_return" not in columns:
                raise RunError(f"{run.path} has no metrics yet; let it train past its first checkpoint")
            for seed in np.unique(columns["seed"]):
                rows = columns["seed"] == seed
                pair = (columns["step"][rows].astype(float), columns["episode_return"][rows])
                series.setdefault(f"PPO on {config.env.id}", []).append(pair)
        try:
            curves = {label: align(pairs) for label, pairs in series.items()}
        except ValueError as error:
            raise RunError(f"nothing to plot: {error}") from error
        return [plot_curves(curves, out, "environment steps", "episode return")]

    def _log(self, run: Run, step: int, curve: Curve, rate: float) -> str:
        """One row per seed; episodes of all updates since the last row count alike."""
        returns = []
        for index, seed in enumerate(self.config.seeds):
            ended = curve.episodes[index]
            mean = {
                name: float(np.nansum(values[index] * ended) / ended.sum()) if ended.any() else float("nan")
                for name, values in (("return", curve.episode_return), ("length", curve.episode_length))
            }
            row = {
                "episode_return": mean["return"],
                "episode_length": mean["length"],
                "episodes": int(ended.sum()),
            }
            losses = {
                name: float(getattr(curve, name)[index].mean())
                for name in ("policy_loss", "value_loss", "entropy")
            }
            run.log(step, {"seed": seed, **row, **losses}, {"steps_per_second": rate})
            returns.append(mean["return"])
        return f"return {np.nanmean(returns):.4g}" if np.isfinite(returns).any() else ""

    def _returns(self, policy: Any, episodes: int, seed: int) -> np.ndarray:
        import jax

        from dynrl.faces.rollout import rollout

        keys = jax.vmap(jax.random.key)(seed + np.arange(episodes))
        rewards = rollout(self.env, _act, keys, policy_state=policy, collect=_reward)
        return np.asarray(rewards, np.float64).sum(1)


def _act(policy: Any, observation: Any, key: Any) -> tuple[Any, Any]:
    return policy.act(observation[None], ())[0][0], policy


def _reward(transition: Any) -> Any:
    return transition.reward


def _file(seed: int) -> str:
    return f"agents/seed-{seed}.safetensors"
