"""The `dynrl` command. Nothing heavy is imported here: `dynrl --help` must answer at once.

The arguments and the help of a command come from the signature of its function, through tyro.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dynrl.errors import UserError

USER_ERROR, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Command:
    """A command: the function `"module:name"` that runs it, and the first line of its docstring.

    The module is one of `dynrl.cli`, or a full name: the core imports no wing, it only knows its names.
    """

    target: str
    summary: str


COMMANDS = {
    "list": Command(
        "listing:list_names",
        "Print all that has a name: environments, agents, experiments, benchmarks, configs",
    ),
    "train": Command("train:train", "Train what a config describes, into a run folder"),
    "evaluate": Command("evaluate:evaluate", "Play fresh episodes with what a run has trained"),
    "plot": Command("plot:plot", "Draw the learning curves of runs with confidence bands"),
    "export": Command("export:export", "Write what a run has trained as a policy that runs elsewhere"),
    "import": Command("import_policy:import_policy", "Make a policy bundle of a policy in another format"),
    "deploy": Command("dynrl.robots.command_line:deploy", "Run a policy bundle on a robot or on its twin"),
    "twin": Command("dynrl.robots.command_line:run_twin", "Run the simulated twin of a robot on ROS topics"),
    "bench": Command("bench:bench", "Measure figures and compare them with their bars"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status.

    0: done; 1: `bench` missed a bar; 2: something the user gave is wrong (one line on standard error says
    what); 130: Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except UserError as error:
        print(f"dynrl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has gone; keep Python from complaining again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(given: Sequence[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_help())
        return 0 if given else USER_ERROR
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"dynrl {version('dynrl')}")
        return 0
    name, *rest = given
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        advice = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(COMMANDS)}"
        raise UserError(f"no command is called {name!r}; {advice}")
    import tyro

    config = (tyro.conf.FlagCreatePairsOff,)
    return int(tyro.cli(load(COMMANDS[name]), prog=f"dynrl {name}", args=rest, config=config))


def load(command: Command) -> Callable[..., int]:
    """The function of a command."""
    module, _, function = command.target.partition(":")
    full = module if module.startswith("dynrl.") else f"dynrl.cli.{module}"
    return getattr(importlib.import_module(full), function)


def _help() -> str:
    commands = "\n".join(f"  {name:<10}{command.summary}" for name, command in COMMANDS.items())
    return (
        "usage: dynrl COMMAND ...\n\n"
        "Reinforcement learning and control for systems whose dynamics are the hard part.\n\n"
        f"commands:\n{commands}\n\n"
        "options:\n  --help    this page; `dynrl COMMAND --help` explains a command\n  --version"
    )
