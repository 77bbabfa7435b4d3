"""MuJoCo tasks on MuJoCo Warp, MuJoCo's engine for NVIDIA GPUs, through MJX."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar

import jax

from dynrl.physics.mjx_env import MjxEnv
from dynrl.physics.mjx_model import import_mjx


@dataclass(frozen=True)
class WarpEnv(MjxEnv):
    """A MuJoCo task whose physics is MuJoCo Warp: `MjxEnv` with another engine, for many simulations on a GPU.

    Everything said of `MjxEnv` holds, but that it computes in float32 only. It agrees with the C engine on a CPU, where
    Warp runs too, slowly. Nobody has measured it on a GPU yet.

    Args:
        task: model, observation, reward and end.
        x64: must stay False.
        solver: `"newton"` or `"cg"` in place of the model's own solver.
        max_contacts: of all simulations together; contacts beyond it are dropped.
        max_constraints: of one simulation; None for what the model seems to need.
        on_cpu: run without a GPU too.

    Raises:
        ImportError: Warp is not installed.
        ValueError: no GPU and not `on_cpu`; float64; or something that the engine lacks.
    """

    engine: ClassVar[str] = "warp"

    max_contacts: int = 65_536
    max_constraints: int | None = None
    on_cpu: bool = False

    def __post_init__(self) -> None:
        if importlib.util.find_spec("warp") is None:
            raise ImportError(
                "the backend `warp` needs NVIDIA Warp and an NVIDIA GPU: pip install warp-lang; "
                "without a GPU use the backend `batch`."
            )
        platforms = {device.platform for device in jax.devices()}
        if not self.on_cpu and not platforms & {"gpu", "cuda"}:
            raise ValueError(
                f"the backend `warp` needs an NVIDIA GPU, and JAX sees only {', '.join(sorted(platforms))}: "
                "use the backend `batch`, or WarpEnv(task, on_cpu=True) to try it, slowly."
            )
        if self.x64:
            raise ValueError(
                "the backend `warp` computes in float32; leave x64 out, or use `batch` or `mjx`."
            )
        import warp

        warp.config.quiet = True  # it reports every kernel that it compiles
        super().__post_init__()

    def _make_data(self) -> Any:
        room = {"naconmax": self.max_contacts, "njmax": self.max_constraints}
        return import_mjx().make_data(self.task.model, impl="warp", **room)

    def _prepared(self, model: Any) -> Any:
        if "cfrc_ext" not in self.task.data_fields:
            return model
        own = model.opt._impl.replace(run_rne_postconstraint=True)
        return model.replace(opt=model.opt.replace(_impl=own))

    def _with_external_forces(self, model: Any, data: Any) -> Any:
        return data  # every step computes them, see `_prepared`

    def _at_start(self, model: Any, data: Any) -> Any:
        return import_mjx().forward(model, data) if self.task.data_fields else data
