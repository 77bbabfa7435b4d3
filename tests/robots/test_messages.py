"""Message types: the hashes that ROS publishes, and the same bytes from two independent serialisers."""

import random
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype

from dynrl.robots.messages import (
    DISTROS,
    Malformed,
    MalformedMessage,
    MessageError,
    message_types,
    resolve_distro,
)
from dynrl.robots.transports.dds import idl_struct

# Name, fields in the order of the wire and RIHS01 hash of ROS 2 Jazzy, as the distribution states them.
TABLE = {
    "builtin_interfaces/Time": (
        "int32 sec; uint32 nanosec",
        "b106235e25a4c5ed35098aa0a61a3ee9c9b18d197f398b0e4206cea9acf9c197",
    ),
    "builtin_interfaces/Duration": (
        "int32 sec; uint32 nanosec",
        "e8d009f659816f758b75334ee1a9ca5b5c0b859843261f14c7f937349599d93b",
    ),
    "std_msgs/Header": (
        "Time stamp; string frame_id",
        "f49fb3ae2cf070f793645ff749683ac6b06203e41c891e17701b1cb597ce6a01",
    ),
    "std_msgs/Bool": (
        "bool data",
        "feb91e995ff9ebd09c0cb3d2aed18b11077585839fb5db80193b62d74528f6c9",
    ),
    "std_msgs/Empty": (
        "uint8 structure_needs_at_least_one_member",
        "20b625256f32d5dbc0d04fee44f43c41e51c70d3502f84b4a08e7a9c26a96312",
    ),
    "std_msgs/String": (
        "string data",
        "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18",
    ),
    "std_msgs/Float64": (
        "float64 data",
        "705ba9c3d1a09df43737eb67095534de36fd426c0587779bda2bc51fe790182a",
    ),
    "std_msgs/MultiArrayDimension": (
        "string label; uint32 size; uint32 stride",
        "5e773a60a4c7fc8a54985f307c7837aa2994252a126c301957a24e31282c9cbe",
    ),
    "std_msgs/MultiArrayLayout": (
        "MultiArrayDimension[] dim; uint32 data_offset",
        "4c66e6f78e740ac103a94cf63259f968e48c617e7699e829b63c21a5cb50dac6",
    ),
    "std_msgs/Float64MultiArray": (
        "MultiArrayLayout layout; float64[] data",
        "1025ddc6b9552d191f89ef1a8d2f60f3d373e28b283d8891ddcc974e8c55397f",
    ),
    "sensor_msgs/JointState": (
        "Header header; string[] name; float64[] position; float64[] velocity; float64[] effort",
        "a13ee3a330e346c9d87b5aa18d24e11690752bd33a0350f11c5882bc9179260e",
    ),
    "trajectory_msgs/JointTrajectoryPoint": (
        "float64[] positions; float64[] velocities; float64[] accelerations; float64[] effort; "
        "Duration time_from_start",
        "de8907036d8bd45aac6f30cc9044a3d4a329c42cbf719aff7d95a584cfa532d7",
    ),
    "trajectory_msgs/JointTrajectory": (
        "Header header; string[] joint_names; JointTrajectoryPoint[] points",
        "179b33eba59d676f6d967ac71fe35e7ca2f64b2f3928f4a018cec115e213796e",
    ),
    "geometry_msgs/Vector3": (
        "float64 x; float64 y; float64 z",
        "cc12fe83e4c02719f1ce8070bfd14aecd40f75a96696a67a2a1f37f7dbb0765d",
    ),
    "geometry_msgs/Twist": (
        "Vector3 linear; Vector3 angular",
        "9c45bf16fe0983d80e3cfe750d6835843d265a9a6c46bd2e609fcddde6fb8d2a",
    ),
    "geometry_msgs/TwistStamped": (
        "Header header; Twist twist",
        "5f0fcd4f81d5d06ad9b4c4c63e3ea51b82d6ae4d0558f1d475229b1121db6f64",
    ),
    "geometry_msgs/Point": (
        "float64 x; float64 y; float64 z",
        "6963084842a9b04494d6b2941d11444708d892da2f4b09843b9c43f42a7f6881",
    ),
    "geometry_msgs/Quaternion": (
        "float64 x; float64 y; float64 z; float64 w",
        "8a765f66778c8ff7c8ab94afcc590a2ed5325a1d9a076ffff38fbce36f458684",
    ),
    "geometry_msgs/Pose": (
        "Point position; Quaternion orientation",
        "d501954e9476cea2996984e812054b68026ae0bfae789d9a10b23daf35cc90fa",
    ),
    "geometry_msgs/PoseStamped": (
        "Header header; Pose pose",
        "10f3786d7d40fd2b54367835614bff85d4ad3b5dab62bf8bca0cc232d73b4cd8",
    ),
    "geometry_msgs/Wrench": (
        "Vector3 force; Vector3 torque",
        "018e8519d57c16adbe97c9fe1460ef21fec7e31bc541de3d653a35895677ce52",
    ),
    "geometry_msgs/WrenchStamped": (
        "Header header; Wrench wrench",
        "8dc3deaf06b2ab281f9f9a742a8961c328ca7cec16e3fd6586d3a5c83fa78f77",
    ),
    "sensor_msgs/Imu": (
        "Header header; Quaternion orientation; float64[9] orientation_covariance; "
        "Vector3 angular_velocity; float64[9] angular_velocity_covariance; Vector3 linear_acceleration; "
        "float64[9] linear_acceleration_covariance",
        "7d9a00ff131080897a5ec7e26e315954b8eae3353c3f995c55faf71574000b5b",
    ),
    "sensor_msgs/Image": (
        "Header header; uint32 height; uint32 width; string encoding; uint8 is_bigendian; uint32 step; "
        "uint8[] data",
        "d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47",
    ),
    "sensor_msgs/RegionOfInterest": (
        "uint32 x_offset; uint32 y_offset; uint32 height; uint32 width; bool do_rectify",
        "ad16bcba5f9131dcdba6fbded19f726f5440e3c513b4fb586dd3027eeed8abb1",
    ),
    "sensor_msgs/CameraInfo": (
        "Header header; uint32 height; uint32 width; string distortion_model; float64[] d; "
        "float64[9] k; float64[9] r; float64[12] p; uint32 binning_x; uint32 binning_y; "
        "RegionOfInterest roi",
        "b3dfd68ff46c9d56c80fd3bd4ed22c7a4ddce8c8348f2f59c299e73118e7e275",
    ),
    "sensor_msgs/Joy": (
        "Header header; float32[] axes; int32[] buttons",
        "0d356c79cad3401e35ffeb75a96a96e08be3ef896b8b83841d73e890989372c5",
    ),
    "rosgraph_msgs/Clock": (
        "Time clock",
        "692f7a66e93a3c83e71765d033b60349ba68023a8c689a79e48078bcb5c58564",
    ),
    "geometry_msgs/Transform": (
        "Vector3 translation; Quaternion rotation",
        "beb83fbe698636351461f6f35d1abb20010c43d55374d81bd041f1ba2581fddc",
    ),
    "geometry_msgs/TransformStamped": (
        "Header header; string child_frame_id; Transform transform",
        "0a241f87d04668d94099cbb5ba11691d5ad32c2f29682e4eb5653424bd275206",
    ),
    "tf2_msgs/TFMessage": (
        "TransformStamped[] transforms",
        "e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087",
    ),
    "diagnostic_msgs/KeyValue": (
        "string key; string value",
        "d68081eaa540288c5440753baecef0c4e16e81a5f78ad68902ded5100413bb42",
    ),
    "diagnostic_msgs/DiagnosticStatus": (
        "byte level; string name; string message; string hardware_id; KeyValue[] values",
        "b0e3e692ea2d54a8af2f4ef1930e81556a2db55216b771f8a7d2724ed47bf0e4",
    ),
    "diagnostic_msgs/DiagnosticArray": (
        "Header header; DiagnosticStatus[] status",
        "5a8a36efb05fb25070fa0fb3810290c0e6cd4862b54a8fb975a1ee8dc55a333e",
    ),
    "geometry_msgs/PoseWithCovariance": (
        "Pose pose; float64[36] covariance",
        "9a7c0fd234b7f45c6098745ecccd773ca1085670e64107135397aee31c02e1bb",
    ),
    "geometry_msgs/TwistWithCovariance": (
        "Twist twist; float64[36] covariance",
        "49f574f033f095d8b6cd1beaca5ca7925e296e84af1716d16c89d38b059c8c18",
    ),
    "nav_msgs/Odometry": (
        "Header header; string child_frame_id; PoseWithCovariance pose; TwistWithCovariance twist",
        "3cc97dc7fb7502f8714462c526d369e35b603cfc34d946e3f2eda2766dfec6e0",
    ),
    "lifecycle_msgs/Transition": (
        "uint8 id; string label",
        "c65d7b31ea134cba4f54fc867b817979be799f7452035cd35fac9b7421fb3424",
    ),
    "lifecycle_msgs/State": (
        "uint8 id; string label",
        "dd2d02b82f3ebc858e53c431b1e6e91f3ffc71436fc81d0715214ac6ee2107a0",
    ),
    "lifecycle_msgs/TransitionEvent": (
        "uint64 timestamp; Transition transition; State start_state; State goal_state",
        "d5f8873a2f0146498f812d7885c7327ce27e463d36811d8792f35ee38c0d6c38",
    ),
    "rmw_dds_common/Gid": (
        "char[16] data",
        "a8e2f2bd4b156011c7ed7618c1db625ac341c2dc3ff09b8dd107f33f20dcec07",
    ),
    "rmw_dds_common/NodeEntitiesInfo": (
        "string<=256 node_namespace; string<=256 node_name; Gid[] reader_gid_seq; Gid[] writer_gid_seq",
        "8ecbfcad87fa92b9c1458f525b5faf5bf7cab9427a92524d72a394112992b5ab",
    ),
    "rmw_dds_common/ParticipantEntitiesInfo": (
        "Gid gid; NodeEntitiesInfo[] node_entities_info_seq",
        "e725f4a506958c79f95dd693b965722c57b19cd18e7eff984f49561b93dc985d",
    ),
    "unique_identifier_msgs/UUID": (
        "uint8[16] uuid",
        "1b8e8aca958cbea28fe6ef60bf6c19b683c97a9ef60bb34752067d0f2f7ab437",
    ),
    "action_msgs/GoalInfo": (
        "UUID goal_id; Time stamp",
        "6398fe763154554353930716b225947f93b672f0fb2e49fdd01bb7a7e37933e9",
    ),
    "action_msgs/GoalStatus": (
        "GoalInfo goal_info; int8 status",
        "32f4cfd717735d17657e1178f24431c1ce996c878c515230f6c5b3476819dbb9",
    ),
    "action_msgs/GoalStatusArray": (
        "GoalStatus[] status_list",
        "6c1684b00f177d37438febe6e709fc4e2b0d4248dca4854946f9ed8b30cda83e",
    ),
}


def random_value(types: Any, description: Any, rng: random.Random) -> Any:
    """A value for a field, with the edges of its type among the possible ones."""
    kind, detail = description
    if kind == Nodetype.NAME:
        return random_message(types, detail, rng)
    if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        count = detail[1] if kind == Nodetype.ARRAY else rng.choice([0, 1, 2, 7])
        values = [random_value(types, detail[0], rng) for _ in range(count)]
        if detail[0][0] == Nodetype.BASE and detail[0][1][0] != "string":
            name = detail[0][1][0]
            return np.array(values, "uint8" if name in ("byte", "char") else name)
        return values
    name, _ = detail
    if name == "string":
        return "".join(rng.choice(string.printable + "äλ関") for _ in range(rng.choice([0, 1, 5, 40])))
    if name == "bool":
        return rng.random() < 0.5
    if name in ("float32", "float64"):
        number = rng.choice([0.0, -0.0, 1.5, np.inf, -np.inf, rng.gauss(0, 1e3)])
        return float(np.float32(number)) if name == "float32" else number
    # rosbags reads and writes a single byte as a signed number; the bits are those of the octet
    limits = np.iinfo({"byte": "int8", "char": "uint8"}.get(name, name))
    return rng.choice([int(limits.min), int(limits.max), rng.randint(int(limits.min), int(limits.max))])


def random_message(types: Any, name: str, rng: random.Random) -> Any:
    fields = {field: random_value(types, description, rng) for field, description in types.fields(name)}
    return types.type(name)(**fields)


def for_dds(types: Any, struct: Any, message: Any) -> Any:
    """The same message as an object of the CycloneDDS class, built field by field."""
    values = {}
    for field, (kind, detail) in types.fields(message.__msgtype__):
        value = getattr(message, field)
        if kind == Nodetype.NAME:
            value = for_dds(types, struct.__annotations__[field], value)
        elif kind != Nodetype.BASE and detail[0][0] == Nodetype.NAME:
            inner = struct.__annotations__[field].__metadata__[0].subtype
            value = [for_dds(types, inner, item) for item in value]
        elif isinstance(value, np.ndarray):
            value = value.tolist()
        elif kind == Nodetype.BASE and detail[0] == "byte":
            value &= 0xFF
        values[field] = value
    return struct(**values)


def spelled(types: Any, name: str) -> str:
    """The fields of a type, written as in the table."""

    def of(description: Any) -> str:
        kind, detail = description
        if kind == Nodetype.NAME:
            return detail.rpartition("/")[2]
        if kind == Nodetype.BASE:
            return detail[0] + (f"<={detail[1]}" if detail[1] else "")
        return f"{of(detail[0])}[{detail[1] if kind == Nodetype.ARRAY else ''}]"

    return "; ".join(f"{of(description)} {field}" for field, description in types.fields(name))


@pytest.mark.parametrize("name", TABLE)
def test_layout_and_hash_are_those_of_the_table(name: str) -> None:
    types = message_types("jazzy")
    fields, digest = TABLE[name]
    assert spelled(types, name) == fields
    assert types.type_hash(name) == f"RIHS01_{digest}"


@pytest.mark.parametrize("name", TABLE)
def test_two_serialisers_write_the_same_bytes(name: str) -> None:
    types = message_types("jazzy")
    rng = random.Random(name)
    struct: Any = idl_struct(types, name)
    for _ in range(20):
        message = random_message(types, name, rng)
        ours = types.serialize(message)
        theirs = for_dds(types, struct, message).serialize(use_version_2=False)
        assert ours == theirs, message
        assert ours[:4] == b"\x00\x01\x00\x00"
        assert types.serialize(types.deserialize(ours, message.__msgtype__)) == ours
        assert types.serialize(types.deserialize(ours + bytes(-len(ours) % 4), message.__msgtype__)) == ours


def test_only_three_kinds_of_message_changed_between_distributions() -> None:
    hashes = {distro: {name: message_types(distro).type_hash(name) for name in TABLE} for distro in DISTROS}
    changed = {name for name in TABLE for distro in DISTROS if hashes[distro][name] != hashes["jazzy"][name]}
    nodes = {f"rmw_dds_common/{name}" for name in ("Gid", "NodeEntitiesInfo", "ParticipantEntitiesInfo")}
    assert changed == {"lifecycle_msgs/TransitionEvent", *nodes}
    assert all(hashes["humble"][name] != hashes["iron"][name] == hashes["lyrical"][name] for name in nodes)
    assert message_types("humble").new("rmw_dds_common/Gid").data.size == 24


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [(None, "", "jazzy"), (None, "humble", "humble"), ("iron", "humble", "iron"), (None, "noetic", "jazzy")],
)
def test_distribution_comes_from_the_option_then_from_ros(
    option: str | None, variable: str, expected: str
) -> None:
    assert resolve_distro(option, {"ROS_DISTRO": variable}) == expected


@pytest.mark.parametrize(
    ("option", "variable", "named"), [("foxxy", "", "--ros-distro"), (None, "foo", "ROS_DISTRO")]
)
def test_unknown_distribution_says_where_it_came_from(option: str | None, variable: str, named: str) -> None:
    with pytest.raises(MessageError, match=f"{named} is .*expected one of humble"):
        resolve_distro(option, {"ROS_DISTRO": variable})


def test_new_fills_what_is_not_given() -> None:
    types = message_types()
    message = types.new("sensor_msgs/JointState", name=["a"], position=[1])
    assert message.position.dtype == np.float64
    assert message.velocity.size == 0
    assert message.header.stamp.sec == 0
    assert types.new("sensor_msgs/Imu").orientation_covariance.shape == (9,)
    with pytest.raises(MessageError, match="has no field 'positon'; it has header, name, position"):
        types.new("sensor_msgs/JointState", positon=[1])


def test_unknown_type_names_the_closest() -> None:
    with pytest.raises(MessageError, match=r"sensor_msgs/msg/JointState.*--messages FOLDER"):
        message_types().type("sensor_msgs/JointStat")


JOINTS = message_types().serialize(
    message_types().new("sensor_msgs/JointState", name=["a", "bb"], position=[1, 2], velocity=[3, 4])
)


@settings(max_examples=1000)
@given(data=st.data())
def test_damaged_bytes_are_malformed_and_nothing_else(data: st.DataObject) -> None:
    types = message_types()
    raw = bytearray(JOINTS)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    message = types.decode(cut, "sensor_msgs/msg/JointState")
    if isinstance(message, Malformed):
        assert message.reason
    else:
        types.serialize(message)


@given(raw=st.binary(max_size=200), name=st.sampled_from(sorted(TABLE)))
@settings(max_examples=500)
def test_noise_is_malformed_and_nothing_else(raw: bytes, name: str) -> None:
    types = message_types()
    full = name.replace("/", "/msg/")
    try:
        types.deserialize(raw, full)
    except MalformedMessage as error:
        assert str(error)


def write_package(folder: Path, text: str, name: str = "Pressures") -> Path:
    path = folder / "muscle_msgs" / "msg" / f"{name}.msg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


def test_custom_messages_are_used_like_the_others(tmp_path: Path) -> None:
    write_package(tmp_path, "uint8 MAX=4\nMuscle[<=4] muscles\nstd_msgs/Header header\n")
    write_package(tmp_path, "string<=8 name\nint32 pressure\n", "Muscle")
    types = message_types("jazzy", (tmp_path,))
    muscles = [types.new("muscle_msgs/Muscle", name="a", pressure=-1)]
    message = types.new("muscle_msgs/Pressures", muscles=muscles)
    raw = types.serialize(message)
    assert raw == for_dds(types, idl_struct(types, "muscle_msgs/Pressures"), message).serialize(
        use_version_2=False
    )
    assert types.deserialize(raw, "muscle_msgs/msg/Pressures") == message
    assert re.fullmatch(r"RIHS01_[0-9a-f]{64}", types.type_hash("muscle_msgs/Pressures"))
    assert "muscle_msgs/Pressures" not in message_types("jazzy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("float64[ data\n", "is not a message definition"),
        ("Nobody data\n", "field data of type muscle_msgs/msg/Nobody, which is neither there nor in jazzy"),
    ],
)
def test_bad_definitions_name_the_file(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(MessageError, match=re.escape(expected)):
        message_types("jazzy", (write_package(tmp_path, text),))


def test_folder_without_messages_and_conflicting_definition(tmp_path: Path) -> None:
    with pytest.raises(MessageError, match=r"no \.msg file there"):
        message_types("jazzy", (tmp_path,))
    path = tmp_path / "std_msgs" / "msg" / "Bool.msg"
    path.parent.mkdir(parents=True)
    path.write_text("int32 data\n")
    with pytest.raises(MessageError, match="already present with different definition"):
        message_types("jazzy", (tmp_path,))
