"""The restorer: from a damaged image straight to a clean one."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Restorer(nn.Module):
    """Damaged images (n, c, h, w) in [-1, 1] -> clean ones, of the shape it was made for.

    Strided convolutions down to about 7x7, a wide bottleneck that sees the whole image, and the way
    back with sums from the way down. The observation itself joins the last convolution, so that
    light damage leaves what was whole untouched. Sides below 12, or that 4 does not divide, are
    padded inside.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], width: int = 24, hidden: int = 640
    ) -> None:
        super().__init__()
        channels, height, breadth = image_shape
        self.image_shape = image_shape
        self.below, self.right = (max(-side % 4, 12 - side) for side in (height, breadth))
        height, breadth = height + self.below, breadth + self.right
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        before, after = channels, width
        while height % 2 == 0 and breadth % 2 == 0 and height > 8:
            down.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
            up.append(nn.ConvTranspose2d(after, before if up else width, 4, stride=2, padding=1))
            before, after = after, min(2 * after, 96)
            height, breadth = height // 2, breadth // 2
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(reversed(up))
        inner = before * height * breadth
        self.inward = nn.Linear(inner, hidden)
        self.mixing = nn.Sequential(
            nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU()
        )
        self.outward = nn.Linear(hidden, inner)
        self.last = nn.Conv2d(width + channels, channels, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        if self.below or self.right:
            y = functional.pad(y, (0, self.right, 0, self.below), mode="replicate")
        kept, x = [], y
        for layer in self.down:
            x = torch.relu(layer(x))
            kept.append(x)
        hidden = self.inward(x.flatten(1))
        hidden = hidden + self.mixing(hidden)
        x = torch.relu(self.outward(hidden).view_as(x) + x)
        kept.pop()
        for layer in self.up:
            x = layer(x)
            x = torch.relu(x + kept.pop() if kept else x)
        # As one convolution of both, whose odd number of channels would take three times as long.
        weight, width = self.last.weight, x.shape[1]
        out = functional.conv2d(x, weight[:, :width], self.last.bias, padding=1)
        out = out + functional.conv2d(y, weight[:, width:], padding=1)
        out = out[..., : self.image_shape[1], : self.image_shape[2]]
        # A soft clamp keeps a gradient where the output overshoots.
        return torch.where(out.abs() <= 1, out, out.sign() + 0.01 * (out - out.sign()))
