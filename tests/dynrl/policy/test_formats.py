"""Other formats: a policy goes out and comes back and commands the same, tick by tick."""

import dataclasses
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

from dynrl.cli import main
from dynrl.policy import (
    ActionDecoder,
    ActionTerm,
    BundleContract,
    BundleError,
    BundleFormat,
    BundleHash,
    BundleModel,
    BundlePath,
    Contract,
    Control,
    Gains,
    Limits,
    Model,
    Normalisation,
    ObservationAssembler,
    ObservationTerm,
    PolicyBundle,
    RobotModel,
    StateTensor,
)
from dynrl.policy.formats import read, write
from dynrl.policy.formats.graphs import bundle_of
from dynrl.policy.onnx_graph import GraphBuilder

from .conftest import JOINTS

PERIOD = 0.02


def random_bundle(contract, hidden=8, seed=0, recurrent=False):
    """A contract with a random network."""
    rng = np.random.default_rng(seed)
    size, actions = contract.observation_size, contract.action_size
    builder = GraphBuilder()
    weights = (rng.normal(size=(size, hidden)) / np.sqrt(size)).astype(np.float32)
    value = builder.add("MatMul", builder.input("observation", (1, size)), builder.constant(weights))
    initial = {}
    outputs = {}
    if recurrent:
        back = rng.normal(size=(hidden, hidden)).astype(np.float32) / 4
        memory = builder.input("h_in", (1, hidden))
        value = builder.add("Add", value, builder.add("MatMul", memory, builder.constant(back)))
        initial = {"h_in": rng.normal(size=(1, hidden)).astype(np.float32)}
        state = (StateTensor("h_in", "h_out", (1, hidden), "state.safetensors"),)
        contract = dataclasses.replace(contract, model=Model("policy.onnx", "0" * 64, 17), state=state)
    value = builder.add("Tanh", value)
    outer = rng.normal(size=(hidden, actions)).astype(np.float32)
    outputs["action"] = (builder.add("MatMul", value, builder.constant(outer)), (1, actions))
    if recurrent:
        outputs["h_out"] = (value, (1, hidden))
    return bundle_of(builder.model(outputs), contract, initial)


def everything():
    """A contract that uses all that a contract can say, except what other formats cannot take."""
    terms = (
        ObservationTerm(
            "joint_position", "state/joint/position", unit="rad", offset="default_pose", history=3
        ),
        ObservationTerm(
            "joint_velocity",
            "state/joint/velocity",
            unit="rad/s",
            scale=(0.5, 0.25, 1.0),
            history=2,
            history_order="newest_first",
        ),
        ObservationTerm("rotation", "state/body/rotation", quaternion="wxyz", canonical=True),
        ObservationTerm("speed", "state/body/angular_velocity", unit="rad/s", clip=(-1.0, 1.0)),
        ObservationTerm("goal", "command/pose", unit="m", shape=(3,), offset=(0.1, 0.2, 0.3)),
        ObservationTerm("previous_action", "memory/action", scale=0.5),
        ObservationTerm("phase", "clock/phase", period=0.3),
    )
    contract = Contract(
        name="all of it",
        control=Control(PERIOD, 4),
        robot=RobotModel("arm", JOINTS),
        observation=terms,
        action=(
            ActionTerm(
                "joint_target",
                "target/joint/position",
                unit="rad",
                scale=(0.25, 0.5, 1.0),
                offset="default_pose",
                clip=(-1.0, 1.0),
            ),
        ),
        default_pose=(0.0, -1.0, 1.0),
        gains=Gains((10.0, 20.0, 5.0), (1.0, 2.0, 0.5)),
    )
    size = contract.observation_size
    normalisation = Normalisation(
        "yaml", tuple(np.linspace(-0.5, 0.5, size)), tuple(np.linspace(0.5, 2.0, size)), 1.5
    )
    return dataclasses.replace(contract, normalisation=normalisation)


def sensors(rng):
    rotation = rng.normal(size=4)
    return {
        "state/joint/position": rng.uniform(-1, 1, 3),
        "state/joint/velocity": rng.uniform(-2, 2, 3),
        "state/body/rotation": rotation / np.linalg.norm(rotation),
        "state/body/angular_velocity": rng.normal(size=3),
        "state/body/projected_gravity": rng.normal(size=3),
        "state/body/linear_velocity": rng.normal(size=3),
        "command/pose": rng.uniform(-1, 1, 3),
        "command/body/velocity": rng.uniform(-1, 1, 3),
    }


def native_targets(bundle, ticks=60, wire=lambda values: values):
    """Targets of all joints over some ticks, by the native pieces."""
    assemble, decode, session = (
        ObservationAssembler(bundle.contract),
        ActionDecoder(bundle.contract),
        bundle.session(),
    )
    rng, action, targets = np.random.default_rng(7), np.zeros(bundle.contract.action_size, np.float32), []
    for tick in range(ticks):
        action = session(assemble(wire(sensors(rng)), action, tick * PERIOD)).copy()
        targets.append(np.concatenate([part.copy() for part in decode(action).values()]))
    return np.array(targets)


def runtime_targets(model, feedback, initial, names, outputs, ticks=60):
    """The same by a bare ONNX runtime that wires values to inputs and feeds outputs back."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    rng, memory, targets = np.random.default_rng(7), dict(initial), []
    for _ in range(ticks):
        values = sensors(rng)
        raw = {name: values[kind] if isinstance(kind, str) else kind(values) for name, kind in names.items()}
        given = {name: np.float32(value)[None] for name, value in raw.items()}
        names_out = [output.name for output in session.get_outputs()]
        found = dict(zip(names_out, session.run(None, {**given, **memory}), strict=True))
        memory = {target: found[output] for output, target in feedback.items()}
        targets.append(np.concatenate([found[name][0] for name in outputs]))
    return np.array(targets)


def wxyz(values):
    return values["state/body/rotation"][[3, 0, 1, 2]]


@pytest.mark.parametrize("recurrent", [False, True])
def test_leapp_says_all_that_a_contract_says(tmp_path, recurrent):
    from safetensors.numpy import load_file

    bundle = random_bundle(everything(), recurrent=recurrent)
    written = write(bundle, tmp_path / "out", "leapp")
    assert sorted(path.name for path in written) == sorted(
        ["all_of_it.yaml", "all_of_it_initial_values.safetensors", "policy.onnx"]
    )
    description = yaml.safe_load((tmp_path / "out" / "all_of_it.yaml").read_text())
    model, pipeline = description["models"]["policy"], description["pipeline"]
    feedback = {
        source.removeprefix("policy/"): target.removeprefix("policy/")
        for source, (target,) in pipeline["feedback_connections"].items()
    }
    initial = load_file(tmp_path / "out" / pipeline["initial_values"])
    kinds = {entry["name"]: entry["kind"] for entry in model["inputs"] if "kind" in entry}
    assert kinds["goal"] == "command/body/pose"
    assert list(kinds) == pipeline["inputs"]["policy"]
    assert model["inputs"][0]["element_names"] == [list(JOINTS)]
    graph = onnx.load_model(tmp_path / "out" / "policy.onnx").graph
    for side, values in (("inputs", graph.input), ("outputs", graph.output)):
        assert [entry["name"] for entry in model[side]] == [value.name for value in values], (
            "passed by position"
        )
    assert {entry["name"] for entry in model["outputs"]} == {*feedback, "joint_target"}
    found = runtime_targets(
        (tmp_path / "out" / "policy.onnx").read_bytes(),
        feedback,
        {name.removeprefix("policy/"): value for name, value in initial.items()},
        {name: kind.replace("command/body/pose", "command/pose") for name, kind in kinds.items()},
        pipeline["outputs"]["policy"],
    )
    expected = native_targets(bundle)
    assert np.abs(np.diff(expected, axis=0)).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=2e-5)
    again, warnings = read(tmp_path / "out" / "all_of_it.yaml", "leapp", "arm")
    assert warnings == []
    assert again.contract.control.period == PERIOD
    assert again.contract.robot.joints == JOINTS
    np.testing.assert_allclose(native_targets(again), expected, atol=2e-5)


@pytest.mark.parametrize("recurrent", [False, True])
def test_exploy_there_and_back(tmp_path, recurrent):
    bundle = random_bundle(everything(), recurrent=recurrent)
    (path,) = write(bundle, tmp_path / "out", "exploy")
    model = onnx.load_model(path)
    about = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert about["update_rate"] == pytest.approx(50.0)
    assert about["obj.arm.joints"]["joint_names"] == list(JOINTS)
    assert about["output.joint_targets.joint_target"]["stiffness"] == [10.0, 20.0, 5.0]
    inputs = [value.name for value in model.graph.input]
    memory = {name.replace(".in", ".out"): name for name in inputs if name.startswith("memory.")}
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    initial = {name: np.zeros(shapes[name], np.float32) for name in memory.values()}
    for name, numbers in about.get("dynrl.initial", {}).items():
        initial[name] = np.array(numbers, np.float32).reshape(shapes[name])
    found = runtime_targets(
        path.read_bytes(),
        memory,
        initial,
        {
            "obj.arm.joints.pos": "state/joint/position",
            "obj.arm.joints.vel": "state/joint/velocity",
            "obj.arm.base.w_Q_b": wxyz,
            "obj.arm.base.ang_vel_b_rt_w_in_b": "state/body/angular_velocity",
            "cmd.se3_pose.goal": "command/pose",
        },
        ["output.joint_targets.joint_target.pos"],
    )
    expected = native_targets(bundle)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    again, _ = read(path, "exploy", "arm")
    np.testing.assert_allclose(native_targets(again), expected, atol=2e-5)
    assert again.contract.gains == bundle.contract.gains


def standard(**changes):
    """What manager-based environments observe."""
    contract = Contract(
        name="walk",
        control=Control(PERIOD, 4),
        robot=RobotModel("arm", JOINTS),
        observation=(
            ObservationTerm("base_ang_vel", "state/body/angular_velocity", unit="rad/s"),
            ObservationTerm("projected_gravity", "state/body/projected_gravity"),
            ObservationTerm("velocity_commands", "command/body/velocity", unit="m/s"),
            ObservationTerm("joint_pos", "state/joint/position", unit="rad", offset="default_pose"),
            ObservationTerm("joint_vel", "state/joint/velocity", unit="rad/s"),
            ObservationTerm("actions", "memory/action"),
        ),
        action=(
            ActionTerm(
                "joint_pos",
                "target/joint/position",
                unit="rad",
                scale=(0.25, 0.5, 1.0),
                offset="default_pose",
            ),
        ),
        default_pose=(0.0, -1.0, 1.0),
        gains=Gains((10.0, 20.0, 5.0), (1.0, 2.0, 0.5)),
        limits=Limits(position=((-2.0, 2.0), (-2.0, 1.0), (0.0, 2.0))),
    )
    return dataclasses.replace(contract, **changes)


def test_mjlab_there_and_back(tmp_path):
    bundle = random_bundle(standard())
    (path,) = write(bundle, tmp_path / "out", "mjlab")
    about = {entry.key: entry.value for entry in onnx.load_model(path).metadata_props}
    assert about["joint_names"] == "base,lift,wrist"
    assert about["action_scale"] == "0.250,0.500,1.000"
    assert about["observation_names"] == "base_ang_vel,projected_gravity,command,joint_pos,joint_vel,actions"
    again, warnings = read(path, "mjlab", "arm", PERIOD)
    assert "three decimals" in warnings[0]
    np.testing.assert_allclose(native_targets(again), native_targets(bundle), atol=1e-6)
    with pytest.raises(BundleFormat, match="period"):
        read(path, "mjlab", "arm")


@pytest.mark.parametrize("clip", [None, (-0.5, 2.0)])
def test_isaac_lab_there_and_back(tmp_path, clip):
    contract = standard()
    contract = dataclasses.replace(contract, action=(dataclasses.replace(contract.action[0], clip=clip),))
    bundle = random_bundle(contract)
    write(bundle, tmp_path / "out", "isaaclab")
    path = tmp_path / "out" / "IO_descriptors.yaml"
    description = yaml.safe_load(path.read_text())
    assert description["articulations"]["robot"]["default_joint_pos"] == [0.0, -1.0, 1.0]
    if clip:
        assert description["actions"][0]["clip"] == [[-0.125, 0.5], [-1.25, 0.0], [0.5, 3.0]]
    again, warnings = read(path, "isaaclab", "arm")
    assert warnings == []
    assert again.contract.control == contract.control
    assert again.contract.limits == contract.limits
    np.testing.assert_allclose(native_targets(again), native_targets(bundle), atol=1e-6)


def test_isaac_lab_clips_that_are_none_of_the_raw_action_are_refused(tmp_path):
    write(random_bundle(standard()), tmp_path / "out", "isaaclab")
    path = tmp_path / "out" / "IO_descriptors.yaml"
    description = yaml.safe_load(path.read_text())
    description["actions"][0]["clip"] = [[-1.0, 1.0]] * 3
    path.write_text(json.dumps(description))
    with pytest.raises(BundleContract, match="bounds of the targets"):
        read(path, "isaaclab", "arm")


@pytest.mark.parametrize("format", ["mjlab", "isaaclab"])
def test_formats_that_cannot_say_a_contract_refuse_it(tmp_path, format):
    with pytest.raises(BundleContract, match=r"observation\[0\]|normalisation"):
        write(random_bundle(everything()), tmp_path / "out", format)
    assert not (tmp_path / "out").exists()
    relative = dataclasses.replace(standard().action[0], mode="relative_to_measured")
    bundle = random_bundle(standard(action=(relative,)))
    for other in (format, "leapp", "exploy"):
        with pytest.raises(BundleContract, match=r"absolute|around the default pose"):
            write(bundle, tmp_path / "out", other)


def test_exploy_names_the_group_that_it_does_not_know(tmp_path):
    (path,) = write(random_bundle(everything()), tmp_path / "out", "exploy")
    for old, new, names in (
        ("cmd.se3_pose.goal", "sensor.depth_image.front", "'sensor.depth_image'"),
        ("output.joint_targets.joint_target.pos", "output.se2_velocity.vel", "'output.se2_velocity.vel'"),
    ):
        model = onnx.load_model(path)
        for value in (*model.graph.input, *model.graph.output):
            value.name = new if value.name == old else value.name
        for node in model.graph.node:
            for side in (node.input, node.output):
                for index, name in enumerate(side):
                    side[index] = new if name == old else name
        changed = tmp_path / "changed.onnx"
        onnx.save_model(model, changed)
        with pytest.raises(BundleContract, match=names):
            read(changed, "exploy", "arm")


def leapp_edit(folder, change):
    path = folder / "all_of_it.yaml"
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(json.dumps(values))
    return path


LEAPP = [
    (lambda v: v.pop("models"), BundleFormat, "models"),
    (lambda v: v["models"].update(second={}), BundleFormat, "expected one model"),
    (lambda v: v["models"]["policy"]["parameters"].update(backend="jit"), BundleFormat, "'jit'"),
    (lambda v: v["models"]["policy"]["parameters"].update(model_path="../policy.onnx"), BundlePath, "model_path"),
    (lambda v: v["models"]["policy"]["parameters"].update(sha256sum="0" * 64), BundleHash, "sha256sum"),
    (lambda v: v["models"]["policy"]["inputs"][0].update(kind="state/color"), BundleContract, "state/color"),
    (lambda v: v["models"]["policy"]["inputs"][0].pop("element_names"), BundleContract, "element_names"),
    (lambda v: v["models"]["policy"]["inputs"][0].update(history_length=3), BundleContract, "history"),
    (lambda v: v["models"]["policy"]["inputs"][0].pop("shape"), BundleFormat, "shape"),
    (lambda v: v["models"]["policy"]["inputs"].pop(0), BundleModel, "joint_position"),
    (lambda v: v["pipeline"].update(initial_values="/etc/passwd"), BundlePath, "initial_values"),
    (lambda v: v["pipeline"].pop("frequency"), BundleFormat, "period"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "names"), LEAPP, ids=[case[2] for case in LEAPP])
def test_a_wrong_leapp_description_is_refused_by_name(tmp_path, change, error, names):
    write(random_bundle(everything()), tmp_path / "out", "leapp")
    path = leapp_edit(tmp_path / "out", change)
    with pytest.raises(error, match=names):
        read(path, "leapp", "arm")


def test_damaged_files_of_any_format_are_bundle_errors(tmp_path):
    rng = np.random.default_rng(0)
    bundles = {"leapp": everything(), "exploy": everything(), "mjlab": standard(), "isaaclab": standard()}
    for format, contract in bundles.items():
        first = write(random_bundle(contract), tmp_path / format, format)[0]
        good = first.read_bytes()
        for _ in range(60):
            damaged = bytearray(good)
            damaged[rng.integers(len(good))] ^= int(rng.integers(1, 256))
            first.write_bytes(damaged[: int(rng.integers(1, len(good)))] if rng.random() < 0.2 else damaged)
            try:
                again, _ = read(first, format, "arm", PERIOD)
            except BundleError:
                continue
            assert again.verify() <= 1e-5 * max(1.0, float(np.abs(again.examples["out.action"]).max()))


def test_the_command_line_converts_both_ways(tmp_path, capsys):
    native = random_bundle(standard()).write(tmp_path / "walk.bundle")
    assert main(["export", str(native), "-o", str(tmp_path / "leapp"), "--format", "leapp"]) == 0
    source = tmp_path / "leapp" / "walk.yaml"
    arguments = [
        "import",
        str(source),
        "--format",
        "leapp",
        "--robot",
        "arm",
        "-o",
        str(tmp_path / "back.zip"),
    ]
    assert main(arguments) == 0
    assert "back.zip" in capsys.readouterr().out
    back = PolicyBundle.load(tmp_path / "back.zip")
    np.testing.assert_allclose(native_targets(back), native_targets(PolicyBundle.load(native)), atol=1e-5)
    assert main(arguments) == 2
    assert "found something there" in capsys.readouterr().err
    assert main(["export", str(native), "-o", str(tmp_path / "again")]) == 2
    assert "is a bundle already" in capsys.readouterr().err


def test_the_runtime_of_leapp_commands_the_same(tmp_path):
    leapp = pytest.importorskip("leapp", reason="LEAPP's own runtime is not installed: pip install leapp")
    import torch

    bundle = random_bundle(everything(), recurrent=True)
    write(bundle, tmp_path / "out", "leapp")
    kinds = {f"policy/{term.name}": term.kind for term in bundle.contract.observation}
    manager = leapp.InferenceManager(str(tmp_path / "out" / "all_of_it.yaml"))
    rng, targets = np.random.default_rng(7), []
    for _ in range(60):
        values = sensors(rng)
        given = {name: torch.from_numpy(np.float32(values[kinds[name]])[None]) for name in manager.inputs}
        targets.append(manager.run_policy(given)["policy/joint_target"].numpy()[0].copy())
    np.testing.assert_allclose(targets, native_targets(bundle), atol=2e-5)
