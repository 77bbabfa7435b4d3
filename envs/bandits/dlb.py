"""The dynamical linear bandit as an environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import Space, spaces
from numpy.typing import NDArray

from dynrl.bandits import ActionSet, DLBParams, DLBSystem, FiniteSet
from dynrl.bandits.action_sets.base import TOLERANCE
from dynrl.bandits.checks import finite_array, non_negative
from dynrl.bandits.compiled import cumulative_markov, reward_and_next_state, spectral_radius
from dynrl.envs.bandits.systems import named_action_set, named_system
from dynrl.functional import FunctionalEnv, check_actions

__all__ = ["BanditParams", "BanditState", "DynamicalLinearBandit"]

_HISTORY = "history:"
_COMPILED_TOLERANCE = 1e-5  # float32 rounding of a point on the boundary, relative to the size of the set


class BanditParams(NamedTuple):
    """Attributes:
    system: matrices, noise scales and initial state.
    action_set: the set, its arrays being leaves.
    """

    system: DLBParams
    action_set: ActionSet


class BanditState(NamedTuple):
    """Attributes:
    x: hidden state [n].
    mean_x: hidden state of the noise-free recursion under the same actions [n].
    u: action of the last round [d].
    reward: reward of the last round [].
    expected_reward: ω·x + θ·u of the last round [].
    mean_reward: reward of the noise-free recursion in the last round [].
    projected: whether the last action was moved into the set [].
    recent: rewards and actions of the last H rounds, oldest first [H, 1 + d].
    t: rounds played [].
    regret: cumulative pseudo-, reward and mean regret [3].
    h: cumulative Markov parameter [d].
    optimal_action: u* [d].
    optimal_value: J* [].
    rho: spectral radius of A [].
    """

    x: Any
    mean_x: Any
    u: Any
    reward: Any
    expected_reward: Any
    mean_reward: Any
    projected: Any
    recent: Any
    t: Any
    regret: Any
    h: Any
    optimal_action: Any
    optimal_value: Any
    rho: Any


@dataclass(frozen=True)
class DynamicalLinearBandit(FunctionalEnv):
    """A bandit whose reward comes from a hidden linear state (Mussi, Metelli, Restelli, ICML 2023).

    ## Description
    In round t the learner plays an action u and receives y_t = ω·x_t + θ·u_t + η_t; then the hidden state
    moves, x_{t+1} = A x_t + B u_t + ε_t. An action therefore acts at once through θ and on later rewards
    through the state: what looks best now need not be best in the long run. The long-run worth of a constant
    action is h·u with h = θ + Bᵀ(I − A)^{-ᵀ}ω, and a constant action u* is optimal among all policies.

    ## Action space
    `Discrete(K)`, an index into `actions`, for a finite set; otherwise the float64 `Box` around the set.
    Outside the set (by more than 1e-9) `on_invalid` decides: `"raise"`: ValueError with the violated
    constraint and its amount (in compiled rollouts, where nothing can raise: NaN rewards); `"project"`: the
    nearest point of the set is played.

    ## Observation space
    | `observe` | observation (float64) |
    |---|---|
    | `"reward"` | reward of the last round [1] |
    | `"reward_action"` | the same and the action vector of the last round [1 + d] |
    | `"history:H"` | that of the last H rounds, oldest first [H, 1 + d] |
    | `"none"` | zero [1] |
    | `"state"` | the hidden state [n]; it leaks what the learner must not know, for debugging only |

    Everything is 0 before the first round, except the state.

    ## Rewards
    y_t as above. Each step draws n + 1 standard normals from its key, n for ε and then one for η, also where
    a noise scale is 0: changing a scale does not shift the stream.

    ## Starting state
    x0, 0 by default. `reset(options={"x0": ...})` [n] sets it for one episode.

    ## Episode end
    Never terminates; truncated after `horizon` rounds.

    ## Info
    At a reset, with `reveal_optimum` or `reveal_state`: `optimal_action`, `optimal_value`, `h`, `rho`. At
    each step: `t`, `expected_reward` (ω·x + θ·u), `steady_state_value` (h·u), `optimal_value` (J*),
    `pseudo_regret` (J* − h·u), `reward_regret` (J* − y), the sums `cum_pseudo_regret`, `cum_reward_regret`,
    `cum_mean_regret` (J* − noise-free reward), `action_projected` with `on_invalid="project"`, and `state`
    with `reveal_state`. Values that need a steady state are NaN for an unstable system. They are for
    evaluation; no agent reads them.

    ## Arguments
    Those marked (params) only set the default `params`, a `BanditParams` whose every leaf may differ from one
    environment to the next; h, J* and u* then follow.

    Args:
        system: a `DLBSystem`, `"synthetic"` or `"ads"` (params).
        action_set: an `ActionSet`, or a name of `dynrl.envs.bandits.systems.named_action_set` (params). With
            `on_invalid="raise"` actions are checked against this set also where `params` hold others.
        horizon: rounds per episode; None for no end.
        noise: `("gaussian", sigma_x, sigma_y)`; None for the system's own (params).
        sigma: short for `noise=("gaussian", sigma, sigma)` (params).
        sigma_y: reward noise, where it differs (params).
        x0: initial state [n]; None for the system's own (params).
        observe: see above.
        reveal_state: put the hidden state into the info.
        reveal_optimum: put h, u*, J* and ρ into the info of a reset.
        on_invalid: `"raise"` or `"project"`.

    Raises:
        ValueError: unknown names, wrong dimensions or horizon, invalid noise.

    ## Version history
    v0: first version.
    """

    x64: ClassVar[bool] = True
    gymnasium_class: ClassVar[str | None] = "dynrl.envs.bandits.faces:BanditGymnasiumEnv"
    option_choices: ClassVar[Mapping[str, Sequence[Any]]] = {
        "action_set": ("permutations", "box"),
        "observe": ("reward", "reward_action", "history:3", "none", "state"),
        "on_invalid": ("raise", "project"),
        "reveal_state": (False, True),
        "reveal_optimum": (True, False),
        "sigma": (0.0, 0.01, 1.0),
    }

    system: DLBSystem = field(compare=False)
    action_set: ActionSet = field(default="permutations", compare=False)  # type: ignore[assignment]
    horizon: int | None = 1000
    noise: tuple[str, float, float] | None = field(default=None, compare=False)
    sigma: float | None = field(default=None, compare=False)
    sigma_y: float | None = field(default=None, compare=False)
    x0: NDArray[np.float64] | None = field(default=None, compare=False)
    observe: str = "reward"
    reveal_state: bool = False
    reveal_optimum: bool = True
    on_invalid: str = "raise"

    def __post_init__(self) -> None:
        system = named_system(self.system) if isinstance(self.system, str) else self.system
        if not isinstance(system, DLBSystem):
            raise ValueError(
                f"system must be a DLBSystem, 'synthetic' or 'ads', but is a {type(system).__name__}"
            )
        sigma_x, sigma_y = self._noise_scales(system)
        x0 = system.x0 if self.x0 is None else self.x0
        system = dataclasses.replace(system, sigma_x=sigma_x, sigma_y=sigma_y, x0=x0)
        actions = self.action_set
        if isinstance(actions, str):
            actions = named_action_set(actions, system.d)
        if not isinstance(actions, ActionSet):
            raise ValueError(
                f"action_set must be an ActionSet or the name of one, but is a {type(actions).__name__}"
            )
        system.require_dimension(actions)
        object.__setattr__(self, "system", system)
        object.__setattr__(self, "action_set", actions)
        if self.horizon is not None and (int(self.horizon) != self.horizon or self.horizon < 1):
            raise ValueError(f"horizon must be a whole number of at least 1, or None, but is {self.horizon}")
        if self.on_invalid not in ("raise", "project"):
            raise ValueError(f"on_invalid must be 'raise' or 'project', but is {self.on_invalid!r}")
        _history_length(self.observe)
        if self.observe == "state" and system.n == 0:
            raise ValueError("observe='state' needs a system with a state, but n = 0")

    def _noise_scales(self, system: DLBSystem) -> tuple[float, float]:
        if self.noise is None:
            sigma_x = system.sigma_x if self.sigma is None else self.sigma
            fallback = system.sigma_y if self.sigma is None else self.sigma
            return sigma_x, fallback if self.sigma_y is None else self.sigma_y
        if self.sigma is not None or self.sigma_y is not None:
            raise ValueError("give either noise or sigma and sigma_y, not both")
        if len(self.noise) != 3 or self.noise[0] != "gaussian":
            raise ValueError(f"noise must be ('gaussian', sigma_x, sigma_y), but is {self.noise!r}")
        return non_negative("sigma_x", self.noise[1]), non_negative("sigma_y", self.noise[2])

    @property
    def actions(self) -> NDArray[np.float64]:
        """The actions [K, d] that the indices of a discrete action space mean.

        Raises:
            AttributeError: the action set is not finite.
        """
        if not isinstance(self.action_set, FiniteSet):
            raise AttributeError(
                f"only a FiniteSet has actions by index; this is a {type(self.action_set).__name__}"
            )
        return self.action_set.actions

    @cached_property
    def action_space(self) -> Space:  # type: ignore[override]
        return self.action_set.to_gym_space()

    @cached_property
    def observation_space(self) -> Space:  # type: ignore[override]
        n, d = self.system.n, self.system.d
        shapes = {"reward": (1,), "reward_action": (1 + d,), "none": (1,), "state": (n,)}
        shape = shapes.get(self.observe, (_history_length(self.observe), 1 + d))
        bound = 0.0 if self.observe == "none" else np.inf
        return spaces.Box(-bound, bound, shape, np.float64)

    def get_default_params(self) -> BanditParams:  # type: ignore[override]
        return BanditParams(self.system.params, self.action_set)

    def check_actions(self, actions: np.ndarray) -> np.ndarray:
        """Actions [N] or [N, d] from outside; those within tolerance of the set are moved onto it."""
        if isinstance(self.action_set, FiniteSet):
            return check_actions(self.action_space, actions)
        actions = np.asarray(actions)
        unlimited = spaces.Box(-np.inf, np.inf, (self.action_set.dimension,), np.float64)
        checked = check_actions(unlimited, actions)
        if self.on_invalid == "project":
            return checked
        rounding = np.finfo(actions.dtype).eps if actions.dtype.kind == "f" else 0.0
        outside = self.action_set.excess(checked) > TOLERANCE + rounding * abs(checked).sum(-1)
        if outside.any():
            i = int(outside.argmax())
            where = f" (environment {i})" if len(checked) > 1 else ""
            raise ValueError(
                f"action {checked[i]} is outside the action set{where}: "
                f"{self.action_set.violation(checked[i])}; "
                "choose an action inside, or build the environment with on_invalid='project'"
            )
        return self.action_set.project(checked)

    def apply_options(self, params: BanditParams, options: Mapping[str, Any]) -> BanditParams:
        """Reset option `x0`: the initial state [n] of the episode."""
        unknown = sorted(set(options) - {"x0"})
        if unknown:
            raise ValueError(f"unknown reset option {unknown[0]!r}; the only one is 'x0', the initial state")
        if "x0" not in options:
            return params
        x0 = finite_array("reset option x0", options["x0"], 1)
        if len(x0) != self.system.n:
            raise ValueError(f"reset option x0 must have shape ({self.system.n},), but has shape {x0.shape}")
        return params._replace(system=params.system._replace(x0=x0))

    def initial(self, rng: Any, params: Any = None) -> BanditState:
        system, action_set = params
        x0 = jnp.asarray(system.x0)
        h = cumulative_markov(system)
        best = jnp.asarray(action_set.linear_argmax(h))
        zero = jnp.zeros((), h.dtype)
        return BanditState(
            x=x0,
            mean_x=x0,
            u=jnp.zeros_like(h),
            reward=zero,
            expected_reward=zero,
            mean_reward=zero,
            projected=jnp.zeros((), bool),
            recent=jnp.zeros((_history_length(self.observe), 1 + h.shape[0]), h.dtype),
            t=jnp.zeros((), jnp.int32),
            regret=jnp.zeros(3, h.dtype),
            h=h,
            optimal_action=best,
            optimal_value=h @ best,
            rho=spectral_radius(system.A),
        )

    def transition(self, state: BanditState, action: Any, rng: Any, params: Any = None) -> BanditState:
        system, action_set = params
        u, projected = self._played(action, action_set)
        noise = jax.random.normal(rng, (state.x.shape[0] + 1,), state.x.dtype)
        reward, expected, x = reward_and_next_state(system, state.x, u, noise)
        _, mean_reward, mean_x = reward_and_next_state(system, state.mean_x, u, jnp.zeros_like(noise))
        lost = state.optimal_value - jnp.stack([state.h @ u, reward, mean_reward])
        recent = state.recent
        if recent.shape[0]:
            recent = jnp.concatenate([recent[1:], jnp.concatenate([reward[None], u])[None]])
        return state._replace(
            x=x,
            mean_x=mean_x,
            u=u,
            reward=reward,
            expected_reward=expected,
            mean_reward=mean_reward,
            projected=projected,
            recent=recent,
            t=state.t + 1,
            regret=state.regret + lost,
        )

    def _played(self, action: Any, action_set: Any) -> tuple[Any, Any]:
        """The action vector [d] that is played, and whether it had to be moved into the set []."""
        if isinstance(action_set, FiniteSet):
            return jnp.take(jnp.asarray(action_set.actions), action, axis=0), jnp.zeros((), bool)
        action = jnp.asarray(action, jax.dtypes.canonicalize_dtype(float))
        nearest = action_set.project(action)
        moved = abs(nearest - action).max()
        if self.on_invalid == "project":
            return nearest, moved > TOLERANCE
        outside = moved > _COMPILED_TOLERANCE * (1 + abs(nearest).max())
        return jnp.where(outside, jnp.nan, action), jnp.zeros((), bool)

    def observation(self, state: BanditState, rng: Any, params: Any = None) -> Any:
        if self.observe == "reward":
            return state.reward[None]
        if self.observe == "reward_action":
            return jnp.concatenate([state.reward[None], state.u])
        if self.observe == "none":
            return jnp.zeros_like(state.reward)[None]
        return state.x if self.observe == "state" else state.recent

    def reward(
        self, state: BanditState, action: Any, next_state: BanditState, rng: Any, params: Any = None
    ) -> Any:
        return next_state.reward

    def terminal(self, state: BanditState, rng: Any, params: Any = None) -> Any:
        return jnp.zeros((), bool)

    def state_info(self, state: BanditState, params: Any = None) -> dict[str, Any]:
        info: dict[str, Any] = {}
        if self.reveal_optimum or self.reveal_state:
            info = {name: getattr(state, name) for name in ("optimal_action", "optimal_value", "h", "rho")}
        if self.reveal_state:
            info["state"] = state.x
        return info

    def transition_info(
        self, state: BanditState, action: Any, next_state: BanditState, params: Any = None
    ) -> dict[str, Any]:
        value = next_state.h @ next_state.u
        pseudo, received, mean = next_state.regret
        info = {
            "t": next_state.t,
            "expected_reward": next_state.expected_reward,
            "steady_state_value": value,
            "optimal_value": next_state.optimal_value,
            "pseudo_regret": next_state.optimal_value - value,
            "reward_regret": next_state.optimal_value - next_state.reward,
            "cum_pseudo_regret": pseudo,
            "cum_reward_regret": received,
            "cum_mean_regret": mean,
        }
        if self.on_invalid == "project":
            info["action_projected"] = next_state.projected
        if self.reveal_state:
            info["state"] = next_state.x
        return info


def _history_length(observe: str) -> int:
    """H of ``"history:H"``, 0 for the other observations; ValueError for anything else."""
    if observe in ("reward", "reward_action", "none", "state"):
        return 0
    length = observe.removeprefix(_HISTORY) if observe.startswith(_HISTORY) else ""
    if not (length.isascii() and length.isdigit() and int(length) > 0):
        raise ValueError(
            "observe must be 'reward', 'reward_action', 'none', 'state' or 'history:H' with a number H of at "
            f"least 1, but is {observe!r}"
        )
    return int(length)
