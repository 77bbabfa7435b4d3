"""`experiment: learn`: any registered agent, or an SB3/SBX algorithm, on any Gymnasium environment."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from dynrl import registry
from dynrl.agent import Agent
from dynrl.config import ConfigInput, read_config
from dynrl.errors import ConfigError, RunError
from dynrl.runs import brax_algorithm, sb3_algorithm
from dynrl.runs.checkpoint import Checkpoint, flatten_tree, unflatten_tree
from dynrl.runs.episodes import EpisodeRecord, filmed_episode, play_episodes, pooled_row, return_figures
from dynrl.runs.progress import Progress
from dynrl.runs.run import Run

_FILM_FPS = 25.0


@dataclass(frozen=True)
class EnvChoice:
    """Which environment.

    Attributes:
        id: a Gymnasium id.
        kwargs: given to `gymnasium.make`.
    """

    id: str
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentChoice:
    """Which algorithm.

    Attributes:
        name: a registered agent, `module:Class` of one of your own, `sb3.PPO`, `sbx.SAC` and so on, `brax.PPO` or
            `brax.SAC`.
        config: its hyper-parameters by name.
    """

    name: str
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LearnConfig:
    """Settings of `experiment: learn`.

    Attributes:
        env, agent: what learns where.
        total_timesteps: environment steps per seed, of all copies together.
        seeds: one training each, one after the other.
        num_envs: copies of the environment that an algorithm of SB3, SBX or Brax acts in, in one compiled step.
        log_every: steps between two rows of metrics (for Brax, between two evaluations).
        checkpoint_every: steps between two checkpoints (moved to the end of the running episode when the
            environment cannot store its state).
    """

    env: EnvChoice
    agent: AgentChoice
    total_timesteps: int = 100_000
    seeds: tuple[int, ...] = (0,)
    num_envs: int = 1
    log_every: int = 1_000
    checkpoint_every: int = 10_000

    def __post_init__(self) -> None:
        for name in ("total_timesteps", "num_envs", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds must be one or more different numbers >= 0, got {list(self.seeds)}")


class LearnExperiment:
    """Trains one agent per seed and logs the episodes it lives through.

    A resumed run gives the same numbers as one that never stopped: the checkpoint holds the agent and its
    random state, and the environment's state where it has `state_dict` (all of dynrl's). Other environments
    are checkpointed between two episodes and reseeded there, in every run, from the seed and the step count.
    SB3's algorithms cannot store their state without pickle, and Brax's do not hand it out; there the seed in progress
    is trained again.
    """

    Config: ClassVar[type] = LearnConfig

    def __init__(self, config: LearnConfig) -> None:
        self.config = config
        name = config.agent.name
        if config.num_envs > 1 and not (sb3_algorithm.is_sb3_name(name) or brax_algorithm.is_brax_name(name)):
            raise ConfigError(
                f"num_envs: {name} learns in one environment at a time; more than 1 is for SB3, SBX and Brax"
            )
        env = self.make_training_env()
        try:
            self._make_agent(env, config.seeds[0])
        finally:
            env.close()

    def train(self, run: Run) -> None:
        """Trains every seed that is not done yet."""
        checkpoint = run.restore()
        first = checkpoint.meta["seed_index"] if checkpoint else 0
        within = checkpoint if checkpoint and checkpoint.meta["record"] is not None else None
        done = first * self.config.total_timesteps + (within.step if within else 0)
        total = len(self.config.seeds) * self.config.total_timesteps
        with run.progress(total, "steps", done) as progress:
            for index in range(first, len(self.config.seeds)):
                _SeedTraining(self, run, index, progress).train(within if index == first else None)
                run.checkpoint(0, {}, {"seed_index": index + 1, "record": None})

    def evaluate(self, run: Run, episodes: int, seed: int) -> Mapping[str, float]:
        """Returns over `episodes` fresh episodes per trained seed; the interval is over seeds (over episodes
        where only one seed is trained)."""
        returns = []
        for training_seed in self.config.seeds:
            path = run.path / _agent_file(training_seed)
            if path.exists():
                env = self._make_env()
                returns.append(play_episodes(self._load_agent(env, training_seed, path), env, episodes, seed))
                env.close()
        if not returns:
            raise RunError(
                f"{run.path} has no trained agent yet; go on with `dynrl train --resume {run.path}`"
            )
        return return_figures(returns)

    def film(self, run: Run, out: Path, seed: int) -> Path:
        """Films one episode of the agent of the first seed that is trained; see `FilmingExperiment`.

        Raises:
            ConfigError: the environment has no pictures, or cannot draw them here.
            RunError: nothing is trained yet.
        """
        from dynrl.film import write_gif

        trained = [seed for seed in self.config.seeds if (run.path / _agent_file(seed)).exists()]
        if not trained:
            raise RunError(
                f"{run.path} has no trained agent yet; go on with `dynrl train --resume {run.path}`"
            )
        env = self._make_env(render_mode="rgb_array")
        try:
            agent = self._load_agent(env, trained[0], run.path / _agent_file(trained[0]))
            fps = float(env.metadata.get("render_fps", _FILM_FPS))
            every = max(1, round(fps / _FILM_FPS))
            return write_gif(out, filmed_episode(agent, env, seed, every), fps=min(fps / every, 50.0))
        except gym.error.DependencyNotInstalled as error:
            raise ConfigError(f"--video: {error}") from error
        finally:
            env.close()

    def plot(self, runs: Sequence[Run], out: Path) -> list[Path]:
        """Episode return against steps, one curve per agent and environment, seeds and runs pooled."""
        from dynrl.plotting import align, plot_curves

        series: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for run in runs:
            config = config_of(run)
            columns = run.metrics()
            if "episode_return" not in columns:
                raise RunError(f"{run.path} has no metrics yet; let it train past its first checkpoint")
            label = f"{config.agent.name} on {config.env.id}"
            for seed in np.unique(columns["seed"]):
                rows = columns["seed"] == seed
                pair = (columns["step"][rows].astype(float), columns["episode_return"][rows])
                series.setdefault(label, []).append(pair)
        try:
            curves = {label: align(pairs) for label, pairs in series.items()}
        except ValueError as error:
            raise RunError(f"nothing to plot: {error}") from error
        return [plot_curves(curves, out, "environment steps", "episode return")]

    def export_bundle(self, run: Run, out: Path, name: str | None, terms: Path | None) -> Path:
        """Writes the policy of one seed as a bundle, parity proven; see `dynrl.policy.export`.

        Args:
            run: of this experiment.
            out: folder or `.zip` file to write.
            name: `seed-N`; None for the first seed.
            terms: a `policy.yaml` without `model` to use as contract; None for the one that the environment declares.

        Raises:
            ConfigError: no such seed, or an agent whose policy is not a network that can be exported.
            RunError: it is not trained yet.
            BundleError: the contract does not fit, or the exported policy acts differently.
        """
        from dynrl.policy.export import contract_of, export_policy
        from dynrl.policy.yaml_text import read_contract

        seed = self._seed_called(name)
        path = run.path / _agent_file(seed)
        if not path.exists():
            raise RunError(
                f"{run.path} has no agent of seed {seed} yet; go on with `dynrl train --resume {run.path}`"
            )
        env = self._make_env()
        try:
            contract = contract_of(env) if terms is None else read_contract(_bytes(terms), str(terms))
            exported = self._exported(self._load_agent(env, seed, path))
            export_policy(exported, contract, env, out, provenance=run_provenance(run, seed))
        finally:
            env.close()
        return out

    def _seed_called(self, name: str | None) -> int:
        known = {f"seed-{seed}": seed for seed in self.config.seeds}
        if name is not None and name not in known:
            raise ConfigError(f"--name {name}: no such policy in this run; there is {', '.join(known)}")
        return self.config.seeds[0] if name is None else known[name]

    def _exported(self, agent: Any) -> Any:
        from dynrl.policy.exporters.exported import ExportingAgent

        if isinstance(agent, ExportingAgent):
            return agent.exported_policy()
        package = self.config.agent.name.partition(".")[0]
        if isinstance(agent, Agent) or package not in sb3_algorithm.PACKAGES:
            raise ConfigError(
                f"agent.name: {self.config.agent.name} has no policy that can become an ONNX graph; expected an agent "
                "with exported_policy(), or one of Stable-Baselines3 or SBX"
            )
        from dynrl.policy.exporters import sb3

        return sb3.export_sb3(agent) if package == "sb3" else sb3.export_sbx(agent)

    def _make_env(self, render_mode: str | None = None) -> gym.Env:
        choice = self.config.env
        rendering = {} if render_mode is None else {"render_mode": render_mode}
        try:
            return gym.make(choice.id, **{**choice.kwargs, **rendering})
        except (gym.error.Error, ImportError, TypeError, ValueError) as error:
            raise ConfigError(f"env: {choice.id} cannot be made: {error}") from error

    def make_training_env(self) -> Any:
        """What an agent learns in: the environment, or `num_envs` copies of it.

        Raises:
            ConfigError: it cannot be made, or not in copies.
        """
        if self.config.num_envs == 1 or brax_algorithm.is_brax_name(self.config.agent.name):
            return self._make_env()
        from dynrl.faces.sb3 import SB3VecEnv

        choice = self.config.env
        try:
            return SB3VecEnv(choice.id, self.config.num_envs, **choice.kwargs)
        except (ImportError, TypeError, ValueError) as error:
            raise ConfigError(f"num_envs: {choice.id} cannot be made in copies: {error}") from error

    def _make_agent(self, env: Any, seed: int) -> Any:
        choice = self.config.agent
        if sb3_algorithm.is_sb3_name(choice.name):
            return sb3_algorithm.make_model(choice.name, env, choice.config, seed)
        if brax_algorithm.is_brax_name(choice.name):
            world = self.config.env
            return brax_algorithm.BraxModel(
                choice.name, world.id, world.kwargs, choice.config, self.config.num_envs, seed
            )
        try:
            own = registry.Entry(choice.name, choice.name, "")
            cls = registry.load(own) if ":" in choice.name else registry.find_agent(choice.name)
        except (ValueError, ImportError) as error:
            raise ConfigError(f"agent.name: {error}") from error
        if not (isinstance(cls, type) and issubclass(cls, Agent)):
            raise ConfigError(f"agent.name: {choice.name} is not a dynrl.Agent")
        config: Any = ConfigInput(choice.config, source="", prefix="agent.config.").build(cls.Config)
        try:
            return cls(env, config, seed=seed)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"agent: {choice.name} cannot learn on {self.config.env.id}: {error}"
            ) from error

    def _load_agent(self, env: gym.Env, seed: int, path: Path) -> Any:
        agent = self._make_agent(env, seed)
        if isinstance(agent, Agent):
            return type(agent).load(path, env)
        if isinstance(agent, brax_algorithm.BraxModel):
            agent.load(path)
            return agent
        sb3_algorithm.load_policy(agent, self.config.agent.name, path)
        return agent


def config_of(run: Run) -> LearnConfig:
    """The config that a run of this experiment was made with."""
    return read_config(str(run.config_path)).take("experiment")[1].build(LearnConfig)


def run_provenance(run: Run, seed: int) -> Any:
    """Where a policy comes from, for its bundle."""
    from dynrl.policy.contract import Provenance
    from dynrl.policy.files import sha256

    commit, _, state = (run.git or "").partition("-")
    return Provenance(
        run=run.path.resolve().name,
        config_sha256=sha256(run.config_path.read_bytes()),
        git=commit or None,
        dirty=state == "dirty",
        versions=run.versions,
        seed=seed,
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--contract {path}: cannot be read: {error.strerror}") from error


def _agent_file(seed: int) -> str:
    return f"agents/seed-{seed}.safetensors"


def _reseed(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


class _SeedTraining:
    """The training of one seed: counts episodes, logs rows, takes checkpoints."""

    def __init__(self, experiment: LearnExperiment, run: Run, index: int, progress: Progress) -> None:
        self.config = experiment.config
        self.run, self.index, self.progress = run, index, progress
        self.seed = self.config.seeds[index]
        self.env = experiment.make_training_env()
        self.agent = experiment._make_agent(self.env, self.seed)
        self.records = [EpisodeRecord() for _ in range(self.config.num_envs)]
        self.step = 0
        self.saved_step = 0
        # Wrappers keep state of their own, so only a bare environment is stored in the middle of an episode.
        bare = getattr(self.env, "unwrapped", None) is self.env
        self.stores_state = bare and callable(getattr(self.env, "state_dict", None))

    def train(self, checkpoint: Checkpoint | None) -> None:
        """Trains to the end, from `checkpoint` if there is one, and stores the agent."""
        path = self.run.artifact(_agent_file(self.seed))
        self.env.action_space.seed(_reseed(self.seed, 0))
        if isinstance(self.agent, Agent):
            if checkpoint is not None:
                self._restore(checkpoint)
            left = self.config.total_timesteps - self.step
            self.agent.learn(left, callback=self._on_step, reset_num_timesteps=False)
            self.agent.save(path)
        elif isinstance(self.agent, brax_algorithm.BraxModel):
            self.agent.learn(self.config.total_timesteps, self.config.log_every, self._on_evaluation)
            self.agent.save(path)
        else:
            self.agent.learn(self.config.total_timesteps, callback=self._on_sb3_step)
            sb3_algorithm.save_policy(self.agent, self.config.agent.name, path)
        self.env.close()

    def _on_step(self, local_values: dict[str, Any], global_values: dict[str, Any]) -> bool:
        self._count(local_values)
        done = bool(local_values["dones"][0])
        due = self.step - self.saved_step >= self.config.checkpoint_every
        if due and (done or self.stores_state) and self.step < self.config.total_timesteps:
            self._checkpoint()
        return True

    def _on_sb3_step(self, local_values: dict[str, Any], global_values: dict[str, Any]) -> bool:
        self._count(local_values)
        return self.step < self.config.total_timesteps

    def _on_evaluation(self, step: int, return_: float, length: float) -> None:
        row = {"seed": self.seed, "episode_return": return_, "episode_length": length}
        self.run.log(step, row, {"steps_per_second": self.progress.rate()})
        before, self.step = self.step, min(step, self.config.total_timesteps)
        self.progress.advance(self.step - before, f"return {return_:.4g}")

    def _count(self, local_values: Mapping[str, Any]) -> None:
        for record, reward, done in zip(
            self.records, local_values["rewards"], local_values["dones"], strict=True
        ):
            record.add(float(reward), bool(done))
        before, self.step = self.step, self.step + len(self.records)
        headline, every, end = "", self.config.log_every, self.config.total_timesteps
        if self.step // every > before // every or before < end <= self.step:
            row = pooled_row(self.records)
            self.run.log(self.step, {"seed": self.seed, **row}, {"steps_per_second": self.progress.rate()})
            headline = f"return {row['episode_return']:.4g}"
        self.progress.advance(self.step - before, headline)

    def _checkpoint(self) -> None:
        arrays = {f"agent/{name}": array for name, array in self.agent.state_dict().items()}
        self.env.action_space.seed(_reseed(self.seed, self.step))
        if self.stores_state:
            arrays |= {f"env/{name}": array for name, array in self.env.state_dict().items()}
            if self.agent.last_observation is not None:
                arrays |= flatten_tree(self.agent.last_observation, "observation")
        meta = {"seed_index": self.index, "record": dataclasses.asdict(self.records[0])}
        self.run.checkpoint(self.step, arrays, meta)
        self.saved_step = self.step
        if not self.stores_state:
            self._begin_episode()

    def _begin_episode(self) -> None:
        self.agent.last_observation, _ = self.env.reset(seed=_reseed(self.seed, self.step))

    def _restore(self, checkpoint: Checkpoint) -> None:
        self.step = self.saved_step = checkpoint.step
        self.records = [EpisodeRecord(**checkpoint.meta["record"])]
        self.agent.load_state_dict(_part(checkpoint.arrays, "agent"))
        self.env.action_space.seed(_reseed(self.seed, self.step))
        if not self.stores_state:
            self._begin_episode()
            return
        observation, _ = self.env.reset(seed=self.seed)
        self.env.load_state_dict(_part(checkpoint.arrays, "env"))
        if any(name.partition("/")[0] == "observation" for name in checkpoint.arrays):
            self.agent.last_observation = unflatten_tree(observation, checkpoint.arrays, "observation")


def _part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(f"{prefix}/"): value
        for name, value in arrays.items()
        if name.startswith(f"{prefix}/")
    }
