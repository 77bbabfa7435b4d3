"""The files of a bundle as bytes, from a folder or a zip archive that nobody trusts."""

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from dynrl.policy.errors import BundleError, BundleFormat, BundleHash, BundleNotFound, BundlePath

CONTRACT, GRAPH, STATE, EXAMPLES, SUMS = (
    "policy.yaml",
    "policy.onnx",
    "state.safetensors",
    "examples.safetensors",
    "SHA256SUMS",
)
_KNOWN = (CONTRACT, GRAPH, STATE, EXAMPLES, SUMS)
_REQUIRED = (CONTRACT, GRAPH, EXAMPLES, SUMS)
FILE_LIMIT = 256 * 2**20
TOTAL_LIMIT = 320 * 2**20
RATIO_LIMIT = 200
_SEAL = re.compile(rb"dynrl\.policy sha256 ([0-9a-f]{64})")
_BAD_ARCHIVE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    ValueError,
    OSError,
)


def read_files(path: Path) -> dict[str, bytes]:
    """Name -> bytes of every file of a bundle, each checked against SHA256SUMS.

    Raises:
        BundleNotFound: nothing there, or a file that every bundle has is missing.
        BundlePath: a name or a file that a bundle may not hold; an archive that is damaged or not safe to open.
        BundleHash: a file that differs from its line in SHA256SUMS, or has none.
    """
    if not path.exists():
        raise BundleNotFound(f"{path}: found nothing, expected a bundle: a folder or a .zip file")
    try:
        files = _read_folder(path) if path.is_dir() else _read_archive(path)
    except OSError as error:
        raise BundlePath(f"{path}: cannot be read: {error.strerror}") from error
    total = sum(map(len, files.values()))
    if total > TOTAL_LIMIT:
        raise BundlePath(f"{path}: found {total} bytes in all, expected at most {TOTAL_LIMIT}")
    missing = [name for name in _REQUIRED if name not in files]
    if missing:
        raise BundleNotFound(
            f"{path}: found no {missing[0]}, expected it in every bundle; `dynrl export RUN -o NAME.bundle` writes one"
        )
    _check_hashes(files)
    return files


def check_name(name: str) -> None:
    """Refuses the name of a file that a bundle does not hold.

    Raises:
        BundlePath: absolute, with folders, or unknown.
    """
    shown = ascii(name)
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise BundlePath(f"{shown}: found an absolute path, expected a file name")
    if ".." in re.split(r"[/\\]", name):
        raise BundlePath(f"{shown}: found a path that leaves the bundle, expected a file name")
    if "/" in name or "\\" in name:
        raise BundlePath(f"{shown}: found a path with folders, expected a file name: bundles are flat")
    if name not in _KNOWN and not re.fullmatch(r"(LICENSE|README)[.A-Za-z0-9_-]{0,40}", name):
        raise BundlePath(
            f"{shown}: found a file that no bundle holds, expected {', '.join(_KNOWN)}, LICENSE, README"
        )


def sums_text(files: Mapping[str, bytes]) -> bytes:
    """The content of SHA256SUMS for `files` (as `sha256sum` writes and checks it)."""
    lines = [f"{sha256(files[name])}  {name}\n" for name in sorted(files) if name != SUMS]
    return "".join(lines).encode()


def sha256(content: bytes) -> str:
    """64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def archive_bytes(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of `files`: the same bytes every time, sealed with a hash of itself in its comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
        archive.comment = b"dynrl.policy sha256 " + b"0" * 64
    content = buffer.getvalue()
    return content[:-64] + sha256(content[:-64]).encode()


def _read_folder(folder: Path) -> dict[str, bytes]:
    files = {}
    for name in sorted(os.listdir(folder)):
        mode = os.lstat(folder / name).st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe"}
            found = kinds.get(stat.S_IFMT(mode), "a device or socket")
            raise BundlePath(f"{name!a}: found {found}, expected a plain file")
        check_name(name)
        files[name] = _read_plain_file(folder / name)
    return files


def _read_plain_file(path: Path) -> bytes:
    # Opened without following links and without waiting: the file may have been exchanged since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise BundlePath(f"{path.name!a}: found no plain file, expected one")
        if status.st_size > FILE_LIMIT:
            raise BundlePath(f"{path.name!a}: found {status.st_size} bytes, expected at most {FILE_LIMIT}")
        return file.read(FILE_LIMIT)


def _read_archive(path: Path) -> dict[str, bytes]:
    content = _read_plain_file(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_seal(content, archive)
            entries = archive.infolist()
            if len(entries) > 16:
                raise BundlePath(f"{path.name}: found {len(entries)} entries, expected at most 16")
            total = sum(entry.file_size for entry in entries)
            if total > TOTAL_LIMIT:
                raise BundlePath(f"{path.name}: found {total} bytes unpacked, expected at most {TOTAL_LIMIT}")
            files: dict[str, bytes] = {}
            for entry in entries:
                _check_entry(entry)
                if entry.filename in files:
                    raise BundlePath(f"{entry.filename!a}: found it twice in {path.name}, expected it once")
                with archive.open(entry) as file:
                    files[entry.filename] = file.read(FILE_LIMIT + 1)
            return files
    except BundleError:
        raise
    except _BAD_ARCHIVE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BundlePath(
            f"{path.name}: found a damaged archive ({reason!a}), expected a .zip file"
        ) from error


def _check_seal(content: bytes, archive: zipfile.ZipFile) -> None:
    """An archive that `archive_bytes` wrote is compared as a whole; one made by other means has no comment."""
    comment = archive.comment
    if not comment:
        if content[-22:-18] != b"PK\x05\x06" or content[-2:] != b"\0\0":
            raise BundlePath(
                "the archive is cut, or goes on after its end: its last bytes are not those of an archive"
            )
        return
    sealed = _SEAL.fullmatch(comment)
    if sealed is None:
        raise BundleHash(f"the archive's comment: found {comment[:90]!a}, expected none, or a seal of dynrl")
    if sha256(content[:-64]) != sealed[1].decode():
        raise BundleHash(
            "the archive is not the one that was exported: its seal does not fit; copy or export it again"
        )


def _check_entry(entry: zipfile.ZipInfo) -> None:
    check_name(entry.filename)
    name = ascii(entry.filename)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise BundlePath(f"{name}: found a link, device or folder in the archive, expected a plain file")
    if entry.flag_bits & 0x1:
        raise BundlePath(f"{name}: found an encrypted entry, expected a plain one")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BundlePath(
            f"{name}: found compression method {entry.compress_type}, expected stored or deflated"
        )
    if entry.file_size > FILE_LIMIT:
        raise BundlePath(f"{name}: found {entry.file_size} bytes, expected at most {FILE_LIMIT}")
    if entry.file_size > RATIO_LIMIT * max(entry.compress_size, 1):
        raise BundlePath(
            f"{name}: found {entry.file_size} bytes packed into {entry.compress_size}, expected a ratio of at most "
            f"{RATIO_LIMIT}"
        )


def _check_hashes(files: Mapping[str, bytes]) -> None:
    sums = files[SUMS]
    if len(sums) > 4096:
        raise BundleFormat(f"{SUMS}: found {len(sums)} bytes, expected one line per file")
    listed: dict[str, str] = {}
    for line in sums.decode("latin-1").split("\n")[:-1]:
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if match is None:
            raise BundleHash(
                f"{SUMS}: found the line {line[:100]!a}, expected a SHA-256, two spaces, a file name"
            )
        check_name(match[2])
        if match[2] in listed:
            raise BundleHash(f"{SUMS}: found {match[2]} twice, expected it once")
        listed[match[2]] = match[1]
    if not sums.endswith(b"\n"):
        raise BundleHash(f"{SUMS}: found no line end at its end, expected whole lines")
    for name, digest in listed.items():
        if name not in files:
            raise BundleHash(f"{name}: found nothing, expected the file that {SUMS} lists")
        if sha256(files[name]) != digest:
            raise BundleHash(
                f"{name}: found SHA-256 {sha256(files[name])[:12]}…, expected {digest[:12]}…: the file was changed "
                "since the export; export the policy again"
            )
    for name in files:
        if name not in listed and name != SUMS and not name.startswith(("LICENSE", "README")):
            raise BundleHash(f"{name}: found no line in {SUMS}, expected one for every file")
