"""`dynrl deploy --check`: the contract of a bundle on one page, for the person about to switch a robot on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dynrl.policy import Contract


def contract_page(contract: Contract, warnings: Sequence[str] = (), robot: str | None = None) -> str:
    """Terms, joints, units, rate and limits of a contract, one fact per line."""
    model = contract.model
    lines = [
        f"policy        {contract.name}" + (f", exported {contract.created}" if contract.created else ""),
        f"robot         {contract.robot.name}"
        + (f" (checked against {robot!r})" if robot else " (not checked: give --robot)"),
        f"rate          {1 / contract.control.period:g} Hz (every {contract.control.period * 1e3:g} ms)",
    ]
    if model is not None:
        lines.append(f"graph         {model.file}, opset {model.opset}, SHA-256 {model.sha256[:16]}…")
    provenance = contract.provenance
    if provenance.run or provenance.return_mean is not None:
        value = "" if provenance.return_mean is None else f", mean return {provenance.return_mean:g}"
        lines.append(f"trained       {provenance.run or 'unknown run'}{value}")
    lines += ["", f"observation   {contract.observation_size} numbers, in this order"]
    sizes = contract.term_sizes()
    start = 0
    for term in contract.observation:
        stop = start + sizes[term.name]
        lines.append(
            f"  [{start:>3}:{stop:>3}]   {_name(term.name):<18}{term.kind:<30}{term.unit:<8}{_details(contract, term)}"
        )
        start = stop
    lines += ["", f"action        {contract.action_size} numbers, in this order"]
    start = 0
    for action in contract.action:
        stop = start + _length(contract, action)
        lines.append(
            f"  [{start:>3}:{stop:>3}]   {_name(action.name):<18}{action.kind:<30}{action.unit:<8}"
            f"{_details(contract, action)}, {action.mode.replace('_', ' ')}"
        )
        start = stop
    lines += ["", *_joints(contract)]
    if contract.workspace is not None:
        box = contract.workspace
        lines.append(
            f"workspace     {box.body} stays between {list(box.box[0])} and {list(box.box[1])} m of {box.frame}"
        )
    if contract.state:
        lines.append("memory        " + ", ".join(f"{t.input} {list(t.shape)}" for t in contract.state))
    lines += [f"warning       {warning}" for warning in warnings]
    return "\n".join(lines)


def _details(contract: Contract, term: Any) -> str:
    parts = [f"scale {_numbers(term.scale)}", f"offset {_numbers(term.offset)}"]
    if term.clip is not None:
        parts.append(f"clip {list(term.clip)}")
    if getattr(term, "history", 1) > 1:
        parts.append(f"history {term.history} ({term.history_order.replace('_', ' ')})")
    if getattr(term, "default", None) is not None:
        parts.append(f"default {_numbers(term.default)}")
    return ", ".join(parts)


def _joints(contract: Contract) -> list[str]:
    limits = contract.limits
    lines = [f"{'joint':<14}{'default':>9}{'lower':>9}{'upper':>9}{'velocity':>10}{'accel.':>9}{'effort':>9}"]
    for place, joint in enumerate(contract.robot.joints):
        position = limits.position[place] if limits.position is not None else None
        lower, upper = position if position is not None else (None, None)
        cells = [
            (contract.default_pose[place] if contract.default_pose is not None else None, 9),
            (lower, 9),
            (upper, 9),
            (_at(limits.velocity, place), 10),
            (_at(limits.acceleration, place), 9),
            (_at(limits.effort, place), 9),
        ]
        row = "".join(f"{'-' if value is None else f'{value:g}':>{width}}" for value, width in cells)
        lines.append(f"{_name(joint):<14}{row}")
    return lines


def _length(contract: Contract, term: Any) -> int:
    size = 1
    for extent in contract.sample_shape(term):
        size *= extent
    return size


def _at(values: Sequence[float] | None, place: int) -> float | None:
    return None if values is None else values[place]


def _numbers(value: Any) -> str:
    if isinstance(value, str):
        return value.replace("_", " ")
    if isinstance(value, tuple):
        return "[" + ", ".join(f"{number:g}" for number in value) + "]"
    return f"{value:g}"


def _name(name: str) -> str:
    return ascii(name)[1:-1]
