"""A vector environment in which every lane has its own parameters psi."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from dynrl.robust.binding import Columns, world_of
from dynrl.robust.lanes import FunctionalLanes, Lanes, LoopLanes, MujocoLanes
from dynrl.robust.sets import UncertaintySet

Sampler = Callable[[np.random.Generator, int], np.ndarray]


class RobustVectorEnv(gymnasium.vector.VectorEnv):
    """N lanes in SAME_STEP mode, each with a parameter vector; made by `make_robust_vec`.

    The infos of reset and step hold `psi [N, d]`, a copy of what is now in force; where an episode ended, `final_psi`
    is what it was played with.

    Args:
        lanes: the environments.
        uset: the parameters, bound to the environment.
        sampler: `(rng, k) -> psi [k, d]`, called for the lanes that reset and for no others; None keeps every lane's
            psi.

    Attributes:
        uset: as given.
        sampler: may be replaced at any time.
    """

    def __init__(self, lanes: Lanes, uset: UncertaintySet, sampler: Sampler | None = None):
        self.uset, self.sampler = uset, sampler
        self._lanes, self._inner = lanes, lanes.env
        self.num_envs = lanes.env.num_envs
        self.metadata = {**lanes.env.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = lanes.env.render_mode
        self.single_observation_space = lanes.env.single_observation_space
        self.single_action_space = lanes.env.single_action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._psi = np.repeat(uset.nominal[None], self.num_envs, axis=0)
        self._rng: np.random.Generator | None = None
        self._delay = Columns(uset.params).delay if not lanes.delays else []
        self._pending: np.ndarray | None = None
        lanes.apply(self._psi, np.arange(self.num_envs))

    @property
    def psi(self) -> np.ndarray:
        """What is in force, `[N, d]`; a copy."""
        return self._psi.copy()

    @property
    def nominal(self) -> np.ndarray:
        """The environment's own parameters, `[d]`."""
        return self.uset.nominal

    @property
    def lanes_env(self) -> gymnasium.vector.VectorEnv:
        """The vector environment below."""
        return self._inner

    def set_psi(self, psi: np.ndarray, ids: Any = None) -> None:
        """Give lanes other parameters, at once, in running episodes too.

        Args:
            psi: `[d]` for all, or `[k, d]`.
            ids: which lanes, `[k]`; None for all.

        Raises:
            ValueError: a wrong shape, an id that is none, or psi outside the set (nominal values are always allowed).
        """
        chosen = np.arange(self.num_envs) if ids is None else np.atleast_1d(np.asarray(ids))
        if chosen.dtype.kind not in "iu" or not ((chosen >= 0) & (chosen < self.num_envs)).all():
            raise ValueError(f"ids are {ids!r}, expected integers from 0 to {self.num_envs - 1}.")
        self._set(np.broadcast_to(self._checked(psi, len(chosen)), (len(chosen), self.uset.dim)), chosen)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode in every lane, after drawing parameters for all where there is a sampler.

        Args:
            seed: lane i gets `seed + i` (or `seed[i]`), and the sampler its random numbers from it.
            options: `{"psi": [d] or [N, d]}` sets the parameters instead of drawing them.

        Raises:
            ValueError: another option, or a psi that `set_psi` refuses.
        """
        options = dict(options or {})
        given = options.pop("psi", None)
        if options:
            raise ValueError(f"unknown reset option {sorted(options)[0]!r}; expected 'psi'.")
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(_entropy(seed))
        everyone = np.arange(self.num_envs)
        if given is not None:
            self.set_psi(given)
        elif self.sampler is not None:
            self._redraw(everyone)
        self._pending = None
        # The base class knows no lists of seeds; those of Gymnasium that can be below do, as ours.
        observation, info = self._inner.reset(seed=seed)  # type: ignore[arg-type]
        self._lanes.after_begin(self._psi, everyone)
        return observation, {**info, **self._psi_info(np.ones(self.num_envs, bool))}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Play one action per lane; episodes that end begin anew at once, with new parameters if there is a sampler."""
        played = self._psi.copy()
        observation, reward, terminated, truncated, info = self._lanes.step(
            self._delayed(actions), self._redraw
        )
        ended = terminated | truncated
        info = {**info, **self._psi_info(np.ones(self.num_envs, bool))}
        if ended.any():
            ids = np.flatnonzero(ended)
            self._lanes.after_begin(self._psi[ids], ids)
            info |= {"final_psi": np.where(ended[:, None], played, 0.0), "_final_psi": ended.copy()}
            if self._pending is not None:
                self._pending[:, ids] = neutral_action(self.single_action_space)
        return observation, reward, terminated, truncated, info

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return everything that the future depends on, as named arrays.

        Raises:
            gymnasium.error.ResetNeeded: never reset.
            TypeError: third-party environments, whose state nobody can store.
        """
        from dynrl.runs.checkpoint import generator_to_array

        arrays = {f"lanes/{name}": value for name, value in self._storing().state_dict().items()}
        arrays["psi"] = self.psi
        if self._rng is not None:
            arrays["rng"] = generator_to_array(self._rng)
        if self._pending is not None:
            arrays["pending"] = self._pending.copy()
        return arrays

    def load_state_dict(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue what `state_dict` stored; environment, set, N and sampler must be the same.

        Raises:
            dynrl.errors.FileFormatError: an array is missing, or of another shape.
        """
        from dynrl.errors import FileFormatError
        from dynrl.runs.checkpoint import array_to_generator

        shape = arrays["psi"].shape if "psi" in arrays else None
        if shape != self._psi.shape:
            raise FileFormatError(f"psi was saved with shape {shape}, expected {self._psi.shape}.")
        self._set(np.array(arrays["psi"]), np.arange(self.num_envs))
        inner = {
            name.removeprefix("lanes/"): value for name, value in arrays.items() if name.startswith("lanes/")
        }
        self._storing().load_state_dict(inner)
        self._rng = array_to_generator(arrays["rng"]) if "rng" in arrays else None
        self._pending = np.array(arrays["pending"]) if "pending" in arrays else None

    def render(self) -> Any:
        return self._inner.render()

    def close_extras(self, **kwargs: Any) -> None:
        self._inner.close()

    def _storing(self) -> Any:
        if self._lanes.delays:
            raise TypeError(
                "a third-party environment has no state_dict; use one of ours to store running episodes."
            )
        return self._inner

    def _redraw(self, ids: np.ndarray) -> bool:
        if self.sampler is None:
            return False
        if self._rng is None:
            self._rng = np.random.default_rng()
        drawn = np.asarray(self.sampler(self._rng, len(ids)), float)
        if drawn.shape != (len(ids), self.uset.dim):
            raise ValueError(
                f"the sampler returned shape {drawn.shape}, expected {(len(ids), self.uset.dim)}."
            )
        self._set(self._checked(drawn, len(ids)), ids)
        return True

    def _set(self, psi: np.ndarray, ids: np.ndarray) -> None:
        self._lanes.apply(psi, ids)
        self._psi[ids] = psi

    def _checked(self, psi: Any, count: int) -> np.ndarray:
        psi = numbers_of(self.uset, psi)
        if psi.shape not in ((self.uset.dim,), (count, self.uset.dim)):
            raise ValueError(
                f"psi has shape {psi.shape}, expected ({self.uset.dim},) or ({count}, {self.uset.dim}): "
                f"{list(self.uset.names)}."
            )
        check_inside(self.uset, psi)
        return psi

    def _psi_info(self, mask: np.ndarray) -> dict[str, np.ndarray]:
        return {"psi": self._psi.copy(), "_psi": mask}

    def _delayed(self, actions: Any) -> Any:
        """The actions that arrive now: each lane's own of `delay` steps ago."""
        if not self._delay:
            return actions
        actions = np.asarray(actions)
        longest = int(self.uset.high[self._delay[0]])
        if self._pending is None:
            still = np.broadcast_to(neutral_action(self.single_action_space), actions.shape)
            self._pending = np.repeat(still[None].astype(actions.dtype), longest + 1, axis=0)
        self._pending = np.concatenate([actions[None], self._pending[:-1]])
        delay = self._psi[:, self._delay[0]].astype(int)
        return self._pending[delay, np.arange(self.num_envs)]


def make_robust_vec(
    env: Any,
    uset: UncertaintySet,
    num_envs: int,
    sampler: Sampler | str | None = None,
    num_threads: int = 0,
    render_mode: str | None = None,
    **env_kwargs: Any,
) -> RobustVectorEnv:
    """Make N lanes with parameters of their own.

    Args:
        env: id of an environment (`"dynrl/Hopper-v0"`, `"Pendulum-v1"`), a `MujocoTask`, a `FunctionalEnv`, or a
            function that makes a Gymnasium env. MuJoCo tasks run on the C engine and functional worlds compiled;
            third-party environments in a Python loop.
        uset: the parameters; nominal values are this environment's, whatever the set was bound to before.
        num_envs: N.
        sampler: `(rng, k) -> psi [k, d]` for lanes that reset; `"uniform"`, `"sobol"` or `"lhs"` for the set's own;
            None keeps psi (nominal at first).
        num_threads: of the C engine; 0 for all processors. Results do not depend on it.
        render_mode: as in `gymnasium.make_vec`; an environment that a function makes has its own.
        env_kwargs: constructor arguments, with an id.

    Raises:
        ValueError: a parameter that the environment does not have, an unknown sampler, `num_envs` below 1, or
            third-party environments whose observations are no array.
        TypeError: an environment of another kind.
    """
    if render_mode is not None and isinstance(env, str) and not env.startswith("dynrl/"):
        env_kwargs["render_mode"] = render_mode
    world, make_env = _world(env, env_kwargs)
    if make_env is not None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, (int, np.integer)) or num_envs < 1:
            raise ValueError(f"num_envs is {num_envs!r}, expected a positive integer.")
        envs = [make_env() for _ in range(num_envs)]
        bound = uset.bind(envs[0])
        lanes: Lanes = LoopLanes(envs, bound)
    else:
        bound, func_env = uset.bind(world), world_of(world).func_env
        if func_env is not None:
            lanes = FunctionalLanes(func_env, bound, num_envs, render_mode)
        else:
            lanes = MujocoLanes(world, bound, num_envs, num_threads, render_mode)
    return RobustVectorEnv(lanes, bound, _sampler(sampler, bound))


def _world(env: Any, kwargs: dict[str, Any]) -> tuple[Any, Callable[[], gymnasium.Env] | None]:
    """The task or functional world, or else a maker of a third-party environment."""
    if isinstance(env, str):
        if env.startswith("dynrl/"):
            from dynrl.registry import make_world

            return make_world(env, **kwargs), None
        return None, partial(gymnasium.make, env, **kwargs)
    if kwargs:
        raise TypeError(f"{sorted(kwargs)[0]!r} is for ids; this environment is made already.")
    if isinstance(env, gymnasium.Env):
        raise TypeError(
            "give an id or a function that makes the environment: one cannot be stepped in several lanes."
        )
    if callable(env):
        return None, env
    return env, None


def _sampler(sampler: Sampler | str | None, uset: UncertaintySet) -> Sampler | None:
    if isinstance(sampler, str):
        from dynrl.robust.sets import METHODS

        if sampler not in METHODS:
            raise ValueError(f"sampler is {sampler!r}, expected one of {list(METHODS)}, a function, or None.")
        return partial(_draw, uset, sampler)
    return sampler


def _draw(uset: UncertaintySet, method: str, rng: np.random.Generator, k: int) -> np.ndarray:
    return uset.sample(rng, k, method)


def numbers_of(uset: UncertaintySet, psi: Any) -> np.ndarray:
    """Parameters as float64, of any shape.

    Raises:
        ValueError: they are no numbers, or rows of different lengths.
    """
    try:
        return np.array(psi, float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"psi is {psi!r}, expected numbers for {list(uset.names)}.") from error


def check_inside(uset: UncertaintySet, psi: np.ndarray) -> None:
    """Refuse parameters outside a set; a component at its nominal value always passes.

    Raises:
        ValueError: names the parameter, the value and the bounds.
    """
    rows = np.atleast_2d(psi)
    nominal = rows == uset.nominal
    wrong = ~(((rows >= uset.low) & (rows <= uset.high)) | nominal)
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{uset.names[column]!r} is {rows[row, column]} (row {row}), outside "
            f"[{uset.low[column]:g}, {uset.high[column]:g}]; uset.clip(psi) moves it inside."
        )
    # Whole numbers, and sets that are no boxes; nominal components outside the bounds stand at the bound here.
    inside = uset.contains(np.where(nominal, np.clip(rows, uset.low, uset.high), rows)) | nominal.all(-1)
    if not inside.all():
        row = int(np.flatnonzero(~inside)[0])
        raise ValueError(
            f"psi {rows[row]} (row {row}) is not in the {type(uset).__name__}; uset.clip(psi) moves it inside."
        )


def neutral_action(space: gymnasium.Space) -> np.ndarray:
    """What the actuators get before the first delayed action arrives: nothing, as far as the space allows."""
    if isinstance(space, spaces.Box):
        return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
    if isinstance(space, spaces.Discrete):
        return np.asarray(space.start)
    raise ValueError(f"a delay of actions needs a Box or Discrete action space, got {space}.")


def _entropy(seed: int | Sequence[int | None] | None) -> Any:
    # Beside the lanes' own streams, which come from the bare seed.
    if seed is None:
        return None
    seeds = (
        [seed] if isinstance(seed, (int, np.integer)) else [0 if value is None else value for value in seed]
    )
    return [0x707369, *(int(value) for value in seeds)]
