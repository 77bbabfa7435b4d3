"""From a config to the experiment that it names."""

from typing import Any

from dynrl import registry
from dynrl.config import COMMAND_LINE, ConfigInput, read_config
from dynrl.errors import ConfigError, RunError
from dynrl.runs.run import Run


def make_experiment(given: ConfigInput) -> tuple[str, Any]:
    """(name, experiment) of a config; nothing is written.

    Raises:
        ConfigError: no or unknown `experiment`, or settings that it refuses.
    """
    name, settings = given.take("experiment")
    if not isinstance(name, str):
        known = ", ".join(registry.EXPERIMENTS)
        came = "is missing" if name is None else f"must be a name, got {name!r}"
        raise ConfigError(f"{given.origin('experiment')}: experiment: this key {came}; there are: {known}")
    try:
        cls = registry.load(registry.find(registry.EXPERIMENTS, "experiment", name))
    except ValueError as error:
        raise ConfigError(f"{given.origin('experiment')}: experiment: {error}") from error
    try:
        return name, cls(settings.build(cls.Config))
    except ConfigError as error:
        message = str(error)
        if message.startswith((given.source, COMMAND_LINE)):
            raise
        origin = given.origin(message.partition(":")[0])
        raise ConfigError(f"{origin}: {message}") from error


def open_experiment(run: Run) -> Any:
    """The experiment of an existing run.

    Raises:
        RunError: its config cannot be read any more.
    """
    try:
        return make_experiment(read_config(str(run.config_path)))[1]
    except ConfigError as error:
        raise RunError(f"the config of the run cannot be used: {error}") from error
