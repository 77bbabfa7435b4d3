"""What a log says about the bounds that DynLin-UCB must be told."""

from __future__ import annotations

import math

import numpy as np

from dynrl.bandits import GainEstimate

NEGLIGIBLE = 1e-6  # where ρ̄^s has fallen below this, the response to an action is over


def impulse_response(gain: GainEstimate, rounds: int) -> np.ndarray:
    """Markov parameters h⁰, h¹, … of the fitted recursion for one reward, `[rounds, d]`."""
    if gain.input_coefficients.shape[1] != 1:
        raise ValueError("expected a gain identified from one reward per round, y of shape [T]")
    recursion, direct = gain.output_coefficients[:, 0, 0], gain.input_coefficients[:, 0, :]
    response = np.zeros((rounds, direct.shape[1]))
    for s in range(rounds):
        past = response[max(0, s - len(recursion)) : s][::-1]
        response[s] = recursion[: len(past)] @ past + (direct[s] if s < len(direct) else 0.0)
    return response


def bounds_from_gain(
    gain: GainEstimate, rho_bar: float | None = None, caution: float = 1.5
) -> dict[str, float]:
    """Fields of `DynLinUCBConfig` for a system known from a log only.

    The hidden state has no units of its own, so it is measured in units of reward: Ω = Φ̄ = 1, and B̄ is the least K
    with ‖hˢ‖ ≤ K·ρ̄^(s−1) for all s ≥ 1. That is what the theory uses of Ω, Φ̄ and B̄.

    Args:
        gain: identified with `method="arx"` from one reward per round.
        rho_bar: ρ̄; None takes `gain.rho_bar` = min(0.999, ρ̂ + 2 se + 0.02).
        caution: factor on the estimated Θ and B̄, because they are no true bounds.

    Raises:
        ValueError: the fitted recursion is unstable, or ρ̄ is not in [0, 1).
    """
    if gain.unstable:
        raise ValueError(
            f"the recursion fitted to the log is unstable (spectral radius {gain.rho:.4g}): rewards do not settle "
            "in it; give a longer log, or another order"
        )
    rho = gain.rho_bar if rho_bar is None else rho_bar
    if not 0.0 <= rho < 1.0:
        raise ValueError(f"rho_bar must be in [0, 1), got {rho}")
    rounds = 2 if rho == 0.0 else 2 + math.ceil(math.log(NEGLIGIBLE) / math.log(rho))
    sizes = np.linalg.norm(impulse_response(gain, rounds), axis=1)
    return {
        "rho_bar": rho,
        "phi_bar": 1.0,
        "omega_bar": 1.0,
        "theta_bar": caution * float(sizes[0]),
        "b_bar": caution * float((sizes[1:] / rho ** np.arange(rounds - 1)).max()),
        "sigma": math.sqrt(float(gain.residual_covariance[0, 0])),
    }
