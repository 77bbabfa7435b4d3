"""Wolf–sheep–grass: the model in four variants, its sequential definition, and the environments."""

from dynrl.envs.digital_twins.wolf_sheep.control import (
    WolfSheepControl,
    WolfSheepControlParams,
    WolfSheepControlState,
    drawn_patient,
)
from dynrl.envs.digital_twins.wolf_sheep.model import (
    VARIANTS,
    WolfSheep,
    WolfSheepParams,
    WolfSheepState,
)
from dynrl.envs.digital_twins.wolf_sheep.picture import grid_image, grid_picture

__all__ = [
    "VARIANTS",
    "WolfSheep",
    "WolfSheepControl",
    "WolfSheepControlParams",
    "WolfSheepControlState",
    "WolfSheepParams",
    "WolfSheepState",
    "drawn_patient",
    "grid_image",
    "grid_picture",
]
