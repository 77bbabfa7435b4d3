"""Cytokine therapy of sepsis as an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces

from dynrl.envs.digital_twins.sepsis.cohort import COHORT, Cohort, drawn_patient
from dynrl.envs.digital_twins.sepsis.fields import (
    CONFIRMATION,
    CONTROLLED,
    DIED,
    DRUGS,
    GRID,
    HEALED,
    LARGEST_COUNTS,
    LARGEST_TOTALS,
    MEDIATORS,
    RUNNING,
    Patient,
    check_patient,
    multipliers_of,
)
from dynrl.envs.digital_twins.sepsis.model import SepsisModel, SepsisState
from dynrl.envs.digital_twins.sepsis.picture import tissue_picture
from dynrl.functional import FunctionalEnv, check_actions

if TYPE_CHECKING:
    from dynrl.envs.digital_twins.sepsis.ward import NativeWard

__all__ = ["Sepsis", "SepsisParams", "TherapyState"]

CELL_KINDS = ("pmn", "monocyte", "th0", "th1", "th2")
_OBSERVED = np.array([MEDIATORS.index(name) for name in CONTROLLED])
_REWARDS = ("shaped", "public", "outcome")


class SepsisParams(NamedTuple):
    """Constants of the world.

    Attributes:
        patient: who is ill, where no cohort is drawn from.
        cohort: from which patients are drawn otherwise.
        antibiotic: factor on the infection per step under antibiotics.
        stop, healed, died: shares of missing oxygen below which therapy stops, below which a patient off therapy is
            healed, and above which it is dead.
        largest: mediator totals per cell of the grid that are observed as 1 `[11]`.
        largest_counts: mobile cells per cell of the grid that are observed as 1 `[5]`.
    """

    patient: Patient
    cohort: Cohort
    antibiotic: Any
    stop: Any
    healed: Any
    died: Any
    largest: Any
    largest_counts: Any


class TherapyState(NamedTuple):
    """Attributes:
    model: the tissue.
    patient: who is ill.
    mediators: means of the observed mediator totals over the last hold `[11]`.
    multipliers: given in the last hold, before the therapy stopped `[12]`.
    action: as played, within the space.
    clipped: the action lay outside the space and was clipped `[]` bool.
    invalid: an action was ever not a number and was taken as 0 `[]` bool.
    off: steps since therapy stopped for good, -1 while it goes on `[]` int32.
    outcome: 0 while the illness goes on, 1 healed, 2 died `[]` int32.
    decisions: control steps taken `[]` int32.
    """

    model: SepsisState
    patient: Patient
    mediators: Any
    multipliers: Any
    action: Any
    clipped: Any
    invalid: Any
    off: Any
    outcome: Any
    decisions: Any


@dataclass(frozen=True)
class Sepsis(FunctionalEnv):
    """Steer the immune response of a septic patient with cytokine drugs.

    ## Description
    The innate-immune-response model of An and Cockrell: endothelial cells on a torus, an infection that spreads on it,
    neutrophils, monocytes and helper cells that answer, and the mediators by which they talk. The answer may kill the
    patient as well as the infection. A drug multiplies, or adds to, what cells produce of one mediator. It is the
    system of Petersen et al. (2018/2019) and of Cockrell, Larie and An (2022). One step of the model is 6 to 7 minutes;
    an action is held for `hold` of them.

    The parallel form of the model is used (`SepsisModel`). Its numbers are calibrated for 101 x 101 cells, which take
    about 1.5 ms per step on one core, so 0.1 s per decision. A smaller `grid` is a smaller piece of the same tissue and
    faster in proportion to its area; single patients then fluctuate more. One patient at a time on a CPU is faster in
    machine code (`NativeSepsis`), which keeps the sequential order exactly.

    ## Action space
    `Box(-1, 1, (k,))`, one number a per drug; the multiplier of the mediator's production is 1 + 9a if a >= 0, else
    a + 1.001, within [0.001, 10]; below 1 it multiplies, above 1 (multiplier - 1) is added. k = 6: TNF, IFNg, IL1, IL4,
    IL8, IL12; k = 11: TNF, sTNFr, IL10, GCSF, IFNg, PAF, IL1, IL4, IL8, IL12, sIL1r. With `antibiotic` one more number:
    antibiotics while it is above 0. Values outside are clipped (`info["clipped"]`); NaN raises ValueError, in compiled
    rollouts it is taken as 0 and `info["invalid"]` stays set.

    ## Observation space
    `Box(-1, 1, (11,))`: totals of TNF, sTNFr, IL10, GCSF, IFNg, PAF, IL1, IL4, IL8, IL12, sIL1r over the grid, averaged
    over the last hold; -1 is none, 1 (where it is clipped) the largest total recorded in untreated patients. With
    `oracle_obs` also what no clinic can measure: oxygen deficit and infection (1 is the whole grid), and the numbers of
    PMN, monocytes, TH0, TH1, TH2.

    ## Rewards
    | `reward_form` | terms |
    |---|---|
    | `"shaped"` | decrease of the oxygen deficit since the last decision, as a share of the grid; at the end +1 or -1 |
    | `"outcome"` | at the end +1 or -1 |
    | `"public"` | of the public environment: 200 (P - P_before), P = -100 deficit / cells, less 0.1 sum of abs(a), |
    | | both times 0.998^k at decision k; at the end +1000 or -1000 |

    ## Starting state
    Infected cells within the patient's radius of injury, then `burn_in` steps without therapy. With `cohort` each
    episode has another patient, drawn from the distribution of `Cohort`.

    ## Episode end
    When the deficit falls below 100 cells (of 10201), therapy stops for good; a patient is healed if after at least 100
    more steps the deficit is below 50 cells, and has died as soon as it is above 80 % of the cells. Truncated after
    `horizon` decisions.

    ## Info
    `oxygen_deficit` (cells), `infection`, `mediators` (12 totals), `counts` (five kinds of cells), `multipliers`,
    `clipped` and `action_projected` (the same), `invalid`, `off_therapy`, `healed`, `died`, `time` (model steps),
    `overflow` (births cancelled for want of room, 0 in a healthy run), `saturated` (mediators reached 1e12, where they
    are clipped), `reward_terms` (`shaping`, `effort`, `outcome`), `patient`.

    ## Arguments
    `reset(options={"patient": {...}})` sets parameters of the patient for one episode, by name as in `Patient`; not
    with `cohort`.

    Args:
        patient: a `Patient`, a mapping of its fields, or None for one whose outcome is open (params).
        cohort: draw another patient for each episode.
        drugs: 6 or 11.
        antibiotic: offer antibiotics too.
        oracle_obs: see above.
        reward_form: see above.
        grid: side of the torus.
        hold: model steps per decision.
        burn_in: model steps before the first decision.
        horizon: decisions per episode; 82 of 60 steps are about 5000 steps, 3 weeks.

    Raises:
        ValueError: unknown or impossible settings.

    ## Version history
    v0: first version.
    """

    metadata: ClassVar[Mapping[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "drugs": (6, 11),
        "antibiotic": (False, True),
        "oracle_obs": (False, True),
        "reward_form": _REWARDS,
        "cohort": (False, True),
    }

    patient: Patient | Mapping[str, Any] | None = field(default=None, compare=False)
    cohort: bool = False
    drugs: int = 6
    antibiotic: bool = False
    oracle_obs: bool = False
    reward_form: str = "shaped"
    grid: int = GRID
    hold: int = 60
    burn_in: int = 100
    horizon: int | None = 82

    def __post_init__(self) -> None:
        object.__setattr__(self, "patient", _patient_from(self.patient, Patient()))
        if self.drugs not in (6, 11):
            raise ValueError(f"drugs must be 6 or 11, but is {self.drugs!r}")
        if self.reward_form not in _REWARDS:
            raise ValueError(f"reward_form must be one of {', '.join(_REWARDS)}, but is {self.reward_form!r}")
        for name, least in (("hold", 1), ("burn_in", 0), ("horizon", 1)):
            value = getattr(self, name)
            if value is None and name == "horizon":
                continue
            if value != int(value) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, but is {value!r}")
        SepsisModel(self.grid)

    @cached_property
    def model(self) -> SepsisModel:
        """The tissue under treatment."""
        return SepsisModel(self.grid)

    @property
    def drug_names(self) -> tuple[str, ...]:
        """Mediators that the first numbers of an action control."""
        return DRUGS if self.drugs == 6 else CONTROLLED

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return spaces.Box(-1.0, 1.0, (self.drugs + self.antibiotic,), np.float32)

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        hidden = 2 + len(CELL_KINDS) if self.oracle_obs else 0
        return spaces.Box(-1.0, 1.0, (len(CONTROLLED) + hidden,), np.float32)

    def get_default_params(self, **kwargs: Any) -> SepsisParams:
        published = GRID**2
        assert isinstance(self.patient, Patient)
        return SepsisParams(
            patient=Patient(
                np.float32(self.patient.oxy_heal),
                np.float32(self.patient.infect_spread),
                np.int32(self.patient.infect_repeat),
                np.int32(self.patient.recurrent_injuries),
                np.float32(self.patient.injury),
            ),
            cohort=COHORT,
            antibiotic=np.float32(0.2),
            stop=np.float32(100 / published),
            healed=np.float32(50 / published),
            died=np.float32(8160 / published),
            largest=np.array([LARGEST_TOTALS[name] for name in CONTROLLED], np.float32)
            / np.float32(published),
            largest_counts=np.array(LARGEST_COUNTS, np.float32) / np.float32(published),
        )

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        """Actions `[N, k]` from outside: wrong shapes and NaN raise ValueError; what is out of range is clipped when it
        is played."""
        unlimited = spaces.Box(-np.inf, np.inf, self.action_space.shape, np.float32)
        return check_actions(unlimited, actions)

    def apply_options(self, params: SepsisParams, options: Mapping[str, Any]) -> SepsisParams:
        """Reset option `patient`: parameters of the patient for one episode, by name."""
        unknown = sorted(set(options) - {"patient"})
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; the only one is 'patient'")
        if "patient" not in options:
            return params
        if self.cohort:
            raise ValueError("reset option 'patient' is for environments with cohort=False")
        patient = _patient_from(options["patient"], params.patient)
        cast = [
            np.asarray(new).astype(np.asarray(old).dtype)
            for new, old in zip(patient, params.patient, strict=True)
        ]
        return params._replace(patient=Patient(*cast))

    def initial(self, rng: Any, params: Any = None) -> TherapyState:
        patient = drawn_patient(jax.random.fold_in(rng, 1), params.cohort) if self.cohort else params.patient
        patient = Patient(*(jnp.asarray(leaf) for leaf in patient))
        model = self.model.init(jax.random.fold_in(rng, 0), patient)
        untreated, one = jnp.ones(len(MEDIATORS), jnp.float32), jnp.ones((), jnp.float32)
        # The first observation is a mean over a hold too, as far as there have been as many steps.
        skipped = max(0, self.burn_in - self.hold)

        def step(index: Any, carry: Any) -> Any:
            model, total = carry
            key = jax.random.fold_in(rng, 2 + index)
            model = self.model.step(model, untreated, one, key, patient)
            return model, total + jnp.where(index >= skipped, model.totals.mediators, 0.0)

        total = jnp.zeros(len(MEDIATORS), jnp.float32)
        model, total = jax.lax.fori_loop(0, self.burn_in, step, (model, total))
        zero = jnp.zeros((), jnp.int32)
        return TherapyState(
            model=model,
            patient=patient,
            mediators=total[_OBSERVED] / max(1, min(self.hold, self.burn_in)),
            multipliers=untreated,
            action=jnp.zeros(self.action_space.shape, jnp.float32),
            clipped=jnp.zeros((), bool),
            invalid=jnp.zeros((), bool),
            off=zero - 1,
            outcome=zero,
            decisions=zero,
        )

    def transition(self, state: TherapyState, action: Any, rng: Any, params: Any = None) -> TherapyState:
        action = jnp.asarray(action, jnp.float32)
        finite = jnp.isfinite(action)
        played = jnp.clip(jnp.where(finite, action, 0.0), -1.0, 1.0)
        given = multipliers_of(played[: self.drugs], self.drug_names, jnp)
        killing = jnp.where(played[-1] > 0, params.antibiotic, 1.0) if self.antibiotic else jnp.ones(())

        def ill(carry: Any) -> Any:
            index, _, _, outcome, _ = carry
            return (index < self.hold) & (outcome == RUNNING)

        def step(carry: Any) -> Any:
            index, model, off, outcome, total = carry
            treated = off < 0
            m = jnp.where(treated, given, 1.0)
            antibiotic = jnp.where(treated, killing, 1.0)
            model = self.model.step(model, m, antibiotic, jax.random.fold_in(rng, index), state.patient)
            off, outcome = self._judged(model, off, params)
            return index + 1, model, off, outcome, total + model.totals.mediators

        zero = jnp.zeros((), jnp.int32)
        start = (zero, state.model, state.off, state.outcome, jnp.zeros(len(MEDIATORS), jnp.float32))
        count, model, off, outcome, total = jax.lax.while_loop(ill, step, start)
        mean = total[_OBSERVED] / jnp.maximum(count, 1)
        return TherapyState(
            model=model,
            patient=state.patient,
            mediators=jnp.where(count > 0, mean, state.mediators),
            multipliers=jnp.where(state.off < 0, given, 1.0),
            action=played,
            clipped=(finite & (jnp.abs(action) > 1)).any(),
            invalid=state.invalid | ~finite.all(),
            off=off,
            outcome=outcome,
            decisions=state.decisions + 1,
        )

    def observation(self, state: TherapyState, rng: Any, params: Any = None) -> Any:
        n = self.model.cells
        shown = [state.mediators / (jnp.asarray(params.largest) * n)]
        if self.oracle_obs:
            totals, counts = state.model.totals, self.model.counts(state.model)
            shown += [jnp.stack([totals.oxygen_deficit, totals.infection]) / n]
            shown += [counts / (jnp.asarray(params.largest_counts) * n)]
        return (2 * jnp.clip(jnp.concatenate(shown), 0.0, 1.0) - 1).astype(jnp.float32)

    def reward(
        self, state: TherapyState, action: Any, next_state: TherapyState, rng: Any, params: Any = None
    ) -> Any:
        return sum(self._reward_terms(state, next_state).values())

    def terminal(self, state: TherapyState, rng: Any, params: Any = None) -> Any:
        return state.outcome != RUNNING

    def state_info(self, state: TherapyState, params: Any = None) -> dict[str, Any]:
        totals = state.model.totals
        return {
            "oxygen_deficit": totals.oxygen_deficit,
            "infection": totals.infection,
            "mediators": totals.mediators,
            "counts": self.model.counts(state.model),
            "off_therapy": state.off >= 0,
            "time": state.model.time,
            "overflow": state.model.overflow,
            "saturated": state.model.clipped,
            "patient": state.patient._asdict(),
        }

    def transition_info(
        self, state: TherapyState, action: Any, next_state: TherapyState, params: Any = None
    ) -> dict[str, Any]:
        return {
            **self.state_info(next_state, params),
            "multipliers": next_state.multipliers,
            "clipped": next_state.clipped,
            "action_projected": next_state.clipped,
            "invalid": next_state.invalid,
            "healed": next_state.outcome == HEALED,
            "died": next_state.outcome == DIED,
            "reward_terms": self._reward_terms(state, next_state),
        }

    def render_image(self, state: TherapyState, params: Any = None) -> np.ndarray:  # type: ignore[override]
        """Oxygen as red on black, infection green, PMN white; at least 408 pixels `[H, W, 3]` uint8."""
        return tissue_picture(state.model, self.grid)

    def ward(self, seeds: np.ndarray) -> NativeWard:
        """The patients of these seeds in machine code, one after the other, for search and judgement of therapies.

        Raises:
            ValueError: without `cohort` or a horizon, or with `oracle_obs`.
            ImportError: Numba is missing.
        """
        from dynrl.envs.digital_twins.sepsis.ward import NativeWard

        return NativeWard(self, seeds)

    def _judged(self, model: SepsisState, off: Any, params: SepsisParams) -> tuple[Any, Any]:
        """Steps off therapy, and the outcome, after one more step."""
        missing = model.totals.oxygen_deficit / self.model.cells
        off = jnp.where(off >= 0, off + 1, jnp.where(missing < params.stop, 0, -1))
        healed = (off >= CONFIRMATION) & (missing < params.healed)
        outcome = jnp.where(missing > params.died, DIED, jnp.where(healed, HEALED, RUNNING))
        return off.astype(jnp.int32), outcome.astype(jnp.int32)

    def _reward_terms(self, state: TherapyState, after: TherapyState) -> dict[str, Any]:
        regained = (state.model.totals.oxygen_deficit - after.model.totals.oxygen_deficit) / self.model.cells
        end = jnp.where(after.outcome == HEALED, 1.0, jnp.where(after.outcome == DIED, -1.0, 0.0))
        end = jnp.where(state.outcome == RUNNING, end, 0.0)
        zero = jnp.zeros((), jnp.float32)
        if self.reward_form == "outcome":
            return {"shaping": zero, "effort": zero, "outcome": end}
        if self.reward_form == "shaped":
            return {"shaping": regained, "effort": zero, "outcome": end}
        damping = 0.998**state.decisions
        effort = -0.1 * jnp.abs(after.action[: self.drugs]).sum()
        return {
            "shaping": 200 * 100 * regained * damping,
            "effort": effort * damping,
            "outcome": 1000 * end,
        }


def _patient_from(given: Any, default: Patient) -> Patient:
    if given is None:
        return check_patient(default)
    if isinstance(given, Patient):
        return check_patient(given)
    if not isinstance(given, Mapping):
        raise ValueError(
            f"patient must be a Patient or a mapping of its fields, but is a {type(given).__name__}"
        )
    unknown = sorted(set(given) - set(Patient._fields))
    if unknown:
        raise ValueError(f"a patient has no {unknown[0]!r}; it has {', '.join(Patient._fields)}")
    return check_patient(default._replace(**given))
