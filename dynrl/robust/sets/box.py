"""The box of parameters, which the other kinds of set build on."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dynrl.robust.parameter import Param
from dynrl.robust.sets.unit_cube import unit_sample

if TYPE_CHECKING:
    from dynrl.robust.effect import Effect

INERTIA_RULES = ("scale", "keep")


class UncertaintySet:
    """A box of parameters.

    Vectors psi are float64 `[d]` or `[N, d]`, in natural units and in the order of `names`. A parameter whose bounds
    are equal is a fixed dimension: it stays in psi and in reports, and no search moves it.

    Args:
        params: the parameters; a force over several axes becomes one dimension per axis.
        inertia: what a new body mass does to the body's inertia, see `dynrl.physics.parameters.ParameterMap`.
        grid_endpoint: whether `grid` includes the upper bounds unless told otherwise (the two published benchmarks
            differ).
        name: for reports.

    Attributes:
        params: one `Param` per dimension.
        names: their targets.
        low, high: `[d]`.

    Raises:
        ValueError: no parameters, a name that comes twice, or an unknown inertia rule.
    """

    def __init__(
        self,
        params: Iterable[Param],
        inertia: str = "scale",
        grid_endpoint: bool = True,
        name: str = "",
    ):
        self.params = tuple(part for param in params for part in param.split())
        if not self.params:
            raise ValueError("an uncertainty set needs at least one parameter.")
        if inertia not in INERTIA_RULES:
            raise ValueError(f"inertia is {inertia!r}, expected one of {list(INERTIA_RULES)}.")
        self.names = tuple(param.target for param in self.params)
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"parameter {twice[0]!r} comes twice in the set.")
        self.inertia, self.grid_endpoint, self.name = inertia, grid_endpoint, name
        self.low = read_only([param.low for param in self.params])
        self.high = read_only([param.high for param in self.params])
        self._log = np.array([param.scale == "log" for param in self.params])
        self._whole = np.array([param.dtype is int for param in self.params])
        known = [param.known_nominal for param in self.params]
        self._nominal = np.array([np.nan if value is None else value for value in known])

    @property
    def dim(self) -> int:
        """The number of parameters d."""
        return len(self.params)

    @property
    def free(self) -> np.ndarray:
        """Indices of the dimensions that a search may move."""
        return np.flatnonzero(self.high > self.low)

    @property
    def is_bound(self) -> bool:
        """Whether every nominal value is known."""
        return not np.isnan(self._nominal).any()

    @property
    def nominal(self) -> np.ndarray:
        """The reference parameters `[d]`: those that the `Param`s give, and otherwise the model's that the set was
        bound to.

        Raises:
            ValueError: some are not known yet; names `bind`.
        """
        unknown = np.flatnonzero(np.isnan(self._nominal))
        if len(unknown):
            raise ValueError(
                f"the nominal value of {self.names[unknown[0]]!r} is in the model: use uset.bind(env or model), or "
                "Param(nominal=...)."
            )
        return self._nominal.copy()

    def bind(self, env_or_model: Any) -> Self:
        """The same set with the nominal values of a model, read anew where they are not given.

        Args:
            env_or_model: a `mujoco.MjModel`, a `MujocoTask`, a `FunctionalEnv`, a Gymnasium env or vector env, or its
                id.

        Raises:
            ValueError: a target that it does not have.

        Warns:
            UserWarning: a nominal value outside its bounds (true of some published sets), if it was not known before.
        """
        from dynrl.robust.binding import nominal_values

        bound = copy.copy(self)
        bound._nominal = nominal_values(self, env_or_model)
        news = ~np.isclose(bound._nominal, self._nominal, rtol=1e-9)
        for i in np.flatnonzero(news & ((bound._nominal < self.low) | (bound._nominal > self.high))):
            warnings.warn(
                f"parameter {self.names[i]!r}: the nominal value {bound._nominal[i]:.6g} is outside "
                f"[{self.low[i]:g}, {self.high[i]:g}]; report the nominal run separately.",
                stacklevel=2,
            )
        return bound

    def to_unit(self, psi: np.ndarray) -> np.ndarray:
        """Map psi to the unit cube, shape kept; fixed dimensions to 0.5, nominal values outside the box to outside the
        cube.

        Raises:
            ValueError: a value without a logarithm where the scale is logarithmic.
        """
        psi = self._checked_shape(psi)
        without = self._log & (psi <= 0)
        if without.any():
            column = int(np.flatnonzero(without.reshape(-1, self.dim).any(0))[0])
            raise ValueError(
                f"{self.names[column]!r} is {psi[..., column].min():g}, which has no logarithm; use scale='linear', or "
                "Param(nominal=...) above 0 if it is the model's own value."
            )
        low, high, value = self.low.copy(), self.high.copy(), psi.copy()
        log = self._log
        low[log], high[log] = np.log(low[log]), np.log(high[log])
        value[..., log] = np.log(value[..., log])
        whole = self._whole
        # A whole number stands for the middle of its share of the interval.
        low[whole], high[whole] = low[whole] - 0.5, high[whole] + 0.5
        width = high - low
        fixed = self.high == self.low
        unit = (value - low) / np.where(fixed, 1.0, width)
        unit[..., fixed] = 0.5
        return unit

    def from_unit(self, unit: np.ndarray) -> np.ndarray:
        """Map points of the unit cube to psi, shape kept; points outside are moved to its faces."""
        unit = np.clip(self._checked_shape(unit), 0.0, 1.0)
        low, high = self.low.copy(), self.high.copy()
        log, whole = self._log, self._whole
        low[log], high[log] = np.log(low[log]), np.log(high[log])
        low[whole], high[whole] = low[whole] - 0.5, high[whole] + 0.5
        psi = low + unit * (high - low)
        psi[..., log] = np.exp(psi[..., log])
        psi[..., whole] = np.floor(psi[..., whole] + 0.5)
        # Rounding must not leave the box, nor may the closed upper end of a whole interval.
        return np.clip(psi, self.low, self.high)

    def contains(self, psi: np.ndarray) -> np.ndarray:
        """Whether vectors are in the set, `[...]` bool."""
        psi = self._checked_shape(psi)
        inside = (psi >= self.low) & (psi <= self.high)
        return (inside & (~self._whole | (psi == np.round(psi)))).all(-1)

    def clip(self, psi: np.ndarray) -> np.ndarray:
        """The nearest vectors in the set, shape kept."""
        clipped = np.clip(self._checked_shape(psi), self.low, self.high)
        return np.where(self._whole, np.round(clipped), clipped)

    def sample(self, rng: np.random.Generator, n: int, method: str = "uniform") -> np.ndarray:
        """Draw `[n, d]` vectors, uniform in the unit cube (so log-uniform where the scale is).

        Args:
            rng: the only source of randomness.
            n: how many.
            method: `"uniform"`: independent; `"sobol"`: scrambled Sobol points; `"lhs"`: a Latin hypercube.
        """
        return self.from_unit(unit_sample(rng, n, self.dim, method))

    def grid(self, n: int, endpoint: bool | None = None) -> np.ndarray:
        """A full grid `[n^f, d]` over the f free dimensions, the last one fastest; fixed dimensions stay.

        Args:
            n: points per dimension (a whole-number parameter has at most as many as values).
            endpoint: whether the upper bounds are included (`linspace(low, high, n)`) or not
                (`low + k (high - low) / n`); None for `grid_endpoint`.
        """
        if n < 1:
            raise ValueError(f"n is {n}, expected at least 1 point per dimension.")
        endpoint = self.grid_endpoint if endpoint is None else endpoint
        axes = [self._axis(i, n, endpoint) for i in range(self.dim)]
        return np.array(list(itertools.product(*axes)))

    def corners(self) -> np.ndarray:
        """The corners of the box, `[2^f, d]` for f free dimensions."""
        ends = [(low, high) if high > low else (low,) for low, high in zip(self.low, self.high, strict=True)]
        return np.array(list(itertools.product(*ends)))

    def subset(self, names: Sequence[str]) -> UncertaintySet:
        """The set over some of the parameters, in the order given.

        Raises:
            ValueError: a name that is not in the set.
        """
        for name in names:
            if name not in self.names:
                raise ValueError(f"no parameter is called {name!r}; the set has {list(self.names)}.")
        columns = [self.names.index(name) for name in names]
        chosen = self._with_params([self.params[i] for i in columns])
        chosen._nominal = self._nominal[columns]
        return chosen

    def box(self) -> UncertaintySet:
        """The box around the set; a box itself."""
        around = UncertaintySet(self.params, self.inertia, self.grid_endpoint, self.name)
        around._nominal = self._nominal
        return around

    def check_effect(self, env: Any, **settings: Any) -> list[Effect]:
        """Which parameters change nothing, see `dynrl.robust.effect.check_effect`."""
        from dynrl.robust.effect import check_effect

        return check_effect(self, env, **settings)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that identify the definition, the same in every process; nominal values, which are the
        model's, and the name are not part of it."""
        definition = self.to_dict()
        definition.pop("name")
        definition.pop("nominal")
        for param in definition["params"]:
            param.pop("nominal")
        text = json.dumps(definition, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The definition as a JSON value, see `dynrl.robust.sets.set_from_dict`."""
        return {
            "kind": type(self).__name__,
            "name": self.name,
            "inertia": self.inertia,
            "grid_endpoint": self.grid_endpoint,
            "params": [param.to_dict() for param in self.params],
            "nominal": [None if np.isnan(value) else value for value in self._nominal.tolist()],
            **self._own_values(),
        }

    def to_json(self) -> str:
        """The definition as text."""
        return json.dumps(self.to_dict(), indent=2)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        bounds = ", ".join(f"{param.target} in [{param.low:g}, {param.high:g}]" for param in self.params)
        return f"{type(self).__name__}({bounds})"

    def _own_values(self) -> dict[str, Any]:
        """What a subclass adds to the definition."""
        return {}

    def _with_params(self, params: Sequence[Param]) -> UncertaintySet:
        return UncertaintySet(params, self.inertia, self.grid_endpoint, self.name)

    def _axis(self, i: int, n: int, endpoint: bool) -> np.ndarray:
        if self.high[i] == self.low[i]:
            return self.low[i : i + 1]
        low, high = self.low[i], self.high[i]
        if self._log[i]:
            axis = np.exp(np.linspace(np.log(low), np.log(high), n, endpoint=endpoint))
            axis[0] = low
            if endpoint and n > 1:
                axis[-1] = high
        else:
            axis = np.linspace(low, high, n, endpoint=endpoint)
        return np.unique(np.round(axis)) if self._whole[i] else axis

    def _checked_shape(self, psi: Any) -> np.ndarray:
        psi = np.array(psi, float)
        if psi.ndim < 1 or psi.shape[-1] != self.dim:
            raise ValueError(f"psi has shape {psi.shape}, expected [..., {self.dim}]: {list(self.names)}.")
        return psi


def read_only(values: Any) -> np.ndarray:
    """A copy that nobody can write to."""
    array = np.array(values, float)
    array.flags.writeable = False
    return array
