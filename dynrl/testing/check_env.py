"""`check_env`: everything an environment promises, checked in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium

from dynrl.functional import FunctionalEnv
from dynrl.testing import checks
from dynrl.testing.checks import CHECKS, NotApplicable, Subject


class EnvCheckError(AssertionError):
    """An environment breaks a promise; the message names the check, what was seen and what was expected."""


@dataclass(frozen=True)
class CheckResult:
    """One check.

    Attributes:
        name: of the check.
        status: `"passed"`, `"not applicable"` or `"skipped"`.
        note: why it does not apply, or what was seen.
    """

    name: str
    status: str
    note: str = ""


@dataclass(frozen=True)
class EnvReport:
    """What `check_env` did; printing it gives one line per check.

    Attributes:
        env: the environment, in words.
        results: one per check, in the order they ran.
    """

    env: str
    results: tuple[CheckResult, ...]

    def __str__(self) -> str:
        lines = [f"{result.name:<24} {result.status:<15} {result.note}".rstrip() for result in self.results]
        return "\n".join([self.env, *lines])


def check_env(
    env: str | FunctionalEnv | gymnasium.Env,
    *,
    env_kwargs: Mapping[str, Any] | None = None,
    steps: int = 300,
    examples: int = 5,
    seed: int = 0,
    skip: Sequence[str] = (),
) -> EnvReport:
    """Check that an environment keeps its promises: Gymnasium's, SB3's, and those that their checkers do not
    look at.

    Works on registered names, functional environments and any Gymnasium environment. The checks, in order:
    `gymnasium` and `sb3` (their own checkers; SB3's only where it is installed), `state types`, `compiled
    equals eager`, `vector equals single`, `no shared memory`, `final observation`, `seeding`, `bad actions`,
    `long rollout`, `copies`, `options`. A check that does not apply, e.g. to an environment that is not
    functional, is reported so.

    Args:
        env: what to check. An instance is copied and left as it is.
        env_kwargs: constructor arguments, when `env` is a name.
        steps: length of the long rollout.
        examples: number of constructor-option draws.
        seed: of resets and random actions.
        skip: names of checks to leave out.

    Returns:
        The report.

    Raises:
        EnvCheckError: at the first broken promise.
        ValueError: an unknown name in `skip`, or of an environment.
        ImportError: Hypothesis is needed to draw options and is not installed.
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise ValueError(f"there is no check {unknown[0]!r} to skip; the checks are {', '.join(CHECKS)}.")
    subject = checks.subject(env, dict(env_kwargs or {}), seed=seed, steps=steps, examples=examples)
    results = [_run(name, subject, name in skip) for name in CHECKS]
    return EnvReport(subject.name, tuple(results))


def _run(name: str, subject: Subject, skipped: bool) -> CheckResult:
    if skipped:
        return CheckResult(name, "skipped", "on request")
    try:
        note = CHECKS[name](subject)
    except NotApplicable as reason:
        return CheckResult(name, "not applicable", str(reason))
    except AssertionError as broken:
        raise EnvCheckError(f"{subject.name} fails the check {name!r}: {broken}") from broken
    return CheckResult(name, "passed", note or "")
