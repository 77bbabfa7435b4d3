"""Importing the transports brings in none of what they may need later."""

import subprocess
import sys

MODULES = ["choice", "ros2", "ros1", "rosbridge", "rclpy_node", "measure", "sim"]
HEAVY = ["cyclonedds", "rosbags", "roslibpy", "twisted", "rclpy", "mujoco", "jax", "onnxruntime", "torch"]


def test_transports_are_cheap_to_import() -> None:
    program = "; ".join(f"import dynrl.robots.transports.{name}" for name in MODULES)
    program += (
        f"; import dynrl.robots.messages, sys; print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_there_is_a_sentence() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(['cyclonedds', 'rosbags'])); from pathlib import Path;"
        "from dynrl.errors import UserError; from dynrl.robots.messages import message_types;"
        "from dynrl.robots.transports.dds import require_cyclonedds\n"
        "for need in (message_types, require_cyclonedds):\n"
        "    try: need()\n"
        "    except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all("pip install 'dynrl[ros]'" in line for line in lines)
