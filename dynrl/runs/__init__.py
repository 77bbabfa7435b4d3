"""Run folders: config, metrics, checkpoints, exact resume."""

from dynrl.runs.checkpoint import Checkpoint, flatten_tree, unflatten_tree
from dynrl.runs.run import Run

__all__ = ["Checkpoint", "Run", "flatten_tree", "unflatten_tree"]
