"""An epidemic among people who live in the cells of a grid, or who all meet each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from dynrl.abm.arrays import namespace
from dynrl.abm.draws import Rounding, check_rounding, split, uniform, whole
from dynrl.abm.fields import neighbour_sum
from dynrl.abm.model import Intervention, Stepped
from dynrl.abm.population import subset
from dynrl.abm.relabel import relabelled
from dynrl.abm.space import Grid

__all__ = ["SIRModel", "SIRParams", "SIRState", "checked_params"]

Array = Any
SUSCEPTIBLE, INFECTED, RECOVERED, VACCINATED = range(4)


class SIRParams(NamedTuple):
    """Leaves `[]` float32.

    Attributes:
        beta: probability that a contact with an infected person on a day infects.
        gamma: probability to recover on a day.
        infected: people infected at the beginning.
    """

    beta: Any = 0.12
    gamma: Any = 0.2
    infected: Any = 10.0


class SIRState(NamedTuple):
    """Attributes:
    status: 0 susceptible, 1 infected, 2 recovered, 3 vaccinated, int32 `[H, W]`.
    infections: people infected in the last step `[]` int32.
    invalid: whether a command was ever not finite (it counts as 0) `[]` bool.
    """

    status: Array
    infections: Array
    invalid: Array


@dataclass(frozen=True)
class SIRModel:
    """Susceptible, infected, recovered, vaccinated: one person per cell.

    Implements `dynrl.abm.model.AgentBasedModel`. In one step, a day: a share of the susceptible, chosen at random, is
    vaccinated; then a susceptible person with k infected contacts is infected with probability 1 − (1 − β (1 − c))^k,
    where c is the share of contacts that does not happen; those who were infected in the morning recover with
    probability γ. Everybody looks at the morning, so all act at once by definition, and the step is exact.

    With `mixing="full"` everybody meets everybody; with γ = 1 besides this is the Reed–Frost chain, whose final sizes
    are known (`dynrl.envs.digital_twins.sir.reed_frost`).

    Args:
        height, width: of the grid.
        mixing: `"grid"`: contacts are the 8 neighbours; `"full"`: all.
        torus: whether opposite edges touch.
        rounding: how a share of the susceptible becomes whole people, see `dynrl.abm.draws.whole`.

    Raises:
        ValueError: sizes that are no whole numbers, unknown mixing or rounding.
    """

    macro_names: ClassVar[tuple[str, ...]] = ("S", "I", "R", "V")
    control_names: ClassVar[tuple[str, ...]] = ("vaccination", "contact_reduction")
    control_low: ClassVar[tuple[float, ...]] = (0.0, 0.0)

    height: int = 50
    width: int = 50
    mixing: Literal["grid", "full"] = "grid"
    torus: bool = True
    rounding: Rounding = "stochastic"
    most_vaccinated: float = 0.1
    most_reduced: float = 1.0

    def __post_init__(self) -> None:
        _ = self.grid
        check_rounding(self.rounding)
        if self.mixing not in ("grid", "full"):
            raise ValueError(f"mixing is {self.mixing!r}, expected 'grid' or 'full'")
        for name in ("most_vaccinated", "most_reduced"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected more than 0 and at most 1")

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.height, self.width, self.torus)

    @property
    def macro_scale(self) -> tuple[float, ...]:
        return (float(self.grid.cells),) * 4

    @property
    def control_high(self) -> tuple[float, ...]:
        return (self.most_vaccinated, self.most_reduced)

    def default_params(self) -> SIRParams:
        """Rates under which an epidemic crosses the grid; at most everybody is infected at the beginning."""
        params = SIRParams()
        return checked_params(
            params._replace(infected=min(params.infected, self.grid.cells)), self.grid.cells
        )

    def init(self, key: Any, params: SIRParams) -> SIRState:
        """`infected` people at random cells, all others susceptible."""
        generator = isinstance(key, np.random.Generator)
        everybody = (
            np.ones(self.grid.cells, bool) if generator else namespace(key).ones(self.grid.cells, bool)
        )
        ill = subset(key, everybody, params.infected)
        xp = namespace(ill)
        return SIRState(
            ill.astype(np.int32).reshape(self.grid.shape), xp.zeros((), np.int32), xp.zeros((), bool)
        )

    def step(self, state: SIRState, u: Array | None, key: Any, params: SIRParams) -> Stepped:
        """One day under the share of susceptibles to vaccinate and the share of contacts to avoid, `u` `[2]`."""
        rounding, choosing, infecting, recovering = split(key, 4)
        xp = namespace(state.status, key)
        asked = xp.zeros(2, np.float32) if u is None else xp.asarray(u).astype(np.float32)
        finite = xp.isfinite(asked)
        asked = xp.where(finite, asked, np.float32(0))
        cut = xp.clip(asked, np.float32(0), xp.asarray(self.control_high, np.float32))

        status = state.status.reshape(-1)
        susceptible = status == SUSCEPTIBLE
        number = whole(rounding, cut[0] * susceptible.sum(dtype=np.int32).astype(np.float32), self.rounding)
        vaccinated = subset(choosing, susceptible, number)
        susceptible = susceptible & ~vaccinated
        ill = status == INFECTED
        contacts = self._contacts(ill).astype(np.float32)
        escape = (np.float32(1) - params.beta * (np.float32(1) - cut[1])) ** contacts
        infected = susceptible & (uniform(infecting, status.shape) >= escape)
        recovered = ill & (uniform(recovering, status.shape) < params.gamma)
        status = xp.where(vaccinated, VACCINATED, xp.where(infected, INFECTED, status))
        status = xp.where(recovered, RECOVERED, status).astype(np.int32)
        after = SIRState(
            status.reshape(self.grid.shape), infected.sum(dtype=np.int32), state.invalid | ~finite.all()
        )
        given = xp.stack([vaccinated.sum(dtype=np.int32).astype(np.float32), cut[1]])
        return Stepped(
            after, self.macro(after), Intervention(given, (cut != asked).any()), xp.zeros((), np.int32)
        )

    def _contacts(self, ill: Array) -> Array:
        """Infected contacts of each person, int32 `[N]`."""
        xp = namespace(ill)
        if self.mixing == "full":
            return xp.broadcast_to(ill.sum(dtype=np.int32), ill.shape)
        return neighbour_sum(ill.astype(np.int32).reshape(self.grid.shape), "moore", self.torus).reshape(-1)

    def macro(self, state: SIRState) -> Array:
        """Numbers of S, I, R, V, float32 `[4]`."""
        xp = namespace(state.status)
        return xp.stack([(state.status == value).sum(dtype=np.int32) for value in range(4)]).astype(
            np.float32
        )

    def edited(self, state: SIRState, macro: Array, params: SIRParams, key: Any) -> SIRState:
        """As few people as possible, chosen at random, change so that I, R and V have the numbers of `macro` `[4]`; the
        others are susceptible."""
        xp = namespace(state.status, macro)
        whole_numbers = xp.floor(xp.nan_to_num(xp.asarray(macro)) + 0.5)
        status = relabelled(key, state.status.reshape(-1), list(whole_numbers[1:]))
        return state._replace(status=status.reshape(self.grid.shape))


def checked_params(params: SIRParams, people: int) -> SIRParams:
    """Return `params` as float32 arrays.

    Raises:
        ValueError: a rate outside [0, 1], or more infected than there are people.
    """
    for name in ("beta", "gamma"):
        value = np.asarray(getattr(params, name))
        if not ((value >= 0) & (value <= 1)).all():
            raise ValueError(f"{name} is {value}, expected a probability from 0 to 1")
    infected = np.asarray(params.infected)
    if not ((infected >= 0) & (infected <= people) & (infected % 1 == 0)).all():
        raise ValueError(
            f"infected is {infected}, expected whole numbers from 0 to the {people} people there are"
        )
    return SIRParams(*(np.asarray(value, np.float32) for value in params))
