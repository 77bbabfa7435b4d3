"""What users give to the faces on the C engine, checked where it enters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from dynrl.physics.episodes import Episodes
from dynrl.physics.task import MujocoTask


def checked_count(name: str, value: int) -> int:
    """Return a positive count.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} is {value!r}, expected a positive integer.")
    return int(value)


def checked_autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    """Return the mode if it is one of the two that reset.

    Raises:
        ValueError: it is not.
    """
    try:
        mode = AutoresetMode(mode)
    except ValueError:
        mode = AutoresetMode.DISABLED
    if mode is AutoresetMode.DISABLED:
        raise ValueError("autoreset_mode must be AutoresetMode.NEXT_STEP or AutoresetMode.SAME_STEP.")
    return mode


def metadata_of(task: MujocoTask) -> dict[str, Any]:
    """Return Gymnasium's metadata of a task's faces; a film of steps longer than a second shows one a second."""
    return {"render_modes": ["human", "rgb_array"], "render_fps": max(1, round(1.0 / task.dt))}


def checked_render_mode(metadata: Mapping[str, Any], render_mode: str | None) -> str | None:
    """Return the render mode if `metadata` offers it.

    Raises:
        ValueError: it does not.
    """
    if render_mode is not None and render_mode not in metadata["render_modes"]:
        raise ValueError(
            f"render_mode is {render_mode!r}, expected None or one of {metadata['render_modes']}."
        )
    return render_mode


def checked_ids(ids: Any, num: int) -> np.ndarray | None:
    """Return ids `[k]`, or None for all.

    Raises:
        ValueError: they are no integers from 0 to `num` - 1.
    """
    if ids is None:
        return None
    array = np.atleast_1d(np.asarray(ids))
    if array.dtype.kind not in "iu" or array.ndim != 1 or not ((array >= 0) & (array < num)).all():
        raise ValueError(f"ids are {ids!r}, expected integers from 0 to {num - 1}.")
    return array


def refuse_options(task: MujocoTask, options: Mapping[str, Any] | None) -> None:
    """Refuse the options of a reset.

    Raises:
        ValueError: there is one.
    """
    if options:
        raise ValueError(
            f"{type(task).__name__} knows no reset option {sorted(options)[0]!r}; it takes none. "
            "Change the physics with set_params, and the state with set_state."
        )


def require_reset(done: bool, what: str) -> None:
    """Refuse what needs an episode.

    Raises:
        gymnasium.error.ResetNeeded: there was never one.
    """
    if not done:
        raise ResetNeeded(f"cannot {what}: never reset; call reset() first.")


def set_state(episodes: Episodes, qpos: Any, qvel: Any, ids: np.ndarray) -> np.ndarray:
    """Move simulations `ids [k]` to `qpos [k, nq]` and `qvel [k, nv]`; returns the observations there, `[k, n]`.

    Raises:
        ValueError: a wrong shape, or a number that is not finite.
    """
    model, arrays = episodes.task.model, []
    for name, value, size in (("qpos", qpos, model.nq), ("qvel", qvel, model.nv)):
        array = np.asarray(value, float)
        if array.shape != (len(ids), size) or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape}, expected {(len(ids), size)}, all finite.")
        arrays.append(array)
    episodes.simulations.write(ids, *arrays)
    return episodes.observe(ids)


def checked_forces(task: MujocoTask, forces: Any, count: int) -> np.ndarray:
    """Return forces and torques `[count, nbody, 6]`.

    Raises:
        ValueError: a wrong shape, or a number that is not finite.
    """
    array = np.asarray(forces, float)
    shape = (count, task.model.nbody, 6)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"forces have shape {array.shape}, expected {shape}, all finite.")
    return array


def checked_seeds(seed: int | Sequence[int | None] | None, num: int) -> list[int | None]:
    """Return one seed per environment: `seed + i`, or `seed[i]` of a list; None where there is none.

    Raises:
        ValueError: a list of another length, or a negative seed.
    """
    if seed is None or isinstance(seed, (int, np.integer)):
        seeds: list[int | None] = [None if seed is None else int(seed) + i for i in range(num)]
    else:
        seeds = [None if value is None else int(value) for value in seed]
    if len(seeds) != num:
        raise ValueError(f"seed has {len(seeds)} entries, expected one per environment: {num}.")
    negative = [value for value in seeds if value is not None and value < 0]
    if negative:
        raise ValueError(f"seed {negative[0]} is negative, expected a non-negative integer.")
    return seeds
