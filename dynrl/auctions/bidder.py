"""What every bidding strategy is: pure functions of one auction, with its constants as the leaves of a pytree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from dynrl.auctions.serving import BidPolicy

__all__ = ["Bidder", "Outcome", "Request"]

Array = Any  # a number, numpy.ndarray or jax.Array


class Request(NamedTuple):
    """What a bidder sees of one auction before it bids, every leaf `[]`.

    Attributes:
        t_left: t, auctions left in the episode, this one included (T, T - 1, ..., 1).
        b_left: b, ticks left.
        theta: predicted click probability.
        floor: reserve price in ticks, 0 without one.
        segment: segment number, 0 without segments.
    """

    t_left: Array
    b_left: Array
    theta: Array
    floor: Array
    segment: Array


class Outcome(NamedTuple):
    """What a bidder sees of one auction afterwards, every leaf `[]`.

    Attributes:
        bid: ticks actually bid, after the cut to `min(delta_max, b_left)`.
        won: whether the impression was won.
        cost: ticks paid, 0 after a loss.
        click: whether the impression was won and clicked.
    """

    bid: Array
    won: Array
    cost: Array
    click: Array


class Bidder:
    """A bidding strategy for one episode at a time; thousands of episodes are a `vmap` over it.

    Subclasses are frozen dataclasses registered with `jax.tree_util.register_dataclass`: numbers and tables are data
    fields (so that a sweep over a parameter is one compiled program), what selects the computation is a meta field.
    The methods are pure JAX, in float64, and see scalars.

    Memory is any pytree of arrays; a strategy that needs none keeps the defaults.
    """

    def start(self, horizon: Array, budget: Array, key: Array) -> Any:
        """The memory at the start of an episode of `horizon` auctions with `budget` ticks; `key` (typed JAX key) is for
        strategies that draw."""
        return ()

    def bid(self, memory: Any, request: Request) -> tuple[Array, Any]:
        """(bid in ticks, memory). Whoever runs the auction floors the bid and cuts it to `min(delta_max, b_left)`."""
        raise NotImplementedError

    def observe(self, memory: Any, request: Request, outcome: Outcome) -> Any:
        """The memory after the auction's outcome is known."""
        return memory

    def serving(self) -> BidPolicy:
        """The same strategy in NumPy alone, for one auction at a time (`dynrl.auctions.serving`)."""
        raise NotImplementedError(f"{type(self).__name__} has no NumPy form to serve from")
