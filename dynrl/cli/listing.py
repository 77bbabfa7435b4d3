"""`dynrl list`."""

import sys
from collections.abc import Mapping
from typing import Annotated

from tyro.conf import Positional, arg

from dynrl import registry
from dynrl.config import installed_configs, summary_of
from dynrl.errors import ConfigError


def tables() -> dict[str, dict[str, str]]:
    """One line per name, by kind."""
    registry.discover()
    found = {
        "environments": registry.ENVS,
        "agents": registry.AGENTS,
        "experiments": registry.EXPERIMENTS,
        "benchmarks": registry.BENCHMARKS,
    }
    named = {kind: {name: entry.summary for name, entry in table.items()} for kind, table in found.items()}
    named["configs"] = {name: summary_of(name) for name in installed_configs()}
    return named


def list_names(
    kind: Annotated[Positional[str], arg(metavar="[KIND]", help="only these, e.g. `agents`")] = "all",
) -> int:
    """Print all that has a name: environments, agents, experiments, benchmarks, configs.

    One line each; tab-separated (kind, name, summary) on a pipe.
    """
    found = tables()
    if kind not in ("all", *found):
        raise ConfigError(f"nothing is listed as {kind!r}; expected one of {', '.join(found)}")
    chosen = found if kind == "all" else {kind: found[kind]}
    if sys.stdout.isatty():
        _print_rich(chosen)
    else:
        for title, names in chosen.items():
            for name, summary in sorted(names.items()):
                print(f"{title}\t{name}\t{summary}")
    return 0


def _print_rich(chosen: Mapping[str, Mapping[str, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    for title, names in chosen.items():
        table.add_row(f"[bold]{title}[/bold]", "")
        for name, summary in sorted(names.items()):
            table.add_row(f"  {name}", summary)
    Console().print(table)
