"""One table for everything that has a name: environments, agents, experiments and benchmarks.

An entry holds a `"module:Class"` string that is imported when it is first used, so the table costs nothing
and the core depends on no environment or agent. Other packages add theirs through the entry-point groups
`dynrl.envs`, `dynrl.agents` and `dynrl.experiments`, or by calling `register_env` and `register_agent`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv as GymnasiumVectorEnv

    from dynrl.functional import FunctionalEnv
    from dynrl.physics.task import MujocoTask


@dataclass(frozen=True)
class Entry:
    """A named thing that is imported on use.

    Attributes:
        name: what the user types, e.g. `"dynrl/DLBAds-v0"`.
        target: `"module:attribute"`.
        summary: one line for `dynrl list`.
        kwargs: constructor arguments that this name stands for (JSON values).
    """

    name: str
    target: str
    summary: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def _table(*entries: Entry) -> dict[str, Entry]:
    return {entry.name: entry for entry in entries}


_DLB = "dynrl.envs.bandits.dlb:DynamicalLinearBandit"
_TWINS = "dynrl.envs.digital_twins"
_WSG = f"{_TWINS}.wolf_sheep:WolfSheepControl"

ENVS: dict[str, Entry] = _table(
    Entry("dynrl/DLB-v0", _DLB, "dynamical linear bandit on a system and action set of your own"),
    Entry(
        "dynrl/DLBSynthetic-v0",
        _DLB,
        "the three-channel synthetic system of the paper",
        {"system": "synthetic"},
    ),
    Entry("dynrl/DLBAds-v0", _DLB, "ad budget over three platforms, identified from logs", {"system": "ads"}),
    Entry("dynrl/BidReplay-v0", "dynrl.envs.auctions.bid_replay:BidReplay", "bid in the auctions of a log"),
    Entry("dynrl/BidSim-v0", "dynrl.envs.auctions.bid_sim:BidSim", "bid in a simulated market"),
    Entry("dynrl/Pacing-v0", "dynrl.envs.auctions.pacing:Pacing", "spread a budget over the slots of a day"),
    Entry("dynrl/Sepsis-v0", "dynrl.envs.digital_twins.sepsis:Sepsis", "cytokine therapy of septic patients"),
    Entry("dynrl/MetYield-v0", f"{_TWINS}.metabolic:MetYield", "feed a metabolic network for yield"),
    Entry("dynrl/MetBudget-v0", f"{_TWINS}.metabolic:MetBudget", "most product from a fixed feed"),
    Entry("dynrl/MetTrack-v0", f"{_TWINS}.metabolic:MetTrack", "hold the product at changing levels"),
    Entry("dynrl/GridSIR-v0", f"{_TWINS}.sir:GridSIR", "vaccines and contacts in an epidemic"),
    Entry("dynrl/TumourImmune-v0", f"{_TWINS}.tumour:TumourImmune", "a drug for immune cells at a tumour"),
    Entry("dynrl/WSG-SS-v0", _WSG, "hold sheep and wolves at a target by removing some of them"),
    Entry(
        "dynrl/WSG-SS-Patients-v0",
        _WSG,
        "the same where every episode is another synthetic patient",
        {"spread": 0.1},
    ),
    Entry(
        "dynrl/WSG-SS-255-v0",
        _WSG,
        "the same on 255 x 255 cells, with 25 times the animals",
        {"height": 255, "width": 255, "capacity_sheep": 25600, "capacity_wolves": 12800},
    ),
    *(
        Entry(f"dynrl/{name}-v0", f"dynrl.envs.classic_control:{name}", summary)
        for name, summary in (
            ("Pendulum", "swing a pendulum up and hold it"),
            ("CartPole", "keep a pole upright on a cart"),
            ("MountainCar", "rock a car out of a valley, three actions"),
            ("ContinuousMountainCar", "the same with a throttle"),
            ("Acrobot", "swing a two-link chain up by its middle joint"),
        )
    ),
    Entry("dynrl/ArmReach-v0", "dynrl.envs.reach:ArmReach", "bring the tool of a small arm to a point"),
    Entry(
        "dynrl/WindyWalk-v0",
        "dynrl.envs.grid_worlds:WindyWalk",
        "three corridors against a wind of unknown strength",
    ),
    *(
        Entry(f"dynrl/{name}-v0", f"dynrl.envs.mujoco_robots:{name}", summary)
        for name, summary in (
            ("InvertedPendulum", "keep a pole upright on a cart (MuJoCo)"),
            ("InvertedDoublePendulum", "keep two poles upright on a cart (MuJoCo)"),
            ("Reacher", "bring the tip of a two-joint arm to a point (MuJoCo)"),
            ("Swimmer", "swim with three links in a plane (MuJoCo)"),
            ("Hopper", "hop on one leg in a plane (MuJoCo)"),
            ("HalfCheetah", "run on two legs in a plane (MuJoCo)"),
            ("Walker2d", "walk on two legs in a plane (MuJoCo)"),
            ("Ant", "walk on four legs (MuJoCo)"),
            ("HumanoidStandup", "get up from the ground (MuJoCo)"),
        )
    ),
)
AGENTS: dict[str, Entry] = _table(
    *(
        Entry(name, f"dynrl.agents.bandits:{name}", summary)
        for name, summary in (
            ("DynLinUCB", "optimism for linear bandits with a hidden state; paper and tight radius"),
            ("LinUCB", "optimism for linear bandits without a state (OFUL)"),
            ("DLinUCB", "LinUCB that forgets, for drifting rewards"),
            ("AR2", "arms as autoregressive chains, alternating and restarting"),
            ("Exp3", "exponential weights against an adversary"),
            ("Exp3Batch", "Exp3 that holds each arm for some rounds"),
            ("UCB1", "optimism for unrelated arms"),
            ("ExploreThenCommit", "explores for a fixed time, then plays the best"),
            ("FixedAllocation", "an expert's allocation, for ever"),
            ("Uniform", "a random action in every round"),
            ("Clairvoyant", "the best constant action, known beforehand"),
        )
    ),
    *(
        Entry(name, f"dynrl.agents.auctions:{name}", summary)
        for name, summary in (
            ("RLB", "bids by the value of money left, planned over auctions and ticks"),
            ("SSMDP", "the same plan, blind to the request"),
            ("RLBNN", "RLB with a network in place of its table, for long episodes"),
            ("FirstPriceRLB", "the optimal plan where the winner pays its bid"),
            ("Fluid", "bids theta over the shadow price of money, renewed as it goes"),
            ("Lin", "bids in proportion to theta, tuned by replay"),
            ("Mcpc", "bids theta times the most to pay for a click"),
            ("ORTB1", "concave bids, optimal for win rates a / (c + a)"),
            ("ORTB2", "concave bids, optimal for win rates a² / (c² + a²)"),
            ("BSLB", "linear bids scaled by budget left over time left"),
            ("AdaptivePacing", "linear bids under a multiplier that follows the spend"),
            ("Throttling", "takes part in a share of the auctions"),
            ("PID", "feedback on spend, win rate or cost per click"),
            ("WaterLevel", "the integrating relative of PID"),
            ("Shading", "first-price bids below the value of the impression"),
            ("TargetCPA", "most conversions within a budget and a cost per conversion"),
            ("DRLB", "a Q-network turns the shadow price up and down, slot by slot"),
            ("Constant", "the same bid for every request"),
            ("Random", "a random bid up to a limit"),
        )
    ),
    Entry(
        "MetamodelFeedback",
        "dynrl.agents.digital_twins.agent:MetamodelFeedback",
        "treats agent-based patients by feedback learnt through a metamodel",
    ),
)
EXPERIMENTS: dict[str, Entry] = _table(
    Entry("bandits", "dynrl.agents.bandits.experiment:BanditExperiment", "bandit agents compared by regret"),
    Entry("bidding", "dynrl.agents.auctions.experiment:BiddingExperiment", "bidders compared by replay"),
    Entry(
        "digital_twin",
        "dynrl.agents.digital_twins.experiment:DigitalTwinExperiment",
        "treatments trained on metamodels, judged on the agents",
    ),
    Entry("learn", "dynrl.runs.learn:LearnExperiment", "one agent on one environment, several seeds"),
    Entry(
        "robust",
        "dynrl.agents.robust.experiment:RobustExperiment",
        "robust methods compared by their worst case on an uncertainty set",
    ),
    Entry(
        "on_device",
        "dynrl.runs.on_device:OnDeviceExperiment",
        "PPO and world in one program, many seeds at once",
    ),
)
BENCHMARKS: dict[str, Entry] = _table(
    Entry("core", "dynrl.bench.core:figures", "faces, start-up time and crash safety"),
    Entry(
        "dlb", "dynrl.agents.bandits.bench:figures", "regret, coverage and speed on dynamical linear bandits"
    ),
    Entry(
        "rtb", "dynrl.agents.auctions.bench:figures", "published clicks, planning, replay and ingestion speed"
    ),
    Entry(
        "medical",
        "dynrl.agents.digital_twins.bench:figures",
        "agent-based models against their definitions and Mesa, controllers and twins against their bars",
    ),
    Entry(
        "physics",
        "dynrl.bench.physics:figures",
        "MuJoCo robots against Gymnasium and EnvPool, parameters, MJX, training",
    ),
    Entry(
        "robust",
        "dynrl.agents.robust.bench:figures",
        "tabular solvers, worst-case search, reports and robust training",
    ),
    Entry("deploy", "dynrl.robots.bench:figures", "control loop, safety, wire and recordings of deployments"),
)

_GROUPS = {"dynrl.envs": ENVS, "dynrl.agents": AGENTS, "dynrl.experiments": EXPERIMENTS}
_discovered: set[str] = set()


def load(entry: Entry) -> Any:
    """Import and return what an entry points at.

    Raises:
        ImportError: the module or the attribute is not there; names the entry.
    """
    module_name, _, attribute = entry.target.partition(":")
    if not attribute:
        raise ImportError(f"{entry.name!r} has the target {entry.target!r}, expected 'module:Class'.")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        raise ImportError(f"{entry.name!r}: module {module_name} has no {attribute!r}.") from error


def find(table: Mapping[str, Entry], kind: str, name: str) -> Entry:
    """Return the entry called `name`.

    Raises:
        ValueError: no such entry; suggests close names and lists the table.
    """
    discover()
    if name in table:
        return table[name]
    close = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(table)) or 'none'}."
    raise ValueError(f"no {kind} is called {name!r}; {hint}")


def make_functional(name: str, **kwargs: Any) -> FunctionalEnv:
    """Build the functional environment registered as `name`, e.g. `make_functional("dynrl/DLBAds-v0",
    horizon=100)`. Of a MuJoCo task it is the one that runs on MJX.

    Raises:
        ValueError: unknown name.
        TypeError: unknown constructor argument.
    """
    world: Any = make_world(name, **kwargs)
    return _on_backend(world, "mjx") if _is_task(world) else world


def make_world(name: str, **kwargs: Any) -> FunctionalEnv | MujocoTask:
    """Build what is registered as `name`: a functional environment, or a task that several physics engines run.

    Raises:
        ValueError: unknown name.
        TypeError: unknown constructor argument.
    """
    entry = find(ENVS, "environment", name)
    return load(entry)(**{**entry.kwargs, **kwargs})


def find_agent(name: str) -> Any:
    """Return the agent class registered as `name`.

    Raises:
        ValueError: unknown name.
    """
    return load(find(AGENTS, "agent", name))


def register_env(name: str, target: str, summary: str, **kwargs: Any) -> None:
    """Register a `FunctionalEnv` class under a Gymnasium id, in this process.

    Args:
        name: the id, `"namespace/Name-v0"`.
        target: `"module:Class"` of a `FunctionalEnv`.
        summary: one line.
        kwargs: constructor arguments that the id stands for.

    Raises:
        ValueError: the id is taken by another target.
    """
    _add(ENVS, Entry(name, target, summary, kwargs))
    _register_with_gymnasium(ENVS[name])


def register_agent(name: str, target: str, summary: str) -> None:
    """Register an agent class `"module:Class"` under a name, in this process.

    Raises:
        ValueError: the name is taken by another target.
    """
    _add(AGENTS, Entry(name, target, summary))


def discover() -> None:
    """Read the entry points that installed packages declare; each group once per process."""
    for group, table in _GROUPS.items():
        if group in _discovered:
            continue
        _discovered.add(group)
        for point in importlib.metadata.entry_points(group=group):
            source = point.dist.name if point.dist else "an installed package"
            _add(table, Entry(point.name, point.value, f"from {source}"))


def register_all() -> None:
    """Register every environment of the table with Gymnasium; called by `import dynrl`."""
    discover()
    for entry in ENVS.values():
        _register_with_gymnasium(entry)


def make_gymnasium_env(
    env_name: str,
    params: Any = None,
    render_mode: str | None = None,
    backend: str | None = None,
    **kwargs: Any,
) -> Any:
    """Entry point behind `gymnasium.make("dynrl/...")`; keyword arguments go to the functional environment, or to the
    MuJoCo task, which runs on `backend`: `"batch"` (the default), `"mjx"` or `"warp"`."""
    world: Any = make_world(env_name, **kwargs)
    backend = _checked_backend(world, env_name, backend)
    if backend == "batch":
        from dynrl.physics.single_env import MujocoEnv

        return MujocoEnv(world, params, render_mode)
    functional = _on_backend(world, backend) if backend else world
    target = functional.gymnasium_class or "dynrl.faces.gymnasium_env:GymnasiumEnv"
    return load(Entry(env_name, target, ""))(functional, params=params, render_mode=render_mode)


def make_vector_env(
    env_name: str,
    num_envs: int = 1,
    params: Any = None,
    autoreset_mode: Any = None,
    array_backend: str = "numpy",
    render_mode: str | None = None,
    backend: str | None = None,
    num_threads: int = 0,
    **kwargs: Any,
) -> GymnasiumVectorEnv:
    """Entry point behind `gymnasium.make_vec("dynrl/...", num_envs=N)`; `backend` as in `make_gymnasium_env`, and
    `num_threads` for its `"batch"`."""
    from gymnasium.vector import AutoresetMode

    mode = AutoresetMode.NEXT_STEP if autoreset_mode is None else autoreset_mode
    world: Any = make_world(env_name, **kwargs)
    backend = _checked_backend(world, env_name, backend)
    if backend == "batch":
        from dynrl.physics.vector_env import MujocoVectorEnv

        if array_backend != "numpy":
            raise ValueError(
                f"array_backend is {array_backend!r}; backend 'batch' has 'numpy' only, 'mjx' has both."
            )
        return MujocoVectorEnv(world, num_envs, params, mode, num_threads, render_mode)
    if num_threads:
        raise ValueError("num_threads belongs to the backend 'batch' of MuJoCo tasks.")
    from dynrl.faces.vector_env import VectorEnv

    functional = _on_backend(world, backend) if backend else world
    return VectorEnv(functional, num_envs, params, mode, array_backend, render_mode)


_BACKENDS = {"mjx": "dynrl.physics.mjx_env:MjxEnv", "warp": "dynrl.physics.warp_env:WarpEnv"}


def _is_task(world: Any) -> bool:
    from dynrl.functional import FunctionalEnv

    return not isinstance(world, FunctionalEnv)


def _checked_backend(world: Any, name: str, backend: str | None) -> str | None:
    if not _is_task(world):
        if backend is not None:
            raise ValueError(f"{name} is no MuJoCo task and has no backend {backend!r}; leave backend out.")
        return None
    if backend is not None and backend not in ("batch", *_BACKENDS):
        raise ValueError(f"backend is {backend!r}, expected 'batch', 'mjx' or 'warp'.")
    return backend or "batch"


def _on_backend(task: Any, backend: str) -> FunctionalEnv:
    return load(Entry(backend, _BACKENDS[backend], ""))(task)


def _add(table: dict[str, Entry], entry: Entry) -> None:
    known = table.get(entry.name)
    if known is not None and (known.target, dict(known.kwargs)) != (entry.target, dict(entry.kwargs)):
        raise ValueError(f"{entry.name!r} is already registered for {known.target}; choose another name.")
    table[entry.name] = entry


def _register_with_gymnasium(entry: Entry) -> None:
    if entry.name in gymnasium.registry:
        return
    gymnasium.register(
        id=entry.name,
        entry_point="dynrl.registry:make_gymnasium_env",
        vector_entry_point="dynrl.registry:make_vector_env",
        kwargs={"env_name": entry.name},
        order_enforce=False,
        disable_env_checker=True,
    )
