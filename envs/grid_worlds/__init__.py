"""Small worlds of squares."""

from dynrl.envs.grid_worlds.windy_walk import (
    WindyWalk,
    WindyWalkParams,
    windy_walk_kernel,
    windy_walk_problem,
)

__all__ = ["WindyWalk", "WindyWalkParams", "windy_walk_kernel", "windy_walk_problem"]
