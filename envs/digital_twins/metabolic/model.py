"""The regulated metabolic network with all molecules moving at once, in JAX or NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from dynrl.abm.arrays import loop, namespace, put, scatter_max
from dynrl.abm.draws import Rounding, bits, check_rounding, integers, split, unit, whole
from dynrl.abm.model import Intervention, Stepped
from dynrl.abm.space import Grid
from dynrl.envs.digital_twins.metabolic.rules import MACRO_NAMES, MACRO_SCALE, MetabolicParams, checked_rates

__all__ = ["MetabolicGrid", "MetabolicState"]

Array = Any
EMPTY, SUBSTRATE, INTERMEDIATE, PRODUCT, BOUND = range(5)
_KINDS = 3


class MetabolicState(NamedTuple):
    """The microstate. A molecule keeps its slot while an enzyme holds it, so only inflow can run out of slots.

    Attributes:
        kind: of the molecule in each slot: 0 none, 1 substrate, 2 intermediate, 3 product, 4 held by an enzyme, int32
            `[C]`.
        cell: where it is, row · L + column; meaningless for kinds 0 and 4, int32 `[C]`.
        enzyme_cell: first the E1, then the E2, int32 `[n1 + n2]`.
        load: of an E1: 0 free, 1 bound, 2 inhibited; of an E2: intermediates held, int32 `[n1 + n2]`.
        held: slots of the molecules held; meaningless beyond the load, int32 `[n1 + n2, 2]`.
        harvested: molecules of product in the last step `[]` int32.
        total_harvested: the same since the beginning `[]` int32.
        supplied: molecules of substrate in the last step `[]` int32.
        overflow: inflow cancelled so far for want of slots `[]` int32.
        invalid: whether a command was ever not finite (it counts as 0) `[]` bool.
    """

    kind: Array
    cell: Array
    enzyme_cell: Array
    load: Array
    held: Array
    harvested: Array
    total_harvested: Array
    supplied: Array
    overflow: Array
    invalid: Array


@dataclass(frozen=True)
class MetabolicGrid:
    """Substrate is turned into an intermediate by E1, and two intermediates into a product by E2; product blocks E1.

    Implements `dynrl.abm.model.AgentBasedModel`. The control is the inflow of substrate, molecules per step. The rules
    are those of `dynrl.envs.digital_twins.metabolic.sequential.run`, which acts one enzyme after the other.

    **The parallel step is exact in distribution.** Moves depend on nobody. In the reactions each enzyme draws what it
    would like to take before it looks; among those of a cell that want the same kind, as many are served as there are
    molecules, which is what any order of turns gives. Who is served does not matter: enzymes of one type in one cell
    and state differ in nothing, so they are served by number, and the microstate has the sequential distribution up to
    their names.

    Args:
        length: side L of the torus.
        n1, n2: numbers of enzymes E1 and E2.
        capacity: slots for molecules, free and held. The cost of a step is proportional to it.
        rounding: how a real inflow becomes molecules, see `dynrl.abm.draws.whole`; the definition is `"stochastic"`.
        control_limit: largest inflow per step; more is cut and reported as saturated.

    Raises:
        ValueError: sizes that are no whole numbers, negative numbers of enzymes, a capacity that cannot hold what the
            enzymes hold, an unknown rounding.
    """

    macro_names: ClassVar[tuple[str, ...]] = MACRO_NAMES
    macro_scale: ClassVar[tuple[float, ...]] = MACRO_SCALE
    control_names: ClassVar[tuple[str, ...]] = ("inflow",)
    control_low: ClassVar[tuple[float, ...]] = (0.0,)

    length: int = 40
    n1: int = 60
    n2: int = 120
    capacity: int = 1536
    rounding: Rounding = "stochastic"
    control_limit: float = 20.0

    def __post_init__(self) -> None:
        check_rounding(self.rounding)
        for name, least in (("length", 1), ("n1", 0), ("n2", 0), ("capacity", 1)):
            value = getattr(self, name)
            if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if not 0 < self.control_limit <= 10_000:
            raise ValueError(f"control_limit is {self.control_limit!r}, expected more than 0, at most 10000")
        if self.capacity < self.n1 + 2 * self.n2:
            raise ValueError(
                f"capacity is {self.capacity}, but {self.n1} E1 and {self.n2} E2 alone can hold "
                f"{self.n1 + 2 * self.n2} molecules"
            )

    @property
    def control_high(self) -> tuple[float, ...]:
        return (float(self.control_limit),)

    @cached_property
    def grid(self) -> Grid:
        return Grid(self.length, self.length)

    def default_params(self) -> MetabolicParams:
        """The rates of the definition."""
        return checked_rates(MetabolicParams())

    def init(self, key: Any, params: Any) -> MetabolicState:
        """No molecules, free enzymes at random cells."""
        return self.placed(key, np.array([0, 0, 0, self.n1, 0, 0, 0], np.int32))

    def placed(self, key: Any, numbers: Array) -> MetabolicState:
        """A microstate with the macrostate `numbers` `[7]` (whole, and possible), everything at random cells."""
        first, second = split(key, 2)
        enzymes = self.n1 + self.n2
        cell = integers(first, (self.capacity,), self.grid.cells)
        enzyme_cell = integers(second, (enzymes,), self.grid.cells)
        xp = namespace(cell, numbers)
        numbers = xp.asarray(numbers).astype(np.int32)
        # Cells are independent draws, so states may be handed out by number.
        number = xp.arange(enzymes, dtype=np.int32)
        of_first = xp.where(number < numbers[3], 0, xp.where(number < numbers[3] + numbers[4], 2, 1))
        place = number - self.n1
        of_second = xp.where(place < numbers[5], 1, xp.where(place < numbers[5] + numbers[6], 2, 0))
        is_first = number < self.n1
        load = xp.where(is_first, of_first, of_second).astype(np.int32)
        needs = xp.where(is_first, xp.minimum(load, 1), load)
        ends = xp.concatenate([xp.cumsum(numbers[:3], dtype=np.int32), needs.sum(dtype=np.int32)[None]])
        ends = xp.concatenate([ends[:3], ends[2:3] + ends[3:]])
        slot = xp.arange(self.capacity, dtype=np.int32)
        kind = xp.where(slot < ends[3], 1 + (slot[:, None] >= ends[None, :3]).sum(1, dtype=np.int32), EMPTY)
        after = ends[2] + xp.cumsum(needs, dtype=np.int32)
        none = xp.zeros((), np.int32)
        return MetabolicState(
            kind=kind.astype(np.int32),
            cell=cell,
            enzyme_cell=enzyme_cell,
            load=load,
            held=xp.stack([after - needs, after - needs + 1], axis=1),
            harvested=none,
            total_harvested=none,
            supplied=none,
            overflow=none,
            invalid=xp.zeros((), bool),
        )

    def grown(self) -> MetabolicGrid:
        """The same model with twice the capacity."""
        return replace(self, capacity=2 * self.capacity)

    def step(self, state: MetabolicState, u: Array | None, key: Any, params: MetabolicParams) -> Stepped:
        """One step under the inflow `u` `[1]`; None for none."""
        rounding, place, moves, reactions = split(key, 4)
        xp = namespace(state.kind, key)
        asked = xp.zeros((), np.float32) if u is None else xp.asarray(u)[0].astype(np.float32)
        finite = xp.isfinite(asked)
        asked = xp.where(finite, asked, np.float32(0))
        cut = xp.clip(asked, np.float32(0), np.float32(self.control_limit))
        number = whole(rounding, cut, self.rounding).astype(np.int32)

        state, supplied = self._fed(state, number, place)
        state = self._moved(state, moves, params)
        state = self._reacted(state, reactions, params)
        missing = number - supplied
        state = state._replace(
            supplied=supplied, overflow=state.overflow + missing, invalid=state.invalid | ~finite
        )
        done = Intervention(supplied[None].astype(np.float32), cut != asked)
        return Stepped(state, self.macro(state), done, missing)

    def macro(self, state: MetabolicState) -> Array:
        """Free S, I, P; E1 free, E1 inhibited, E2 half, E2 full; float32 `[7]`."""
        xp = namespace(state.kind)
        first, second = state.load[: self.n1], state.load[self.n1 :]
        flags = [state.kind == kind for kind in (SUBSTRATE, INTERMEDIATE, PRODUCT)]
        flags += [first == 0, first == 2, second == 1, second == 2]
        return xp.stack([flag.sum(dtype=np.int32) for flag in flags]).astype(np.float32)

    def edited(self, state: MetabolicState, macro: Array, params: Any, key: Any) -> MetabolicState:
        """The microstate with the nearest possible whole numbers to `macro` `[7]`: random molecules are taken away or
        added at random cells, random enzymes change their state. What finds no slot is counted in `overflow`."""
        from dynrl.envs.digital_twins.metabolic.edits import edited

        return edited(self, state, macro, key)

    def _fed(self, state: MetabolicState, number: Array, key: Any) -> tuple[MetabolicState, Array]:
        xp = namespace(state.kind, number)
        empty = state.kind == EMPTY
        rank = xp.cumsum(empty, dtype=np.int32) - 1
        most = int(np.ceil(self.control_limit)) + 1
        cells = integers(key, (most,), self.grid.cells)
        new = empty & (rank < number)
        fed = state._replace(
            kind=xp.where(new, SUBSTRATE, state.kind).astype(np.int32),
            cell=xp.where(new, cells[xp.clip(rank, 0, most - 1)], state.cell),
        )
        return fed, xp.minimum(number, rank[-1] + 1)

    def _moved(self, state: MetabolicState, key: Any, params: MetabolicParams) -> MetabolicState:
        """Everything moves; then free molecules disappear or are harvested."""
        xp = namespace(state.kind)
        words = bits(key, (self.capacity + self.n1 + self.n2,))
        # One word gives two independent draws: its remainder by 9 is the move, its quotient decides about the end.
        chosen, rest = (words % 9).astype(np.int32), words // 9
        table = xp.asarray(self.grid.neighbours("moore_self").reshape(-1))
        cells = table[xp.concatenate([state.cell, state.enzyme_cell]) * 9 + chosen]
        kind = state.kind
        chance = xp.where(kind == SUBSTRATE, params.delta_s, np.float32(0))
        chance = xp.where(kind == INTERMEDIATE, params.delta_i, chance)
        chance = xp.where(kind == PRODUCT, params.kx, chance)
        uniform = (rest[: self.capacity] >> 5).astype(np.float32) * np.float32(32 * 9 / 2**32)
        gone = uniform < chance
        harvested = (gone & (kind == PRODUCT)).sum(dtype=np.int32)
        return state._replace(
            kind=xp.where(gone, EMPTY, kind).astype(np.int32),
            cell=cells[: self.capacity],
            enzyme_cell=cells[self.capacity :],
            harvested=harvested,
            total_harvested=state.total_harvested + harvested,
        )

    def _reacted(self, state: MetabolicState, key: Any, params: MetabolicParams) -> MetabolicState:
        xp = namespace(state.kind)
        enzymes = self.n1 + self.n2
        one, two = unit(bits(key, (2, enzymes)))
        is_first = xp.arange(enzymes) < self.n1
        load, where = state.load, state.enzyme_cell
        rests = is_first & (load == 0)
        for_product = rests & (one < params.ah)
        for_substrate = rests & (two < params.a1)
        for_intermediate = ~is_first & (load < 2) & (two < params.a2)

        kind, got = self._taken(state.kind, state.cell, where, for_product, for_substrate, for_intermediate)
        took = got > 0
        second_place = took & ~is_first & (load == 1)
        held = xp.stack(
            [
                xp.where(took & ~second_place, got - 1, state.held[:, 0]),
                xp.where(second_place, got - 1, state.held[:, 1]),
            ],
            axis=1,
        )
        inhibits = took & is_first & (state.kind[xp.maximum(got - 1, 0)] == PRODUCT)

        chance_first = xp.where(load == 1, params.c1, params.ch)
        chance_second = xp.where(load == 1, params.d2, params.c2)
        lets_go = ~took & (load > 0) & (one < xp.where(is_first, chance_first, chance_second))
        gives_product = lets_go & (load == 2)
        given = xp.where(gives_product, PRODUCT, INTERMEDIATE).astype(np.int32)
        kind = _written(kind, state.held[:, 0], given, lets_go)
        cell = _written(state.cell, state.held[:, 0], where, lets_go)
        # A full E2 held two intermediates and gives one product: the other slot becomes free.
        kind = _written(kind, state.held[:, 1], xp.zeros(enzymes, np.int32), gives_product & ~is_first)
        load = xp.where(lets_go, 0, load + took + inhibits).astype(np.int32)
        return state._replace(kind=kind, cell=cell, load=load, held=held)

    def _taken(
        self, kind: Array, cell: Array, where: Array, product: Array, substrate: Array, intermediate: Array
    ) -> tuple[Array, Array]:
        """Enzymes take molecules: the kinds `[C]` afterwards, and per enzyme the slot it took plus 1, or 0 `[E]`.

        One round serves one enzyme per cell and kind; the number of rounds is the largest number of takers of one kind
        in one cell, plus one for those who come too late for a product and take a substrate.
        """
        xp = namespace(kind)
        cells, enzymes = self.grid.cells, where.shape[0]
        slots = xp.arange(1, kind.shape[0] + 1, dtype=np.uint32)
        numbers = xp.arange(1, enzymes + 1, dtype=np.uint32)

        def body(state: Any) -> Any:
            kind, got, hungry, _ = state
            free = (kind >= SUBSTRATE) & (kind <= PRODUCT)
            shelf = scatter_max(_KINDS * cells, xp.where(free, (kind - 1) * cells + cell, 0), slots, free)
            here = shelf.reshape(_KINDS, cells)[:, where]
            takes_product = product & (here[2] > 0)
            takes_substrate = substrate & ~takes_product & (here[0] > 0)
            takes_intermediate = intermediate & (here[1] > 0)
            wish = xp.where(takes_product, 2, xp.where(takes_intermediate, 1, 0)).astype(np.int32)
            asks = hungry & (takes_product | takes_substrate | takes_intermediate)
            key = wish * cells + where
            first = scatter_max(_KINDS * cells, key, numbers, asks)
            served = asks & (first[key] == numbers)
            slot = shelf[key].astype(np.int32)
            kind = _written(kind, slot - 1, xp.full(enzymes, BOUND, np.int32), served)
            return kind, xp.where(served, slot, got), hungry & ~served, (asks & ~served).any()

        start = (
            kind,
            xp.zeros(enzymes, np.int32),
            product | substrate | intermediate,
            xp.ones((), bool),
        )
        kind, got, _, _ = loop(lambda state: state[3], body, start, xp=xp)
        return kind, got


def _written(old: Array, index: Array, values: Array, where: Array) -> Array:
    """`old` `[C]` with `values` `[E]`, not negative, at the distinct entries `index` `[E]`, where `where` `[E]`."""
    new = put(old.shape[0], index, values + 1, where)
    return namespace(old).where(new > 0, new - 1, old)
