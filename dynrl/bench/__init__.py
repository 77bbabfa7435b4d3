"""Benchmarks: measured figures against bars, as a table or JSON.

A benchmark is a function `quick: bool -> Iterator[Figure]`, registered as `"module:function"`.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        bar: what it must reach, in words, e.g. "<= 0.5 s".
        measured: what it reached, in the same unit.
        passed: whether the bar was met.
        peer: the same figure of the best known alternative, if there is one.
    """

    name: str
    bar: str
    measured: str
    passed: bool
    peer: str = ""


COLUMNS = ("figure", "bar", "measured", "peer", "ok")


def report(figures: Iterable[Figure], as_json: bool = False) -> bool:
    """Prints the figures (rows as they come on a pipe) and says whether all bars were met."""
    import sys

    if as_json:
        collected = list(figures)
        print(json.dumps([dataclasses.asdict(figure) for figure in collected], indent=2))
    elif sys.stdout.isatty():
        collected = _print_table(figures)
    else:
        collected = list(_print_lines(figures))
    return all(figure.passed for figure in collected)


def row(figure: Figure) -> tuple[str, ...]:
    """The cells of a figure in the order of `COLUMNS`."""
    return (
        figure.name,
        figure.bar,
        figure.measured,
        figure.peer or "-",
        "yes" if figure.passed else "NO",
    )


def _print_lines(figures: Iterable[Figure]) -> Iterator[Figure]:
    print(" | ".join(COLUMNS), flush=True)
    for figure in figures:
        print(" | ".join(row(figure)), flush=True)
        yield figure


def _print_table(figures: Iterable[Figure]) -> list[Figure]:
    from rich.live import Live
    from rich.table import Table

    table = Table(*COLUMNS)
    collected = []
    with Live(table, refresh_per_second=2):
        for figure in figures:
            table.add_row(*row(figure), style=None if figure.passed else "red")
            collected.append(figure)
    return collected
