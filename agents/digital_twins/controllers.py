"""Controllers: from the macrostate to a command, the same object on a metamodel and on the agent-based model."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from dynrl.agents.digital_twins.network import Network
from dynrl.agents.digital_twins.objectives import SetPoint

__all__ = [
    "BangBang",
    "BudgetSchedule",
    "Constant",
    "Controller",
    "FeedbackNet",
    "LinearFeedback",
    "RandomDoses",
    "Schedule",
    "TwoWeights",
    "policy",
]

Array = Any


class Controller(eqx.Module):
    """`(u, memory) = controller(memory, macro, key)`, asked once per hold.

    Its leaves are arrays, so that it travels through compiled simulations.
    """

    def start(self) -> Any:
        """The memory before the first decision. Default: none."""
        return ()

    def for_patient(self, context: Array) -> Controller:
        """The controller for a patient's context `[c]`. Default: the same for everybody."""
        return self

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        """Decides.

        Args:
            memory: what `start` or the last call returned.
            macro: macrostate in its own units `[n]`.
            key: for controllers that draw.

        Returns:
            command `[m]` in the model's units, memory.
        """
        raise NotImplementedError


def policy(policy_state: Any, macro: Array, key: Array) -> tuple[Array, Any]:
    """The `Policy` of `dynrl.abm.simulate` for any controller; start with `policy_state=(c, c.start())`."""
    controller, memory = policy_state
    u, memory = controller(memory, macro, key)
    return u, (controller, memory)


class FeedbackNet(Controller):
    """`u = high * sigmoid(4 N(x, e, z) + bias)`: a tanh network of the macrostate, starting near zero dose.

    It sees the scaled macrostate x and, with an objective, five times the set-point errors e, so that deviations of
    the size of the natural noise are of order 1. With `integral`, it also sees z, the leaky sum of the errors, as the I
    of a PID controller: a bias of the metamodel that it was trained on then does not become a lasting error on the
    agent-based model. With `contexts`, it sees what is known of the patient, ten times the logarithms; then one
    training serves a population, and `for_patient` makes it personal.
    """

    network: Network
    context: Array
    scale: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)
    objective: SetPoint | None = eqx.field(static=True)
    integral: bool = eqx.field(static=True)
    rate: float = eqx.field(static=True)

    def __init__(
        self,
        scale: tuple[float, ...],
        high: tuple[float, ...],
        *,
        key: PRNGKeyArray,
        width: int = 16,
        objective: SetPoint | None = None,
        integral: bool = False,
        contexts: int = 0,
        rate: float = 0.01,
        bias: float = -3.0,
    ) -> None:
        """Makes an untrained controller.

        Args:
            scale: typical size of each component of the macrostate `[n]`.
            high: largest command per channel `[m]`; the smallest is 0.
            key: of the first weights.
            width: of the hidden layer.
            objective: whose errors it sees; None for the macrostate alone.
            integral: whether it also sees their sum.
            contexts: c, length of what is known of a patient.
            rate: of the sum, per decision; also how fast it forgets.
            bias: of the output before the sigmoid.

        Raises:
            ValueError: `integral` without an objective.
        """
        if integral and objective is None:
            raise ValueError("integral=True needs an objective, whose errors are summed up")
        inputs = len(scale) * (1 + (objective is not None) + integral) + contexts
        self.network = Network([inputs, width, len(high)], key, last_scale=0.1, last_bias=bias / 4)
        self.scale, self.high, self.objective = tuple(scale), tuple(high), objective
        self.integral, self.rate = integral, rate
        self.context = jnp.zeros(contexts)

    def start(self) -> Any:
        return jnp.zeros(len(self.scale) if self.integral else 0)

    def for_patient(self, context: Array) -> FeedbackNet:
        if not self.context.shape[-1]:
            return self
        return eqx.tree_at(lambda c: c.context, self, jnp.asarray(context, jnp.float32))

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        # What is known of the patient is no weight: training must not move it.
        seen = [macro / jnp.asarray(self.scale), 10 * jax.lax.stop_gradient(self.context)]
        if self.objective is not None:
            error = 5 * jnp.clip(self.objective.errors(macro), -1.0, 1.0)
            seen.append(error)
            if self.integral:
                memory = memory + self.rate * (error - memory)
                seen.append(memory)
        u = jax.nn.sigmoid(4 * self.network(jnp.concatenate(seen)))
        return jnp.asarray(self.high) * u, memory


class TwoWeights(Controller):
    """The smallest controller: a fixed share of each population, `u = high * sigmoid(w)`.

    With commands that are fractions this is `u(b, c) = (θ₁ b, θ₂ c)` animals, θ in `[0, high]²`. The sigmoid, unlike a
    clamp, keeps its gradient near the border (Böttcher, Fonseca and Laubenbacher, 2025).
    """

    logits: Array
    high: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, high: tuple[float, ...], first: float = -3.0) -> None:
        self.logits = jnp.full(len(high), float(first))
        self.high = tuple(high)

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        return jnp.asarray(self.high) * jax.nn.sigmoid(self.logits), memory


class Constant(Controller):
    """The same command `[m]` for ever."""

    command: Array

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        return jnp.asarray(self.command, jnp.float32), memory


class Schedule(Controller):
    """Open loop: the commands `[K, m]` one after the other, then the last one."""

    commands: Array

    def start(self) -> Any:
        return jnp.zeros((), jnp.int32)

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        commands = self.values()
        return commands[jnp.minimum(memory, len(commands) - 1)], memory + 1

    def values(self) -> Array:
        """`[K, m]`."""
        return jnp.asarray(self.commands, jnp.float32)


class BudgetSchedule(Schedule):
    """A schedule of one channel that spends exactly its budget: `u_k = budget * softmax(z)_k`, capped.

    What the cap cuts off is given to the other pieces in proportion.

    Attributes:
        commands: z `[K]`, any numbers.
        budget: sum of the commands over all pieces (divide by the steps a command is held).
        cap: largest command.
    """

    budget: float = eqx.field(static=True)
    cap: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.budget > self.cap * len(self.commands):
            raise ValueError(
                f"a budget of {self.budget} does not fit into {len(self.commands)} pieces of at most {self.cap}"
            )

    def values(self) -> Array:
        share = jax.nn.softmax(jnp.asarray(self.commands, jnp.float32))
        factor = jnp.asarray(self.budget, jnp.float32)
        for _ in range(12):  # each round fills at least one more piece; a few make the rest negligible
            open_ = share * factor < self.cap
            left = self.budget - self.cap * jnp.sum(~open_)
            factor = jnp.maximum(factor, left / jnp.maximum(jnp.sum(jnp.where(open_, share, 0.0)), 1e-9))
        return jnp.minimum(share * factor, self.cap)[:, None]


class RandomDoses(Controller):
    """Commands drawn anew at each decision, uniform between 0 and `high` `[m]`."""

    high: Array

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        high = jnp.asarray(self.high, jnp.float32)
        return high * jax.random.uniform(key, high.shape), memory


class BangBang(Controller):
    """Full or no dose: channel j is on while the component that it watches is above its threshold.

    Attributes:
        dose: command when on `[m]`.
        threshold: in the macrostate's units `[m]`.
        watched: index of the watched component per channel.
    """

    dose: Array
    threshold: Array
    watched: tuple[int, ...] = eqx.field(static=True)

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        on = macro[jnp.asarray(self.watched)] > jnp.asarray(self.threshold)
        return jnp.where(on, jnp.asarray(self.dose, jnp.float32), 0.0), memory


class LinearFeedback(Controller):
    """`u = clip(offset + gain (x - x*) / scale, 0, high)`.

    Attributes:
        gain: `[m, n]`.
        offset: `[m]`.
        centre: x* `[n]`.
        scale: `[n]`.
        high: `[m]`.
    """

    gain: Array
    offset: Array
    centre: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)
    high: tuple[float, ...] = eqx.field(static=True)

    def __call__(self, memory: Any, macro: Array, key: Array) -> tuple[Array, Any]:
        error = (macro - jnp.asarray(self.centre)) / jnp.asarray(self.scale)
        u = jnp.asarray(self.offset) + jnp.asarray(self.gain) @ error
        return jnp.clip(u, 0.0, jnp.asarray(self.high)), memory
