"""Programs compiled for one class are not run for another that has the same fields."""

from dataclasses import dataclass, make_dataclass

import jax
import numpy as np

from dynrl.compilation import classes_in, jit_by_class


def family(count):
    """Classes with one field `x` and a method `apply(y)` that adds the class's own number."""
    for number in range(count):
        cls = make_dataclass("Strategy", [("x", float)], frozen=True)
        cls.apply = lambda self, y, number=number: self.x + y + number
        yield number, jax.tree_util.register_dataclass(cls, ["x"], [])


def test_every_class_runs_its_own_program():
    compiled = jit_by_class(lambda strategy, y: strategy.apply(y))
    for number, cls in family(60):
        assert float(compiled(cls(1.0), np.float32(2.0))) == 3.0 + number
        assert float(compiled(cls(5.0), np.float32(2.0))) == 7.0 + number


def test_nested_classes_are_found_in_order():
    @dataclass(frozen=True)
    class Inner:
        value: float

    @dataclass(frozen=True)
    class Outer:
        first: float
        inner: Inner

    assert classes_in(Outer(1.0, Inner(2.0))) == (Outer, Inner)
    assert classes_in((1.0, Inner(2.0))) == () and classes_in(None) == ()
