"""`dynrl bench`."""

from typing import Annotated

from tyro.conf import Positional, arg

from dynrl import registry
from dynrl.bench import report
from dynrl.errors import ConfigError


def bench(
    name: Annotated[Positional[str], arg(metavar="NAME", help="a benchmark (`dynrl list benchmarks`)")],
    quick: Annotated[bool, arg(help="only what fits in a minute")] = False,
    json: Annotated[bool, arg(help="print JSON")] = False,
) -> int:
    """Measure figures and compare them with their bars.

    Exit status 1 when a bar is missed.
    """
    try:
        figures = registry.load(registry.find(registry.BENCHMARKS, "benchmark", name))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return 0 if report(figures(quick), json) else 1
