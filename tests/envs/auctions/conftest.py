"""What the tests of several auction environments need."""

import numpy as np
import pytest

from dynrl.envs.auctions.face import BiddingGymnasiumEnv
from dynrl.faces.gymnasium_env import GymnasiumEnv
from dynrl.testing.comparison import difference


@pytest.fixture
def assert_faces_agree():
    """A function that plays a world with random actions through its Python face and through the compiled one."""

    def assert_faces_agree(world, steps):
        """Observation, reward, flags, info and stored state: the same, whatever is asked for on the way."""
        ours, theirs = BiddingGymnasiumEnv(world), GymnasiumEnv(world)
        rng = np.random.default_rng(0)
        assert difference(ours.reset(seed=3), theirs.reset(seed=3)) is None
        for step in range(steps):
            action = {
                "bid": lambda: rng.uniform(0, min(120, world.delta_max), 1).astype(np.float32),
                "discrete": lambda: int(rng.integers(0, 120)),
                "multiplier": lambda: rng.uniform(0, 30_000, 1).astype(np.float32),
            }[world.action]()
            mine, reference = ours.step(action), theirs.step(action)
            info = reference[4]
            seen = info.pop("market_price_seen")
            if not seen:
                info.pop("market_price")
            if not (reference[2] or reference[3]):
                info.pop("totals")
            assert difference(mine[:4], reference[:4]) is None
            found = difference(
                mine[4], info, dtypes=False
            )  # the compiled price is a float, for the NaN of a loss
            assert found is None, f"step {step}: {found}"
            if step % 37 == 5:
                stored = ours.state_dict()
                assert difference(stored, theirs.state_dict()) is None
                ours = BiddingGymnasiumEnv(world)
                ours.load_state_dict(stored)
            if reference[2] or reference[3] or step == 100:
                assert difference(ours.reset(), theirs.reset()) is None

    return assert_faces_agree
