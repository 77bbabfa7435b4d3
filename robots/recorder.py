"""Recording without touching the loop's time: frames go through a socket to a process that writes the bag.

What the process cannot take at once waits in a bounded queue; what does not fit there is dropped, oldest first, and
counted. Nothing here ever blocks.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

from dynrl.errors import UserError
from dynrl.robots.messages import MessageTypes
from dynrl.robots.recording_process import DECLARE, END, HEADER, LOW_SPACE, STATUS

SECOND = 1_000_000_000
QUEUE_NS = 4 * SECOND
"""Of traffic that may wait."""
QUEUE_BYTES = 1 << 26
SOCKET_BYTES = 1 << 22
START_TIMEOUT, CLOSE_TIMEOUT = 60.0, 60.0
BAG = "bag"


class RecordingError(UserError):
    """A recording cannot be made or read."""


class Recorder:
    """One recording in a folder.

    Args:
        folder: made if it is not there; must not hold a recording yet.
        types: message types, for the definitions in the bag.
        offset_ns: added to monotonic times to make wall times for the bag.
        patient: wait for the process instead of dropping; for simulations that are faster than real time.

    Raises:
        RecordingError: the folder cannot be used.

    Attributes:
        dropped: messages that were not recorded, so far.
        failure: why recording ended early; empty while it works.
    """

    def __init__(self, folder: Path, types: MessageTypes, offset_ns: int, patient: bool = False) -> None:
        self.folder = folder
        self.bag = folder / BAG
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RecordingError(f"--record {folder}: {error.strerror}") from error
        if self.bag.exists():
            raise RecordingError(f"--record {folder} holds a recording already; name another folder")
        self._types, self._offset, self._patient = types, offset_ns, patient
        self.dropped = 0
        self.failure = ""
        self._numbers: dict[str, int] = {}
        self._waiting: deque[tuple[int, memoryview]] = deque()
        self._waiting_bytes = 0
        self._last_ns = 0
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self._socket = ours
        command = [
            sys.executable,
            "-m",
            "dynrl.robots.recording_process",
            str(theirs.fileno()),
            str(self.bag),
        ]
        self._process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self._await_process()
        ours.setblocking(patient)

    def _await_process(self) -> None:
        self._socket.settimeout(START_TIMEOUT)
        try:
            ready = self._socket.recv(1)
        except TimeoutError:
            ready = b""
        if not ready:
            self._process.kill()
            self._process.wait()
            raise RecordingError(
                f"--record {self.folder}: the recording process did not start; its message is above. It needs rosbags: "
                "pip install 'dynrl[ros]'"
            )

    def declare(self, topic: str, type: str) -> None:
        """Makes a topic known; needed once before `put`."""
        if topic in self._numbers:
            return
        number = self._numbers[topic] = len(self._numbers)
        declaration = {
            "number": number,
            "topic": topic,
            "type": type,
            "definition": self._types.definition(type),
            "hash": self._types.type_hash(type),
        }
        self._send(DECLARE, 0, json.dumps(declaration).encode(), 0)

    def put(self, topic: str, time_ns: int, raw: bytes) -> int:
        """Records CDR bytes.

        Args:
            topic: declared before.
            time_ns: own monotonic clock.

        Returns:
            The time in the bag, ns: wall time, later than all before it in this recording.
        """
        log_ns = max(time_ns + self._offset, self._last_ns + 1)
        self._last_ns = log_ns
        self._send(self._numbers[topic], log_ns, raw, time_ns)
        return log_ns

    def flush(self) -> None:
        """Hands over what waits, as far as the process takes it; call once per tick."""
        waiting = self._waiting
        while waiting:
            stamp, frame = waiting[0]
            try:
                sent = self._socket.send(frame)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail(f"the recording process ended: {error.strerror}")
                return
            self._waiting_bytes -= sent
            if sent == len(frame):
                waiting.popleft()
            else:
                waiting[0] = (stamp, frame[sent:])

    def close(self, figures: dict[str, Any] | None = None) -> None:
        """Hands over everything, waits until the bag is closed, and keeps `figures` beside it."""
        if self._process.poll() is None and not self.failure:
            payload = json.dumps({"dropped": self.dropped, **(figures or {})}).encode()
            self._send(END, 0, payload, self._last_ns)
            self._socket.setblocking(True)
            self._socket.settimeout(CLOSE_TIMEOUT)
            self.flush()
        self._socket.close()
        try:
            status = self._process.wait(CLOSE_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if status != 0:
            self._fail(f"the recording process ended with status {status}")
        elif (self.folder / STATUS).exists():
            written = json.loads((self.folder / STATUS).read_text(encoding="utf-8"))
            if written["disk_low"]:
                self._fail(f"recording stopped when less than {LOW_SPACE >> 20} MiB were left on the disk")

    def _send(self, number: int, log_ns: int, payload: bytes, stamp: int) -> None:
        if self.failure:
            self.dropped += number < END
            return
        frame = memoryview(HEADER.pack(number, log_ns, len(payload)) + payload)
        self._waiting.append((stamp, frame))
        self._waiting_bytes += len(frame)
        self._make_room(stamp)

    def _make_room(self, now_ns: int) -> None:
        """Drops whole messages, oldest first; the first frame may be half sent, so it stays, and so do declarations."""
        waiting = self._waiting
        if self._patient:
            return
        while len(waiting) > 2 and (
            self._waiting_bytes > QUEUE_BYTES or (waiting[1][0] and now_ns - waiting[1][0] > QUEUE_NS)
        ):
            _, frame = waiting[1]
            del waiting[1]
            self._waiting_bytes -= len(frame)
            self.dropped += 1

    def _fail(self, why: str) -> None:
        if not self.failure:
            self.failure = why
            self.dropped += len(self._waiting)
            self._waiting.clear()
