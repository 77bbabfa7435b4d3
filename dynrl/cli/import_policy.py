"""`dynrl import`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def import_policy(
    path: Annotated[
        Positional[Path],
        arg(metavar="FILE", help="the YAML file (leapp, isaaclab) or the ONNX file (exploy, mjlab)"),
    ],
    format: Annotated[Literal["leapp", "exploy", "mjlab", "isaaclab"], arg(help="what FILE is")],
    robot: Annotated[str, arg(help="name of the robot that the policy moves; these formats do not say it")],
    out: Annotated[
        Path, arg(aliases=["-o"], metavar="PATH", help="what to write: a new folder, or NAME.zip")
    ] = Path("policy.bundle"),
    period: Annotated[
        float | None,
        arg(metavar="SECONDS", help="between two calls, where FILE does not say it", help_behavior_hint=""),
    ] = None,
) -> int:
    """Make a policy bundle of a policy in another format.

    Limits, which these formats leave out, come from the robot at deployment. Prints the bundle written; what the format
    does not say exactly is printed as warnings.
    """
    from dynrl.policy.formats import read

    bundle, warnings = read(path, format, robot, period)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(bundle.write(out))
    return 0
