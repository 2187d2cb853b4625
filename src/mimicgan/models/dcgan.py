"""DCGAN (Radford et al. 2016) for colour images: the prior of section 4.1, at a chosen width."""

from torch import Tensor, nn

LATENT = 100
WIDTH = 32
"""Channels before the last layer; Radford's own networks have 128."""


def _stages(size: int) -> int:
    if size < 16 or size & (size - 1):
        raise ValueError(f"the size of a DCGAN is a power of two, 16 or more, not {size}")
    return size.bit_length() - 4


class DcganGenerator(nn.Module):
    """Latent (n, 100) in [-1, 1] -> image (n, 3, size, size) in [-1, 1].

    A projection to 4x4, then transposed convolutions that double the size and halve the channels,
    down to ``width`` before the last one. ValueError unless size is a power of two, 16 or more.
    """

    latent_size = LATENT

    def __init__(self, width: int = WIDTH, size: int = 64) -> None:
        super().__init__()
        self.width = width
        self.image_shape = (3, size, size)
        channels = width * 2 ** _stages(size)
        self.first = channels
        self.fc = nn.Linear(LATENT, channels * 16)
        layers: list[nn.Module] = [nn.BatchNorm2d(channels), nn.ReLU()]
        while channels > width:
            layers += [
                nn.ConvTranspose2d(channels, channels // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(channels // 2),
                nn.ReLU(),
            ]
            channels //= 2
        self.conv = nn.Sequential(
            *layers, nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1), nn.Tanh()
        )

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.conv(self.fc(z).view(-1, self.first, 4, 4))
        return image


class DcganDiscriminator(nn.Module):
    """Image (n, 3, size, size) in [-1, 1] -> logit (n,); D(x) is its sigmoid.

    With ``outputs`` the same trunk ends in that many values instead: the encoder used while a prior
    is trained.
    """

    def __init__(self, outputs: int = 1, width: int = WIDTH, size: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        channels = width
        for _ in range(_stages(size)):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(2 * channels),
                nn.LeakyReLU(0.2),
            ]
            channels *= 2
        self.conv = nn.Sequential(*layers)
        self.fc = nn.Linear(channels * 16, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).flatten(1))
        return out.squeeze(1)
