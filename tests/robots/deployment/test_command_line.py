"""`dynrl deploy` as a person uses it: what it prints, how it ends, what its keys and signals do."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import threading

import pytest

from dynrl.cli import main
from dynrl.robots.report import COLOURS
from dynrl.robots.states import Event, State
from dynrl.robots.surface import KEYS, WORDS, Surface

pytest.importorskip("rosbags", reason="messages need rosbags: pip install 'dynrl[ros]'")


@pytest.fixture(scope="module")
def bundle(sway, tmp_path_factory):
    return str(sway.write(tmp_path_factory.mktemp("bundles") / "sway.bundle"))


def test_check_prints_the_contract_and_starts_nothing(bundle, capsys):
    assert main(["deploy", bundle, "--check", "--robot", "arm"]) == 0
    printed = capsys.readouterr()
    for fact in (
        "50 Hz",
        "state/joint/position",
        "rad/s",
        "yaw",
        "-2.4",
        "joint_target",
        "checked against 'arm'",
    ):
        assert fact in printed.out
    assert printed.err == ""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere.bundle", "--check"], "BundleNotFound: nowhere.bundle"),
        (
            ["BUNDLE", "--check", "--robot", "spot_arm"],
            "BundleRobot: robot.joints: 'yaw' is not a joint of robot 'spot_arm'",
        ),
        (["BUNDLE", "--robot", "armm"], "ConfigError: no robot 'armm'"),
        (["BUNDLE", "--duration", "-1"], "ConfigError: --duration is -1.0, expected seconds above 0"),
        (["BUNDLE"], "ConfigError: --transport sim runs as fast as it can: say how long with --duration"),
        (
            ["BUNDLE", "--duration", "1", "--fault", "tsale@1"],
            "FaultError: fault 'tsale@1': there is no kind 'tsale'",
        ),
        (
            ["BUNDLE", "--duration", "1", "--goal", "3:0.1,x,0"],
            "ConfigError: --goal '3:0.1,x,0': expected T:X,Y,Z",
        ),
        (
            ["BUNDLE", "--realtime", "--goal", "3:0.1,0,0"],
            "ConfigError: --goal is for --transport sim in virtual",
        ),
        (["BUNDLE", "--replay", "nowhere"], "RecordingError: nowhere is not a recording"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(bundle, capsys, words, line):
    assert main(["deploy", *(bundle if word == "BUNDLE" else word for word in words)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(line) and printed.err.count("\n") == 1


def test_debug_shows_where(capsys):
    assert main(["deploy", "nowhere.bundle", "--check", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_run_its_report_and_its_replay(bundle, tmp_path, capsys):
    folder = tmp_path / "run"
    assert (
        main(["deploy", bundle, "--robot", "arm", "--twin", "--duration", "4", "--record", str(folder)]) == 0
    )
    printed = capsys.readouterr().out
    for fact in (
        "active 2.",
        "faults: none",
        "limits broken at the receiver: none",
        "safety filter",
        "0 messages dropped",
    ):
        assert fact in printed
    assert (folder / "report.png").stat().st_size > 20_000
    assert main(["deploy", bundle, "--replay", str(folder)]) == 0
    assert "all the same, bit for bit" in capsys.readouterr().out


def test_goals_reach_the_deployment(bundle, capsys):
    assert (
        main(["deploy", bundle, "--duration", "3", "--goal", "1:0.4,0.1,0.3", "--goal", "2:0.4,-0.1,0.3"])
        == 0
    )
    assert "goal 2" in capsys.readouterr().out, "received and counted"


def test_a_run_that_ends_held_says_so_in_its_status(bundle, capsys):
    assert main(["deploy", bundle, "--duration", "4", "--fault", "stale@3:0.3"]) == 1
    printed = capsys.readouterr()
    assert "STALE(joint_states)" in printed.out and "ACTIVE -> HOLDING" in printed.err
    assert main(["deploy", bundle, "--duration", "6", "--fault", "stale@3:0.3", "--auto-resume"]) == 0


def test_an_activation_that_is_never_allowed(bundle, capsys):
    assert main(["deploy", bundle, "--duration", "4", "--fault", "stale@0", "--patience", "2"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(
        "DeploymentError: the deployment could not activate within 2 s: source 'joint_states'"
    )


def test_two_runs_print_the_same_but_for_times(bundle, capsys):
    def run():
        assert main(["deploy", bundle, "--duration", "3", "--fault", "jitter@1:1"]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if "command - measured" in line]

    assert run() == run()


@pytest.fixture
def start(bundle, patient_arm, tmp_path):
    """`start()`: a deployment in real time with its twin inside, in a process of its own; ended afterwards."""
    file = tmp_path / "arm" / "robot.yaml"
    file.write_text(file.read_text().replace("timeout: 0.25", "timeout: 5.0"))
    processes = []

    def run(terminal=None):
        words = [
            bundle,
            "--robot",
            str(tmp_path / "arm"),
            "--realtime",
            "--ramp",
            "0.2",
            "--max-overruns",
            "1000",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "dynrl.cli", "deploy", *words, "--no-fifo"],
            text=True,
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=None if terminal is None else lambda: take_terminal(terminal),
        )
        limit = threading.Timer(
            90, process.kill
        )  # whoever waits for a line that never comes sees the end instead
        limit.start()
        processes.append((process, limit))
        return process

    yield run
    for process, limit in processes:
        limit.cancel()
        process.kill()
        process.communicate()


def take_terminal(terminal):
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def read_until(process, words, again=None):
    """Reads to the line with these words; asks `again` for what was refused (the arm still moves, say)."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return
        if again is not None and "refused" in line:
            again()
    raise AssertionError(f"{words!r} never came: {''.join(lines)}")


def test_ctrl_c_brakes_and_a_second_one_ends_at_once(start):
    process = start()
    read_until(process, "RAMPING -> ACTIVE")
    process.send_signal(signal.SIGINT)
    read_until(process, "STOPPING (shutdown: SIGINT)")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    assert "asked to end twice" in errors or "the command stands still" in errors
    assert "ticks" in output, "the report comes all the same"


@pytest.mark.slow
def test_signals_stop_and_hold(start):
    process = start()
    read_until(process, "RAMPING -> ACTIVE")
    process.send_signal(signal.SIGUSR2)
    read_until(process, "HOLDING (hold: SIGUSR2)")
    process.send_signal(signal.SIGUSR1)
    read_until(process, "HOLDING -> ESTOP (estop: ESTOP: SIGUSR1)")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 1, "the run ended e-stopped"


def test_keys(start):
    ours, theirs = pty.openpty()
    process = start(theirs)
    os.close(theirs)
    read_until(process, "keys: space e-stop")
    read_until(process, "RAMPING -> ACTIVE")
    for key, words in (
        (b"h", "ACTIVE -> HOLDING (hold: key 'h')"),
        (b"c", "HOLDING -> RAMPING (resume: key 'c')"),
        (b" ", "-> ESTOP (estop: ESTOP: key ' ')"),
        (b"r", "ESTOP -> INACTIVE (reset: key 'r')"),
    ):
        os.write(ours, key)
        read_until(process, words, again=lambda key=key: os.write(ours, key))
    os.write(ours, b"q")
    read_until(process, "INACTIVE -> FINALIZED (shutdown: key 'q')")
    process.communicate(timeout=60)
    os.close(ours)


@pytest.mark.slow
def test_a_terminal_that_goes_away_is_a_termination(start):
    ours, theirs = pty.openpty()
    process = start(theirs)
    os.close(theirs)
    read_until(process, "RAMPING -> ACTIVE")
    os.close(ours)
    _, errors = process.communicate(timeout=60)
    assert "-> STOPPING (shutdown: " in errors and "Traceback" not in errors


def test_every_word_and_key_is_an_operators_and_every_state_has_a_colour():
    assert set(WORDS) == {"configure", "activate", "hold", "resume", "deactivate", "reset", "shutdown"}
    assert {Event.ESTOP, Event.HOLD, Event.RESET, Event.ACTIVATE} <= set(KEYS.values())
    assert set(COLOURS) == set(State)


def test_a_surface_keeps_the_order_and_notices_haste():
    surface = Surface()
    surface.put("a", Event.HOLD)
    surface.put("b", Event.SHUTDOWN)
    assert not surface.urgent
    assert surface.take() == (("a", Event.HOLD), ("b", Event.SHUTDOWN)) and surface.take() == ()
    surface.put("c", Event.SHUTDOWN)
    assert surface.urgent


def test_help_says_what_it_is_not(capsys):
    with pytest.raises(SystemExit):
        main(["deploy", "--help"])
    assert "Not a certified safety function" in " ".join(capsys.readouterr().out.split())


def test_the_twin_refuses_what_is_inside_deploy(capsys):
    assert main(["twin", "arm", "--transport", "sim"]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: --transport sim has its twin inside")
