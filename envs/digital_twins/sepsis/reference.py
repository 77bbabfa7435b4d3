"""The sequential reference: every cell acts in turn. It defines the model; other forms are validated against it."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from dynrl.envs.digital_twins.sepsis import rules
from dynrl.envs.digital_twins.sepsis.fields import (
    FIELDS,
    GCSF,
    GRID,
    HEADINGS,
    INFECTION,
    INJURY_PERIOD,
    LARGEST,
    LEAVES,
    MEDIATORS,
    MOST_TRIES,
    OXY,
    PAF,
    REMAINS,
    SITES,
    SPREADING,
    START,
    Patient,
    check_patient,
)

__all__ = ["SequentialSepsis", "compiled_rules", "injured_cells", "neighbours"]

_KINDS = tuple(START)
_AGE_AT_BIRTH = {"pmn": 50, "monocyte": 50, "th0": 100, "th1": 100, "th2": 100}


class SequentialSepsis:
    """The innate-immune-response model, one cell after the other (spec section 10).

    Numbers of cells and sites scale with the area, so that a smaller grid is a smaller piece of the same tissue; at 101
    they are the published ones.

    Args:
        patient: who is ill.
        seed: of NumPy's generator; the same seed gives the same course.
        grid: side of the torus, at least 3.
        compiled: run the rules through Numba (about 300 times as fast); False for plain Python.
        compat: reproduce quirks of the public code: random sites leave out the last row and column, and the cell after
            one that is removed does not act. (Its uninitialised TH0 score is 0 here, and memory that it reads after it
            freed it is not.)

    Attributes:
        f: fields `[19, n]` float32 as in the public code, in the order of `fields.FIELDS`; cell x, y is number
            y * grid + x.
        rows: mobile cells by kind, `[count, 7]` each, columns as in `rules`.
        sites: cell numbers of the birth sites by kind.
        occupied: mobile cells and sites on each cell `[n]`.
        time: steps taken.

    Raises:
        ValueError: a bad patient or grid.
        ImportError: Numba is missing.
    """

    def __init__(
        self,
        patient: Patient | None = None,
        seed: int = 0,
        grid: int = GRID,
        compiled: bool = True,
        compat: bool = False,
    ) -> None:
        if grid != int(grid) or grid < 3:
            raise ValueError(f"grid must be a whole number of at least 3, but is {grid}")
        self.patient = check_patient(Patient() if patient is None else patient)
        self.grid, self.compat = int(grid), compat
        self.rules: Any = compiled_rules() if compiled else rules
        self.rng = np.random.default_rng(seed)
        self.around = neighbours(self.grid)
        n = self.grid**2
        self.scale = n / GRID**2
        self.f = np.zeros((len(FIELDS), n), np.float32)
        self.f[OXY] = 100.0
        self.f[INFECTION, injured_cells(self.grid, float(self.patient.injury))] = 100.0
        self.occupied = np.zeros(n, np.int64)
        self.rows = {kind: self._first(kind, round(START[kind] * self.scale)) for kind in _KINDS}
        self.sites = {kind: self._random_sites(max(1, round(SITES * self.scale))) for kind in _KINDS}
        for cells in self.sites.values():
            np.add.at(self.occupied, cells, 1)
        self.time = 0

    @property
    def oxygen_deficit(self) -> float:
        """Missing oxygen, in cells: 0 is healthy, `grid²` is no oxygen at all."""
        return float(self.f.shape[1] - self.f[OXY].sum(dtype=float) / 100)

    @property
    def totals(self) -> np.ndarray:
        """Infection and the mediators summed over the grid, divided by 100 `[13]`."""
        return np.concatenate([self.f[INFECTION : INFECTION + 1], self.f[PAF:]]).sum(1, dtype=float) / 100

    def step(self, multipliers: np.ndarray | None = None, antibiotic: float | None = None) -> None:
        """Let every cell act once.

        Args:
            multipliers: of the mediators `[12]`; None for no therapy.
            antibiotic: factor on the infection (0.2 in the public code); None for none.
        """
        m = np.ones(len(MEDIATORS)) if multipliers is None else np.asarray(multipliers, float)
        gcsf = self.f[GCSF].sum(dtype=float) / 100
        self.time += 1
        self._act(m)
        self._spawn(gcsf)
        for number, remains in zip(SPREADING, REMAINS, strict=True):
            self.rules.evaporate(self.f[number], remains)
        if self.time % INJURY_PERIOD == 0:
            self._injure_again()
        for number, leaves in zip(SPREADING, LEAVES, strict=True):
            self.rules.diffuse(self.f[number], leaves, self.grid)
        if antibiotic is not None:
            self.f[INFECTION] *= antibiotic
        np.minimum(self.f, np.float32(LARGEST), out=self.f)

    def _act(self, m: np.ndarray) -> None:
        f, occupied, around, rng, compat = self.f, self.occupied, self.around, self.rng, self.compat
        patient, rows, run = self.patient, self.rows, self.rules
        becomes = run.th0_phase(f, occupied, around, rows["th0"], rng, compat)
        for kind, number in (("th1", 1), ("th2", 2)):
            grown = rows["th0"][becomes == number].copy()
            grown[:, rules.HEADING] = rng.integers(0, 8, len(grown))
            rows[kind] = np.concatenate([rows[kind], grown])
        rows["th0"] = rows["th0"][becomes == 0]
        run.endothelium_phase(
            f,
            around,
            float(patient.oxy_heal),
            float(patient.infect_spread),
            int(patient.infect_repeat),
            m,
            rng,
        )
        run.pmn_phase(f, occupied, around, rows["pmn"], m, rng, compat)
        run.monocyte_phase(f, occupied, around, rows["monocyte"], m, rng, compat)
        run.th1_phase(f, occupied, around, rows["th1"], m, rng, compat)
        run.th2_phase(f, occupied, around, rows["th2"], m, rng, compat)
        for kind in _KINDS:
            rows[kind] = rows[kind][rows[kind][:, rules.AGE] >= 0]

    def _spawn(self, gcsf: float) -> None:
        # The sum is that of the end of the last step, as in the public code; per area, so that a small grid spawns as
        # densely.
        tries = len(self.sites["pmn"]) * int(1 + min(gcsf / self.scale, MOST_TRIES) / 100)
        self._born("pmn", self._random_sites(self.rng.binomial(tries, 0.1)))
        self._born("monocyte", self._random_sites(self.rng.binomial(len(self.sites["monocyte"]), 0.01)))
        for kind in ("th1", "th2", "th0"):
            sites = self.sites[kind]
            self._born(kind, sites[self.rng.random(len(sites)) < 0.01])

    def _injure_again(self) -> None:
        count = int(int(self.patient.recurrent_injuries) * self.scale + self.rng.random())
        self.f[INFECTION, self._random_sites(count)] = 100.0

    def _first(self, kind: str, count: int) -> np.ndarray:
        rows = self._rows(kind, self._random_sites(count))
        rows[:, rules.AGE] = self.rng.integers(0, 50, count)
        return rows

    def _born(self, kind: str, cells: np.ndarray) -> None:
        self.rows[kind] = np.concatenate([self.rows[kind], self._rows(kind, cells)])

    def _rows(self, kind: str, cells: np.ndarray) -> np.ndarray:
        rows = np.zeros((len(cells), 7))
        rows[:, rules.CELL] = cells
        rows[:, rules.HEADING] = self.rng.integers(0, 8, len(cells))
        rows[:, rules.AGE] = _AGE_AT_BIRTH[kind]
        rows[:, rules.OWN_ROLL] = 1.0
        rows[:, rules.LIFE] = 10.0 if kind == "pmn" else 0.0
        np.add.at(self.occupied, cells, 1)
        return rows

    def _random_sites(self, count: int) -> np.ndarray:
        x, y = self.rng.integers(0, self.grid - self.compat, (2, count))
        return y * self.grid + x


def neighbours(grid: int) -> np.ndarray:
    """Cell numbers of the eight neighbours on the torus `[n, 8]`, in the order of the headings."""
    y, x = np.divmod(np.arange(grid**2), grid)
    return np.stack([(y + dy) % grid * grid + (x + dx) % grid for dx, dy in HEADINGS], 1)


def injured_cells(grid: int, radius: float) -> np.ndarray:
    """Which cells are infected at the start `[n]` bool: within `radius`, in cells of the published grid and scaled with
    the side, of the centre."""
    y, x = np.divmod(np.arange(grid**2), grid)
    return (x - grid // 2) ** 2 + (y - grid // 2) ** 2 <= (radius * grid / GRID) ** 2


@lru_cache(maxsize=1)
def compiled_rules() -> ModuleType:
    """The module `rules` with every rule compiled.

    Raises:
        ImportError: Numba is missing.
    """
    try:
        from numba import njit
    except ImportError as error:
        raise ImportError(
            "the compiled sequential model needs Numba: pip install 'dynrl[medical]', or pass compiled=False"
        ) from error
    # A second copy of the module, whose rules are replaced by compiled ones before any of them runs: one text for both.
    spec = importlib.util.find_spec(rules.__name__)
    assert spec is not None and spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    for name in rules.RULES:
        setattr(copy, name, njit(getattr(copy, name), cache=True))
    return copy
