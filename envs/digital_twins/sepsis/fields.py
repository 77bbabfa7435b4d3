"""Names and constants of the innate-immune-response model (An and Cockrell, public code of the IIRABM; the numbers are
theirs unless a comment says otherwise)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["CONTROLLED", "DRUGS", "MEDIATORS", "Patient", "check_patient", "multipliers_of"]

GRID = 101
"""Side of the published grid, for which the model is calibrated."""

CELL_CAPACITY = 28
"""Mobile cells and birth sites that fit on one endothelial cell."""

MEDIATORS = ("PAF", "TNF", "sTNFr", "IL1", "sIL1r", "IL1ra", "IFNg", "IL4", "IL8", "IL10", "IL12", "GCSF")
CELL_FIELDS = ("oxy", "infection", "endotoxin", "cytotox", "roll", "stick", "activated")
FIELDS = CELL_FIELDS + MEDIATORS

OXY, INFECTION, ENDOTOXIN, CYTOTOX, ROLL, STICK, ACTIVATED = range(7)
PAF, TNF, STNFR, IL1, SIL1R, IL1RA, IFNG, IL4, IL8, IL10, IL12, GCSF = range(7, 19)
M_PAF, M_TNF, M_STNFR, M_IL1, M_SIL1R, M_IL1RA, M_IFNG, M_IL4, M_IL8, M_IL10, M_IL12, M_GCSF = range(12)

CONTROLLED = ("TNF", "sTNFr", "IL10", "GCSF", "IFNg", "PAF", "IL1", "IL4", "IL8", "IL12", "sIL1r")
"""The eleven mediators of Petersen et al. (2019), in the order of the public environment."""

DRUGS = ("TNF", "IFNg", "IL1", "IL4", "IL8", "IL12")
"""The six for which drugs exist (Cockrell, Larie and An, Front. Immunol. 2022)."""

SPREADING = (
    ENDOTOXIN,
    CYTOTOX,
    PAF,
    TNF,
    STNFR,
    IL1,
    SIL1R,
    IL1RA,
    IFNG,
    IL4,
    IL8,
    IL10,
    IL12,
    GCSF,
)
"""Fields that evaporate and diffuse, as FIELDS numbers."""

REMAINS = np.array([0.7, 0.7, 0.7, 0.8, 0.9, 0.8, 0.9, 0.9, 0.8, 0.95, 0.7, 0.95, 0.8, 0.95])
"""What evaporation leaves of each of them per step."""

LEAVES = np.array([1.0, 0.4, 0.6, 0.6, 0.8, 0.6, 0.8, 0.8, 0.8, 0.8, 0.6, 0.8, 0.8, 1.0])
"""Share of each that diffuses to the eight neighbours per step."""

TRACE = 0.01
"""Below this, evaporation leaves nothing."""

LARGEST = 1e12
"""Fields are clipped here: they can grow geometrically where several cells meet."""

START = {"pmn": 500, "monocyte": 50, "th0": 0, "th1": 50, "th2": 50}
"""Mobile cells at the start on the published grid."""

SITES = 100
"""Birth sites of each of the five kinds on the published grid."""

MOST_TRIES = 3000
"""GCSF per published grid beyond which the marrow sends out no more PMN; a hundredth of it are tries per site."""

RUNNING, HEALED, DIED = range(3)
"""Outcomes."""

CONFIRMATION = 100
"""Steps off therapy before a patient counts as healed, as in the public environment."""

INJURY_PERIOD = 204
"""Steps between recurrent injuries."""

HEADINGS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""Steps (x, y) of the headings 0 to 7, clockwise from north."""

LARGEST_TOTALS = dict(zip(MEDIATORS, (400, 170, 100, 190, 40, 115, 60, 310, 240, 790, 70, 540), strict=True))
"""Largest totals of the mediators, divided by 100 and for the published grid, over 60 untreated patients of the cohort.
(Those of the public environment belong to its variant of the rules with a matrix of coefficients.)"""

LARGEST_COUNTS = (1700, 115, 145, 180, 290)
"""Largest numbers of PMN, monocytes, TH0, TH1 and TH2 over the same patients."""


class Patient(NamedTuple):
    """One patient; in a batch, leaves carry a leading axis.

    Attributes:
        oxy_heal: oxygen regained per step by a living endothelial cell (host resilience, oxyHeal), of 100.
        infect_spread: infection passed to a neighbour (toxigenesis, infectSpread), of 100.
        infect_repeat: times per step that it may be passed (invasiveness, numInfectRepeat), whole.
        recurrent_injuries: cells infected anew every 204 steps (environmental toxicity, numRecurInj), whole.
        injury: radius of the first infection, in cells of the published grid.
    """

    oxy_heal: Any = 0.08
    infect_spread: Any = 2.0
    infect_repeat: Any = 2
    recurrent_injuries: Any = 0
    injury: Any = 20.0


def check_patient(patient: Patient) -> Patient:
    """Return the patient, every leaf a NumPy array.

    Raises:
        ValueError: a parameter that is not finite, negative, or not whole where it must be.
    """
    arrays = Patient(*(np.asarray(leaf) for leaf in patient))
    for name, leaf in arrays._asdict().items():
        if leaf.dtype.kind not in "iuf" or not np.isfinite(leaf).all() or (leaf < 0).any():
            raise ValueError(f"patient.{name} must be a finite number of at least 0, but is {leaf}")
        if name in ("infect_repeat", "recurrent_injuries") and (leaf != np.floor(leaf)).any():
            raise ValueError(f"patient.{name} must be a whole number, but is {leaf}")
    return arrays


def multipliers_of(action: Any, names: tuple[str, ...], xp: Any = np) -> Any:
    """The twelve multipliers, in the order of `MEDIATORS`, that an action in [-1, 1] `[len(names)]` stands for:
    1 + 9a if a is at least 0, otherwise a + 1.001; 1 for a mediator without a drug."""
    action = xp.asarray(action)
    given = xp.clip(xp.where(action >= 0, 1 + 9 * action, action + 1.001), 0.001, 10.0)
    one = xp.ones((), given.dtype)
    return xp.stack([given[names.index(name)] if name in names else one for name in MEDIATORS])
