"""Recordings: whole, readable by others, and replayed to the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dynrl.robots.command_line import deploy
from dynrl.robots.messages import message_types
from dynrl.robots.recorder import BAG, Recorder, RecordingError
from dynrl.robots.recovery import DAMAGED, recover
from dynrl.robots.replay import read_messages, replay
from dynrl.robots.sample import sample_bundle
from dynrl.robots.states import Event, State

pytest.importorskip("rosbags", reason="recordings need rosbags: pip install 'dynrl[ros]'")


@pytest.fixture(scope="module")
def recorded(open_world, tmp_path_factory):
    """A run with a fault, a hold, a resume, an e-stop and an end: (world, report, folder)."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    with open_world(record=folder, image=True) as world:
        world.until(State.ACTIVE)
        world.tick(40)
        world.mirror.mutate = lambda message, now: []
        world.until(State.HOLDING, 20)
        world.mirror.mutate = None
        world.tick(40)
        world.say("control", data="resume")
        world.until(State.ACTIVE, 100)
        world.tick(20)
        world.say("estop", data=True)
        world.tick(20)
        world.deployment.surface.put("test", Event.SHUTDOWN)
        world.until(State.FINALIZED, 100)
    return world, world.deployment.finish(), folder


def test_replay_gives_the_same_bytes(recorded, sway, arm):
    report = recorded[1]
    result = replay(recorded[2], sway, arm)
    assert result.same and result.different == 0, result.detail
    assert result.commands == report.commands_sent > 150
    assert result.ticks == report.ticks


def test_replay_notices_another_policy(recorded, arm):
    other = sample_bundle(arm, seed=1)
    with pytest.raises(RecordingError, match="another policy"):
        replay(recorded[2], other, arm)


def test_replay_notices_one_changed_bit(recorded, sway, arm, monkeypatch):
    import dynrl.robots.replay as module

    read = module.read_messages
    seen = 0

    def changed(bag, types):
        nonlocal seen
        for topic, log_ns, kind, raw in read(bag, types):
            if topic == "/joint_commands":
                seen += 1
                if seen == 100:
                    raw = raw[:-20] + bytes([raw[-20] ^ 1]) + raw[-19:]
            yield topic, log_ns, kind, raw

    monkeypatch.setattr(module, "read_messages", changed)
    result = replay(recorded[2], sway, arm)
    assert not result.same and result.different == 1


def test_replay_notices_another_input(recorded, sway, arm, monkeypatch):
    """A joint that was one tenth of a milliradian elsewhere in one message shows in the commands."""
    import dynrl.robots.replay as module

    real = module.read_tick
    done = []

    def changed(data, channels, messages):
        given, stamp, state = real(data, channels, messages)
        if given.number == 60 and not done:
            message = given.received[-1].message
            message.position = message.position + 1e-4
            done.append(True)
        return given, stamp, state

    monkeypatch.setattr(module, "read_tick", changed)
    assert not replay(recorded[2], sway, arm).same and done


def test_every_connection_has_its_definition(recorded):
    from rosbags.rosbag2 import Reader

    with Reader(recorded[2] / BAG) as reader:
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        for connection in reader.connections:
            empty = connection.msgtype == "std_msgs/msg/Empty"
            assert empty or len(connection.msgdef.data) > 0, connection.topic
            assert connection.digest.startswith("RIHS01_"), connection.topic
    for topic in ("/joint_states", "/joint_commands", "/dynrl/tick", "/dynrl/observation", "/dynrl/action"):
        assert counts[topic] > 100, topic
    assert counts["/dynrl/transition_event"] >= 6 and counts["/emergency_stop"] >= 1
    assert counts["/dynrl/fault"] >= 3 and counts["/diagnostics"] >= 2


def test_the_folder_holds_what_a_reader_needs(recorded):
    folder = recorded[2]
    info = json.loads((folder / "deployment.json").read_text())
    assert info["environment"]["kernel"] and info["config"]["ramp"] == 0.4
    report = json.loads((folder / "report.json").read_text())
    assert report["recorded_drops"] == 0 and report["commands_sent"] > 150
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "recording.json").read_text())["complete"]


def test_commands_in_the_bag_are_those_that_the_robot_got(recorded):
    world = recorded[0]
    types = message_types()
    sent = [
        types.deserialize(raw, kind).position
        for topic, _, kind, raw in read_messages(recorded[2] / BAG, types)
        if topic == "/joint_commands"
    ]
    got = [world.mirror.robot.position_to_wire(command) for _, command in world.mirror.commands]
    np.testing.assert_allclose(sent[: len(got)], got, atol=1e-12)


def test_a_folder_is_never_overwritten(recorded):
    with pytest.raises(RecordingError, match="holds a recording already"):
        Recorder(recorded[2], message_types(), 0)


def test_a_stuck_process_costs_messages_and_no_time(tmp_path):
    """The process is stopped: the queue fills, the oldest go, nothing blocks."""
    types = message_types()
    recorder = Recorder(tmp_path / "run", types, 0)
    recorder.declare("/text", "std_msgs/msg/String")
    os.kill(recorder._process.pid, signal.SIGSTOP)
    raw = types.serialize(types.new("std_msgs/msg/String", data="x" * 1000))
    try:
        for number in range(20_000):
            recorder.put("/text", number * 1_000_000, raw)
            recorder.flush()
        assert 10_000 < recorder.dropped < 20_000
        assert sum(len(frame) for _, frame in recorder._waiting) < 8_000_000
    finally:
        os.kill(recorder._process.pid, signal.SIGCONT)
    recorder.close()
    kept = sum(1 for _ in read_messages(recorder.bag, types))
    assert kept + recorder.dropped == 20_000 and not recorder.failure


def test_a_killed_process_ends_recording_and_nothing_else(tmp_path, eventually):
    types = message_types()
    recorder = Recorder(tmp_path / "run", types, 0)
    recorder.declare("/text", "std_msgs/msg/String")
    recorder._process.kill()
    recorder._process.wait()
    raw = types.serialize(types.new("std_msgs/msg/String", data="x"))

    def noticed():
        recorder.put("/text", 1, raw)
        recorder.flush()
        return recorder.failure

    eventually(noticed)
    recorder.close()
    assert "recording process ended" in recorder.failure and recorder.dropped > 0


def test_the_bag_is_whole_after_kill_9_of_the_recording_deployment(tmp_path, eventually):
    program = """
        import os, sys, signal
        from pathlib import Path
        from dynrl.robots.messages import message_types
        from dynrl.robots.recorder import Recorder
        types = message_types()
        recorder = Recorder(Path(sys.argv[1]), types, 0)
        recorder.declare("/text", "std_msgs/msg/String")
        raw = types.serialize(types.new("std_msgs/msg/String", data="x"))
        for number in range(500):
            recorder.put("/text", number, raw)
        recorder.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "run")])
    assert done.returncode == -signal.SIGKILL
    eventually((tmp_path / "run" / "recording.json").exists)
    assert sum(1 for _ in read_messages(tmp_path / "run" / BAG, message_types())) == 500
    assert not json.loads((tmp_path / "run" / "recording.json").read_text())["complete"]


def broken_off(recorded, folder, size):
    """A copy of a recording of which only the first `size` bytes were written, and no metadata."""
    shutil.copytree(recorded[2], folder)
    (folder / BAG / "metadata.yaml").unlink()
    os.truncate(folder / BAG / f"{BAG}.mcap", size)
    return folder


@pytest.mark.parametrize("share", [0.05, 0.4, 0.98])
def test_what_was_written_before_the_recorder_was_killed_is_recovered_and_replays(
    recorded, tmp_path, sway, arm, share
):
    types = message_types()
    everything = list(read_messages(recorded[2] / BAG, types))
    (chunk,) = (recorded[2] / BAG).glob("*.mcap")
    size = round(share * chunk.stat().st_size)
    folder = broken_off(recorded, tmp_path / "run", size)
    with pytest.raises(RecordingError, match="--recover"):
        replay(folder, sway, arm)
    saved = recover(folder)
    kept = list(read_messages(folder / BAG, types))
    assert kept == everything[: len(kept)], "the first messages, in order, none of them changed"
    assert sum(saved.messages.values()) == len(kept) > 0 and saved.lost_bytes < 1000
    assert sum(len(raw) for *_, raw in kept) > 0.3 * size
    result = replay(folder, sway, arm)
    assert result.same and result.ticks > 0, result.detail
    assert (folder / DAMAGED / f"{BAG}.mcap").stat().st_size == size
    assert json.loads((folder / "recording.json").read_text())["lost_bytes"] == saved.lost_bytes
    with pytest.raises(RecordingError, match="nothing to recover"):
        recover(folder)


def test_a_message_that_was_half_written_is_left_out(recorded, tmp_path):
    """Cut at ten places in a row: the number of messages never falls, and every byte is accounted for."""
    counts, lost = [], []
    for size in range(200_000, 200_120, 12):
        folder = broken_off(recorded, tmp_path / str(size), size)
        saved = recover(folder)
        counts.append(sum(saved.messages.values()))
        lost.append(saved.lost_bytes)
    assert counts == sorted(counts) and counts[-1] > counts[0]
    for before, after, less, more in zip(counts, counts[1:], lost, lost[1:], strict=False):
        assert more - less == 12 if after == before else more < 12 + less


def test_a_recorder_that_is_killed_leaves_a_bag_that_can_be_recovered(tmp_path, recorded, eventually):
    types = message_types()
    folder = tmp_path / "run"
    recorder = Recorder(folder, types, 0, patient=True)
    shutil.copy(recorded[2] / "deployment.json", folder)
    recorder.declare("/text", "std_msgs/msg/String")
    raw = types.serialize(types.new("std_msgs/msg/String", data="x" * 10_000))
    for number in range(400):
        recorder.put("/text", number, raw)
        recorder.flush()
    eventually(lambda: (recorder.bag / f"{BAG}.mcap").stat().st_size > 2 << 20)
    recorder._process.kill()
    recorder._process.wait()
    recorder.close()
    saved = recover(folder)
    assert 200 <= saved.messages["/text"] <= 400  # the last MiB was not written yet
    assert [raw for *_, raw in read_messages(folder / BAG, types)] == [raw] * saved.messages["/text"]


def test_what_cannot_be_recovered_is_said_in_a_sentence(recorded, tmp_path):
    with pytest.raises(RecordingError, match="is not a recording"):
        recover(tmp_path)
    with pytest.raises(RecordingError, match="is empty"):
        recover(broken_off(recorded, tmp_path / "empty", 0))
    other = broken_off(recorded, tmp_path / "other", 5000)
    (other / BAG / f"{BAG}.mcap").write_bytes(b"something else")
    with pytest.raises(RecordingError, match="not an MCAP file"):
        recover(other)
    inside = broken_off(recorded, tmp_path / "inside", 50_000)
    file = inside / BAG / f"{BAG}.mcap"
    file.write_bytes(file.read_bytes().replace(b"sensor_msgs/msg/JointState", b"\xff" * 26))
    with pytest.raises(RecordingError, match="damaged inside"):
        recover(inside)


def test_recovery_on_the_command_line_says_what_was_saved_and_is_refused_the_second_time(
    recorded, tmp_path, capsys
):
    folder = broken_off(recorded, tmp_path / "run", 100_000)
    assert deploy(tmp_path / "no.bundle", recover=folder) == 0
    saved = json.loads((folder / "recording.json").read_text())["messages"]
    assert f" {saved} messages on " in capsys.readouterr().out
    assert deploy(tmp_path / "no.bundle", recover=folder) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_full_disk_stops_the_recording_only(make_world, tmp_path, monkeypatch):
    """Less than the bytes to leave free: recording ends, the report says so, the deployment goes on."""
    monkeypatch.setenv("DYNRL_LOW_SPACE", str(1 << 60))
    world = make_world(record=tmp_path / "run")
    world.until(State.ACTIVE)
    world.tick(200)
    assert world.state is State.ACTIVE
    world.deployment.surface.put("test", Event.SHUTDOWN)
    world.until(State.FINALIZED, 100)
    report = world.deployment.finish()
    assert any("left on the disk" in note for note in report.notes)
