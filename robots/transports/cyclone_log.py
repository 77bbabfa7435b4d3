"""What CycloneDDS complains about and tells in no other way."""

from __future__ import annotations

import os
import tempfile

TYPE_INFORMATION = (
    "a DDS peer's type information is not understood, so none of its topics are seen (a Fast DDS program must switch "
    "off auto_fill_type_object and auto_fill_type_information, as ROS does): use transport rosbridge or rclpy"
)


class CycloneLog:
    """The log file of one domain, which CycloneDDS writes and `refresh` reads."""

    def __init__(self) -> None:
        descriptor, self.path = tempfile.mkstemp(prefix="dynrl-cyclonedds-", suffix=".log")
        self._file = os.fdopen(descriptor, "r", errors="replace")
        self.notices: tuple[str, ...] = ()

    @property
    def config(self) -> str:
        """The fragment of configuration that makes CycloneDDS write here."""
        return f"<Tracing><Verbosity>warning</Verbosity><OutputFile>{self.path}</OutputFile></Tracing>"

    def refresh(self) -> None:
        """Take in what has been written since."""
        new = self._file.read()
        if "TYPE_INFORMATION" in new and "invalid" in new:
            self.notices = (TYPE_INFORMATION,)

    def unlink(self) -> None:
        """Take the name away once both ends have the file open: nothing is left behind, however the process ends."""
        os.unlink(self.path)

    def close(self) -> None:
        """Read no more."""
        self._file.close()
