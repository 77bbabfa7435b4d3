"""What a result was made with."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("dynrl", "numpy", "jax", "gymnasium")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the numbers."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def git_hash() -> str | None:
    """The commit of the checkout that dynrl runs from, with `-dirty` when files differ; None outside one."""
    folder = Path(__file__).resolve().parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
