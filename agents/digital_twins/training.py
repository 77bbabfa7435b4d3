"""Training of controllers: through a metamodel, and on the agent-based model with straight-through gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dynrl.abm.model import AgentBasedModel
from dynrl.agents.digital_twins.controllers import Controller
from dynrl.agents.digital_twins.metamodel import Metamodel
from dynrl.agents.digital_twins.objectives import SetPoint

__all__ = [
    "DirectConfig",
    "TrainConfig",
    "Trained",
    "predicted_cost",
    "removal",
    "rounded",
    "train_on_agents",
    "train_on_metamodel",
]

Array = Any
C = TypeVar("C", bound=Controller)
Effect = Callable[[Array, Array], Array]
"""`effect(macro [n], u [m]) -> macro [n]`: a differentiable stand-in for one hold of the agent-based model."""


@dataclass(frozen=True)
class TrainConfig:
    """How a controller is trained on a metamodel.

    Attributes:
        strides: length of a roll-out.
        skip: first strides that the loss leaves out.
        updates: gradient steps.
        batch: roll-outs per gradient step.
        learning_rate: of Adam, falling to a tenth as a half cosine.
        noise: relative spread of the macrostate that the controller sees.
        dose_weight: λ, on the mean dose as a share of the largest.
        risk: α of the conditional value at risk that is minimised; None for the mean.
        clip: largest norm of a gradient.
        seed: of everything drawn.
    """

    strides: int = 60
    skip: int = 3
    updates: int = 600
    batch: int = 64
    learning_rate: float = 5e-3
    noise: float = 0.03
    dose_weight: float = 0.0
    risk: float | None = None
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.skip < self.strides:
            raise ValueError(f"skip is {self.skip}, expected a number from 0 to below strides={self.strides}")
        if self.risk is not None and not 0 < self.risk < 1:
            raise ValueError(f"risk is {self.risk}, expected a share between 0 and 1, or None")
        if self.updates < 1 or self.batch < 1:
            raise ValueError("updates and batch must be at least 1")


class Trained(NamedTuple):
    """A controller and its losses.

    Attributes:
        controller: after the last gradient step.
        losses: of each gradient step `[updates]`.
        agent_steps: steps of the agent-based model that were played for it.
    """

    controller: Any
    losses: np.ndarray
    agent_steps: int


def train_on_metamodel(
    metamodel: Metamodel,
    controller: C,
    objective: SetPoint,
    starts: Array,
    context: Array | None = None,
    config: TrainConfig | None = None,
) -> Trained:
    """Back-propagates the objective through random roll-outs of the metamodel.

    Args:
        metamodel: fitted; one with noise (`StochasticMap`) gives the controller realistic fluctuations, which tell it
            how hard feedback may push.
        controller: any whose command is differentiable.
        objective: the set-point.
        starts: macrostates `[R, n]` that roll-outs begin at.
        context: of one patient `[c]`, or `[R, c]` of the patient of each start.
        config: how.

    Returns:
        The trained controller; with `config.risk` it minimises `τ + E[(J - τ)₊] / α` over controller and τ
        (Rockafellar and Uryasev, 2000).
    """
    config = TrainConfig() if config is None else config
    starts = jnp.asarray(starts, jnp.float32)
    given = jnp.zeros(0) if context is None else jnp.asarray(context, jnp.float32)
    contexts = jnp.broadcast_to(given, (len(starts), given.shape[-1]))
    weights, rest = eqx.partition(controller, eqx.is_inexact_array)
    model_weights, model_rest = eqx.partition(metamodel, eqx.is_inexact_array)
    weights, losses = _train(config, objective, rest, model_rest, weights, model_weights, starts, contexts)
    return Trained(eqx.combine(weights, rest), np.asarray(losses), 0)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _train(
    config: TrainConfig,
    objective: SetPoint,
    rest: Any,
    model_rest: Any,
    weights: Any,
    model_weights: Any,
    starts: Array,
    contexts: Array,
) -> tuple[Any, Array]:
    metamodel = eqx.combine(model_weights, model_rest)
    rate = optax.cosine_decay_schedule(config.learning_rate, config.updates, alpha=0.1)
    optimiser = optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(rate))

    def loss(trained: tuple[Any, Array], key: Array) -> Array:
        weights, tau = trained
        pick, roll = jax.random.split(key)
        index = jax.random.randint(pick, (config.batch,), 0, len(starts))
        play = partial(_play, metamodel, eqx.combine(weights, rest), objective, config)
        costs = jax.vmap(play)(starts[index], contexts[index], jax.random.split(roll, config.batch))
        if config.risk is None:
            return costs.mean()
        return tau + jax.nn.relu(costs - tau).mean() / config.risk

    def update(carry: tuple, key: Array) -> tuple[tuple, Array]:
        trained, memory = carry
        value, gradient = jax.value_and_grad(loss)(trained, key)
        updates, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(trained, updates), memory), value

    trained = (weights, jnp.asarray(0.1))
    keys = jax.random.split(jax.random.key(config.seed), config.updates)
    ((weights, _), _), losses = jax.lax.scan(update, (trained, optimiser.init(trained)), keys)
    return weights, losses


def predicted_cost(
    metamodel: Metamodel,
    controller: Controller,
    objective: SetPoint,
    start: Array,
    steps: int,
    *,
    context: Array | None = None,
    runs: int = 32,
    seed: int = 0,
) -> float:
    """Mean J1 that the metamodel expects over `steps` steps of the model from the macrostate `start` `[n]`."""
    strides, tail = steps // metamodel.stride, max(objective.tail // metamodel.stride, 1)
    config = TrainConfig(strides=strides, skip=max(strides - tail, 0), noise=0.0)
    given = jnp.zeros(0) if context is None else jnp.asarray(context, jnp.float32)
    weights, rest = eqx.partition(controller, eqx.is_inexact_array)
    model_weights, model_rest = eqx.partition(metamodel, eqx.is_inexact_array)
    keys = jax.random.split(jax.random.key(seed), runs)
    start = jnp.asarray(start, jnp.float32)
    return float(_predicted(config, objective, rest, model_rest, weights, model_weights, start, given, keys))


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _predicted(
    config: TrainConfig,
    objective: SetPoint,
    rest: Any,
    model_rest: Any,
    weights: Any,
    model_weights: Any,
    start: Array,
    context: Array,
    keys: Array,
) -> Array:
    metamodel, controller = eqx.combine(model_weights, model_rest), eqx.combine(weights, rest)
    play = partial(_play, metamodel, controller, objective, config, start, context)
    return jax.vmap(play)(keys).mean()


def _play(
    metamodel: Metamodel,
    controller: Controller,
    objective: SetPoint,
    config: TrainConfig,
    start: Array,
    context: Array,
    key: Array,
) -> Array:
    def advance(carry: tuple, key: Array) -> tuple[tuple, Array]:
        z, memory = carry
        noise, choice, random = jax.random.split(key, 3)
        macro = metamodel.macro(z)
        seen = macro * (1 + config.noise * jax.random.normal(noise, macro.shape))
        u, memory = controller(memory, seen, choice)
        z = metamodel.sample(z, u, context, random)
        dose = jnp.mean(u / jnp.asarray(metamodel.control_scale))
        return (z, memory), objective.instant(metamodel.macro(z)) + config.dose_weight * dose

    controller = controller.for_patient(context)
    begin, roll = jax.random.split(key)
    first = start * (1 + config.noise * jax.random.normal(begin, start.shape))
    z = metamodel.start(metamodel.scaled(first), context)
    _, costs = jax.lax.scan(advance, (z, controller.start()), jax.random.split(roll, config.strides))
    return costs[config.skip :].mean()


@dataclass(frozen=True)
class DirectConfig:
    """How a controller is trained on the agent-based model itself.

    Attributes:
        steps, hold: length of an episode and of a decision, in steps of the model.
        skip: first decisions that the loss leaves out.
        truncate: decisions after which the gradient is cut.
        updates: gradient steps.
        batch: seeds per gradient step.
        seeds: seeds to choose from; as many as `batch` for common random numbers across updates.
        learning_rate: of Adam: about 1e-2 for two weights, 1e-3 for networks.
        clip: largest norm of a gradient.
        seed: of the seeds.
    """

    steps: int = 300
    hold: int = 10
    skip: int = 3
    truncate: int = 5
    updates: int = 50
    batch: int = 8
    seeds: int = 8
    learning_rate: float = 1e-2
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.hold < 1 or self.steps < self.hold or self.steps % self.hold:
            raise ValueError(f"steps={self.steps} must be a multiple of hold={self.hold}")
        if not 0 <= self.skip < self.steps // self.hold:
            raise ValueError(f"skip is {self.skip}, but there are {self.steps // self.hold} decisions")
        if not 1 <= self.batch <= self.seeds:
            raise ValueError(f"batch={self.batch} must lie between 1 and seeds={self.seeds}")


def rounded(x: Array) -> Array:
    """`x` rounded to whole numbers, with the gradient of `x` (straight-through)."""
    return x + jax.lax.stop_gradient(jnp.floor(x + 0.5) - x)


def removal(model: AgentBasedModel, hold: int) -> Effect:
    """The crudest stand-in: what a fraction removed per step takes away in a hold, and nothing else, `x (1 - u)^hold`.

    Raises:
        ValueError: a control channel has not the name of a component of the macrostate.
    """
    for name in model.control_names:
        if name not in model.macro_names:
            raise ValueError(
                f"the channel {name!r} is no component of the macrostate {model.macro_names}: its direct effect is "
                "not a removal; use jacobian='surrogate'"
            )
    index = jnp.asarray([model.macro_names.index(name) for name in model.control_names])

    def effect(macro: Array, u: Array) -> Array:
        return macro.at[index].multiply((1 - u) ** hold, unique_indices=True)

    return effect


def train_on_agents(
    model: AgentBasedModel,
    controller: C,
    objective: SetPoint,
    jacobian: Literal["direct", "surrogate"] = "direct",
    metamodel: Metamodel | None = None,
    params: Any = None,
    config: DirectConfig | None = None,
) -> Trained:
    """Trains on the values of the agent-based model with the derivatives of a stand-in:
    `x_{k+1} = x̂(x_k, u_k) + stop_gradient(x_{k+1}^{ABM} - x̂(x_k, u_k))`.

    Args:
        model: what is played.
        controller: any whose command is differentiable.
        objective: the set-point.
        jacobian: `"direct"`: x̂ is the removal alone; `"surrogate"`: x̂ is the metamodel.
        metamodel: for `"surrogate"`, of a stride equal to `config.hold`, without hidden components.
        params: constants; None for the model's own.
        config: how.

    Raises:
        ValueError: no metamodel for `"surrogate"`, or one of another stride.
    """
    config = DirectConfig() if config is None else config
    if jacobian == "direct":
        effect = removal(model, config.hold)
    elif metamodel is None or metamodel.stride != config.hold:
        raise ValueError(f"jacobian='surrogate' needs a metamodel with stride {config.hold}, got {metamodel}")
    else:
        effect = _surrogate_effect(metamodel)
    params = model.default_params() if params is None else params
    adam = optax.chain(optax.clip_by_global_norm(config.clip), optax.adam(config.learning_rate))
    weights, rest = eqx.partition(controller, eqx.is_inexact_array)
    seeds = jax.random.split(jax.random.key(config.seed), config.seeds)

    @jax.jit
    def update(weights: Any, memory: Any, keys: Array) -> tuple[Any, Any, Array]:
        def loss(weights: Any) -> Array:
            play = partial(_episode, model, eqx.combine(weights, rest), objective, effect, params, config)
            return jax.vmap(play)(keys).mean()

        value, gradient = jax.value_and_grad(loss)(weights)
        updates, memory = adam.update(gradient, memory)
        return optax.apply_updates(weights, updates), memory, value

    memory, losses = adam.init(weights), []
    for number in range(config.updates):
        first = number * config.batch % (config.seeds - config.batch + 1)
        weights, memory, value = update(weights, memory, seeds[first : first + config.batch])
        losses.append(float(value))
    played = config.updates * config.batch * config.steps
    return Trained(eqx.combine(weights, rest), np.asarray(losses), played)


def _surrogate_effect(metamodel: Metamodel) -> Effect:
    def effect(macro: Array, u: Array) -> Array:
        nothing = jnp.zeros(0)
        z = metamodel.start(metamodel.scaled(macro), nothing)
        return metamodel.macro(metamodel.step(z, u, nothing))

    return effect


def _episode(
    model: AgentBasedModel,
    controller: Controller,
    objective: SetPoint,
    effect: Effect,
    params: Any,
    config: DirectConfig,
    key: Array,
) -> Array:
    first, later = jax.random.split(key)

    def decide(carry: tuple, number: Array) -> tuple[tuple, Array]:
        state, macro, memory = carry
        choice, steps = jax.random.split(jax.random.fold_in(later, number))
        macro = jnp.where(number % config.truncate == 0, jax.lax.stop_gradient(macro), macro)
        u, memory = controller(memory, macro, choice)

        def one(state: Any, key: Array) -> tuple[Any, None]:
            return model.step(state, jax.lax.stop_gradient(u), key, params).state, None

        state, _ = jax.lax.scan(one, jax.lax.stop_gradient(state), jax.random.split(steps, config.hold))
        stand_in = effect(macro, u)
        macro = stand_in + jax.lax.stop_gradient(model.macro(state) - stand_in)
        return (state, macro, memory), objective.instant(macro)

    state = model.init(first, params)
    carry = (state, model.macro(state), controller.start())
    _, costs = jax.lax.scan(decide, carry, jnp.arange(config.steps // config.hold))
    return costs[config.skip :].mean()
