"""From nothing to all."""

from torch import Tensor


def ramp(value: Tensor, limits: tuple[float, float]) -> Tensor:
    """0 up to the first limit, 1 from the second on, in between as `value` rises."""
    first, last = limits
    return ((value - first) / (last - first)).clamp(0, 1)
