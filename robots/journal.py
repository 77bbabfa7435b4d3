"""What a recording holds: every message as it came, what was sent, and for each tick exactly what it depended on.

A tick refers to the messages that it used by channel, receive time and time in the bag, so a replay sees the same
messages in the same order at the same times, whatever a reader of bags does with equal times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dynrl.policy.contract import Contract
from dynrl.robots.controller import Peers, TickInput, TickOutput
from dynrl.robots.messages import MessageTypes
from dynrl.robots.recorder import Recorder
from dynrl.robots.states import Event, State
from dynrl.robots.transports.base import COMMAND, SHADOW_COMMAND, Endpoints, Received

INTEGERS, NUMBERS, TEXT = (
    "std_msgs/msg/Int64MultiArray",
    "std_msgs/msg/Float64MultiArray",
    "std_msgs/msg/String",
)
TICK, OBSERVATION, ACTION, FAULT, LATENCY = "tick", "observation", "action", "fault", "latency"
OWN = {TICK: INTEGERS, OBSERVATION: NUMBERS, ACTION: NUMBERS, FAULT: TEXT, LATENCY: INTEGERS}
"""Topics below the node that are recorded and not published."""
FIXED = ("number", "deadline_ns", "now_ns", "stamp_ns", "flags", "subscribers", "state", "received", "events")
"""First numbers of a tick; then (channel, receive_ns, log_ns) of each message, then the number of each event."""
ALIVE, SILENT, CONTESTED, TRIPPED, SUSPENDED = 1, 2, 4, 8, 16
STATES, EVENTS = tuple(State), tuple(Event)


class Journal:
    """Writes a recording.

    Args:
        recorder: takes the bytes.
        endpoints: of the deployment, for topic names and types.
        types: message types.
        contract: for labels.
        shadow: commands go to the shadow topic.

    Attributes:
        channels: names, in the order of their numbers in ticks.
    """

    def __init__(
        self, recorder: Recorder, endpoints: Endpoints, types: MessageTypes, contract: Contract, shadow: bool
    ) -> None:
        self._recorder, self._types = recorder, types
        self._topics: dict[str, str] = {}
        for endpoint in (*endpoints.readers, *endpoints.writers):
            self._topics[endpoint.channel] = endpoint.topic
            recorder.declare(endpoint.topic, endpoint.type)
        for name, type in OWN.items():
            self._topics[f"~/{name}"] = f"{endpoints.node}/{name}"
            recorder.declare(f"{endpoints.node}/{name}", type)
        self._command_topic = self._topics[SHADOW_COMMAND if shadow else COMMAND]
        self.channels = tuple(dict.fromkeys(endpoint.channel for endpoint in endpoints.readers))
        self._numbers = {name: number for number, name in enumerate(self.channels)}
        self._observation = self._array(NUMBERS, list(contract.term_sizes().items()))
        sizes = [(term.name, int(np.prod(contract.sample_shape(term)))) for term in contract.action]
        self._action = self._array(NUMBERS, sizes)
        self._tick = self._array(INTEGERS, [(name, 1) for name in FIXED])
        self._latency = self._array(INTEGERS, [])

    def tick(self, given: TickInput, out: TickOutput, stamp_ns: int, state: State) -> None:
        """Records what came in and what the policy said."""
        put, now = self._recorder.put, given.now_ns
        numbers = [0] * len(FIXED)
        for message in given.received:
            log_ns = put(self._topics[message.source], message.receive_ns, message.raw)
            numbers += (self._numbers[message.source], message.receive_ns, log_ns)
        numbers += [EVENTS.index(event) for _, event in given.events]
        numbers[: len(FIXED)] = (
            given.number,
            given.deadline_ns,
            now,
            stamp_ns,
            _flags(given),
            given.peers.subscribers,
            STATES.index(state),
            len(given.received),
            len(given.events),
        )
        self._put(TICK, self._tick, np.array(numbers, np.int64), now)
        if out.observation is not None:
            self._put(OBSERVATION, self._observation, out.observation.astype(np.float64), now)
        if out.action is not None:
            self._put(ACTION, self._action, np.asarray(out.action, np.float64).reshape(-1), now)
        for fault in out.faults:
            self.text(FAULT, str(fault), now)

    def command(self, message: Any, now_ns: int) -> None:
        """Records a command that was sent."""
        self._recorder.put(self._command_topic, now_ns, self._types.serialize(message))

    def message(self, channel: str, message: Any, now_ns: int) -> None:
        """Records another message that was published."""
        self._recorder.put(self._topics[channel], now_ns, self._types.serialize(message))

    def latency(self, values: Sequence[int], now_ns: int) -> None:
        """Records the account of a tick, in the order of `latency.FIELDS`."""
        self._put(LATENCY, self._latency, np.array(values, np.int64), now_ns)

    def text(self, topic: str, text: str, now_ns: int) -> None:
        """Records a line."""
        message = self._types.new(TEXT, data=text)
        self._recorder.put(self._topics[f"~/{topic}"], now_ns, self._types.serialize(message))

    def _put(self, topic: str, message: Any, data: np.ndarray, now_ns: int) -> None:
        message.data = data
        self._recorder.put(self._topics[f"~/{topic}"], now_ns, self._types.serialize(message))

    def _array(self, type: str, labels: list[tuple[str, int]]) -> Any:
        """An empty array message whose dimensions name its parts, one dimension per part."""
        dims = [
            self._types.new("std_msgs/msg/MultiArrayDimension", label=label, size=size, stride=size)
            for label, size in labels
        ]
        return self._types.new(type, layout=self._types.new("std_msgs/msg/MultiArrayLayout", dim=dims))


def _flags(given: TickInput) -> int:
    peers = given.peers
    return (
        ALIVE * peers.alive
        + SILENT * bool(peers.silent)
        + CONTESTED * bool(peers.other_writers)
        + TRIPPED * given.tripped
        + SUSPENDED * given.suspended
    )


def read_tick(data: np.ndarray, channels: Sequence[str], messages: Any) -> tuple[TickInput, int, State]:
    """(input, wall time, state after it) of a recorded tick.

    Args:
        data: numbers of the tick message.
        channels: names by number.
        messages: (channel, log_ns) -> (message, raw).

    Raises:
        KeyError: a message of the tick is not in the recording.
    """
    index, deadline, now, stamp, flags, subscribers, state, received, events = (
        int(value) for value in data[: len(FIXED)]
    )
    rows = data[len(FIXED) : len(FIXED) + 3 * received].reshape(received, 3)
    came = []
    for number, receive_ns, log_ns in rows.tolist():
        channel = channels[number]
        message, raw = messages[channel, log_ns]
        came.append(Received(channel, receive_ns, message, raw))
    asked = (
        tuple(("recorded", EVENTS[number]) for number in data[len(data) - events :].tolist())
        if events
        else ()
    )
    peers = Peers(
        bool(flags & ALIVE),
        subscribers,
        ("a source",) if flags & SILENT else (),
        ("somebody",) if flags & CONTESTED else (),
    )
    given = TickInput(
        index, deadline, now, came, peers, asked, bool(flags & TRIPPED), bool(flags & SUSPENDED)
    )
    return given, stamp, STATES[state]
