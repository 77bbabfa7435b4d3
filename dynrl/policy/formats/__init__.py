"""Other policy formats, to and from the native bundle."""

from collections.abc import Callable
from pathlib import Path

from dynrl.policy.bundle import PolicyBundle
from dynrl.policy.errors import BundlePath

FORMATS = ("leapp", "exploy", "mjlab", "isaaclab")


def write(bundle: PolicyBundle, out: Path, format: str) -> list[Path]:
    """Writes a policy in another format into the new folder `out`; returns the files.

    Args:
        bundle: the policy.
        out: must not exist, or be an empty folder.
        format: one of `FORMATS`.

    Raises:
        BundleContract: the format cannot say what the contract says.
        BundlePath: something is there already, or it cannot be written.
    """
    from dynrl.policy.formats import exploy, isaaclab, leapp, mjlab
    from dynrl.runs.array_file import write_atomically

    writers: dict[str, Callable[[PolicyBundle], dict[str, bytes]]] = {
        "leapp": leapp.files,
        "exploy": exploy.files,
        "mjlab": mjlab.files,
        "isaaclab": isaaclab.files,
    }
    content = writers[format](bundle)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundlePath(
            f"{out}: found something there, expected a free name or an empty folder; name another"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            write_atomically(out / name, data)
    except OSError as error:
        raise BundlePath(f"{out}: cannot be written: {error.strerror}") from error
    return [out / name for name in content]


def read(path: Path, format: str, robot: str, period: float | None = None) -> tuple[PolicyBundle, list[str]]:
    """A policy of another format as a bundle, and warnings: what the format does not say or says inexactly.

    Args:
        path: the YAML file (leapp, isaaclab; the ONNX file stands beside it) or the ONNX file (exploy, mjlab).
        format: one of `FORMATS`.
        robot: name of the robot, which these formats do not carry.
        period: seconds between two calls, where the format does not say it.

    Raises:
        BundleError: a subclass says what is wrong or has no counterpart.
    """
    from dynrl.policy.formats import exploy, isaaclab, leapp, mjlab

    readers: dict[str, Callable[[Path, str, float | None], tuple[PolicyBundle, list[str]]]] = {
        "leapp": leapp.read,
        "exploy": exploy.read,
        "mjlab": mjlab.read,
        "isaaclab": isaaclab.read,
    }
    return readers[format](path, robot, period)
