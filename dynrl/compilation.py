"""Compiled functions whose program depends on the class of a dataclass among their arguments."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

__all__ = ["classes_in", "jit_by_class"]

F = TypeVar("F", bound=Callable[..., Any])


def classes_in(argument: Any) -> tuple[type, ...]:
    """The classes of a dataclass and of the dataclasses inside it: a static argument for what is compiled for them.

    JAX (0.10) tells two registered dataclasses with the same fields apart by their hash alone, for their tree
    structures compare equal. Its cache of compiled programs then runs one class's program for another every now and
    then (some 15 % of the classes when 400 of them go through one function), unless something else tells them apart.
    """
    if not dataclasses.is_dataclass(argument):
        return ()
    inside = (classes_in(getattr(argument, field.name)) for field in dataclasses.fields(argument))
    return (type(argument), *(kind for kinds in inside for kind in kinds))


def jit_by_class(function: F) -> F:
    """`jax.jit` of a function of positional arguments, compiled anew for every combination of the classes of the
    dataclasses among them."""

    def by_class(classes: tuple[tuple[type, ...], ...], *arguments: Any) -> Any:
        return function(*arguments)

    compiled = jax.jit(by_class, static_argnums=0)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return compiled(tuple(map(classes_in, arguments)), *arguments)

    return call  # type: ignore[return-value]
