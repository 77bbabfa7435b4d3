"""One figure of a treatment: bands of trajectories with and without it, the dose, and the grid itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from dynrl.abm.model import AgentBasedModel
from dynrl.agents.digital_twins.controllers import Controller
from dynrl.agents.digital_twins.lifting import Lifted
from dynrl.agents.digital_twins.objectives import SetPoint
from dynrl.film import write_gif
from dynrl.plotting import check_picture, save_figure

__all__ = ["draw_treatment", "films_of", "write_film"]

Grids = tuple[NDArray[np.uint8], NDArray[np.uint8]]
FRAMES = 150


def films_of(
    env: str, env_kwargs: Mapping[str, Any], controller: Controller, steps: int, hold: int = 1, seed: int = 0
) -> Grids:
    """Pictures `[F, H, W, 3]` of the environment over `steps` steps, untreated and treated, from one seed; F is at most
    about 150, and the last one is of the end."""
    made = gym.make(env, render_mode="rgb_array", **env_kwargs)
    try:
        return _played(made, None, steps, hold, seed), _played(made, controller, steps, hold, seed)
    finally:
        made.close()


def write_film(out: Path, films: Grids, fps: float = 12.0) -> Path:
    """Writes an animated GIF of both films side by side, untreated left; a film that ends early stays at its end."""
    length = max(len(film) for film in films)
    gap = np.full((films[0].shape[1], 8, 3), 255, np.uint8)
    shown = ([film[min(number, len(film) - 1)] for film in films] for number in range(length))
    return write_gif(out, (np.concatenate([free, gap, treated], 1) for free, treated in shown), fps)


def draw_treatment(
    model: AgentBasedModel,
    objective: SetPoint,
    free: Lifted,
    treated: Lifted,
    grids: Grids | None,
    out: Path,
) -> Path:
    """Draws into `out` and returns it.

    Args:
        model: whose components and channels are named.
        objective: targets, drawn as dashed lines.
        free, treated: runs of the same seeds.
        grids: pictures of the grid untreated and treated; None to leave them out.
        out: .png, .svg or .pdf.

    Raises:
        UserError: not a picture's name, or the folder cannot be written.
    """
    check_picture(out)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wanted = [number for number, target in enumerate(objective.targets) if target is not None]
    rows = len(wanted) + 1
    figure = Figure(figsize=(11 if grids else 7.5, 2.2 * rows), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2 * rows, 3 if grids else 2)
    time = np.arange(free.macro.shape[1])
    for row, component in enumerate(wanted):
        axes = figure.add_subplot(grid[2 * row : 2 * row + 2, :2])
        for label, runs, color in (("untreated", free, "C7"), ("treated", treated, "C0")):
            values = runs.macro[..., component]
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
            axes.fill_between(time, low, high, color=color, alpha=0.25, linewidth=0)
            axes.plot(time, middle, color=color, label=f"{label}, J1 {runs.cost.mean():.3f}")
        target = objective.targets[component]
        if target is not None:
            axes.axhline(target, color="k", linestyle="--", linewidth=0.8)
        axes.set_ylabel(model.macro_names[component])
        axes.tick_params(labelbottom=False)
        if row == 0:
            axes.legend(loc="upper right", fontsize=8)
            axes.set_title(f"median and 90 % band of {len(free.macro)} runs; target dashed", fontsize=9)
    axes = figure.add_subplot(grid[2 * rows - 2 :, :2])
    for channel, name in enumerate(model.control_names):
        dose = treated.amount[..., channel]
        axes.plot(time[1:], _smooth(dose.mean(0)), label=f"{name}, mean", color=f"C{channel + 1}")
    axes.set_xlabel("step of the agent-based model")
    axes.set_ylabel("dose per step")
    axes.legend(fontsize=8)
    if grids is not None:
        for number, (picture, label) in enumerate(zip(grids, ("untreated", "treated"), strict=True)):
            axes = figure.add_subplot(grid[number * rows : (number + 1) * rows, 2])
            axes.imshow(picture)
            axes.set_title(f"{label}, at the end", fontsize=9)
            axes.set_axis_off()
    return save_figure(figure, out)


def _played(env: Any, controller: Controller | None, steps: int, hold: int, seed: int) -> NDArray[np.uint8]:
    """Pictures of an episode; macrostates come from `info`, in the model's own units."""
    model: AgentBasedModel = env.unwrapped.func_env.model
    act = jax.jit(lambda c, memory, macro: c(memory, macro, jax.random.key(seed)))
    _, info = env.reset(seed=seed)
    memory = controller.start() if controller is not None else ()
    u = np.zeros(len(model.control_names), np.float32)
    every = -(-steps // FRAMES)
    frames = [env.render()]
    for step in range(steps):
        if controller is not None and step % hold == 0:
            macro = jnp.asarray([float(info[name]) for name in model.macro_names])
            command, memory = act(controller, memory, macro)
            u = np.asarray(command, np.float32)
        space = env.action_space
        _, _, terminated, truncated, info = env.step(np.clip(u, space.low, space.high))
        over = terminated or truncated or step == steps - 1
        if over or (step + 1) % every == 0:
            frames.append(env.render())
        if over:
            break
    return np.stack(frames)


def _smooth(values: NDArray[Any], width: int = 10) -> NDArray[Any]:
    """Running mean over `width` steps; the ends average what there is."""
    kernel = np.ones(min(width, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
