"""Every way in which a bundle can be wrong has its error, which names the place; made by breaking a good one."""

import os
import stat
import zipfile

import numpy as np
import pytest

from dynrl.policy import (
    BundleContract,
    BundleFormat,
    BundleHash,
    BundleModel,
    BundleNotFound,
    BundleParity,
    BundlePath,
    BundleState,
    PolicyBundle,
    files,
)

from .conftest import edit_graph, edit_tensors, edit_text, edit_yaml, make_bundle, reseal, zipped


def set_at(*path, value):
    """A change that puts `value` at a path of keys and indices."""

    def change(values):
        *parents, last = path
        for part in parents:
            values = values[part]
        values[last] = value

    return change


def drop(*path):
    """A change that removes what is at a path."""

    def change(values):
        *parents, last = path
        for part in parents:
            values = values[part]
        del values[last]

    return change


def _normalised(length, std):
    return {"where": "yaml", "mean": [0.0] * length, "std": [std] * length}


_MEMORY = {"input": "h_in", "output": "h_out", "shape": [1, 8]}

BY_ERROR = {
    BundleFormat: [
        ("newer format", set_at("format", value="dynrl.policy/2"), "policy format 2"),
        ("other format", set_at("format", value="torch"), "format: found 'torch'"),
        ("unknown key", set_at("nmae", value="x"), "nmae: unknown key; did you mean 'name'"),
        ("unknown key inside", set_at("observation", 1, "sclae", value=1.0), "observation[1].sclae"),
        ("missing key", drop("robot"), "robot: this key is required"),
        ("wrong type", set_at("control", "period", value="fast"), "control.period"),
        ("a number for a list", set_at("robot", "joints", value=3), "robot.joints"),
        ("not a number", set_at("observation", 0, "scale", value=float("nan")), "observation[0].scale"),
        ("infinite", set_at("limits", "velocity", value=[2.0, float("inf"), 1.0]), "limits.velocity[1]"),
        ("jerk", set_at("limits", "jerk", value=[1.0, 1.0, 1.0]), "limits.jerk"),
        ("no model", drop("model"), "model: found nothing"),
    ],
    BundleHash: [
        ("another model hash", set_at("model", "sha256", value="0" * 64), "model.sha256"),
    ],
    BundleContract: [
        ("a malformed hash", set_at("model", "sha256", value="xyz"), "model.sha256"),
        ("the model elsewhere", set_at("model", "file", value="../other.onnx"), "model.file"),
        ("input of another role", set_at("model", "inputs", value={"image": "observation"}), "model.inputs"),
        ("joint twice", set_at("robot", "joints", value=["base", "base", "wrist"]), "'base' twice"),
        ("joint of a term twice", set_at("observation", 1, "joints", value=["base", "base"]), "observation[1].joints"),
        ("unknown joint", set_at("observation", 1, "joints", value=["wrist", "hip"]), "'hip'"),
        ("unknown kind", set_at("observation", 0, "kind", value="state/joint/positon"), "one of state/joint/position"),
        ("unknown unit", set_at("observation", 0, "unit", value="deg"), "observation[0].unit: found 'deg'"),
        ("same name twice", set_at("observation", 1, "name", value="joint_position"), "observation[1].name"),
        ("scale 0", set_at("action", 0, "scale", value=0.0), "action[0].scale"),
        ("scales of another length", set_at("action", 0, "scale", value=[1.0, 2.0]), "action[0].scale"),
        ("clip upside down", set_at("action", 0, "clip", value=[1.0, -1.0]), "action[0].clip"),
        ("no observation", set_at("observation", value=[]), "observation: found no term"),
        ("no action", set_at("action", value=[]), "action: found no term"),
        ("default of another length", set_at("observation", 3, "default", value=[0.1]), "observation[3].default"),
        ("default of no command", set_at("observation", 0, "default", value=[0.1, 0.1, 0.1]), "no command"),
        ("pose of 4", set_at("observation", 3, "shape", value=[4]), "observation[3].shape"),
        ("history 0", set_at("observation", 1, "history", value=0), "observation[1].history"),
        ("phase without period", drop("observation", 5, "period"), "observation[5].period"),
        ("offset of a velocity", set_at("observation", 1, "offset", value="default_pose"), "observation[1].offset"),
        ("no default pose", drop("default_pose"), "default_pose: found nothing"),
        ("default pose short", set_at("default_pose", value=[0.0, 0.0]), "default_pose: found 2 numbers"),
        ("default pose outside", set_at("default_pose", value=[0.0, 1.5, 1.0]), "default_pose[1]"),
        ("limits upside down", set_at("limits", "position", 0, value=[2.0, -2.0]), "limits.position[0]"),
        ("limits short", set_at("limits", "position", value=[[-1.0, 1.0]]), "limits.position"),
        ("velocity limit 0", set_at("limits", "velocity", 1, value=0.0), "limits.velocity[1]"),
        ("acceleration negative", set_at("limits", "acceleration", 2, value=-1.0), "limits.acceleration[2]"),
        ("gains short", set_at("gains", "kp", value=[1.0]), "gains.kp"),
        ("box upside down", set_at("workspace", "box", 0, value=[2.0, 2.0, 2.0]), "workspace.box"),
        ("period 2 s", set_at("control", "period", value=2.0), "control.period"),
        ("period of half nanoseconds", set_at("control", "period", value=0.0020000005), "whole number of nanoseconds"),
        ("decimation 0", set_at("control", "decimation", value=0), "control.decimation"),
        ("mean without yaml", set_at("normalisation", value={"mean": [0.0] * 18}), "normalisation.mean"),
        ("normalisation short", set_at("normalisation", value=_normalised(1, 1.0)), "18 numbers"),
        ("std 0", set_at("normalisation", value=_normalised(18, 0.0)), "normalisation.std"),
        ("a scale edited by hand", set_at("action", 0, "scale", value=0.5), "differ in action"),
        ("joints in another order", set_at("robot", "joints", value=["lift", "base", "wrist"]), "differ in robot"),
    ],
    BundleModel: [
        ("another opset", set_at("model", "opset", value=18), "model.opset: found 18"),
        ("no such input", set_at("model", "inputs", value={"observation": "obs"}), "'obs'"),
        ("no such output", set_at("model", "outputs", value={"action": "act"}), "'act'"),
        ("one term less", drop("observation", 2), "joint_position 3 + joint_velocity 4 + goal 3"),
    ],
    BundleState: [
        ("state that the graph has not", set_at("state", value=[_MEMORY]), "'h_in'"),
    ],
}  # fmt: skip
"""Error -> (name, change of the plain values, what the message names)."""
YAML = [(*case[:2], error, case[2]) for error, cases in BY_ERROR.items() for case in cases]


@pytest.mark.parametrize(
    ("change", "error", "names"), [case[1:] for case in YAML], ids=[case[0] for case in YAML]
)
def test_a_wrong_contract_is_refused_by_name(folder, change, error, names):
    edit_yaml(folder, change)
    with pytest.raises(error) as caught:
        PolicyBundle.load(folder)
    assert type(caught.value) is error
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)


TEXT = [
    ("duplicate key", "name: test_reach\n", "name: test_reach\nname: other\n", "'name' is given twice"),
    ("anchor", "name: test_reach\n", "name: &x test_reach\n", "anchor"),
    ("alias", "name: test_reach\n", "name: &x test_reach\ncreated: *x\n", "anchor"),
    ("python object", "name: test_reach\n", "name: !!python/name:os.system x\n", "tag"),
    ("syntax", "name: test_reach\n", "name: [test_reach\n", "policy.yaml"),
    ("a list at the top", "format: dynrl.policy/1\n", "- format\n- ", "policy.yaml"),
]


@pytest.mark.parametrize(("old", "new", "names"), [case[1:] for case in TEXT], ids=[case[0] for case in TEXT])
def test_yaml_with_tricks_is_a_format_error(folder, old, new, names):
    edit_text(folder, old, new)
    with pytest.raises(BundleFormat) as caught:
        PolicyBundle.load(folder)
    assert names in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"just text", b"\xff\xfe\x00", b"a: " + b"[" * 5000, b"# " + b"x" * 2**20], ids=range(5)
)
def test_what_is_no_contract_is_a_format_error(folder, content):
    (folder / files.CONTRACT).write_bytes(content)
    reseal(folder)
    with pytest.raises(BundleFormat):
        PolicyBundle.load(folder)


def _foreign_domain(model):
    model.graph.node[0].domain = "com.microsoft"


def _foreign_opset(model):
    model.opset_import.add(domain="com.example", version=1)


def _old_opset(model):
    model.opset_import[0].version = 11


def _new_ir(model):
    model.ir_version = 12


def _external(model):
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = 1
    weight.external_data.add(key="location", value="/etc/passwd")


def _random(model):
    import onnx

    shape = list(range(1, 2))
    model.graph.node.insert(0, onnx.helper.make_node("RandomNormal", [], ["noise"], shape=shape))


def _loop(model):
    import onnx

    body = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["a"], ["b"])], "body", [], [])
    model.graph.node.insert(0, onnx.helper.make_node("Loop", [], ["endless"], body=body))


def _unknown_operator(model):
    model.graph.node[0].op_type = "Summon"


def _dangling(model):
    model.graph.node[0].input[0] = "nowhere"


def _double(model):
    import onnx

    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.node[0].input[0] = "single"
    model.graph.node.insert(0, onnx.helper.make_node("Cast", ["observation"], ["single"], to=1))


def _wide_input(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 19


def _memory_bomb(model):
    import onnx

    shape = onnx.numpy_helper.from_array(np.array([2**16, 2**16], np.int64), "bomb_shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, onnx.helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"]))


def _open_size(model):
    import onnx

    model.graph.node.insert(0, onnx.helper.make_node("NonZero", ["observation"], ["where"]))


def _extra_input(model):
    import onnx

    model.graph.input.append(onnx.helper.make_tensor_value_info("h_in", 1, [1, 4]))


def _extra_output(model):
    import onnx

    value = model.graph.node[0].output[0]
    model.graph.output.append(onnx.helper.make_tensor_value_info(value, 1, [1, 8]))


def _function(model):
    model.functions.add(name="f", domain="here")


def _no_metadata(model):
    del model.metadata_props[:]


def _metadata_no_json(model):
    next(entry for entry in model.metadata_props if entry.key == "dynrl.policy").value = "{"


def _other_weights(model):
    import onnx

    weight = model.graph.initializer[0]
    changed = onnx.numpy_helper.to_array(weight) * 1.01
    weight.CopyFrom(onnx.numpy_helper.from_array(changed.astype(np.float32), weight.name))


GRAPH = [
    (_foreign_domain, BundleModel, "'com.microsoft'"),
    (_foreign_opset, BundleModel, "'com.example'"),
    (_old_opset, BundleModel, "opset 11"),
    (_new_ir, BundleModel, "IR version 12"),
    (_external, BundleModel, "no external data"),
    (_random, BundleModel, "RandomNormal"),
    (_loop, BundleModel, "Loop"),
    (_unknown_operator, BundleModel, "Summon"),
    (_dangling, BundleModel, "nowhere"),
    (_double, BundleModel, "double"),
    (_wide_input, BundleModel, "invalid graph"),
    (_memory_bomb, BundleModel, "'bomb'"),
    (_open_size, BundleModel, "'where'"),
    (_extra_input, BundleState, "'h_in'"),
    (_extra_output, BundleState, "state"),
    (_function, BundleModel, "function"),
    (_no_metadata, BundleContract, "exchanged"),
    (_metadata_no_json, BundleContract, "JSON"),
    (_other_weights, BundleParity, "step 0"),
]


@pytest.mark.parametrize(
    ("change", "error", "names"), GRAPH, ids=[case[0].__name__.strip("_") for case in GRAPH]
)
def test_a_wrong_graph_is_refused_by_name(folder, change, error, names):
    edit_graph(folder, change)
    with pytest.raises(error) as caught:
        PolicyBundle.load(folder)
    assert type(caught.value) is error
    assert names in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00" * 64, b"not a protobuf at all", np.random.default_rng(0).bytes(4096)],
    ids=range(4),
)
def test_what_is_no_graph_is_a_model_error(folder, content):
    (folder / files.GRAPH).write_bytes(content)
    edit_yaml(folder, lambda values: values["model"].update(sha256=files.sha256(content)))
    with pytest.raises(BundleModel):
        PolicyBundle.load(folder)


STATE = [
    ("pair missing", drop("state"), BundleState, "'h_in'"),
    ("other shape", set_at("state", 0, "shape", value=[1, 9]), BundleState, "state[0].shape"),
    ("no such output", set_at("state", 0, "output", value="c_out"), BundleState, "state[0].output"),
    (
        "name of the observation",
        set_at("state", 0, "input", value="observation"),
        BundleState,
        "state[0].input",
    ),
    ("axis 0", set_at("state", 0, "shape", value=[1, 0]), BundleState, "state[0].shape"),
    ("file for nothing", set_at("state", 0, "initial", value="zeros"), BundleState, "state.safetensors"),
]


@pytest.mark.parametrize(
    ("change", "error", "names"), [case[1:] for case in STATE], ids=[case[0] for case in STATE]
)
def test_a_wrong_state_is_refused_by_name(recurrent_folder, change, error, names):
    edit_yaml(recurrent_folder, change)
    with pytest.raises(error) as caught:
        PolicyBundle.load(recurrent_folder)
    assert names in str(caught.value)


def test_initial_state_that_is_missing_or_does_not_fit(recurrent_folder):
    edit_tensors(
        recurrent_folder / files.STATE, lambda arrays: arrays.update(h_in=np.zeros((1, 9), np.float32))
    )
    with pytest.raises(BundleState, match=r"h_in: found the shape \[1, 9\]"):
        PolicyBundle.load(recurrent_folder)
    edit_tensors(recurrent_folder / files.STATE, lambda arrays: arrays.update(c=arrays.pop("h_in")))
    with pytest.raises(BundleState, match="found no 'h_in'"):
        PolicyBundle.load(recurrent_folder)
    (recurrent_folder / files.STATE).unlink()
    reseal(recurrent_folder)
    with pytest.raises(BundleState, match="found no such file"):
        PolicyBundle.load(recurrent_folder)


def _replace(arrays, actions):
    arrays["out.action"] = actions


@pytest.mark.parametrize(
    ("change", "error", "names"),
    [
        (lambda arrays: arrays.pop("out.action"), BundleFormat, "one tensor|expected"),
        (lambda arrays: arrays.update({k: v[:8].copy() for k, v in arrays.items()}), BundleFormat, "at least 32"),
        (lambda arrays: arrays["out.action"].fill(np.nan), BundleFormat, "not finite"),
        (lambda arrays: _replace(arrays, arrays["out.action"].astype(np.float64)), BundleFormat, "float64"),
        (lambda arrays: _replace(arrays, arrays["out.action"][..., :2].copy()), BundleContract, "out.action"),
        (lambda arrays: arrays["out.action"].__iadd__(1e-3), BundleParity, "differs by 0.001"),
    ],
    ids=["missing", "few", "nan", "double", "narrow", "other actions"],
)  # fmt: skip
def test_wrong_examples_are_refused(folder, change, error, names):
    edit_tensors(folder / files.EXAMPLES, change)
    with pytest.raises(error, match=names):
        PolicyBundle.load(folder)


def test_nothing_there(tmp_path):
    with pytest.raises(BundleNotFound, match="found nothing"):
        PolicyBundle.load(tmp_path / "missing.bundle")


@pytest.mark.parametrize("name", [files.CONTRACT, files.GRAPH, files.EXAMPLES, files.SUMS])
def test_every_file_is_needed(folder, name):
    (folder / name).unlink()
    with pytest.raises((BundleNotFound, BundleHash), match=name):
        PolicyBundle.load(folder)


@pytest.mark.parametrize("name", [files.CONTRACT, files.GRAPH, files.EXAMPLES])
def test_a_file_that_was_exchanged_is_a_hash_error(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleHash, match=name):
        PolicyBundle.load(folder)


def test_a_graph_of_another_bundle_is_a_hash_error_even_with_fitting_sums(folder):
    (folder / files.GRAPH).write_bytes(make_bundle(seed=1).graph)
    reseal(folder)
    with pytest.raises(BundleHash, match="exchanged"):
        PolicyBundle.load(folder)


def test_links_folders_pipes_and_strange_files_are_path_errors(folder, tmp_path):
    outside = tmp_path / "outside.onnx"
    os.replace(folder / files.GRAPH, outside)
    (folder / files.GRAPH).symlink_to(outside)
    with pytest.raises(BundlePath, match="symbolic link"):
        PolicyBundle.load(folder)
    (folder / files.GRAPH).unlink()
    os.replace(outside, folder / files.GRAPH)
    for make, what in (
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: os.mkfifo(path), "a pipe"),
        (lambda path: path.write_text("x"), "no bundle holds"),
    ):
        strange = folder / "weights.bin"
        make(strange)
        with pytest.raises(BundlePath, match=what):
            PolicyBundle.load(folder)
        strange.rmdir() if strange.is_dir() else strange.unlink()
    PolicyBundle.load(folder)


def test_a_device_is_no_bundle():
    with pytest.raises(BundlePath):
        PolicyBundle.load("/dev/null")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../policy.onnx",
        "a/../../policy.onnx",
        "C:\\policy.onnx",
        "..\\x",
        "sub/policy.onnx",
        "po\nlicy",
    ],
)
def test_names_that_leave_the_archive_are_path_errors(plain_bundle, tmp_path, name):
    target = tmp_path / "evil.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for known, content in plain_bundle.files().items():
            archive.writestr(known, content)
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(BundlePath):
        PolicyBundle.load(target)
    assert list(tmp_path.iterdir()) == [target]


def test_paths_in_the_sums_are_path_errors(folder):
    for name in ("/etc/passwd", "../x"):
        reseal(folder)
        with open(folder / files.SUMS, "a") as file:
            file.write("0" * 64 + f"  {name}\n")
        with pytest.raises(BundlePath):
            PolicyBundle.load(folder)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_links_bombs_twins_and_locks_in_an_archive_are_path_errors(plain_bundle, tmp_path):
    content = plain_bundle.files()

    def build(change):
        target = tmp_path / "bad.zip"
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name, data)
            change(archive)
        return target

    def link(archive):
        entry = zipfile.ZipInfo("README")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")

    def bomb(archive):
        archive.writestr("README", b"\0" * 10_000_000)

    def twin(archive):
        archive.writestr(files.GRAPH, b"another")

    for change, what in ((link, "link"), (bomb, "ratio"), (twin, "twice")):
        with pytest.raises(BundlePath, match=what):
            PolicyBundle.load(build(change))


def test_an_archive_that_says_it_is_huge_is_not_unpacked(plain_bundle, tmp_path):
    """Four entries whose headers promise 200 MiB each, the packed sizes to match: refused before anything is read."""
    names = sorted(plain_bundle.files())
    huge = tmp_path / "huge.zip"
    with zipfile.ZipFile(huge, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
        for entry in archive.infolist():
            entry.file_size, entry.compress_size = 200 * 2**20, 2 * 2**20
    with pytest.raises(BundlePath, match="bytes unpacked"):
        PolicyBundle.load(huge)


def test_an_archive_made_by_hand_is_read_as_the_folder_is(folder, tmp_path):
    by_hand = PolicyBundle.load(zipped(folder, tmp_path / "hand.zip"))
    assert by_hand.files() == PolicyBundle.load(folder).files()


def test_a_truncated_archive_is_a_path_error(plain_bundle, tmp_path):
    target = plain_bundle.write(tmp_path / "good.zip")
    content = target.read_bytes()
    seal = content.rindex(b"dynrl.policy sha256")
    for length in (0, 10, len(content) // 2, seal - 1, seal, seal + 1, len(content) - 64, len(content) - 1):
        target.write_bytes(content[:length])
        with pytest.raises((BundlePath, BundleHash)):
            PolicyBundle.load(target)


def test_there_are_enough_cases():
    assert len(YAML) + len(TEXT) + len(GRAPH) + len(STATE) >= 40
