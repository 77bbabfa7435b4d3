"""What enters a functional environment from outside is checked once, in words."""

from dataclasses import dataclass

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dynrl.functional import FunctionalEnv, check_actions, require_functional
from dynrl.testing.worlds import PreciseRandomWalk, RandomWalk

SPACES = [
    spaces.Box(-1.0, 2.0, (2,), np.float32),
    spaces.Box(-np.inf, np.inf, (), np.float64),
    spaces.Box(0, 255, (2, 2), np.uint8),
    spaces.Discrete(5, start=-2),
    spaces.MultiDiscrete([3, 2], start=[1, 0]),
    spaces.MultiBinary(3),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_samples_of_a_space_are_its_actions(space):
    space.seed(0)
    batch = np.stack([np.asarray(space.sample()) for _ in range(20)])
    checked = check_actions(space, batch)
    np.testing.assert_array_equal(checked, batch)
    assert checked.dtype == space.dtype


_NUMBERS = st.sampled_from(
    [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_, np.complex64]
)
_ARRAYS = _NUMBERS.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=3)))


@pytest.mark.parametrize("space", SPACES, ids=str)
@given(actions=_ARRAYS)
def test_whatever_passes_is_in_the_space_and_nothing_else_does(space, actions):
    try:
        checked = check_actions(space, actions)
    except ValueError:
        return
    assert all(space.contains(row if row.shape else row[()]) for row in np.asarray(checked))
    np.testing.assert_allclose(checked.astype(float), actions.astype(float), rtol=1e-6)


@pytest.mark.parametrize("space", SPACES[:1] + SPACES[2:], ids=str)
def test_one_step_outside_names_environment_and_space(space):
    top = np.asarray(space.high if isinstance(space, spaces.Box) else _largest(space))
    batch = np.stack([top, top]).astype(np.int64 if top.dtype.kind != "f" else top.dtype)
    check_actions(space, batch)
    batch[1] += 1
    with pytest.raises(ValueError, match=r"environment 1\), expected"):
        check_actions(space, batch)


def _largest(space):
    if isinstance(space, spaces.Discrete):
        return space.start + space.n - 1
    return (
        space.start + space.nvec - 1 if isinstance(space, spaces.MultiDiscrete) else np.ones(space.shape, int)
    )


def test_other_spaces_need_a_check_of_their_own():
    with pytest.raises(NotImplementedError, match="override check_actions"):
        check_actions(spaces.Text(3), ["abc"])


def test_default_params_are_read_only_and_as_precise_as_the_world():
    for world, dtype in ((RandomWalk(), np.float32), (PreciseRandomWalk(), np.float64)):
        assert world.default_params["drift"].dtype == dtype
        with pytest.raises(ValueError, match="read-only"):
            world.default_params["drift"][0] = 1


def test_static_settings_compare_and_params_do_not():
    assert RandomWalk(limit=1.0) == RandomWalk(limit=2.0)
    assert hash(RandomWalk(limit=1.0)) == hash(RandomWalk(limit=2.0))
    assert RandomWalk(horizon=3) != RandomWalk(horizon=4)


def test_a_thawed_world_is_refused():
    @dataclass
    class Thawed(FunctionalEnv):
        horizon: int | None = 3

    with pytest.raises(TypeError, match=r"Thawed must be a frozen dataclass"):
        require_functional(Thawed())


def test_a_world_without_pictures_says_so():
    @dataclass(frozen=True)
    class Blind(FunctionalEnv):
        horizon: int | None = 3

    with pytest.raises(NotImplementedError, match="Blind offers no picture"):
        Blind().render_image(None)
