"""The generator's architecture as numbers: the part of a checkpoint that rebuilds the network."""

from __future__ import annotations

import dataclasses
from typing import Any

from model_core.errors import ConfigError

# Fields that may be 0, which means what follows from others.
OPTIONAL = ("coarse_hidden", "refine_hidden", "refine_last")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of the generator. Every field is stored in checkpoints and checked when they are loaded.

    Attributes:
        coarse_width: channels of the coarse network at 1/4 scale; 1/8 and 1/16 have 3 and 5 times as many.
        coarse_blocks: dilated residual blocks of the coarse network, at 1/16 scale.
        coarse_hidden: channels between the two convolutions of such a block; 0 = as many as around it.
        refine_width: channels of the refinement network at 1/2 scale; 1/4 and 1/8 have 2 and 4 times as many.
        refine_blocks: residual blocks of the refinement network, at 1/8 scale.
        refine_hidden: channels between the two convolutions of such a block; 0 = as many as around it.
        refine_last: channels at 1/2 scale that the colours are made from; 0 = `refine_width`.
        patch_size: side in pixels (odd) of the patches that the matcher compares.
        coarse_passes: rounds of exhaustive matching at 1/16 scale.
    """

    coarse_width: int = 32
    coarse_blocks: int = 6
    coarse_hidden: int = 0
    refine_width: int = 48
    refine_blocks: int = 8
    refine_hidden: int = 0
    refine_last: int = 0
    patch_size: int = 5
    coarse_passes: int = 2

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in OPTIONAL else 1
            if type(value) is not int or not least <= value <= 1024:
                raise ConfigError(
                    f"generator field {field.name} is {value!r}; expected an integer, {least} to 1024"
                )
        if self.patch_size % 2 == 0 or self.patch_size > 15:
            raise ConfigError(f"generator field patch_size is {self.patch_size}; expected odd, at most 15")

    @property
    def size_multiple(self) -> int:
        """Height and width of the generator's input must be multiples of this many pixels.

        The networks need 16; with 32, the seams between copies are solved on grids that halve once more.
        """
        return 32

    @classmethod
    def tiny(cls) -> GeneratorConfig:
        """The smallest real generator: for tests and rehearsals."""
        return cls(coarse_width=4, coarse_blocks=1, refine_width=4, refine_blocks=1, patch_size=3)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GeneratorConfig:
        """Build from `to_dict`'s result.

        Raises:
            ConfigError: a field is unknown, or its value is out of range or of another type.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigError(
                f"unknown generator field(s) {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            )
        return cls(**values)
