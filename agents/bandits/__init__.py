"""Agents for dynamical linear bandits: DynLin-UCB, its baselines, and the compiled simulation of many runs."""

from dynrl.agents.bandits.agent import BanditAgent
from dynrl.agents.bandits.algorithm import BanditAlgorithm, Schedule
from dynrl.agents.bandits.ar2 import AR2, AR2Config
from dynrl.agents.bandits.arms import UCB1, ExploreThenCommit, ExploreThenCommitConfig, UCB1Config
from dynrl.agents.bandits.budget import Allocation, BudgetAllocator
from dynrl.agents.bandits.constant import (
    Clairvoyant,
    ClairvoyantConfig,
    Constant,
    FixedAllocation,
    FixedAllocationConfig,
    Uniform,
)
from dynrl.agents.bandits.dynlin_bounds import DynLinConstants, DynLinUCBConfig, epoch_holds
from dynrl.agents.bandits.dynlin_ucb import DynLinUCB
from dynrl.agents.bandits.exp3 import Exp3, Exp3Batch, Exp3BatchConfig, Exp3Config
from dynrl.agents.bandits.linucb import DLinUCB, DLinUCBConfig, LinUCB, LinUCBConfig
from dynrl.agents.bandits.many_problems import simulate_many
from dynrl.agents.bandits.simulation import (
    Simulation,
    SimulationResult,
    agent_after,
    simulate,
    simulate_on_noise,
)
from dynrl.agents.bandits.single_run import SingleRun, single_run

__all__ = [
    "AR2",
    "UCB1",
    "AR2Config",
    "Allocation",
    "BanditAgent",
    "BanditAlgorithm",
    "BudgetAllocator",
    "Clairvoyant",
    "ClairvoyantConfig",
    "Constant",
    "DLinUCB",
    "DLinUCBConfig",
    "DynLinConstants",
    "DynLinUCB",
    "DynLinUCBConfig",
    "Exp3",
    "Exp3Batch",
    "Exp3BatchConfig",
    "Exp3Config",
    "ExploreThenCommit",
    "ExploreThenCommitConfig",
    "FixedAllocation",
    "FixedAllocationConfig",
    "LinUCB",
    "LinUCBConfig",
    "Schedule",
    "Simulation",
    "SimulationResult",
    "SingleRun",
    "UCB1Config",
    "Uniform",
    "agent_after",
    "epoch_holds",
    "simulate",
    "simulate_many",
    "simulate_on_noise",
    "single_run",
]
