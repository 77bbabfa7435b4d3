"""Identification of dynamical linear bandits from logs of actions and rewards."""

from dynrl.bandits.identification.gain import GainEstimate, identify_gain
from dynrl.bandits.identification.logs import UnexcitedInputError
from dynrl.bandits.identification.state_space import StateSpaceEstimate, identify_state_space

__all__ = [
    "GainEstimate",
    "StateSpaceEstimate",
    "UnexcitedInputError",
    "identify_gain",
    "identify_state_space",
]
