"""The contract of an agent-based model: what surrogates, controllers and personalisation may rely on."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["AgentBasedModel", "GrowingModel", "Intervention", "SimulatedModel", "Stepped"]

Array = Any  # numpy.ndarray or jax.Array


class Intervention(NamedTuple):
    """What was done to the model before a step, as whole agents or molecules.

    Attributes:
        amount: per control channel `[m]`, after rounding and limits; what is removed is positive, what is added
            negative, inflow positive.
        saturated: whether a channel was cut to what was there `[]` bool.
    """

    amount: Array
    saturated: Array


class Stepped(NamedTuple):
    """One step.

    Attributes:
        state: the next microstate, any pytree.
        macro: macrostate after the step `[n]`, float.
        intervention: what was done before it.
        overflow: births or inflows cancelled for want of room in this step `[]` int32; 0 in a healthy run.
    """

    state: Any
    macro: Array
    intervention: Intervention
    overflow: Array


@runtime_checkable
class SimulatedModel(Protocol):
    """A stochastic model of many agents, written as pure functions of arrays (JAX, `vmap`-able over everything).

    Static settings (grid, capacities, rule variant) are attributes of the model, a frozen hashable dataclass; rates and
    other constants are `params`, a pytree whose leaves may differ between patients. Attributes:

        macro_names: names of the macrostate's components, e.g. `("wolves", "sheep", "grass")`.
        macro_scale: typical size of each component `[n]`, for surrogates and observations.
        control_names: names of the control channels, e.g. `("sheep", "wolves")`.
        control_low, control_high: bounds of each channel `[m]`.

    A control `u` `[m]` is a real-valued command per step; what it means (a fraction removed, an inflow) is the model's
    matter, and rounding to whole agents happens inside.
    """

    @property
    def macro_names(self) -> tuple[str, ...]: ...

    @property
    def macro_scale(self) -> tuple[float, ...]: ...

    @property
    def control_names(self) -> tuple[str, ...]: ...

    @property
    def control_low(self) -> tuple[float, ...]: ...

    @property
    def control_high(self) -> tuple[float, ...]: ...

    def default_params(self) -> Any:
        """Rates and constants, a pytree of NumPy scalars and arrays."""
        ...

    def init(self, key: Array, params: Any) -> Any:
        """A random first microstate."""
        ...

    def step(self, state: Any, u: Array, key: Array, params: Any) -> Stepped:
        """Intervene by `u` `[m]`, then let every agent act once."""
        ...

    def macro(self, state: Any) -> Array:
        """Macrostate `[n]` of a microstate."""
        ...


@runtime_checkable
class AgentBasedModel(SimulatedModel, Protocol):
    """A model whose microstates can be moved to other macrostates, as personalisation needs it."""

    def edited(self, state: Any, macro: Array, params: Any, key: Array) -> Any:
        """The microstate changed as little as needed to have the macrostate `macro` `[n]` (in whole agents) under
        `params`: random agents and patches are added or removed."""
        ...


@runtime_checkable
class GrowingModel(AgentBasedModel, Protocol):
    """A model of fixed capacity that can be built anew with more room, when a run has overflowed."""

    def grown(self) -> GrowingModel:
        """The same model with twice the capacity; it compiles anew."""
        ...
