"""Wolf–sheep–grass: the model in four variants, its sequential definition, and the environments."""

from dynrl.envs.digital_twins.wolf_sheep.model import (
    VARIANTS,
    WolfSheep,
    WolfSheepParams,
    WolfSheepState,
)

__all__ = ["VARIANTS", "WolfSheep", "WolfSheepParams", "WolfSheepState"]
