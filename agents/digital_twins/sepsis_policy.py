"""Therapies of sepsis with few numbers: constants, and feedback that gives less once the patient is well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dynrl.functional import FunctionalEnv

__all__ = ["constant_weights", "first_guess", "gated_weights", "paf_level", "policy_action"]

_PAF = 5
"""Where PAF stands in the observation (TNF, sTNFr, IL10, GCSF, IFNg, PAF, IL1, IL4, IL8, IL12, sIL1r)."""

_WEAKEST = 1e-4
"""Share of the largest PAF total below which levels are not told apart."""


def paf_level(observation: Any, xp: Any = np) -> Any:
    """Logarithm (base 10) of the PAF total as a share of the largest `[]`, in [-4, 0]. Every injured cell makes PAF, so
    it says how much is injured; the totals range over orders of magnitude."""
    return xp.log10(xp.maximum((xp.asarray(observation)[_PAF] + 1) / 2, _WEAKEST))


def policy_action(weights: Any, observation: Any, size: int, xp: Any = np) -> Any:
    """The action `[size]` for an observation `[11, ...]`.

    Args:
        weights: of a constant `[size]`: its action is tanh(w / 2); of feedback `[2 size + 1]`: a constant for the ill,
            one for the well, and the `paf_level` above which a patient counts as ill.
        observation: as the environment shows it.
        size: numbers of an action.
        xp: NumPy or `jax.numpy`.
    """
    chosen = weights[:size]
    if weights.shape[0] > size:
        ill = paf_level(observation, xp) > weights[-1]
        chosen = xp.where(ill, chosen, weights[size : 2 * size])
    return xp.tanh(0.5 * chosen)


def constant_weights(env: FunctionalEnv, action: Mapping[str, float]) -> np.ndarray:
    """Weights of the constant that plays `action` for the drugs named and 0 for the others; the antibiotic's name is
    `"antibiotic"`, off by default."""
    names = [*env.drug_names, "antibiotic"][: env.action_space.shape[0]]  # type: ignore[attr-defined, index]
    played = np.array([action.get(name, -1.0 if name == "antibiotic" else 0.0) for name in names])
    return 2 * np.arctanh(np.clip(played, -1 + 1e-6, 1 - 1e-6))


def first_guess(env: FunctionalEnv) -> np.ndarray:
    """Weights of a constant that the rules and trials of single drugs suggest: without IL1 no neutrophil sticks and
    bursts, PAF leads monocytes to what they can heal, where IL10 would silence them, without GCSF fewer neutrophils
    stand in their way, and antibiotics kill the infection."""
    guess = {"IL1": -0.98, "PAF": 0.9, "IL10": -0.9, "GCSF": -0.9, "antibiotic": 0.8}
    return constant_weights(env, guess)


def gated_weights(ill: np.ndarray, well: np.ndarray, threshold: float) -> np.ndarray:
    """Feedback that plays the constant `ill` while the PAF level is above `threshold`, and `well` otherwise."""
    return np.concatenate([ill, well, [threshold]])
