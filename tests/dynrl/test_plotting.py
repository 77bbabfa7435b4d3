"""Curves brought together, and pictures that are pictures."""

from pathlib import Path

import numpy as np
import pytest

from dynrl.errors import UserError
from dynrl.plotting import Curves, align, plot_curves


def test_curves_meet_on_their_common_range_by_linear_interpolation() -> None:
    first = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 4.0, 8.0]))
    second = (np.array([1.0, 3.0, 5.0]), np.array([1.0, np.nan, 9.0]))
    curves = align([first, second])
    assert curves.x.tolist() == [1.0, 2.0, 4.0]
    np.testing.assert_allclose(curves.y, [[2, 4, 8], [1, 3, 7]])


def test_long_curves_are_thinned_but_keep_their_ends() -> None:
    x = np.arange(10_001.0)
    curves = align([(x, x**2)], points=50)
    assert len(curves.x) == 50
    assert (curves.x[0], curves.x[-1]) == (0, 10_000)
    np.testing.assert_array_equal(curves.y[0], curves.x**2)


def test_curves_without_anything_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="no common range"):
        align([(np.arange(2.0), np.zeros(2)), (np.arange(5.0, 7), np.zeros(2))])
    with pytest.raises(ValueError, match="no finite point"):
        align([(np.arange(2.0), np.full(2, np.nan))])


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_pictures_are_written_whole(suffix: str, start: bytes, tmp_path: Path) -> None:
    curves = Curves(np.arange(1.0, 5.0), np.random.default_rng(0).uniform(1, 2, size=(3, 4)))
    out = tmp_path / "below" / f"picture{suffix}"
    assert (
        plot_curves({"a": curves}, out, "steps", "return", log_x=True, log_y=True, statistic=np.mean) == out
    )
    assert out.read_bytes().startswith(start)
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_other_formats_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    curves = Curves(np.arange(2.0), np.zeros((1, 2)))
    with pytest.raises(UserError, match=r"expected a name ending in \.png"):
        plot_curves({"a": curves}, tmp_path / "below" / "a.jpeg", "x", "y")
    assert not list(tmp_path.iterdir())
