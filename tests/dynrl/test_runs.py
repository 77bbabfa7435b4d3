"""Run folders: what is on disk after any interruption, and what a damaged folder says."""

import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dynrl.errors import FileFormatError, RunError
from dynrl.runs import Run, flatten_tree, unflatten_tree
from dynrl.runs.array_file import read_arrays, write_arrays
from dynrl.runs.checkpoint import array_to_generator, generator_to_array
from dynrl.runs.metrics import MetricsFile, read_metrics
from dynrl.runs.progress import Progress
from dynrl.runs.run import default_folder


def make_run(path: Path) -> Run:
    return Run.create(path, "counting", {"steps": 6})


def count_to(run: Run, steps: int, stop_at: int | None = None) -> None:
    """A training: a row per step, a checkpoint every second one; `stop_at` leaves without a goodbye."""
    checkpoint = run.restore()
    total = float(checkpoint.arrays["total"]) if checkpoint else 0.0
    for step in range(checkpoint.step + 1 if checkpoint else 1, steps + 1):
        if step == stop_at:
            run.close()
            return
        total += 1 / step
        run.log(step, {"total": total, "phase": "up"})
        if step % 2 == 0:
            run.checkpoint(step, {"total": np.array(total)}, {"note": step})
    run.finish()
    run.close()


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_stopped_anywhere_and_resumed_gives_the_same_bytes(stop_at: int, tmp_path: Path) -> None:
    count_to(make_run(tmp_path / "whole"), 7)
    count_to(make_run(tmp_path / "stopped"), 7, stop_at)
    count_to(Run.open(tmp_path / "stopped", writable=True), 7)
    whole, stopped = (tmp_path / name / "metrics.csv" for name in ("whole", "stopped"))
    assert stopped.read_bytes() == whole.read_bytes()
    assert Run.open(tmp_path / "stopped").finished


def test_rows_after_the_last_checkpoint_are_dropped_even_half_written(tmp_path: Path) -> None:
    count_to(make_run(tmp_path / "run"), 6, stop_at=5)
    metrics = tmp_path / "run" / "metrics.csv"
    before = metrics.read_bytes()
    with open(metrics, "ab") as file:
        file.write(b"5,2.28")
    run = Run.open(tmp_path / "run", writable=True)
    checkpoint = run.restore()
    assert checkpoint is not None
    assert (checkpoint.step, checkpoint.meta) == (4, {"note": 4})
    assert metrics.read_bytes() == before


def test_tensorboard_shows_each_point_once_after_resuming(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for step in (1, 2, 3):
        run.log(step, {"loss": 0.5**step}, {"rate": 7.0})
        if step == 1:
            run.checkpoint(step, {})
    run.close()
    run = Run.open(tmp_path / "run", writable=True)
    run.restore()
    for step in (2, 3):
        run.log(step, {"loss": 0.5**step})
    run.finish()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [
        (1, 0.5),
        (2, 0.25),
        (3, 0.125),
    ]


def test_strings_in_a_row_become_the_tag(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    run.log(1, {"agent": "greedy", "regret": 2.0})
    run.finish()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["greedy/regret"]


def test_the_folder_says_what_was_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["experiment"] == "counting"
    assert {"python", "dynrl", "numpy", "jax"} <= set(info["versions"])
    assert (tmp_path / "run" / "config.yaml").read_text() == "experiment: counting\nsteps: 6\n"
    assert run.restore() is None
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "empty").close()
    with pytest.raises(RunError, match="already holds files; go on with `dynrl train --resume"):
        make_run(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="is a file; give another folder"):
        make_run(tmp_path / "file")
    with pytest.raises(RunError, match="cannot make the run folder"):
        make_run(tmp_path / "file" / "below")
    (tmp_path / "free").mkdir()
    assert make_run(tmp_path / "free").path.exists()


def test_two_processes_cannot_train_the_same_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(RunError, match="is being trained by another process"):
        Run.open(tmp_path / "run", writable=True)
    run.close()
    Run.open(tmp_path / "run", writable=True).close()


def test_reading_changes_nothing(tmp_path: Path) -> None:
    count_to(make_run(tmp_path / "run"), 6, stop_at=6)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    run = Run.open(tmp_path / "run")
    assert run.restore() is not None
    assert run.metrics()["step"].tolist() == [1, 2, 3, 4]
    with pytest.raises(RunError, match="opened for reading only"):
        run.log(1, {"total": 1.0})
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "checkpoint.safetensors").unlink(), "checkpoint.safetensors does not exist"),
        (lambda run: (run / "checkpoint.safetensors").write_bytes(b""), "damaged or truncated"),
        (lambda run: write_arrays(run / "checkpoint.safetensors", {}, {}), "not the checkpoint of a run"),
        (lambda run: (run / "metrics.csv").write_bytes(b"step"), "metrics.csv has 4 bytes"),
    ],
)
def test_a_damaged_run_never_starts_over(damage: Any, message: str, tmp_path: Path) -> None:
    count_to(make_run(tmp_path / "run"), 6, stop_at=6)
    damage(tmp_path / "run")
    with pytest.raises(RunError, match=message):
        Run.open(tmp_path / "run", writable=True).restore()


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("{", "run.json is damaged"),
        ("[]", "does not describe a run"),
        ('{"format": 99, "versions": {"dynrl": "7.0"}}', r"another version of dynrl \(run format 99.*7\.0"),
        ('{"format": 1, "versions": {}}', "'experiment' is missing"),
    ],
)
def test_a_run_that_cannot_be_read_says_why(info: str, message: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run").close()
    (tmp_path / "run" / "run.json").write_text(info)
    with pytest.raises(RunError, match=message):
        Run.open(tmp_path / "run")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a run folder"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "nowhere")


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_an_altered_checkpoint_is_refused_or_reads_the_same(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("arrays") / "file.safetensors"
    arrays = {"weights": np.arange(6.0).reshape(2, 3), "count": np.array(3)}
    write_arrays(path, arrays, {"step": 1})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(content)
    try:
        read, meta = read_arrays(path)
    except FileFormatError:
        return
    assert meta == {"step": 1}
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


@given(
    hnp.arrays(
        st.one_of(hnp.floating_dtypes(sizes=(32, 64), endianness="<"), hnp.integer_dtypes(endianness="<")),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
    )
)
@settings(deadline=None)
def test_arrays_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("arrays") / "file"
    write_arrays(path, {"a": array, "turned": array.T}, {})
    read, _ = read_arrays(path)
    assert read["a"].dtype == array.dtype
    assert read["a"].shape == array.shape
    assert read["a"].tobytes() == array.tobytes()
    assert read["turned"].tobytes() == array.T.tobytes()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_arrays(path, {"a": np.zeros(2)}, {})
    with pytest.raises(TypeError, match="'b' has dtype object"):
        write_arrays(path, {"b": np.array([None])}, {})
    assert list(read_arrays(path)[0]) == ["a"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


class Tree(NamedTuple):
    weights: Any
    key: Any
    rest: dict[str, Any]


def test_trees_come_back_with_their_kinds_of_leaves() -> None:
    with jax.enable_x64(True):
        double = jnp.arange(3.0)
    tree = Tree(double, jax.random.key(7), {"b": [np.arange(2), 3, 0.5, True], "f": jnp.tanh})
    arrays = flatten_tree(tree, "t")
    assert set(arrays) == {"t/weights", "t/key", "t/rest/b/0", "t/rest/b/1", "t/rest/b/2", "t/rest/b/3"}
    back = unflatten_tree(tree, arrays, "t")
    assert isinstance(back.weights, jax.Array)
    assert back.weights.dtype == np.float64
    assert jnp.array_equal(jax.random.key_data(back.key), jax.random.key_data(tree.key))
    assert isinstance(back.rest["b"][0], np.ndarray)
    assert [type(leaf) for leaf in back.rest["b"][1:]] == [int, float, bool]
    assert back.rest["f"] is jnp.tanh
    assert flatten_tree(np.zeros(2), "alone").keys() == {"alone"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "'t/a' is missing"),
        ({"t/a": np.zeros(3)}, r"float64 \[3\], expected float64 \[2\]"),
        ({"t/a": np.zeros(2, np.float32)}, r"float32 \[2\], expected float64 \[2\]"),
        ({"t/a": np.zeros(2), "t/b": np.zeros(2)}, "'t/b' was saved but does not belong"),
    ],
)
def test_trees_of_another_shape_are_refused(arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        unflatten_tree({"a": np.zeros(2)}, arrays, "t")


def test_leaves_that_cannot_be_stored_are_named() -> None:
    with pytest.raises(TypeError, match="leaf 'tree/a' is a str"):
        flatten_tree({"a": "text"})
    with pytest.raises(ValueError, match="two leaves of the tree are both called 'tree/a/b'"):
        flatten_tree({"a": {"b": 1}, "a/b": 2})


@given(st.integers(0, 2**63), st.integers(0, 5))
def test_a_stored_generator_goes_on(seed: int, draws: int) -> None:
    generator = np.random.default_rng(seed)
    generator.integers(10, size=draws, dtype=np.uint32)
    restored = array_to_generator(generator_to_array(generator))
    assert restored.bit_generator.state == generator.bit_generator.state


def test_metrics_columns_are_fixed_by_the_first_row(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.csv")
    metrics.append(1, {"loss": 0.1, "name": 'a,"b"\n'})
    metrics.append(2, {"loss": float("nan")})
    with pytest.raises(ValueError, match="'los' is not a column; the first row fixed them: step, loss, name"):
        metrics.append(3, {"los": 0.1})
    with pytest.raises(ValueError, match="'step' is taken"):
        metrics.append(3, {"step": 1})
    with pytest.raises(TypeError, match="'loss' must be one number or a string, got ndarray"):
        metrics.append(3, {"loss": np.zeros(2)})  # type: ignore[dict-item]
    metrics.flush()
    columns = read_metrics(tmp_path / "metrics.csv")
    assert columns["step"].tolist() == [1, 2]
    assert columns["loss"][0] == 0.1
    assert np.isnan(columns["loss"][1])
    assert columns["name"].tolist() == ['a,"b"\n', ""]


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=5))
@settings(deadline=None)
def test_metrics_keep_every_bit_of_a_float(
    tmp_path_factory: pytest.TempPathFactory, values: list[float]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    metrics = MetricsFile(path)
    for step, value in enumerate(values):
        metrics.append(step, {"value": value})
    metrics.flush()
    assert read_metrics(path)["value"].tolist() == values


@pytest.mark.parametrize("name", ["", "../x", "/x", "metrics.csv", "tensorboard/x", "a/../../x"])
def test_artifacts_stay_inside_and_off_the_runs_own_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="artifact name"):
        make_run(tmp_path / "run").artifact(name)


def test_an_artifacts_folder_is_made(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run").artifact("plots/a.png")
    assert path == tmp_path / "run" / "plots" / "a.png"
    assert path.parent.is_dir()


def test_progress_prints_a_line_per_tenth_without_a_terminal() -> None:
    stream = io.StringIO()
    with Progress(1000, "steps", stream=stream) as progress:
        for _ in range(1000):
            progress.advance(1, "regret 3")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("50 % of 1000 steps, ")
    assert lines[4].endswith("left, regret 3")


def test_progress_of_a_resumed_job_rates_only_its_own_work() -> None:
    with Progress(100, "steps", done=90, stream=io.StringIO()) as progress:
        assert progress.rate() == 0
        assert "time left unknown" in progress.line()
        progress.advance(10)
        assert progress.line().startswith("100 % of 100 steps")


def test_default_folders_do_not_collide(tmp_path: Path) -> None:
    first = default_folder("ads", tmp_path)
    first.mkdir()
    assert default_folder("ads", tmp_path) != first
    assert first.name.startswith("ads-20")
