"""Joint states written and read in a hurry are those that the type store of rosbags writes and reads."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.robots.joint_state_bytes import JOINT_STATE, JointStateBytes
from dynrl.robots.messages import Malformed, MessageTypes, message_types

STORE = message_types().store
numbers = st.lists(st.floats(width=64), max_size=4)
names = st.lists(st.text(max_size=5), max_size=4)


def joint_state(
    name: list[str], frame_id: str = "", stamp: tuple[int, int] = (0, 0), **arrays: list[float]
) -> Any:
    types = message_types()
    time = types.new("builtin_interfaces/msg/Time", sec=stamp[0], nanosec=stamp[1])
    header = types.new("std_msgs/msg/Header", stamp=time, frame_id=frame_id)
    return types.new(JOINT_STATE, header=header, name=name, **arrays)


def fresh() -> MessageTypes:
    """Message types that have learned nothing."""
    return MessageTypes("jazzy", STORE)


def plain(raw: bytes) -> Any:
    """What the type store reads."""
    types = fresh()
    return types.decode(memoryview(raw), JOINT_STATE)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Malformed) or isinstance(other, Malformed):
        return type(one) is type(other)
    arrays = all(
        getattr(one, field).tobytes() == getattr(other, field).tobytes()
        and getattr(one, field).dtype == getattr(other, field).dtype
        for field in ("position", "velocity", "effort")
    )
    return arrays and one.name == other.name and one.header == other.header


@settings(deadline=None, max_examples=50)
@given(names, st.text(max_size=3), numbers, numbers, numbers, numbers)
def test_bytes_and_messages_are_those_of_the_type_store(
    name: list[str], frame: str, first: Any, second: Any, velocity: Any, effort: Any
) -> None:
    types = fresh()
    arrays = {"velocity": velocity, "effort": effort}
    types.serialize(joint_state(name, frame, position=first, **arrays))
    second = np.resize(second or [0.5], len(first))
    message = joint_state(name, frame, (-5, 999_999_999), position=second, **arrays)
    raw = types.serialize(message)
    assert raw == bytes(STORE.serialize_cdr(message, JOINT_STATE, little_endian=True))
    assert types._joint_states.read(raw) is not None  # the hurried way was taken
    assert same(types.decode(raw, JOINT_STATE), message) and same(plain(raw), message)


def test_a_change_of_any_byte_is_seen_as_the_type_store_sees_it() -> None:
    types = fresh()
    message = joint_state(["a", "bcd"], "x", (3, 4), position=[1.0, 2.0], effort=[3.0, 4.0])
    raw = types.serialize(message)
    for place in range(len(raw)):
        for bit in (1, 128):
            changed = raw[:place] + bytes([raw[place] ^ bit]) + raw[place + 1 :]
            types.decode(raw, JOINT_STATE)
            assert same(types.decode(changed, JOINT_STATE), plain(changed)), (place, bit)
            # Whatever was learned from the damaged bytes does no harm to the sound ones.
            assert same(types.decode(raw, JOINT_STATE), message), (place, bit)
    for length in range(len(raw)):
        assert same(types.decode(raw[:length], JOINT_STATE), plain(raw[:length]))


def test_other_names_or_another_frame_of_the_same_length_are_not_mixed_up() -> None:
    types = fresh()
    for name, frame in ((["a", "b"], "x"), (["b", "a"], "x"), (["a", "b"], "y"), (["a", "b"], "x")):
        message = joint_state(name, frame, position=[1.0, 2.0])
        for _ in range(2):
            raw = types.serialize(message)
            assert raw == bytes(STORE.serialize_cdr(message, JOINT_STATE))
            assert same(types.decode(raw, JOINT_STATE), message)


def test_a_message_that_is_read_can_be_changed_without_changing_the_next() -> None:
    types = fresh()
    raw = types.serialize(joint_state(["a"], position=[1.0]))
    types.decode(raw, JOINT_STATE).name.append("b")
    types.decode(raw, JOINT_STATE).header.stamp.sec = 7
    assert same(types.decode(raw, JOINT_STATE), plain(raw))


def test_a_peer_that_invents_names_does_not_fill_the_memory() -> None:
    known = JointStateBytes(STORE)
    for number in range(500):
        message = joint_state(["x" * number])
        known.learn(message, bytes(STORE.serialize_cdr(message, JOINT_STATE)))
    assert len(known._by_size) <= 64 and len(known._by_counts) <= 64
