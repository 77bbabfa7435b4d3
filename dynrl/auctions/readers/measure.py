"""How fast and with how much memory a large generated iPinYou log is read, the first time and from the cache."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from dynrl.auctions.log import AuctionLog

__all__ = ["ingest_figures", "write_large_ipinyou"]

_CHUNK_ROWS = 100_000
_BYTES_PER_ROW = 259
"""Average length of a generated row."""

_READ = """
import json, sys, time
from dynrl.auctions.readers import FeatureBuilder, read_log
from dynrl.auctions.readers.measure import peak_memory

path, cache = sys.argv[1:]
start = time.perf_counter()
builder = FeatureBuilder()
log = read_log(path, features=builder, cache=cache, progress=False)
seconds = time.perf_counter() - start
print(json.dumps({
    "seconds": seconds, "peak": peak_memory(), "rows": len(log), "cached": log.report.cached,
    "clicks": int(log.click.sum()), "cost": int(log.price.sum()), "features": builder.dimension,
}))
"""


def ingest_figures(bytes: int, folder: str | PathLike[str] | None = None) -> dict[str, float]:
    """Writes a log of about `bytes` and reads it twice, each time in a fresh process, building a feature map.

    Args:
        bytes: size of the file.
        folder: where the file and the cache are put for the time being; None for the system's temporary folder.

    Returns:
        `bytes`, `rows`, `features`; `write_seconds`, `write_mb_per_s` (generating and writing); `first_seconds`,
        `first_mb_per_s`, `first_peak_bytes` (resident memory, Python and NumPy included); `second_seconds`,
        `second_peak_bytes` (from the cache, hashing the file included). MB are 10^6 bytes.

    Raises:
        RuntimeError: the second reading did not come from the cache, or differs from the first.
    """
    import time

    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "large.log.txt"
        start = time.perf_counter()
        write_large_ipinyou(path, bytes)
        written = time.perf_counter() - start
        size = path.stat().st_size
        first, second = (_read_in_fresh_process(path, Path(temporary) / "cache") for _ in range(2))
    content = ("rows", "clicks", "cost", "features")
    if first["cached"] or not second["cached"] or any(first[name] != second[name] for name in content):
        raise RuntimeError(f"the second reading should repeat the first from the cache: {first} and {second}")
    return {
        "bytes": size,
        "rows": first["rows"],
        "features": first["features"],
        "write_seconds": written,
        "write_mb_per_s": size / written / 1e6,
        "first_seconds": first["seconds"],
        "first_mb_per_s": size / first["seconds"] / 1e6,
        "first_peak_bytes": first["peak"],
        "second_seconds": second["seconds"],
        "second_peak_bytes": second["peak"],
    }


def write_large_ipinyou(path: Path, bytes: int, seed: int = 0) -> None:
    """A generated campaign log of about `bytes`, written in pieces, so that it may exceed the memory."""
    from dynrl.auctions.generator import write_ipinyou

    write_ipinyou(path, _pieces(max(1, round(bytes / _BYTES_PER_ROW)), seed), seed)


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux the kernel's rusage also counts the parent process before exec; this counter does not.
        line = next(text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _pieces(rows: int, seed: int) -> Iterator[AuctionLog]:
    from dynrl.auctions.generator import GeneratedMarket

    market = GeneratedMarket.draw(seed)
    start = np.datetime64("2013-06-06T00:00:00.000", "ms")
    for number, first in enumerate(range(0, rows, _CHUNK_ROWS)):
        count = min(_CHUNK_ROWS, rows - first)
        yield market.log(count, seed + number, days=0.25, start=start + number * np.timedelta64(6, "h"))


def _read_in_fresh_process(path: Path, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-c", _READ, str(path), str(cache)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])
