"""What a field makes of a picture, and how it is carried from scale to scale."""

import torch
from torch.nn import functional as F

from model_core.networks.fields import copy_along, enlarged
from model_core.networks.pyramid import doubled


def test_enlarged_pixels_keep_their_offset() -> None:
    """Those of a block of 2x2 pixels lie beside each other where they come from, too."""
    torch.manual_seed(0)
    field = torch.stack([torch.randint(6, (48,)), torch.randint(8, (48,))]).int()
    large = enlarged(field, (6, 8)).view(2, 12, 16)
    for row in range(12):
        for column in range(16):
            source = field.view(2, 6, 8)[:, row // 2, column // 2]
            expected = 2 * source + torch.tensor([row % 2, column % 2])
            assert large[:, row, column].tolist() == expected.tolist()


def test_a_hole_is_filled_along_the_field() -> None:
    """With what is known there, else with what stands for it; the correction is enlarged bilinearly, and the
    distance as it is. What is known stays.
    """
    torch.manual_seed(0)
    image, otherwise, known = torch.rand(1, 3, 12, 16), torch.rand(1, 3, 12, 16), torch.ones(1, 1, 12, 16)
    known[..., 2:9, 5:] = known[..., 11:, :3] = 0
    field = torch.stack([torch.randint(12, (192,)), torch.randint(16, (192,))]).int()
    correction, distance = torch.rand(1, 3, 6, 8), torch.rand(1, 1, 6, 8)

    made = copy_along(field, image, known, otherwise, correction, distance)

    rows, columns = field.long().view(2, 12, 16)
    there = torch.where(known[..., rows, columns] > 0, image[..., rows, columns], otherwise)
    copied = torch.where(known > 0, image, there)
    torch.testing.assert_close(made.copied, copied)
    torch.testing.assert_close(made.fitted, copied + doubled(correction) * (1 - known))
    enlarged_distance = F.interpolate(distance, scale_factor=2.0, mode="nearest")
    torch.testing.assert_close(made.distance, enlarged_distance * (1 - known))
