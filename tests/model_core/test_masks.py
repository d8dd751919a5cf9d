"""Growing masks."""

import pytest
import torch
from torch.nn import functional as F

from model_core.networks.masks import spread


@pytest.mark.parametrize("reach", [1, 2, 6])
def test_spread_takes_the_largest_value_around(reach: int) -> None:
    """As pooling computes it, also at the edges and for values between 0 and 1."""
    mask = torch.rand(2, 1, 9, 20) * (torch.rand(2, 1, 9, 20) < 0.2)
    assert torch.equal(spread(mask, reach), F.max_pool2d(mask, 2 * reach + 1, 1, reach))
