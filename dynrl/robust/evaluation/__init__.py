"""Whole episodes of one policy on many models at once."""

from dynrl.robust.evaluation.returns import Evaluator, Returns, join_episodes, join_models

__all__ = ["Evaluator", "Returns", "join_episodes", "join_models"]
