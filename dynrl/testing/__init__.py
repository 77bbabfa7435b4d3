"""Tools for people who write environments and agents: a checker, probes with known answers, and a small
world."""

from dynrl.testing.check_env import CheckResult, EnvCheckError, EnvReport, check_env
from dynrl.testing.probes import PROBES, Probe

__all__ = ["PROBES", "CheckResult", "EnvCheckError", "EnvReport", "Probe", "check_env"]
