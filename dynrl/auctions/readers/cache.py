"""Logs kept on disk after the first reading, by the content of the file and everything that shaped the result.

An entry is a folder: one `.npy` file per array and `meta.json`. It appears whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynrl.auctions.log import AuctionLog, Categories, Features, IngestReport
from dynrl.auctions.readers.features import pack_texts, unpack_texts

__all__ = ["content_key", "default_folder", "load", "store"]

LAYOUT = 1
"""Raised whenever a reader starts to read the same file differently."""

_COLUMNS = ("click", "price", "theta", "floor", "bid", "won", "timestamp", "campaign")


def default_folder() -> Path:
    """`$XDG_CACHE_HOME/dynrl/auctions`, by default `~/.cache/dynrl/auctions`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "dynrl" / "auctions"


def content_key(paths: list[Path], settings: Any) -> str:
    """Name of the entry for some files read with some settings (anything whose `repr` tells it apart)."""
    digest = hashlib.blake2b(f"{LAYOUT} {settings!r}".encode(), digest_size=16)
    for path in paths:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def store(folder: Path, key: str, log: AuctionLog, names: tuple[str, ...]) -> None:
    """Writes a log, and the names of the features it brought to a builder."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{key}-", dir=folder))
    try:
        arrays = _arrays(log) | {f"names {part}": array for part, array in pack_texts(names).items()}
        for number, array in enumerate(arrays.values()):
            np.save(temporary / f"{number}.npy", array, allow_pickle=False)
        meta = {
            "arrays": list(arrays),
            "dimension": None if log.features is None else log.features.dimension,
            "categories": {name: list(column.names) for name, column in log.categories.items()},
            "numbers": list(log.numbers),
            "tick": log.tick,
            "report": dataclasses.asdict(log.report),
        }
        (temporary / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        try:
            os.replace(temporary, folder / key)
        except OSError:
            if not (folder / key).is_dir():
                raise
            # Another process stored the same entry meanwhile; equal keys mean equal content.
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load(folder: Path, key: str) -> tuple[AuctionLog, tuple[str, ...]] | None:
    """What `store` wrote; None where there is no such entry. A damaged entry is removed, with a warning."""
    entry = folder / key
    if not entry.is_dir():
        return None
    try:
        meta = json.loads((entry / "meta.json").read_text(encoding="utf-8"))
        arrays = {
            name: np.load(entry / f"{number}.npy", allow_pickle=False)
            for number, name in enumerate(meta["arrays"])
        }
        return _log(arrays, meta), unpack_texts(
            {part: arrays[f"names {part}"] for part in ("text", "length")}
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        warnings.warn(f"the cached log {entry} is damaged ({error}) and is read anew", stacklevel=3)
        shutil.rmtree(entry)
        return None


def _arrays(log: AuctionLog) -> dict[str, NDArray[Any]]:
    arrays = {name: getattr(log, name) for name in _COLUMNS if getattr(log, name) is not None}
    if log.features is not None:
        arrays |= {"indices": log.features.indices, "indptr": log.features.indptr}
    arrays |= {f"category {name}": column.codes for name, column in log.categories.items()}
    return arrays | {f"number {name}": column for name, column in log.numbers.items()}


def _log(arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> AuctionLog:
    features = None
    if meta["dimension"] is not None:
        features = Features(arrays["indices"], arrays["indptr"], int(meta["dimension"]))
    report = meta["report"] | {"cached": True, "messages": tuple(meta["report"]["messages"])}
    return AuctionLog(
        **{name: arrays[name] for name in _COLUMNS if name in arrays},
        features=features,
        categories={
            name: Categories(arrays[f"category {name}"], tuple(names))
            for name, names in meta["categories"].items()
        },
        numbers={name: arrays[f"number {name}"] for name in meta["numbers"]},
        tick=meta["tick"],
        report=IngestReport(**report),
    )
