"""A good bundle, and the tools that break it."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from dynrl.policy import (
    ActionTerm,
    Contract,
    Control,
    Gains,
    Limits,
    Model,
    Normalisation,
    ObservationTerm,
    PolicyBundle,
    RobotModel,
    StateTensor,
    Workspace,
    files,
)

pytest.importorskip("onnx", reason="policy bundles need onnx: pip install 'dynrl[export]'")
pytest.importorskip("onnxruntime", reason="policy bundles need onnxruntime: pip install 'dynrl[export]'")

JOINTS = ("base", "lift", "wrist")


def make_contract(**changes):
    """A contract with a term of most kinds: 3 + 2 * 2 + 3 + 3 + 3 + 2 = 18 numbers in, 3 out."""
    contract = Contract(
        name="test_reach",
        control=Control(0.02, 4),
        robot=RobotModel("arm", JOINTS),
        observation=(
            ObservationTerm("joint_position", "state/joint/position", unit="rad", offset="default_pose"),
            ObservationTerm(
                "joint_velocity",
                "state/joint/velocity",
                joints=("wrist", "base"),
                unit="rad/s",
                scale=(0.5, 0.25),
                history=2,
            ),
            ObservationTerm("gravity", "state/body/projected_gravity", frame="base_link"),
            ObservationTerm(
                "goal", "command/pose", unit="m", shape=(3,), default=(0.4, 0.0, 0.3), clip=(-1.0, 1.0)
            ),
            ObservationTerm("previous_action", "memory/action"),
            ObservationTerm("phase", "clock/phase", period=0.6),
        ),
        action=(
            ActionTerm(
                "joint_target",
                "target/joint/position",
                unit="rad",
                scale=0.25,
                offset="default_pose",
                clip=(-1.0, 1.0),
            ),
        ),
        normalisation=Normalisation("none"),
        default_pose=(0.0, -1.0, 1.0),
        gains=Gains((10.0, 20.0, 5.0), (1.0, 2.0, 0.5)),
        limits=Limits(
            position=((-2.0, 2.0), (-2.0, 1.0), (0.0, 2.0)),
            velocity=(2.0, 2.0, 3.0),
            acceleration=(10.0, 10.0, 10.0),
            effort=(30.0, 30.0, 10.0),
        ),
        workspace=Workspace("base_link", "tool", ((-1.0, -1.0, 0.0), (1.0, 1.0, 1.0))),
    )
    return dataclasses.replace(contract, **changes)


def make_bundle(seed=0, recurrent=False):
    """A bundle of a random policy."""
    from dynrl.policy.onnx_graph import GraphBuilder

    rng = np.random.default_rng(seed)
    contract = make_contract()
    size, actions, hidden = contract.observation_size, contract.action_size, 8
    inner = rng.normal(size=(size, hidden)).astype(np.float32) / 4
    back = rng.normal(size=(hidden, hidden)).astype(np.float32) / 4
    outer = rng.normal(size=(hidden, actions)).astype(np.float32)
    start = rng.normal(size=(1, hidden)).astype(np.float32)
    builder = GraphBuilder()
    value = builder.add("MatMul", builder.input("observation", (1, size)), builder.constant(inner))
    if recurrent:
        memory = builder.add("MatMul", builder.input("h_in", (1, hidden)), builder.constant(back))
        value = builder.add("Add", value, memory)
    value = builder.add("Tanh", value)
    outputs = {"action": (builder.add("MatMul", value, builder.constant(outer)), (1, actions))}
    if recurrent:
        outputs["h_out"] = (value, (1, hidden))
        contract = dataclasses.replace(
            contract,
            model=Model("policy.onnx", "0" * 64, 17),
            state=(StateTensor("h_in", "h_out", (1, hidden), "state.safetensors"),),
        )
    observations = rng.normal(size=(40, 1, size)).astype(np.float32)
    examples = {"in.observation": observations, "out.action": np.zeros((40, 1, actions), np.float32)}
    state = start
    memories = np.zeros((2, 40, 1, hidden), np.float32)
    for step, observation in enumerate(observations):
        memories[0, step] = state
        state = np.tanh(observation @ inner + (state @ back if recurrent else 0))
        memories[1, step] = state
        examples["out.action"][step] = state @ outer
    if recurrent:
        examples |= {"in.h_in": memories[0], "out.h_out": memories[1]}
    return PolicyBundle.make(
        builder.model(outputs), contract, examples, {"h_in": start} if recurrent else None
    )


@pytest.fixture(scope="session")
def plain_bundle():
    return make_bundle()


@pytest.fixture(scope="session")
def recurrent_bundle():
    return make_bundle(recurrent=True)


@pytest.fixture
def folder(plain_bundle, tmp_path):
    """A good bundle on disk."""
    return plain_bundle.write(tmp_path / "good.bundle")


@pytest.fixture
def recurrent_folder(recurrent_bundle, tmp_path):
    return recurrent_bundle.write(tmp_path / "recurrent.bundle")


def reseal(folder: Path) -> None:
    """Makes SHA256SUMS fit the files again, as an attacker or a careless hand would."""
    content = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != files.SUMS}
    (folder / files.SUMS).write_bytes(files.sums_text(content))


def edit_yaml(folder: Path, change) -> None:
    """Changes the plain values of policy.yaml; `change` gets them."""
    import yaml

    path = folder / files.CONTRACT
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    reseal(folder)


def edit_text(folder: Path, old: str, new: str) -> None:
    """Replaces text in policy.yaml."""
    path = folder / files.CONTRACT
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    reseal(folder)


def edit_graph(folder: Path, change) -> None:
    """Changes the ONNX model; `change` gets it. The hashes fit again afterwards."""
    import onnx

    path = folder / files.GRAPH
    model = onnx.load_model(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    digest = files.sha256(path.read_bytes())
    edit_yaml(folder, lambda values: values["model"].update(sha256=digest))


def edit_tensors(path: Path, change) -> None:
    """Changes the arrays of a safetensors file; `change` gets a dict."""
    from safetensors.numpy import load, save

    arrays = load(path.read_bytes())
    change(arrays)
    path.write_bytes(save(arrays))
    reseal(path.parent)


def zipped(folder: Path, target: Path) -> Path:
    """The bundle as an archive that any tool could have made."""
    return Path(shutil.make_archive(str(target.with_suffix("")), "zip", folder))
