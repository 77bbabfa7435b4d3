"""What every action set offers, and how its arrays become leaves of a JAX pytree."""

from abc import ABC, abstractmethod
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from dynrl.bandits.action_sets import convex_maximum

__all__ = ["TOLERANCE", "ActionSet", "RelaxedAction", "array_and_namespace", "first_best", "ucb_index"]

Array = NDArray[np.float64]
TOLERANCE = 1e-9  # how far outside its set an action may lie and still count as inside


class RelaxedAction(NamedTuple):
    """Attributes:
    action: the chosen action [d].
    value: certified upper bound on the index ĥ·u + β‖u‖_{V⁻¹} over the whole set.
    """

    action: Array
    value: float


class ActionSet(ABC):
    """A compact set of actions U ⊂ R^d with the oracles that optimistic bandit algorithms need.

    Sets are frozen dataclasses. They are JAX pytrees whose array fields are the leaves, so a set can be part
    of the parameters of an environment; ``linear_argmax`` and ``project`` take NumPy and JAX arrays with any
    leading axes.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        jax.tree_util.register_pytree_with_keys(
            cls, _flatten, lambda aux, leaves: _unflatten(cls, aux, leaves)
        )

    def __reduce__(self) -> tuple:
        return type(self), tuple(getattr(self, f.name) for f in fields(self))  # type: ignore[arg-type]

    dimension: int
    """Number d of action coordinates."""

    @abstractmethod
    def linear_argmax(self, w: Any) -> Any:
        """argmax over u in the set of w·u: [..., d] for weights [..., d]."""

    @abstractmethod
    def project(self, u: Any) -> Any:
        """The point of the set nearest to u in Euclidean distance: [..., d] for points [..., d]."""

    @abstractmethod
    def violation(self, u: ArrayLike) -> str:
        """The constraint that u [d] violates most, and by how much; empty when it satisfies all of them."""

    @abstractmethod
    def excess(self, u: ArrayLike) -> Any:
        """The largest amounts [...] by which the points u [..., d] violate a constraint; 0 inside."""

    @abstractmethod
    def max_norm(self) -> float:
        """Ū, the largest Euclidean norm in the set (or, where stated, a close upper bound)."""

    @abstractmethod
    def sample(self, rng: np.random.Generator) -> Array:
        """A random point of the set [d]."""

    @abstractmethod
    def bounding_box(self) -> tuple[Array, Array]:
        """Smallest and largest value of each coordinate over the set: two arrays [d]."""

    def candidates(self) -> Array | None:
        """Points [K, d] with a maximum of every convex function, or None where they cannot be listed."""
        return None

    def contains(self, u: ArrayLike, tol: float = TOLERANCE) -> bool:
        """Whether u [d] violates no constraint by more than ``tol``."""
        u = np.asarray(u, dtype=np.float64)
        return u.shape == (self.dimension,) and bool(np.isfinite(u).all()) and bool(self.excess(u) <= tol)

    def to_gym_space(self) -> spaces.Space:
        """``Box`` of the bounding box in float64 (``Discrete(K)`` for finite sets)."""
        low, high = self.bounding_box()
        return spaces.Box(low, high, dtype=np.float64)

    def ucb_argmax(self, h_hat: ArrayLike, V: ArrayLike, beta: float) -> Array:
        """argmax over u of the optimistic index ĥ·u + β‖u‖_{V⁻¹} [d].

        Exact where ``candidates`` lists the vertices (ties within 1e-12·max(1, |best|) go to the first of
        them) and for centred balls, else the monotone ascent of ``convex_maximum.ascend``, a heuristic.

        Args:
            h_hat: estimate ĥ [d]. V: positive definite [d, d]. beta: width β ≥ 0.
        """
        h_hat, V = self._index_arguments(h_hat, V, beta)
        candidates = self.candidates()
        if candidates is None:
            return convex_maximum.ascend(self.linear_argmax, h_hat, V, beta)
        return candidates[first_best(ucb_index(candidates, h_hat, V, beta))]

    def ucb_argmax_relaxed(self, h_hat: ArrayLike, V: ArrayLike, beta: float) -> RelaxedAction:
        """The best of 2d linear problems over ĥ ± β√d·V^{-1/2}e_i: an upper bound on every index of the set.

        As optimistic as ``ucb_argmax`` with a width √d larger, so regret guarantees keep a √d factor.
        """
        h_hat, V = self._index_arguments(h_hat, V, beta)
        weights = convex_maximum.relaxed_weights(h_hat, V, beta)
        actions = self.linear_argmax(weights)
        values = (weights * actions).sum(-1)
        best = first_best(values)
        return RelaxedAction(actions[best], float(values[best]))

    def _index_arguments(self, h_hat: ArrayLike, V: ArrayLike, beta: float) -> tuple[Array, Array]:
        h_hat, V = np.asarray(h_hat, dtype=np.float64), np.asarray(V, dtype=np.float64)
        d = self.dimension
        if h_hat.shape != (d,) or V.shape != (d, d):
            raise ValueError(
                f"h_hat and V must have shapes ({d},) and ({d}, {d}), not {h_hat.shape} and {V.shape}"
            )
        if not beta >= 0:
            raise ValueError(f"beta must be at least 0, but is {beta}")
        return h_hat, V


def ucb_index(actions: Array, h_hat: Array, V: Array, beta: float) -> Array:
    """ĥ·u + β·sqrt(uᵀV⁻¹u) [K] for each row u of the actions [K, d]."""
    width = (actions.T * np.linalg.solve(V, actions.T)).sum(0)
    return actions @ h_hat + beta * np.sqrt(np.maximum(width, 0.0))


def first_best(values: Array) -> int:
    """Lowest index whose value is within 1e-12·max(1, |best|) of the best."""
    if len(values) > 64:
        best = values.max()
        return int(np.argmax(values >= best - 1e-12 * max(1.0, abs(best))))
    numbers = values.tolist()  # a handful is compared faster in Python than in NumPy
    best = max(numbers)
    near = best - 1e-12 * max(1.0, abs(best))
    return next(index for index, value in enumerate(numbers) if value >= near)


def array_and_namespace(value: ArrayLike) -> tuple[Any, Any]:
    """The value as an array, and what computes on it: ``jax.numpy`` for JAX arrays, else ``numpy``."""
    if isinstance(value, jax.Array):
        return value, jnp
    return np.asarray(value, dtype=np.float64), np


def _static(field: Any) -> bool:
    return bool(field.metadata.get("static", False))


def _flatten(self: Any) -> tuple[list, tuple]:
    leaves = [
        (jax.tree_util.GetAttrKey(f.name), getattr(self, f.name)) for f in fields(self) if not _static(f)
    ]
    return leaves, tuple(getattr(self, f.name) for f in fields(self) if _static(f))


def _unflatten(cls: type, aux: tuple, leaves: Any) -> Any:
    new: Any = object.__new__(cls)  # leaves may be tracers: they must not be validated
    names = [f.name for f in fields(cls) if not _static(f)] + [f.name for f in fields(cls) if _static(f)]
    for name, value in zip(names, (*leaves, *aux), strict=True):
        object.__setattr__(new, name, value)
    return new
