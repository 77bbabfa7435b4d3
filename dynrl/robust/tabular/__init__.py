"""Finite robust Markov decision processes: exact solvers, static solvers and IWOCS."""
