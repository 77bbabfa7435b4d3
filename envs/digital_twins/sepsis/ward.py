"""A ward of septic patients in machine code, on whom therapies are tried one patient after the other."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dynrl.envs.digital_twins.sepsis.cohort import drawn_patient
from dynrl.envs.digital_twins.sepsis.env import Sepsis
from dynrl.envs.digital_twins.sepsis.fields import (
    DIED,
    HEALED,
    MEDIATORS,
    RUNNING,
    Patient,
    multipliers_of,
)
from dynrl.envs.digital_twins.sepsis.native import Limits, NativeSepsis
from dynrl.faces.episode import key_from_seed, split_key
from dynrl.functional import FunctionalEnv

__all__ = ["Course", "NativeWard"]

DEAD = 0.8
"""Share of missing oxygen that counts for the time after death."""

Policy = Callable[[np.ndarray], np.ndarray]
"""The action for an observation."""


class Course(NamedTuple):
    """One patient's illness under a therapy.

    Attributes:
        deficits: shares of missing oxygen at the first decision and after each `[decisions + 1]`.
        efforts: sums of the absolute actions over the drugs, antibiotics apart `[decisions]`.
        treated: whether therapy still went on at each decision `[decisions]` bool.
        outcome: 0 running, 1 healed, 2 died.
        steps: model steps after the burn-in.
    """

    deficits: np.ndarray
    efforts: np.ndarray
    treated: np.ndarray
    outcome: int
    steps: int

    @property
    def died(self) -> bool:
        """Whether the illness ended in death."""
        return self.outcome == DIED

    @property
    def healed(self) -> bool:
        """Whether the illness ended in health."""
        return self.outcome == HEALED

    @property
    def dose(self) -> float:
        """Drug given: efforts summed while therapy went on."""
        return float(self.efforts[self.treated].sum())

    def burden(self, horizon: int) -> float:
        """Mean share of missing oxygen over `horizon` decisions; 0 after healing, 0.8 after death."""
        after = DEAD * self.died * (horizon - len(self.efforts))
        return float((self.deficits[1:].sum() + after) / horizon)

    @property
    def returns(self) -> dict[str, float]:
        """Undiscounted returns under each reward form of `Sepsis`."""
        end = {RUNNING: 0.0, HEALED: 1.0, DIED: -1.0}[self.outcome]
        regained = self.deficits[:-1] - self.deficits[1:]
        damping = 0.998 ** np.arange(len(regained))
        return {
            "shaped": float(regained.sum() + end),
            "outcome": end,
            "public": float((damping * (2e4 * regained - 0.1 * self.efforts)).sum() + 1000 * end),
        }


class NativeWard:
    """Patients whose illness up to the first decision is computed once, and on whom policies are tried, on the model in
    machine code.

    Patients are those that the environment draws for the same seeds; their chances are not.

    Args:
        env: a `Sepsis` with `cohort` and a horizon, observed without `oracle_obs`.
        seeds: one per patient; the same seed is the same patient in the same state at the first decision.

    Raises:
        ValueError: an environment that is something else.
        ImportError: Numba is missing.
    """

    def __init__(self, env: FunctionalEnv, seeds: np.ndarray) -> None:
        if not isinstance(env, Sepsis) or not env.cohort or env.oracle_obs or env.horizon is None:
            raise ValueError("env must be a Sepsis with cohort=True, oracle_obs=False and a horizon")
        self.env, self.horizon = env, env.horizon
        self.params = env.get_default_params()
        self.limits = Limits(*(float(getattr(self.params, name)) for name in Limits._fields))
        keys = np.stack([key_from_seed(int(seed)) for seed in seeds])
        drawn = jax.device_get(_drawn(keys, self.params.cohort))
        self.size = len(keys)
        self._admitted = []
        for index, seed in enumerate(seeds):
            patient = Patient(*(leaf[index] for leaf in drawn))
            model = NativeSepsis(patient, int(seed), env.grid)
            model.run(max(0, env.burn_in - env.hold))
            count, sums = model.run(min(env.hold, env.burn_in))
            self._admitted.append((model, sums / max(1, count)))

    def patient(self, index: int) -> Patient:
        """Who is ill."""
        return self._admitted[index][0].patient

    def courses(self, policy: Policy) -> list[Course]:
        """Try `policy` on every patient."""
        return [self.course(policy, patient) for patient in range(self.size)]

    def course(self, policy: Policy, patient: int) -> Course:
        """Try `policy` on one patient until an outcome or the horizon."""
        env = self.env
        model, mediators = self._admitted[patient]
        model, begun = copy.deepcopy(model), model.time
        cells = env.grid**2
        deficits, efforts, treated = [model.oxygen_deficit / cells], [], []
        for _ in range(self.horizon):
            action = np.clip(np.asarray(policy(self._observed(mediators)), np.float32), -1, 1)
            drugs = action[: env.drugs]
            killing = float(self.params.antibiotic) if env.antibiotic and action[-1] > 0 else 1.0
            efforts.append(float(np.abs(drugs).sum()))
            treated.append(model.off < 0)
            count, sums = model.run(
                env.hold, multipliers_of(drugs, env.drug_names), antibiotic=killing, limits=self.limits
            )
            mediators = sums / count
            deficits.append(model.oxygen_deficit / cells)
            if model.outcome:
                break
        return Course(
            np.array(deficits), np.array(efforts), np.array(treated), model.outcome, model.time - begun
        )

    def _observed(self, mediators: np.ndarray) -> np.ndarray:
        """The environment's observation `[11]`."""
        level = mediators[_OBSERVED] / (np.asarray(self.params.largest) * self.env.grid**2)
        return (2 * np.clip(level, 0, 1) - 1).astype(np.float32)


_OBSERVED = np.array([MEDIATORS.index(name) for name in Sepsis(drugs=11).drug_names])


@jax.jit
def _drawn(keys: Any, cohort: Any) -> Any:
    def patient(key: Any) -> Any:
        _, sub = split_key(key)
        return drawn_patient(jax.random.fold_in(sub, 1), cohort)

    return jax.vmap(patient)(keys)
