"""The generator's configuration: round trip and refusals."""

from typing import Any

import pytest

from model_core.config import GeneratorConfig
from model_core.errors import ConfigError


@pytest.mark.parametrize("config", [GeneratorConfig(), GeneratorConfig.tiny()])
def test_round_trip(config: GeneratorConfig) -> None:
    """A configuration survives its JSON form."""
    assert GeneratorConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"depth": 3}, "depth"),
        ({"coarse_width": 0}, "coarse_width is 0"),
        ({"coarse_width": 10**9}, "coarse_width"),
        ({"refine_width": "48"}, "refine_width is '48'"),
        ({"refine_blocks": True}, "refine_blocks is True"),
        ({"refine_blocks": 0}, "refine_blocks is 0; expected an integer, 1 to"),
        ({"refine_hidden": -1}, "refine_hidden is -1; expected an integer, 0 to"),
        ({"patch_size": 4}, "patch_size is 4"),
        ({"patch_size": 99}, "patch_size is 99"),
    ],
)
def test_refusals_name_the_field_and_its_value(values: dict[str, Any], names: str) -> None:
    """What cannot be built is refused before anything is allocated."""
    with pytest.raises(ConfigError, match=names):
        GeneratorConfig.from_dict(values)
