"""A ROS 1 node that passes serialised messages through: run by the system's Python, which has rospy.

Usage: python3 ros1_node.py DESCRIPTOR (of an open Unix socket; see `framing`). Messages are never decoded here.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from typing import Any

import framing
import rosgraph
import rospy

STATUS_PERIOD = 0.1
MASTER_PERIOD = 1.0


def passing_type(description: dict[str, Any]) -> type:
    """A message class that carries bytes, and says of itself what a publisher or subscriber must say."""
    return type(
        "Passing",
        (rospy.AnyMsg,),
        {
            "_type": description["type"],
            "_md5sum": description["md5sum"],
            "_full_text": description["definition"],
            "__slots__": [],
        },
    )


class Node:
    """The subscribers and publishers that the set-up asks for."""

    def __init__(self, connection: socket.socket, setup: dict[str, Any]) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._setup = setup
        self._master = rosgraph.Master("/dynrl_bridge")
        self._sequences = [0] * len(setup["writers"])
        self._publishers = [
            rospy.Publisher(
                writer["topic"],
                passing_type(writer),
                queue_size=1,
                latch=writer["latch"],
                tcp_nodelay=True,
            )
            for writer in setup["writers"]
        ]
        self._subscribers = [
            rospy.Subscriber(
                reader["topic"],
                passing_type(reader),
                callback=self._forward,
                callback_args=number,
                queue_size=reader["depth"],
                tcp_nodelay=True,
            )
            for number, reader in enumerate(setup["readers"])
        ]

    def send(self, data: bytes) -> None:
        """To the control loop; from any thread."""
        with self._lock:
            self._connection.sendall(data)

    def _forward(self, message: Any, number: int) -> None:
        head = framing.MESSAGE_HEAD.pack(number, time.monotonic_ns())
        self.send(framing.frame(framing.MESSAGE, head + message._buff))

    def publish(self, payload: bytes) -> None:
        """The message of a PUBLISH frame; a header gets the next sequence number."""
        (number,) = framing.PUBLISH_HEAD.unpack_from(payload)
        message = rospy.AnyMsg()
        body = payload[framing.PUBLISH_HEAD.size :]
        if self._setup["writers"][number]["has_header"]:
            body = struct.pack("<I", self._sequences[number]) + body[4:]
            self._sequences[number] = (self._sequences[number] + 1) % 2**32
        message._buff = body
        self._publishers[number].publish(message)

    def report_for_ever(self) -> None:
        """STATUS frames: who is connected ten times a second, who else publishes once a second."""
        master_alive, publishers, asked = True, {}, 0.0
        while not rospy.is_shutdown():
            if time.monotonic() - asked >= MASTER_PERIOD:
                asked = time.monotonic()
                try:
                    publishers = dict(self._master.getSystemState()[0])
                    master_alive = True
                except (OSError, rosgraph.MasterException):
                    master_alive = False
            status = {
                "readers": [subscriber.get_num_connections() for subscriber in self._subscribers],
                "writers": [publisher.get_num_connections() for publisher in self._publishers],
                "publishers": publishers,
                "node": rospy.get_name(),
                "master_alive": master_alive,
            }
            self.send(framing.json_frame(framing.STATUS, status))
            time.sleep(STATUS_PERIOD)


def main() -> None:
    connection = socket.socket(fileno=int(sys.argv[1]))
    incoming = framing.frames(connection)
    _, payload = next(incoming)
    setup = framing.json.loads(payload)
    os.environ["ROS_MASTER_URI"] = setup["master"]
    os.environ["ROS_IP"] = setup["ip"]
    os.environ.pop("ROS_HOSTNAME", None)
    try:
        rospy.init_node(setup["node"], disable_signals=True, anonymous=True)
        node = Node(connection, setup)
    except (rospy.ROSException, OSError, ValueError) as error:
        connection.sendall(framing.json_frame(framing.FAILED, f"{type(error).__name__}: {error}"))
        return
    threading.Thread(target=node.report_for_ever, daemon=True).start()
    try:
        for _, payload in incoming:
            node.publish(payload)
    except ConnectionError:
        pass  # the control loop is gone, and with it all that this process is for
    rospy.signal_shutdown("the control loop has closed the connection")


if __name__ == "__main__":
    main()
