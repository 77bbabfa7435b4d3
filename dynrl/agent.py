"""The agent protocol: used the way Stable-Baselines3's algorithms are, saved without pickle.

Subclass `Agent`, name a frozen config dataclass, say what is learnt (`initial_state`), how to act (`act`) and
how to learn from one transition (`update`); everything else is inherited.
"""

import dataclasses
import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import gymnasium as gym
import numpy as np

from dynrl.errors import ConfigError, FileFormatError

SUFFIX = ".safetensors"


class Transition(NamedTuple):
    """One step of the environment, as `Agent.update` sees it (single, not batched)."""

    observation: Any
    action: Any
    reward: float
    next_observation: Any
    terminated: bool
    truncated: bool
    info: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class NoConfig:
    """The config of an agent without hyper-parameters."""


class Agent:
    """A learning algorithm bound to one Gymnasium environment.

    Subclasses set `Config` to a frozen dataclass and define:

    * `initial_state() -> pytree`: everything that is learnt, as (nested) arrays and numbers; kept in
      `self.state`, saved and restored by the base class. May read `self.env`, `self.config`, `self.rng`.
    * `act(observation, deterministic) -> action`: for ONE observation; `deterministic=False` while learning.
    * `update(transition)`: replaces `self.state`.

    `learn` calls them step by step. An agent that learns in one compiled program overrides `learn`; one that
    predicts for whole batches, or carries memory between steps, overrides `predict`.

    Attributes:
        env, observation_space, action_space: the Gymnasium environment and its spaces.
        config: an instance of `Config`.
        rng: the agent's NumPy generator; its state is saved too.
        state: what `initial_state` returned, as updated since.
        num_timesteps: environment steps taken by `learn`.
        last_observation: where the running episode stands; None when the next step starts with a reset.
    """

    Config: ClassVar[type] = NoConfig

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        parameters = getattr(cls.Config, "__dataclass_params__", None)
        if parameters is None or not parameters.frozen:
            raise TypeError(f"{cls.__name__}.Config must be a frozen dataclass")
        if "seed" in {field.name for field in dataclasses.fields(cls.Config)}:
            raise TypeError(
                f"{cls.__name__}.Config must not have a field `seed`: it is an argument of the agent"
            )

    def __init__(
        self, env: gym.Env | str, config: Any = None, *, seed: int | None = None, **overrides: Any
    ) -> None:
        """Makes an untrained agent.

        Args:
            env: a Gymnasium environment, or the id of a registered one.
            config: an instance of `Config`; its defaults when None.
            seed: seeds the agent's generator and the first reset of the environment.
            overrides: fields of `Config` to change, by name.

        Raises:
            ConfigError: unknown or invalid field.
            TypeError: `env` is not a single Gymnasium environment, or `config` of another class.
        """
        self.env = gym.make(env) if isinstance(env, str) else env
        if not isinstance(self.env, gym.Env):
            raise TypeError(
                f"{type(self).__name__} needs one gymnasium.Env (or its id), got {type(self.env).__name__}"
            )
        self.config = self._make_config(config, overrides)
        self.observation_space = self.env.observation_space
        self.action_space = self.env.action_space
        self.seed = seed
        self.rng = np.random.default_rng(seed)
        self.num_timesteps = 0
        self.last_observation: Any = None
        self._vec_env: Any = None
        self._logger: Any = None
        self.state = self.initial_state()

    @classmethod
    def _make_config(cls, config: Any, overrides: Mapping[str, Any]) -> Any:
        if not (config is None or isinstance(config, cls.Config)):
            raise TypeError(f"config must be a {cls.Config.__name__}, got {type(config).__name__}")
        names = [field.name for field in dataclasses.fields(cls.Config)]
        for name in overrides:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                advice = f"did you mean {close[0]!r}?" if close else f"it has: {', '.join(names) or 'none'}"
                raise ConfigError(f"{cls.__name__} has no setting {name!r}; {advice}")
        if config is None:
            return cls.Config(**overrides)
        checked: Any = config
        return dataclasses.replace(checked, **overrides)

    def initial_state(self) -> Any:
        """The untrained state: a pytree of arrays and numbers."""
        raise NotImplementedError

    def act(self, observation: Any, deterministic: bool) -> Any:
        """The action for one observation."""
        raise NotImplementedError

    def update(self, transition: Transition) -> None:
        """Learns from one transition."""
        raise NotImplementedError

    def learn(
        self,
        total_timesteps: int,
        callback: Any = None,
        progress_bar: bool = False,
        reset_num_timesteps: bool = True,
    ) -> Self:
        """Takes `total_timesteps` steps in the environment, learning from each.

        Args:
            total_timesteps: steps to take now.
            callback: None, a callable `(locals, globals) -> bool | None` (False stops), an SB3
                `BaseCallback`, or a list of these.
            progress_bar: show rate and time left.
            reset_num_timesteps: start counting at 0 and begin a new episode, as SB3 does; False goes on with
                the running episode.
        """
        from dynrl.runs.progress import Progress

        if reset_num_timesteps:
            self.num_timesteps = 0
            self.last_observation = None
        end = self.num_timesteps + int(total_timesteps)
        driver = Callbacks(self, callback)
        driver.start({"self": self, "total_timesteps": end})
        with Progress(int(total_timesteps), "steps", shown=progress_bar) as progress:
            while self.num_timesteps < end:
                transition = self._step()
                progress.advance(1)
                if not driver.step(transition):
                    break
        driver.end()
        return self

    def _step(self) -> Transition:
        if self.last_observation is None:
            first = self.num_timesteps == 0
            self.last_observation, _ = self.env.reset(seed=self.seed if first else None)
        action = self.act(self.last_observation, deterministic=False)
        observation, reward, terminated, truncated, info = self.env.step(action)
        transition = Transition(
            self.last_observation, action, float(reward), observation, terminated, truncated, info
        )
        self.update(transition)
        self.num_timesteps += 1
        self.last_observation = None if terminated or truncated else observation
        return transition

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[np.ndarray, Any]:
        """Actions for one observation, or for a batch of them (leading axis).

        Returns:
            (action of the action space's shape, or [B, *shape] for a batch; `state` as given).

        Raises:
            ValueError: the observation fits neither the space nor a batch of it.
        """
        count = batch_size(self.observation_space, observation)
        if count is None:
            return np.asarray(self.act(observation, deterministic)), state
        rows = [_take(observation, index) for index in range(count)]
        return np.stack([np.asarray(self.act(row, deterministic)) for row in rows]), state

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that is learnt, the step count and the random state, as named arrays."""
        from dynrl.runs.checkpoint import flatten_tree, generator_to_array

        return {
            **flatten_tree(self.state, "state"),
            "num_timesteps": np.array(self.num_timesteps, np.int64),
            "rng": generator_to_array(self.rng),
        }

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state_dict` gave.

        Raises:
            FileFormatError: a missing or unexpected array, or one of another shape; nothing is changed then.
        """
        from dynrl.runs.checkpoint import array_to_generator, unflatten_tree

        for name in ("num_timesteps", "rng"):
            if name not in arrays:
                raise FileFormatError(f"array {name!r} is missing from what was saved")
        state = unflatten_tree(self.state, arrays, "state")
        rng = array_to_generator(arrays["rng"])
        self.state, self.rng, self.num_timesteps = state, rng, int(arrays["num_timesteps"])

    def save(self, path: str | PathLike[str]) -> None:
        """Writes one safetensors file with the state and, as JSON, the config and the class name.

        The suffix becomes `.safetensors` (also where SB3's callbacks ask for `.zip`).
        """
        from pydantic import TypeAdapter

        from dynrl.runs.array_file import write_arrays
        from dynrl.runs.versions import versions

        target = agent_path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        config = TypeAdapter(self.Config).dump_python(self.config, mode="json")
        meta = {"agent": _class_name(type(self)), "config": config, "versions": versions()}
        write_arrays(target, self.state_dict(), meta)

    @classmethod
    def load(cls, path: str | PathLike[str], env: gym.Env | str, *, seed: int | None = None) -> Self:
        """The agent that `save` wrote, bound to `env`.

        Raises:
            FileFormatError: missing or damaged file, saved by another class, or for other spaces.
        """
        from dynrl.config import from_mapping
        from dynrl.runs.array_file import read_arrays

        source = agent_path(path)
        arrays, meta = read_arrays(source)
        if meta.get("agent") != _class_name(cls):
            raise FileFormatError(
                f"{source} holds a {meta.get('agent', 'file without an agent')}, not a {_class_name(cls)}"
            )
        config: Any = from_mapping(cls.Config, meta.get("config", {}), str(source))
        agent = cls(env, config, seed=seed)
        try:
            agent.load_state_dict(arrays)
        except FileFormatError as error:
            raise FileFormatError(f"{source} does not fit this environment: {error}") from error
        return agent

    @property
    def logger(self) -> Any:
        """An SB3 logger (silent unless `set_logger` gave another), for SB3's callbacks."""
        if self._logger is None:
            from stable_baselines3.common.logger import Logger

            self._logger = Logger(folder=None, output_formats=[])
        return self._logger

    def set_logger(self, logger: Any) -> None:
        """Uses an SB3 logger from now on."""
        self._logger = logger

    def dump_logs(self) -> None:
        """Writes what callbacks recorded with `logger`."""
        self.logger.dump(self.num_timesteps)

    def get_env(self) -> Any:
        """The environment as an SB3 `VecEnv` of one, for SB3's callbacks."""
        if self._vec_env is None:
            from stable_baselines3.common.vec_env import DummyVecEnv

            self._vec_env = DummyVecEnv([lambda: self.env])
        return self._vec_env

    def get_vec_normalize_env(self) -> None:
        """None: observations are not normalised outside the agent."""
        return None


def agent_path(path: str | PathLike[str]) -> Path:
    """Where `Agent.save(path)` writes: `best` and `best.zip` both become `best.safetensors`."""
    given = Path(path)
    if given.suffix == SUFFIX:
        return given
    return given.with_suffix(SUFFIX) if given.suffix == ".zip" else given.with_name(given.name + SUFFIX)


def batch_size(space: gym.Space, observation: Any) -> int | None:
    """None when `observation` is one of `space`; B when it is a batch with a leading axis of length B.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(space, gym.spaces.Dict):
        if not isinstance(observation, Mapping) or set(observation) != set(space.spaces):
            raise ValueError(f"observation must be a mapping with the keys {sorted(space.spaces)}")
        sizes = {batch_size(space[name], observation[name]) for name in space.spaces}
        if len(sizes) > 1:
            raise ValueError("the parts of the observation disagree on the batch size")
        return sizes.pop() if sizes else None
    if space.shape is None:
        return None
    shape = np.shape(observation)
    if shape == space.shape:
        return None
    if shape[1:] == space.shape and len(shape) == len(space.shape) + 1:
        return shape[0]
    raise ValueError(f"observation has shape {shape}, expected {space.shape} or a batch (B, *{space.shape})")


def _take(observation: Any, index: int) -> Any:
    if isinstance(observation, Mapping):
        return {name: _take(part, index) for name, part in observation.items()}
    return observation[index]


def _class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


class Callbacks:
    """Drives callables and SB3 callbacks through one run of `learn`; imports nothing unless one is SB3's."""

    def __init__(self, agent: Agent, callback: Any) -> None:
        given = [] if callback is None else list(callback) if isinstance(callback, Sequence) else [callback]
        module = sys.modules.get("stable_baselines3.common.callbacks")
        self._callbacks = [] if module is None else [c for c in given if isinstance(c, module.BaseCallback)]
        self._functions: list[Callable[..., Any]] = [c for c in given if c not in self._callbacks]
        for function in self._functions:
            if not callable(function):
                raise TypeError(
                    f"callback must be callable or an SB3 callback, got {type(function).__name__}"
                )
        for part in self._callbacks:
            part.init_callback(agent)
        self._locals: dict[str, Any] = {}

    def start(self, local_values: dict[str, Any]) -> None:
        self._locals = local_values
        for part in self._callbacks:
            part.on_training_start(self._locals, globals())
            part.on_rollout_start()

    def step(self, transition: Transition) -> bool:
        if not self._callbacks and not self._functions:
            return True
        self._locals.update(
            transition=transition,
            rewards=np.array([transition.reward]),
            dones=np.array([transition.terminated or transition.truncated]),
            infos=[transition.info],
            actions=np.asarray(transition.action)[None],
        )
        go_on = [function(self._locals, globals()) is not False for function in self._functions]
        for part in self._callbacks:
            part.update_locals(self._locals)
            go_on.append(part.on_step() is not False)
        return all(go_on)

    def end(self) -> None:
        for part in self._callbacks:
            part.on_rollout_end()
            part.on_training_end()
