"""Metamodels written from the rules: wolves, sheep and grass with a delay; the well-mixed metabolic network."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from dynrl.abm.metabolic_mean_field import mean_field_step
from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.dynamics.solvers import Rk4

__all__ = ["MetabolicMeanField", "OdeRates", "WolfSheepOde"]

Array = Any


class OdeRates(NamedTuple):
    """Rates of `WolfSheepOde`, each `[]`, per step of the agent-based model.

    The defaults are first guesses: what the rules say, and 0.9 and 0.4 for what mixing and energy spread make of them.

    Attributes:
        graze, hunt: share of the encounters of perfect mixing that take place.
        sheep_starve, wolf_starve: b of the death rates.
        p_sheep, p_wolf: births per animal.
        gain_sheep, gain_wolf: energy per meal.
        regrowth: R, steps.
    """

    graze: Any = 0.9
    hunt: Any = 0.9
    sheep_starve: Any = 0.4
    wolf_starve: Any = 0.4
    p_sheep: Any = 0.04
    p_wolf: Any = 0.05
    gain_sheep: Any = 4.0
    gain_wolf: Any = 20.0
    regrowth: Any = 30.0


SCALE = (100.0, 200.0, 1000.0)
STAGES = 4


class WolfSheepOde(Metamodel):
    """Predator, prey and resource with energy reserves and a chain of regrowth stages, as a differential equation.

    With A cells, w wolves, s sheep, g grown cells, mean reserves e_w and e_s, and eaten grass in a chain of four stages
    c_1..c_4 (so that regrowth takes about R steps, with a spread):

    * grazing  G = a_s g (1 - exp(-s / A)),  kills  K = a_w s (1 - exp(-w / A))
    * deaths per animal  d(e) = b / (1 + e)²: few animals have nothing left when reserves are high
    * s' = p_s s - d(e_s) s - K - u_s s,   w' = p_w w - d(e_w) w - u_w w
    * e_s' = gain_s G / s - 1 - (p_s - d) e_s, likewise wolves
    * g' = (4 / R) c_4 - G,  c_1' = G - (4 / R) c_1,  c_i' = (4 / R) (c_{i-1} - c_i)

    The state is w, s, g (scaled as the macrostate), c_1..c_4 as multiples of the scale of g, e_w, e_s. The nine rates
    are positive, stored as logarithms and fitted; a context `[5]` multiplies gain_wolf, gain_sheep, p_wolf, p_sheep and
    R by its exponentials, so that one fitted model serves every patient.
    """

    log_rates: OdeRates
    cells: int = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    solver: Rk4 = eqx.field(static=True)

    def __init__(
        self,
        cells: int,
        stride: int = 10,
        control_scale: tuple[float, float] = (0.2, 0.2),
        solver: Rk4 | None = None,
    ) -> None:
        """Starts from first guesses of the rates; `fit` improves them.

        Args:
            cells: A, of the grid.
            stride: steps of the agent-based model per step.
            control_scale: command that enters as 1.
            solver: per stride; Runge–Kutta steps of two time units by default.
        """
        if cells < 1 or stride < 1:
            raise ValueError(f"cells={cells}, stride={stride}: expected positive numbers")
        self.log_rates = OdeRates(*(jnp.log(rate) for rate in OdeRates()))
        self.cells, self.scale, self.control_scale, self.stride = cells, SCALE, tuple(control_scale), stride
        self.solver = Rk4(max(round(stride / 2), 1)) if solver is None else solver

    def rates(self, context: Array) -> OdeRates:
        """The rates of a patient."""
        rates = OdeRates(*(jnp.exp(value) for value in self.log_rates))
        if not context.shape[-1]:
            return rates
        names = ("gain_wolf", "gain_sheep", "p_wolf", "p_sheep", "regrowth")
        pairs = zip(names, context, strict=True)
        return rates._replace(**{name: getattr(rates, name) * jnp.exp(shift) for name, shift in pairs})

    def start(self, x: Array, context: Array) -> Array:
        rates = self.rates(context)
        eaten = jnp.maximum(self.cells / SCALE[2] - x[2], 0.0)
        reserves = jnp.stack([rates.gain_wolf, rates.gain_sheep])
        return jnp.concatenate([x, jnp.full(STAGES, eaten / STAGES), reserves])

    def step(self, z: Array, u: Array, context: Array) -> Array:
        given = (self.rates(context), u)
        _, path = self.solver(lambda t, z, args: self.slope(z, *args), z, given, float(self.stride))
        return jnp.maximum(path[-1], 0.0)

    def slope(self, z: Array, rates: OdeRates, u: Array) -> Array:
        """dz/dt per step of the agent-based model, under the command u = (sheep, wolves)."""
        r = rates
        w, s, g = z[0] * SCALE[0], z[1] * SCALE[1], z[2] * SCALE[2]
        stages, e_w, e_s = z[3 : 3 + STAGES] * SCALE[2], z[-2], z[-1]
        grazed = r.graze * g * -jnp.expm1(-s / self.cells)
        killed = r.hunt * s * -jnp.expm1(-w / self.cells)
        d_s = r.sheep_starve / (1 + jnp.maximum(e_s, 0.0)) ** 2
        d_w = r.wolf_starve / (1 + jnp.maximum(e_w, 0.0)) ** 2
        flow = STAGES / r.regrowth
        before = jnp.concatenate([grazed[None], flow * stages[:-1]])
        slope_w = (r.p_wolf - d_w - u[1]) * w
        slope_s = (r.p_sheep - d_s - u[0]) * s - killed
        # Births halve the mother's energy and the dead had none, so the mean falls with births and rises with deaths.
        slope_e_w = r.gain_wolf * killed / (w + 1e-3) - 1 - (r.p_wolf - d_w) * e_w
        slope_e_s = r.gain_sheep * grazed / (s + 1e-3) - 1 - (r.p_sheep - d_s) * e_s
        return jnp.concatenate(
            [
                jnp.stack([slope_w / SCALE[0], slope_s / SCALE[1], (flow * stages[-1] - grazed) / SCALE[2]]),
                (before - flow * stages) / SCALE[2],
                jnp.stack([slope_e_w, slope_e_s]),
            ]
        )


class MetabolicMeanField(Metamodel):
    """The metabolic network as if it were well mixed (`dynrl.abm.metabolic_mean_field`), over a stride.

    It overestimates yields by 10 to 45 %: schedules found on it are judged on the agent-based model.

    Attributes:
        params: rates, a pytree with the fields of the model's params.
        size: (side of the grid, number of E1, number of E2).
    """

    params: Any
    scale: tuple[float, ...] = eqx.field(static=True)
    control_scale: tuple[float, ...] = eqx.field(static=True)
    stride: int = eqx.field(static=True)
    size: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        params: Any,
        scale: tuple[float, ...],
        control_scale: tuple[float, ...] = (20.0,),
        stride: int = 20,
        size: tuple[int, int, int] = (40, 60, 120),
    ) -> None:
        self.params = jax.tree.map(jnp.asarray, params)
        self.scale, self.control_scale = tuple(scale), tuple(control_scale)
        self.stride, self.size = stride, size

    def step(self, z: Array, u: Array, context: Array) -> Array:
        length, n1, n2 = self.size

        def one(x: Array, _: None) -> tuple[Array, None]:
            return mean_field_step(x, u[0], self.params, length=length, n1=n1, n2=n2)[0], None

        x, _ = jax.lax.scan(one, z * jnp.asarray(self.scale), length=self.stride)
        return x / jnp.asarray(self.scale)
