"""The click model that training makes: logistic regression on sparse features, with its calibration."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynrl.auctions.clicks.calibration import CALIBRATORS, Calibrator, undo_down_sampling
from dynrl.auctions.clicks.padding import check_features, pad_rows, row_width
from dynrl.auctions.log import AuctionLog, Features
from dynrl.errors import FileFormatError
from dynrl.runs.array_file import read_arrays, write_arrays

__all__ = ["ClickModel"]

_BLOCK = 16_384
"""Rows at once: few enough for their feature numbers to stay in the cache."""
_KIND = "click_model"


@dataclass(frozen=True, eq=False)
class ClickModel:
    """θ(x) = calibrator(p / (p + (1 - p) / w)), p = 1 / (1 + exp(-Σ weights of the row's features)).

    Attributes:
        weights: `[dimension]`.
        negative_rate: w, the share of unclicked rows that was trained on.
        calibrator: fitted on rows that `weights` was not fitted on; None for none.
    """

    weights: NDArray[np.float64]
    negative_rate: float = 1.0
    calibrator: Calibrator | None = None

    @property
    def dimension(self) -> int:
        """Number of features."""
        return len(self.weights)

    def predict(self, features: Features) -> NDArray[np.float64]:
        """Click probabilities θ `[N]`.

        Raises:
            ValueError: features of another dimension, or numbers out of range.
        """
        from scipy.special import expit

        theta = undo_down_sampling(expit(self.scores(features)), self.negative_rate)
        return theta if self.calibrator is None else self.calibrator(theta)

    def scores(self, features: Features) -> NDArray[np.float64]:
        """Σ of the weights of the features present in each row `[N]`."""
        if features.dimension != self.dimension:
            raise ValueError(
                f"features have dimension {features.dimension}, the model was trained on {self.dimension}; "
                "use the feature map that the model was trained with"
            )
        check_features(features)
        weights, width = np.append(self.weights, 0.0), row_width(features)
        scores = np.zeros(len(features))
        for start in range(0, len(features), _BLOCK):
            stop = min(start + _BLOCK, len(features))
            scores[start:stop] = weights[pad_rows(features, np.arange(start, stop), width)].sum(1)
        return scores

    def apply(self, log: AuctionLog) -> AuctionLog:
        """The same log with θ of each row.

        Raises:
            ValueError: the log has no features.
        """
        if log.features is None:
            raise ValueError("the log has no features to predict clicks from; read it with a feature map")
        return log.with_theta(self.predict(log.features))

    def calibrated(
        self, features: Features, click: ArrayLike, method: str = "isotonic", bins: int = 10
    ) -> ClickModel:
        """The same weights with a calibrator fitted on the given rows, which must not be those of training.

        Args:
            method: `"isotonic"` (any monotone correction; needs a few hundred clicks) or `"platt"` (two parameters).

        Raises:
            ValueError: an unknown method, or rows without clicks.
        """
        if method not in CALIBRATORS:
            raise ValueError(f"method is {method!r}, expected one of {', '.join(CALIBRATORS)}")
        plain = dataclasses.replace(self, calibrator=None)
        calibrator = CALIBRATORS[method].fit(plain.predict(features), click)
        return dataclasses.replace(self, calibrator=calibrator)

    def save(self, path: str | PathLike[str]) -> None:
        """Writes one file of arrays (safetensors, no pickle), whole or not at all; only non-zero weights are stored."""
        active = np.flatnonzero(self.weights)
        arrays = {"active": active.astype(np.int64), "weights": self.weights[active]}
        meta = {
            "kind": _KIND,
            "dimension": self.dimension,
            "negative_rate": self.negative_rate,
            "calibrator": None,
        }
        if self.calibrator is not None:
            meta["calibrator"] = self.calibrator.method
            arrays |= {f"calibrator.{name}": array for name, array in self.calibrator.arrays().items()}
        write_arrays(Path(path), arrays, meta)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> ClickModel:
        """Reads what `save` wrote.

        Raises:
            FileFormatError: the file is missing, damaged, or holds something else.
        """
        arrays, meta = read_arrays(Path(path))
        if meta.get("kind") != _KIND:
            raise FileFormatError(f"{path} holds {meta.get('kind')!r}, expected a click model")
        weights = np.zeros(meta["dimension"])
        weights[arrays["active"]] = arrays["weights"]
        calibrator = None
        if meta["calibrator"] is not None:
            prefix = "calibrator."
            values = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
            calibrator = CALIBRATORS[meta["calibrator"]].from_arrays(values)
        return cls(weights, meta["negative_rate"], calibrator)
