"""The checks behind `check_env`. Each takes a `Subject`, raises AssertionError when a promise is broken, and
may return a note."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib.util
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dynrl.faces.episode import Episode, advance, begin, key_from_seed
from dynrl.faces.vector_env import VectorEnv
from dynrl.functional import FunctionalEnv
from dynrl.physics.single_env import MujocoEnv
from dynrl.physics.task import MujocoTask
from dynrl.physics.vector_env import MujocoVectorEnv
from dynrl.registry import Entry, load
from dynrl.testing.agreement import task_functions_agree
from dynrl.testing.comparison import difference, nonfinite, snapshot

_LANES = 3
_SHORT = 12
_SHORT_HORIZON = 5
_REFUSALS = (ValueError, TypeError, AssertionError, IndexError, gymnasium.error.Error)


class NotApplicable(Exception):
    """The check has nothing to say about this environment; the message says why."""


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        name: in words.
        make: returns a fresh single environment, without wrappers.
        functional: the functional environment behind it, if there is one.
        task: the MuJoCo task behind it, if there is one.
        spec: Gymnasium's registration, if there is one.
        seed: of resets and random actions.
        steps: length of the long rollout.
        examples: number of option draws.
    """

    name: str
    make: Callable[[], gymnasium.Env]
    functional: FunctionalEnv | None
    spec: gymnasium.envs.registration.EnvSpec | None
    seed: int
    steps: int
    examples: int
    task: MujocoTask | None = None

    @property
    def world(self) -> FunctionalEnv | MujocoTask | None:
        """What this library steps, if it is one of its own."""
        return self.functional or self.task

    def require_world(self) -> FunctionalEnv | MujocoTask:
        if self.world is None:
            raise NotApplicable("neither a functional environment nor a MuJoCo task")
        return self.world

    def with_short_episodes(self) -> Subject:
        """The same world with episodes of a few steps, where its horizon can be chosen: ends are then
        frequent."""
        env: Any = self.world
        if env is None or "horizon" not in {field.name for field in dataclasses.fields(env) if field.init}:
            return self
        short = _replaced(env, horizon=min(env.horizon or _SHORT_HORIZON, _SHORT_HORIZON))
        changed: dict[str, Any] = {"task" if isinstance(short, MujocoTask) else "functional": short}
        return dataclasses.replace(self, make=partial(single, short), **changed)

    def tolerance(self) -> float:
        exact = self.task is not None or (self.functional is not None and self.functional.x64)
        return 1e-12 if exact else 1e-5


def subject(env: Any, env_kwargs: dict[str, Any], *, seed: int, steps: int, examples: int) -> Subject:
    """Describe what is to be checked, from a registered name, a functional environment or an instance."""
    limits: dict[str, Any] = {"seed": seed, "steps": steps, "examples": examples}
    if isinstance(env, FunctionalEnv):
        return Subject(type(env).__name__, partial(single, env), env, None, **limits)
    if isinstance(env, MujocoTask):
        return Subject(type(env).__name__, partial(single, env), None, None, task=env, **limits)
    if isinstance(env, str):
        made = gymnasium.make(env, **env_kwargs).unwrapped
        limited = gymnasium.make(env, **env_kwargs)
        horizon = limited.spec.max_episode_steps if limited.spec else None
        name, make = env, partial(_make_registered, env, env_kwargs, horizon)
    elif isinstance(env, gymnasium.Env):
        made, name = env.unwrapped, type(env.unwrapped).__name__
        make = partial(copy.deepcopy, env)
    else:
        raise TypeError(
            f"env is a {type(env).__name__}, expected a name, a FunctionalEnv, a MujocoTask or a gymnasium.Env."
        )
    task = made.task if isinstance(made, MujocoEnv) else None
    return Subject(name, make, getattr(made, "func_env", None), made.spec, task=task, **limits)


def single(env: FunctionalEnv | MujocoTask) -> gymnasium.Env:
    """Return the single face that `gymnasium.make` would build."""
    if isinstance(env, MujocoTask):
        return MujocoEnv(env)
    target = env.gymnasium_class or "dynrl.faces.gymnasium_env:GymnasiumEnv"
    return load(Entry(type(env).__name__, target, ""))(env)


def _make_registered(name: str, kwargs: dict[str, Any], horizon: int | None) -> gymnasium.Env:
    env = gymnasium.make(name, **kwargs).unwrapped
    return env if horizon is None else gymnasium.wrappers.TimeLimit(env, horizon)


def play(env: gymnasium.Env, seed: int, steps: int) -> Iterator[tuple[str, Any]]:
    """Reset with `seed`, then play random actions and reset at every end; yields `(what, returned value)`,
    copied."""
    env.action_space.seed(seed)
    yield "reset(seed)", snapshot(env.reset(seed=seed))
    for index in range(steps):
        shown = env.step(env.action_space.sample())
        yield f"step {index}", snapshot(shown)
        if shown[2] or shown[3]:
            yield f"reset after step {index}", snapshot(env.reset())


def check_gymnasium(subject: Subject) -> str:
    from gymnasium.utils.env_checker import check_env

    with _quiet(), _as_assertion():
        try:
            check_env(subject.make().unwrapped)
        except gymnasium.error.DependencyNotInstalled as missing:
            check_env(subject.make().unwrapped, skip_render_check=True)
            return f"without rendering: {missing}"
    return "Gymnasium's checker ran"


def check_sb3(subject: Subject) -> str:
    if importlib.util.find_spec("stable_baselines3") is None:
        raise NotApplicable("Stable-Baselines3 is not installed (pip install dynrl[sb3])")
    from stable_baselines3.common.env_checker import check_env

    with _quiet(), _as_assertion():
        check_env(subject.make().unwrapped, warn=False)
    return "Stable-Baselines3's checker ran"


def check_state_types(subject: Subject) -> None:
    env = subject.require_world()
    if isinstance(env, MujocoTask):
        for what, shown in play(subject.make(), subject.seed, _SHORT):
            array = shown[0]
            assert array.dtype == np.float64, f"{what}: the observation is {array.dtype}, expected float64."
        return
    with jax.enable_x64(env.x64):
        params, key = env.default_params, key_from_seed(0)
        episode, observation, _ = jax.eval_shape(partial(begin, env), key, params)
        action = env.check_actions(np.asarray(_sample(env.action_space))[None])[0]
        following, outcome = jax.eval_shape(partial(advance, env), episode, action, params)
    for what, before, after in (
        ("state", episode.state, following.state),
        ("observation", observation, outcome.observation),
    ):
        seen, expected = _types(after), _types(before)
        assert seen == expected, f"the {what} changes from {expected} at a reset to {seen} after a step."
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        assert np.asarray(leaf).dtype != object, f"params{jax.tree_util.keystr(path)} is no array of numbers."


def check_compiled_equals_eager(subject: Subject) -> None:
    world_agrees(subject.require_world(), subject.seed, subject.tolerance())


def world_agrees(world: FunctionalEnv | MujocoTask, seed: int, tolerance: float) -> None:
    """The functions of a world give the same, compiled or not, with JAX or with NumPy."""
    if isinstance(world, MujocoTask):
        task_functions_agree(world, seed, tolerance)
    else:
        compiled_equals_eager(world, seed, tolerance)


def compiled_equals_eager(env: FunctionalEnv, seed: int, tolerance: float) -> None:
    """A reset and a step, compiled and not: they differ when compiled code holds a constant of another
    instance."""
    face = single(env)
    face.action_space.seed(seed)
    action = face.action_space.sample()
    observation, _ = face.reset(seed=seed)
    shown = face.step(action)
    with jax.enable_x64(env.x64), jax.disable_jit():
        params, key = env.default_params, key_from_seed(seed)
        episode, first, _ = begin(env, key, params)
        checked = env.check_actions(np.asarray(action)[None])[0]
        _, outcome = advance(env, Episode(*jax.tree.map(jax.numpy.asarray, episode)), checked, params)
    for what, compiled, eager in (
        ("first observation", observation, first),
        ("observation", shown[0], outcome.observation),
        ("reward", shown[1], outcome.reward),
        ("termination", shown[2], outcome.terminated),
    ):
        found = difference(compiled, jax.device_get(eager), tolerance, dtypes=False)
        assert found is None, (
            f"the {what} of compiled code is not that of the functions themselves ({found}); "
            "do they read a compare=False field instead of params?"
        )


def check_vector_equals_single(subject: Subject) -> None:
    subject = subject.with_short_episodes()
    if subject.world is None and (subject.spec is None or subject.spec.vector_entry_point is None):
        raise NotApplicable("it has no vector form of its own")
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        vector = _vector(subject, mode)
        if vector.metadata["autoreset_mode"] is not mode:
            continue
        reference = SyncVectorEnv([subject.make] * _LANES, autoreset_mode=mode)
        pairs = zip(_play_vector(vector, subject), _play_vector(reference, subject), strict=True)
        for (what, ours), (_, theirs) in pairs:
            found = difference(ours, theirs, subject.tolerance(), dtypes=False)
            assert found is None, f"{mode.value}, {what}: the vector form differs from single ones: {found}."


def check_no_shared_memory(subject: Subject) -> None:
    env = subject.make()
    env.action_space.seed(subject.seed)
    earlier = _arrays(env.reset(seed=subject.seed))
    for index in range(_SHORT):
        shown = env.step(env.action_space.sample())
        arrays = _arrays(shown)
        shared = any(np.shares_memory(new, old) for new in arrays for old in earlier)
        assert not shared, f"step {index} returned an array that shares memory with an earlier one."
        earlier += arrays
        if shown[2] or shown[3]:
            earlier += _arrays(env.reset())


def check_final_observation(subject: Subject) -> str:
    subject = subject.with_short_episodes()
    vector = _vector(subject, AutoresetMode.SAME_STEP)
    if vector.metadata["autoreset_mode"] is not AutoresetMode.SAME_STEP:
        vector = SyncVectorEnv([subject.make] * _LANES, autoreset_mode=AutoresetMode.SAME_STEP)
    singles = [subject.make() for _ in range(_LANES)]
    vector.action_space.seed(subject.seed)
    vector.reset(seed=subject.seed)
    for index, env in enumerate(singles):
        env.reset(seed=subject.seed + index)
    ends = 0
    for _ in range(subject.steps):
        actions = vector.action_space.sample()
        batch, _, terminated, truncated, infos = vector.step(actions)
        for index, (env, action) in enumerate(
            zip(singles, gymnasium.vector.utils.iterate(vector.action_space, actions), strict=True)
        ):
            last, _, single_terminated, single_truncated, _ = snapshot(env.step(action))
            assert (terminated[index], truncated[index]) == (single_terminated, single_truncated), (
                "flags differ."
            )
            if not (terminated[index] or truncated[index]):
                continue
            ends += 1
            found = difference(_row(infos["final_obs"], index), last, subject.tolerance())
            assert found is None, f"final_obs is not the last observation of the episode: {found}."
            fresh = snapshot(env.reset()[0])
            found = difference(_row(batch, index), fresh, subject.tolerance(), dtypes=False)
            assert found is None, f"the observation after an auto-reset is not that of a reset: {found}."
        if ends >= 2 * _LANES:
            break
    if not ends:
        raise NotApplicable(f"no episode ended within {subject.steps} steps")
    return f"{ends} episode ends compared"


def check_seeding(subject: Subject) -> None:
    subject = subject.with_short_episodes()
    steps = max(_SHORT, subject.steps // 3)
    trajectories = [list(play(subject.make(), subject.seed, steps)) for _ in range(2)]
    for (what, first), (_, second) in zip(*trajectories, strict=True):
        found = difference(first, second)
        assert found is None, f"{what} differs between two runs with the same seed: {found}."
    env = subject.make()
    for _ in range(2):
        again = [shown for _, shown in play(env, subject.seed, _SHORT)]
        expected = [shown for _, shown in trajectories[0][: len(again)]]
        found = difference(again, expected)
        assert found is None, f"a used environment seeded again does not repeat itself: {found}."


def check_bad_actions(subject: Subject) -> str:
    actions = dict(_bad_actions(subject.make().action_space))
    if not actions:
        raise NotApplicable("no bad action is known for this action space")
    notes = []
    for what, action in actions.items():
        env, twin = subject.make(), subject.make()
        env.reset(seed=subject.seed), twin.reset(seed=subject.seed)
        try:
            shown = env.step(action)
        except _REFUSALS as refusal:
            assert subject.world is None or isinstance(refusal, ValueError), (
                f"{what} raises {type(refusal).__name__}, expected ValueError."
            )
            _same_continuation(env, twin, subject.seed, f"after refusing {what}")
            continue
        found = nonfinite(shown[:2])
        assert found is None, f"{what} was played and gave {found}; raise ValueError instead."
        repaired = bool(shown[4].get("action_projected", False))
        assert subject.world is None or repaired, (
            f"{what} was played without complaint; raise ValueError, or say info['action_projected']."
        )
        notes.append(f"{what} is {'projected' if repaired else 'played'}")
    return "; ".join(notes)


def check_long_rollout(subject: Subject) -> None:
    env = subject.make()
    for what, shown in play(env, subject.seed, subject.steps):
        assert env.observation_space.contains(shown[0]), (
            f"{what}: observation {shown[0]!r} is not in {env.observation_space}."
        )
        found = nonfinite(shown[:2] if len(shown) == 5 else shown[:1])
        assert found is None, f"{what}: {found}."


def check_copies(subject: Subject) -> None:
    for how, duplicate in (("deepcopy", copy.deepcopy), ("pickle", _through_pickle)):
        env = subject.make()
        env.action_space.seed(subject.seed)
        env.reset(seed=subject.seed)
        shown = env.step(env.action_space.sample())
        if shown[2] or shown[3]:
            env.reset()
        with _as_assertion(f"{how} failed: "):
            twin = duplicate(env)
        _same_continuation(env, twin, subject.seed, f"of a {how}")


def check_options(subject: Subject) -> str:
    env = subject.require_world()
    choices = dict(type(env).option_choices)
    with _as_assertion("reset(options={'no such option': 1}) must raise ValueError: "):
        try:
            single(env).reset(seed=subject.seed, options={"no such option": 1})
        except ValueError:
            pass
        else:
            raise AssertionError("it was accepted silently.")
    if not choices:
        return "constructor options: none declared"
    drawn = _draw_options(env, choices, subject)
    return f"{drawn} draws of {', '.join(choices)}"


CHECKS: Mapping[str, Callable[[Subject], str | None]] = {
    "gymnasium": check_gymnasium,
    "sb3": check_sb3,
    "state types": check_state_types,
    "compiled equals eager": check_compiled_equals_eager,
    "vector equals single": check_vector_equals_single,
    "no shared memory": check_no_shared_memory,
    "final observation": check_final_observation,
    "seeding": check_seeding,
    "bad actions": check_bad_actions,
    "long rollout": check_long_rollout,
    "copies": check_copies,
    "options": check_options,
}


def _draw_options(env: FunctionalEnv | MujocoTask, choices: Mapping[str, Any], subject: Subject) -> int:
    try:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import seed as fixed_seed
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("drawing options needs Hypothesis: pip install dynrl[dev]") from error

    drawn: list[dict[str, Any]] = []

    @fixed_seed(subject.seed)
    @settings(
        max_examples=subject.examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.fixed_dictionaries({name: st.sampled_from(list(values)) for name, values in choices.items()}))
    def try_options(options: dict[str, Any]) -> None:
        drawn.append(options)
        try:
            variant = _replaced(env, **options)
            world_agrees(variant, subject.seed, subject.tolerance())
            face = single(variant)
            for what, shown in play(face, subject.seed, _SHORT):
                assert face.observation_space.contains(shown[0]), f"{what}: {shown[0]!r} is not in the space."
                found = nonfinite(shown[:2] if len(shown) == 5 else shown[:1])
                assert found is None, f"{what}: {found}."
        except (ValueError, TypeError, AssertionError) as error:
            raise AssertionError(f"with options {options}: {error}") from error

    try_options()
    return len(drawn)


def _replaced(env: Any, **changes: Any) -> Any:
    return dataclasses.replace(env, **changes)


def _vector(subject: Subject, mode: AutoresetMode) -> gymnasium.vector.VectorEnv:
    if subject.task is not None:
        return MujocoVectorEnv(subject.task, _LANES, autoreset_mode=mode)
    if subject.functional is not None:
        return VectorEnv(subject.functional, _LANES, autoreset_mode=mode)
    if subject.spec is not None and subject.spec.vector_entry_point is not None:
        return gymnasium.make_vec(subject.spec, _LANES, vectorization_mode="vector_entry_point")
    return SyncVectorEnv([subject.make] * _LANES, autoreset_mode=mode)


def _play_vector(env: gymnasium.vector.VectorEnv, subject: Subject) -> Iterator[tuple[str, Any]]:
    env.action_space.seed(subject.seed)
    yield "reset(seed)", snapshot(env.reset(seed=subject.seed)[0])
    for index in range(subject.steps // 3):
        yield f"step {index}", snapshot(env.step(env.action_space.sample())[:4])


def _same_continuation(env: gymnasium.Env, twin: gymnasium.Env, seed: int, when: str) -> None:
    env.action_space.seed(seed)
    for index in range(_SHORT):
        action = env.action_space.sample()
        ours = snapshot(env.step(action))
        with _as_assertion(f"the episode {when} cannot go on: "):
            theirs = snapshot(twin.step(action))
        found = difference(ours, theirs)
        assert found is None, f"the episode {when} goes on differently, step {index}: {found}."
        if ours[2] or ours[3]:
            break


def _bad_actions(space: gymnasium.Space) -> Iterator[tuple[str, Any]]:
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return
    valid = np.asarray(_sample(space))
    yield "an action of a wrong shape", np.zeros((*valid.shape, 2), valid.dtype)
    yield "a NaN action", np.full(valid.shape, np.nan, float) if valid.shape else np.nan
    if isinstance(space, spaces.Discrete):
        yield "an action out of range", space.start + space.n
    elif isinstance(space, spaces.MultiDiscrete):
        yield "an action out of range", (space.start + space.nvec).astype(space.dtype)
    elif isinstance(space, spaces.MultiBinary):
        yield "an action out of range", np.full(space.shape, 2, space.dtype)
    elif np.isfinite(space.high).any():
        beyond = np.where(np.isfinite(space.high), space.high + 1 + abs(space.high), 0).astype(space.dtype)
        yield "an action out of range", beyond


def _sample(space: gymnasium.Space) -> Any:
    space = copy.deepcopy(space)
    space.seed(0)
    return space.sample()


def _types(tree: Any) -> str:
    described = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", tree)
    return str(described)


def _arrays(tree: Any) -> list[np.ndarray]:
    return [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, np.ndarray) and leaf.size]


def _row(batch: Any, index: int) -> Any:
    if isinstance(batch, np.ndarray) and batch.dtype == object:
        return batch[index]
    return jax.tree.map(lambda leaf: leaf[index], batch)


def _through_pickle(env: gymnasium.Env) -> gymnasium.Env:
    return pickle.loads(pickle.dumps(env))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _as_assertion(prefix: str = "") -> Iterator[None]:
    # The wrapped checkers and copy protocols raise whatever they like; here every refusal is the same
    # finding.
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{prefix}{error}") from error
    except (*_REFUSALS, AttributeError, KeyError, pickle.PicklingError, NotImplementedError) as error:
        raise AssertionError(f"{prefix}{type(error).__name__}: {error}") from error
