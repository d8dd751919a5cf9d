"""Small parts that both networks of the generator are made of."""

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """x + conv(relu(dilated conv(relu(x)))), without normalisation; starts as the identity.

    `hidden` is how many channels lie between the two convolutions; 0 = as many as around them.

    Pre-activation order of He et al., 2016 (arXiv 1603.05027). The second convolution starts at zero (Zhang
    et al., "Fixup", 2019, arXiv 1901.09321), which keeps deep stacks stable without batch statistics.
    """

    def __init__(self, channels: int, dilation: int = 1, hidden: int = 0) -> None:
        super().__init__()
        hidden = hidden or channels
        self.first = nn.Conv2d(channels, hidden, 3, padding=dilation, dilation=dilation)
        prepare_for_relu(self.first)
        self.second = silent_conv(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(F.relu(self.first(F.relu(x))))
        return x + change


class Upsample(nn.Module):
    """Enlarge to the size of `skip`, add it, and convolve: (B, C, h, w) + (B, D, 2h, 2w) -> (B, E, 2h, 2w).

    The 1x1 convolution runs at the smaller size, where it costs a quarter.
    """

    def __init__(self, channels: int, skip_channels: int, outputs: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, skip_channels, 1)
        self.merge = conv(skip_channels, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        enlarged = F.interpolate(self.narrow(x), scale_factor=2.0, mode="nearest")
        return F.relu(self.merge(enlarged + skip))


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution initialised for a following ReLU."""
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    prepare_for_relu(layer)
    return layer


def prepare_for_relu(layer: nn.Conv2d) -> None:
    """Draw the weights of a convolution that a ReLU follows."""
    # Without values there is nothing to draw, and torch would import half a computer algebra system to do it.
    if not layer.weight.is_meta:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


def silent_conv(inputs: int, outputs: int) -> nn.Conv2d:
    """A 3x3 convolution that gives zeros until it has learned something."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
