"""Films of an episode, written as animated GIFs."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dynrl.runs.array_file import write_atomically

__all__ = ["write_gif"]


def write_gif(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float = 20.0) -> Path:
    """Write pictures `[H, W, 3]` uint8 of one size as an animated GIF that repeats; whole or not at all.

    Args:
        path: where to.
        frames: at least one.
        fps: pictures per second, at most 50 (viewers slow down faster ones).

    Raises:
        ValueError: no frames, frames of different shapes or another dtype, fps out of range.
        ImportError: Pillow is missing (it comes with matplotlib).
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("write_gif needs Pillow: pip install pillow") from error
    if not 0 < fps <= 50:
        raise ValueError(f"fps is {fps}, expected more than 0 and at most 50")
    images: list[Image.Image] = []
    shape: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        frame = np.asarray(frame)
        shape = frame.shape if shape is None else shape
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != shape:
            raise ValueError(
                f"frame {index} is {frame.dtype}{list(frame.shape)}, expected uint8{list(shape)} [H, W, 3]"
            )
        # One palette for the whole film: no flicker, and a quarter of the time.
        palette = images[0] if images else None
        image = Image.fromarray(frame)
        images.append(
            image.quantize(64)
            if palette is None
            else image.quantize(palette=palette, dither=Image.Dither.NONE)
        )
    if not images:
        raise ValueError("there are no frames to write")
    path, content = Path(path), io.BytesIO()
    images[0].save(
        content,
        format="GIF",
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / fps),
        loop=0,
    )
    write_atomically(path, content.getvalue())
    return path
