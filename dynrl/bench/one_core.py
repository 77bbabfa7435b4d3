"""Measurements in a fresh process on a single core, where neither threads nor earlier work flatter or disturb them."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def alone_on_one_core(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` (of a module, importable) returns in a fresh process that may use one core only."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=use_one_core) as executor:
        return executor.submit(function, *arguments).result()


def use_one_core() -> None:
    """Binds this process to the last core it may use, before XLA counts them."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
