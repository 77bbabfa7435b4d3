"""Messages as JSON: there and back, what cannot be sent, and what a server may send."""

import json
import math
import random
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynrl.robots.messages import MalformedMessage, message_types
from dynrl.robots.transports import TransportError
from dynrl.robots.transports.rosbridge_json import from_json, to_json

TYPES = message_types("jazzy")
NAMES = ["sensor_msgs/Imu", "sensor_msgs/JointState", "sensor_msgs/Image", "diagnostic_msgs/DiagnosticArray"]
NAMES += ["tf2_msgs/TFMessage", "std_msgs/Empty", "nav_msgs/Odometry", "trajectory_msgs/JointTrajectory"]
numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(numbers, max_size=5), st.lists(numbers, max_size=5), st.text(max_size=9), st.booleans())
def test_joint_states_there_and_back(
    position: list[float], velocity: list[float], frame: str, ros1: bool
) -> None:
    message = TYPES.new("sensor_msgs/JointState", position=position, velocity=velocity, name=[frame] * 2)
    message.header.frame_id, message.header.stamp.nanosec = frame, 7
    text = json.dumps(to_json(TYPES, message, ros1), allow_nan=False)
    back = from_json(TYPES, "sensor_msgs/msg/JointState", json.loads(text), ros1)
    assert TYPES.serialize(back) == TYPES.serialize(message)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_field_there_and_back(name: str) -> None:
    full = name.replace("/", "/msg/")
    message = TYPES.new(name)
    text = json.dumps(to_json(TYPES, message), allow_nan=False)
    assert TYPES.serialize(from_json(TYPES, full, json.loads(text))) == TYPES.serialize(message)


def test_spelling_is_that_of_the_protocol() -> None:
    image = TYPES.new("sensor_msgs/Image", data=[1, 2, 255])
    image.header.stamp.sec = 5
    content = to_json(TYPES, image)
    assert content["data"] == "AQL/"
    assert content["header"] == {"stamp": {"sec": 5, "nanosec": 0}, "frame_id": ""}
    assert to_json(TYPES, image, ros1=True)["header"]["stamp"] == {"secs": 5, "nsecs": 0}
    assert to_json(TYPES, TYPES.new("std_msgs/Empty")) == {}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_not_sent(number: float) -> None:
    with pytest.raises(
        TransportError, match="sensor_msgs/msg/JointState: velocity holds a number that is not finite"
    ):
        to_json(TYPES, TYPES.new("sensor_msgs/JointState", position=[0.0], velocity=[0.0, number]))
    with pytest.raises(TransportError, match="geometry_msgs/msg/Vector3: y is"):
        to_json(TYPES, TYPES.new("geometry_msgs/Twist", linear=TYPES.new("geometry_msgs/Vector3", y=number)))


def test_null_is_nan_and_absent_is_zero() -> None:
    message = from_json(
        TYPES, "sensor_msgs/msg/JointState", {"position": [1, None, 2.5], "name": ["a", "b", "c"]}
    )
    np.testing.assert_array_equal(message.position, [1.0, np.nan, 2.5])
    assert message.velocity.size == 0
    assert math.isnan(from_json(TYPES, "std_msgs/msg/Float64", {"data": None}).data)


def test_typed_arrays_and_sequence_numbers_are_taken() -> None:
    content = {"position": np.array([1, 2], "<f4"), "header": {"seq": 9, "stamp": {"secs": 1, "nsecs": 2}}}
    message = from_json(TYPES, "sensor_msgs/msg/JointState", content, ros1=True)
    assert message.position.tolist() == [1.0, 2.0]
    assert message.header.stamp.sec == 1
    assert from_json(TYPES, "sensor_msgs/msg/Image", {"data": b"\x01\x02"}).data.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("sensor_msgs/JointState", [], "expected an object"),
        ("sensor_msgs/JointState", {"positions": []}, "has no field 'positions'"),
        ("sensor_msgs/JointState", {"position": "12"}, "expected a list of float64"),
        ("sensor_msgs/JointState", {"position": ["1"]}, "expected float64, found '1'"),
        ("sensor_msgs/JointState", {"position": [True]}, "expected float64, found True"),
        ("sensor_msgs/JointState", {"name": "a"}, "expected a list"),
        ("sensor_msgs/JointState", {"name": [1]}, "expected string, found 1"),
        ("sensor_msgs/JointState", {"header": None}, "expected an object"),
        ("sensor_msgs/Imu", {"orientation_covariance": [0.0] * 8}, "8 numbers, expected 9"),
        ("sensor_msgs/Image", {"data": "A"}, "not base64"),
        ("sensor_msgs/Image", {"height": -1}, "-1 does not fit uint32"),
        ("sensor_msgs/Image", {"height": 1.5}, "expected uint32, found 1.5"),
        ("sensor_msgs/Image", {"data": [256]}, "256 does not fit uint8"),
        ("std_msgs/Bool", {"data": 1}, "expected bool, found 1"),
        (
            "std_msgs/Float64MultiArray",
            {"data": np.array([1, 2])},
            "expected float64, found an array of int64",
        ),
    ],
)
def test_other_content_is_malformed(name: str, content: Any, expected: str) -> None:
    with pytest.raises(MalformedMessage, match=expected):
        from_json(TYPES, name.replace("/", "/msg/"), content)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(string.ascii_lowercase, max_size=8), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 99), value=json_values)
def test_any_content_is_a_message_or_malformed(name: str, seed: int, value: Any) -> None:
    content: Any = to_json(TYPES, TYPES.new(name))
    place, key = content, None
    rng = random.Random(seed)
    while isinstance(place, dict) and place:
        key = rng.choice(sorted(place))
        if not isinstance(place[key], dict) or rng.random() < 0.3:
            place[key] = value
            break
        place = place[key]
    full = name.replace("/", "/msg/")
    try:
        message = from_json(TYPES, full, content if key is not None else value)
    except MalformedMessage as error:
        assert str(error)
    else:
        TYPES.serialize(message)
