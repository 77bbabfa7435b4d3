"""The regression test of every incident: a recording once more through observation, policy and filter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynrl.config import from_mapping
from dynrl.policy import PolicyBundle
from dynrl.robots.controller import Controller
from dynrl.robots.description import Robot
from dynrl.robots.encoding import CommandEncoder
from dynrl.robots.folder import FORMAT, INFO
from dynrl.robots.journal import LATENCY, TICK, read_tick
from dynrl.robots.messages import MessageTypes, message_types
from dynrl.robots.recorder import BAG, RecordingError
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import Event
from dynrl.robots.transports.base import COMMAND, SHADOW_COMMAND


@dataclass(frozen=True)
class ReplayResult:
    """What became of a replay.

    Attributes:
        ticks: replayed.
        commands: compared.
        different: of them, not the same bytes.
        first: index of the first tick that differs in command or state; None when all are the same.
        detail: what differs there.
    """

    ticks: int
    commands: int
    different: int
    first: int | None
    detail: str = ""

    @property
    def same(self) -> bool:
        """Whether all commands are the same, bit for bit, and all states."""
        return self.first is None


def replay(folder: Path, bundle: PolicyBundle, robot: Robot) -> ReplayResult:
    """Feeds the recorded messages through observation, policy and filter, and compares the commands byte for byte.

    Args:
        folder: that `--record` made (or the bag in it).
        bundle: the policy that was recorded.
        robot: the robot that was recorded.

    Raises:
        RecordingError: no such recording, damaged, of another policy or robot, or with messages dropped.
    """
    folder = folder.parent if folder.name == BAG else folder
    info = _read_info(folder)
    _check_same(info, folder, bundle, robot)
    types = message_types(info["ros_distro"])
    config = from_mapping(DeploymentConfig, info["config"], str(folder / INFO))
    session = bundle.session()
    session.warm_up()
    contract = bundle.contract
    controller = Controller(contract, robot, session, session.reset, config, info["started_ns"])
    encoder = CommandEncoder(contract, robot, types, contract.control.period_ns)
    controller.handle(Event.CONFIGURE, info["started_ns"])
    ticks, messages, commands = _read_bag(folder, info, types)
    compared = different = 0
    first, detail = None, ""
    for data, expected in zip(ticks, commands, strict=True):
        given, stamp_ns, state = _given(data, info, messages)
        out = controller.tick(given)
        raw = None if out.command is None else types.serialize(encoder(out.command, stamp_ns))
        compared += expected is not None
        same = raw == expected
        different += not same
        if first is None and not (same and controller.machine.state is state):
            first = given.number
            detail = f"state {controller.machine.state.name}, recorded {state.name}; command {_compare(raw, expected)}"
    return ReplayResult(len(ticks), compared, different, first, detail)


def _given(data: Any, info: dict[str, Any], messages: dict[tuple[str, int], tuple[Any, bytes]]) -> Any:
    try:
        return read_tick(data, info["channels"], messages)
    except KeyError as error:
        raise RecordingError(
            f"tick {int(data[0])} used the message {error}, which the recorder had to drop: the recording cannot be "
            "replayed"
        ) from error


def _compare(raw: bytes | None, expected: bytes | None) -> str:
    if raw == expected:
        return "the same"
    if raw is None or expected is None:
        return "only in the recording" if raw is None else "only in the replay"
    return "differs"


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordingError(
            f"{folder} is not a recording (it has no {INFO}); give a folder that --record made"
        ) from error
    except ValueError as error:
        raise RecordingError(f"{path} is damaged: {error}") from error
    if info.get("format") != FORMAT:
        raise RecordingError(
            f"{path} has format {info.get('format')!r}, this version of dynrl reads {FORMAT}"
        )
    return info


def _check_same(info: dict[str, Any], folder: Path, bundle: PolicyBundle, robot: Robot) -> None:
    from dynrl.policy.yaml_text import read_contract
    from dynrl.robots.folder import CONTRACT

    recorded = read_contract((folder / CONTRACT).read_bytes())
    if recorded != bundle.contract:
        raise RecordingError(
            f"{folder} was recorded with another policy than the bundle: {folder / CONTRACT} differs"
        )
    if info["robot"] != robot.name:
        raise RecordingError(f"{folder} was recorded with robot {info['robot']!r}, not {robot.name!r}")


def read_messages(bag: Path, types: MessageTypes) -> Iterator[tuple[str, int, str, bytes]]:
    """(topic, time in ns, type, CDR bytes) of every message of a bag.

    Raises:
        RecordingError: not a bag, or damaged.
    """
    from rosbags.rosbag2 import Reader, ReaderError

    try:
        with Reader(bag) as reader:
            for connection, log_ns, raw in reader.messages():
                yield connection.topic, log_ns, connection.msgtype, bytes(raw)
    except (ReaderError, FileNotFoundError) as error:
        raise RecordingError(
            f"{bag} cannot be read: {error}; a bag whose recorder was killed needs --recover first"
        ) from error


def _read_bag(
    folder: Path, info: dict[str, Any], types: MessageTypes
) -> tuple[list[Any], dict[tuple[str, int], tuple[Any, bytes]], list[bytes | None]]:
    """(tick data, messages by channel and time, command of each tick)"""
    channels_of: dict[str, list[str]] = {}
    for channel, (topic, _) in info["topics"].items():
        channels_of.setdefault(topic, []).append(channel)
    command_topic = info["topics"][SHADOW_COMMAND if info["shadow"] else COMMAND][0]
    tick_topic, last_of_tick = f"{info['node']}/{TICK}", f"{info['node']}/{LATENCY}"
    whole = 0
    ticks: list[Any] = []
    messages: dict[tuple[str, int], tuple[Any, bytes]] = {}
    commands: list[bytes | None] = []
    for topic, log_ns, type, raw in read_messages(folder / BAG, types):
        if topic == tick_topic:
            ticks.append(types.deserialize(raw, type).data)
            commands.append(None)
        elif topic == last_of_tick:
            whole = len(ticks)
        elif topic == command_topic:
            commands[-1] = raw
        else:
            for channel in channels_of.get(topic, ()):
                if channel in info["channels"]:
                    messages[channel, log_ns] = (types.decode(raw, type), raw)
    return ticks[:whole], messages, commands[:whole]  # a recording that broke off may lack a command
