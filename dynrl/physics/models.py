"""Where model files are."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path


def model_path(xml_file: str | os.PathLike[str]) -> Path:
    """Return the path of a model: an existing file, or the name of one that comes with Gymnasium.

    Raises:
        FileNotFoundError: neither; lists Gymnasium's.
    """
    path = Path(xml_file).expanduser()
    if path.is_file():
        return path
    folder = _gymnasium_assets()
    if (folder / path.name).is_file() and path.name == str(xml_file):
        return folder / path.name
    known = ", ".join(sorted(each.name for each in folder.glob("*.xml")))
    raise FileNotFoundError(f"there is no model file {str(xml_file)!r}; expected a path, or one of {known}.")


def _gymnasium_assets() -> Path:
    # Without importing `gymnasium.envs.mujoco`, which needs more packages than its models do.
    spec = importlib.util.find_spec("gymnasium.envs")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "Gymnasium, whose model files are used, is not installed: pip install gymnasium"
        )
    return Path(spec.submodule_search_locations[0]) / "mujoco" / "assets"
