"""Wolf–sheep–grass as an `AgentBasedModel`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from dynrl.abm import Grid, Population, Rounding, Stepped, enlarged, scattered, size
from dynrl.abm.arrays import namespace
from dynrl.abm.draws import bits, check_rounding, split, uniform, unit
from dynrl.envs.digital_twins.wolf_sheep import phases
from dynrl.envs.digital_twins.wolf_sheep.dosing import dosed, resized

__all__ = ["VARIANTS", "WolfSheep", "WolfSheepParams", "WolfSheepState"]

Variant = Literal["rw4", "rw8", "netlogo", "chase"]
VARIANTS: tuple[Variant, ...] = ("rw4", "rw8", "netlogo", "chase")

Array = Any


class WolfSheepParams(NamedTuple):
    """Attributes:
    gain_sheep: energy from a patch of grass.
    gain_wolf: energy from a sheep.
    p_sheep, p_wolf: probability of giving birth, per step.
    regrowth: R, steps until an eaten patch is edible again, whole.
    initial_sheep, initial_wolves: animals at the start, whole.
    """

    gain_sheep: Any
    gain_wolf: Any
    p_sheep: Any
    p_wolf: Any
    regrowth: Any
    initial_sheep: Any
    initial_wolves: Any


class WolfSheepState(NamedTuple):
    """Attributes:
    sheep, wolves: populations with the attribute `energy` and, in the variant `netlogo`, `x`, `y`, `heading` (degrees,
        0 up, clockwise), all float32.
    countdown: steps until each patch is grown, int32 `[N]`; 0 is grown.
    invalid: whether a control was ever not finite (it counted as 0), bool `[]`.
    """

    sheep: Population
    wolves: Population
    countdown: Array
    invalid: Array


@dataclass(frozen=True)
class WolfSheep:
    """Sheep eat grass, wolves eat sheep, grass grows back (after Wilensky's NetLogo model Wolf Sheep Predation, 1997).

    In each step every sheep moves, pays 1 unit of energy, eats if the grass of its cell is grown, dies with less than 0
    units or else gives birth with probability `p_sheep` (parent and child share the energy); then every wolf likewise,
    eating one random sheep of its cell; then the grass grows.

    | variant | movement | parallel step |
    |---|---|---|
    | `rw4`, `rw8` | to one of the 4 or 8 neighbours | exact in distribution |
    | `netlogo` | turns by the difference of two U{0..49} degrees, then one unit forward | exact in distribution |
    | `chase` | sheep away from wolves and to grass, wolves to sheep (Mesa 3) | a small bias, see `batches` |

    A key is a JAX key, for compiled code, or a NumPy generator, for the same steps in NumPy. The definition, one animal
    after the other, is `dynrl.envs.digital_twins.wolf_sheep.sequential`.

    Control: the fractions of sheep and of wolves removed before the step, as whole animals chosen at random.

    Args:
        height, width: of the grid.
        variant: see above.
        torus: whether edges touch (`netlogo` needs it).
        capacity_sheep, capacity_wolves: slots; births beyond are cancelled and counted. Costs are proportional to them.
        rounding: of the number removed; `"half_up"` has a dead zone in which small doses do nothing for ever.
        allow_stocking: whether negative fractions add animals at random cells.
        energy_init: `"float"`: U(0, 2 gain); `"int"`: whole numbers 0 .. 2 gain − 1, as in NetLogo.
        batches: number of batches of the variant `chase`. In the dense setting of `measure` 16 leave 3 % too few
            wolves at step 100, 32 less than 1 %; one per animal would be the definition.
        max_rounds: most animals of a cell that are served in a phase; None for all of them. A fixed number suits large
            batches; more would have been served in `unsettled` cases, which count as overflow.

    Raises:
        ValueError: a setting out of range.
    """

    height: int = 51
    width: int = 51
    variant: Variant = "netlogo"
    torus: bool = True
    capacity_sheep: int = 1024
    capacity_wolves: int = 512
    rounding: Rounding = "stochastic"
    allow_stocking: bool = False
    energy_init: Literal["float", "int"] = "float"
    batches: int = 32
    max_rounds: int | None = None

    macro_names = ("wolves", "sheep", "grass")
    control_names = ("sheep", "wolves")

    def __post_init__(self) -> None:
        for name, choices in (
            ("variant", VARIANTS),
            ("energy_init", ("float", "int")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}, expected one of {', '.join(map(repr, choices))}"
                )
        for name in ("capacity_sheep", "capacity_wolves", "batches"):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least 1")
        if self.max_rounds is not None and (int(self.max_rounds) != self.max_rounds or self.max_rounds < 1):
            raise ValueError(
                f"max_rounds is {self.max_rounds!r}, expected a whole number of at least 1, or None"
            )
        if self.variant == "netlogo" and not self.torus:
            raise ValueError("torus is False, but the variant 'netlogo' is defined on a torus only")
        check_rounding(self.rounding)
        _ = self.grid

    @cached_property
    def grid(self) -> Grid:
        """Cells and neighbours."""
        return Grid(self.height, self.width, self.torus)

    @property
    def macro_scale(self) -> tuple[float, ...]:
        """Typical wolves, sheep, grown patches: NetLogo's plateau on 51 × 51 cells, in proportion to the area."""
        area = self.grid.cells / 51**2
        return 50.0 * area, 200.0 * area, 1000.0 * area

    @property
    def control_low(self) -> tuple[float, ...]:
        """Smallest fractions."""
        return (-0.2, -0.2) if self.allow_stocking else (0.0, 0.0)

    @property
    def control_high(self) -> tuple[float, ...]:
        """Largest fractions that controllers use."""
        return 0.2, 0.2

    def default_params(self) -> WolfSheepParams:
        """NetLogo's defaults, animals in proportion to the area."""
        return self.params()

    def params(
        self,
        *,
        gain_sheep: float = 4.0,
        gain_wolf: float = 20.0,
        p_sheep: float = 0.04,
        p_wolf: float = 0.05,
        regrowth: int = 30,
        initial_sheep: int | None = None,
        initial_wolves: int | None = None,
    ) -> WolfSheepParams:
        """Constants in the right types, checked; None for 100 sheep and 50 wolves in proportion to 51 × 51 cells.

        Raises:
            ValueError: a probability outside [0, 1], a negative gain, a count that is not whole, or more animals than
                there are slots.
        """
        area = self.grid.cells / 51**2
        if initial_sheep is None:
            initial_sheep = min(round(100 * area), self.capacity_sheep)
        if initial_wolves is None:
            initial_wolves = min(round(50 * area), self.capacity_wolves)
        values = WolfSheepParams(
            gain_sheep, gain_wolf, p_sheep, p_wolf, regrowth, initial_sheep, initial_wolves
        )
        return self.checked(values)

    def checked(self, params: WolfSheepParams) -> WolfSheepParams:
        """`params` as NumPy arrays; leaves may have leading axes (patients).

        Raises:
            ValueError: as `params`.
        """
        whole = ("regrowth", "initial_sheep", "initial_wolves")
        highest = {
            "p_sheep": 1.0,
            "p_wolf": 1.0,
            "initial_sheep": self.capacity_sheep,
            "initial_wolves": self.capacity_wolves,
        }
        checked = {}
        for name, value in params._asdict().items():
            array, most = np.asarray(value), highest.get(name, 1e9)
            if (
                array.dtype.kind not in "iuf"
                or not (np.isfinite(array) & (array >= 0) & (array <= most)).all()
            ):
                limit = f"from 0 to {most:g}" + (" (the capacity)" if name.startswith("initial") else "")
                raise ValueError(f"{name} is {value!r}, expected a number {limit}")
            if name in whole and (array != np.floor(array)).any():
                raise ValueError(f"{name} is {value!r}, expected a whole number")
            checked[name] = array.astype(np.int32 if name in whole else np.float32)
        return WolfSheepParams(**checked)

    def init(self, key: Any, params: WolfSheepParams) -> WolfSheepState:
        """Animals at random places, half of the patches grown, the others uniformly on their way.

        Raises:
            ValueError: outside compiled code, more animals than slots.
        """
        keys = split(key, 3)
        sheep = self._settled(keys[0], self.capacity_sheep, params.initial_sheep, params.gain_sheep)
        wolves = self._settled(keys[1], self.capacity_wolves, params.initial_wolves, params.gain_wolf)
        coin = uniform(keys[2], (self.grid.cells,), stream=1)
        xp = namespace(coin)
        k = xp.floor(uniform(keys[2], (self.grid.cells,), stream=2) * params.regrowth).astype(np.int32)
        countdown = xp.where((coin < 0.5) | (k == 0), 0, k + 1).astype(np.int32)
        return WolfSheepState(sheep, wolves, countdown, xp.zeros((), bool))

    def step(self, state: WolfSheepState, u: Array, key: Any, params: WolfSheepParams) -> Stepped:
        """Remove fractions `u` of sheep and wolves `[2]`, then sheep, wolves and grass."""
        keys = split(key, 7)
        state, intervention, missing = dosed(self, state, u, keys[:3], params)
        flock, grazed = phases.sheep_phase(self, state, keys[3:5], params)
        pack, flock_left, unsettled = phases.wolf_phase(
            self, flock.population, state.wolves, keys[5:7], params
        )
        countdown = namespace(grazed).maximum(grazed - 1, 0)
        state = WolfSheepState(flock_left, pack.population, countdown, state.invalid)
        overflow = (missing + flock.overflow + pack.overflow + unsettled).astype(np.int32)
        return Stepped(state, self.macro(state), intervention, overflow)

    def macro(self, state: WolfSheepState) -> Array:
        """Wolves, sheep and grown patches `[3]`, float32."""
        grown = (state.countdown == 0).sum(dtype=np.int32)
        xp = namespace(state.countdown)
        return xp.stack([size(state.wolves), size(state.sheep), grown]).astype(np.float32)

    def edited(
        self, state: WolfSheepState, macro: Array, params: WolfSheepParams, key: Any
    ) -> WolfSheepState:
        """The microstate with `macro` wolves, sheep and grown patches `[3]` (rounded, within what there is room for)
        under `params`: random animals and patches change, and clocks are capped at the new regrowth time."""
        return resized(self, state, macro, params, key)

    def grown(self) -> WolfSheep:
        """The same model with twice the slots."""
        return replace(self, capacity_sheep=2 * self.capacity_sheep, capacity_wolves=2 * self.capacity_wolves)

    def enlarged(self, state: WolfSheepState) -> WolfSheepState:
        """A microstate of a smaller model, with this model's slots."""
        return state._replace(
            sheep=enlarged(state.sheep, self.capacity_sheep),
            wolves=enlarged(state.wolves, self.capacity_wolves),
        )

    def newcomers(self, key: Any, capacity: int, number: Array, gain: Array) -> Population:
        """`number` animals at random places with the energies of a start, in the first of `capacity` slots."""
        return self._settled(key, capacity, number, gain)

    def _settled(self, key: Any, capacity: int, number: Array, gain: Array) -> Population:
        words = [bits(key, (capacity,), stream=i) for i in range(1, 5)]
        energy = unit(words[0]) * (2 * gain)
        xp = namespace(energy)
        if self.energy_init == "int":
            energy = xp.floor(energy)
        attributes = {"energy": energy.astype(np.float32)}
        if self.variant != "netlogo":
            return scattered(key, capacity, number, self.grid.cells, attributes)
        attributes["x"] = unit(words[1]) * np.float32(self.width)
        attributes["y"] = unit(words[2]) * np.float32(self.height)
        attributes["heading"] = unit(words[3]) * np.float32(360)
        cell = phases.cell_of(attributes["x"], attributes["y"], self)
        return Population(cell, xp.arange(capacity) < number, attributes)
