"""Tables 3 and 4: the generator and the discriminator for 28x28 grey images."""

from torch import Tensor, nn

LATENT = 100


class FashionGenerator(nn.Module):
    """Table 3: latent (n, 100) in [-1, 1] -> image (n, 1, 28, 28) in [-1, 1].

    The batch norms follow the ReLU, as the table writes them.
    """

    latent_size = LATENT
    image_shape = (1, 28, 28)

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(LATENT, 1024),
            nn.ReLU(),
            nn.BatchNorm1d(1024),
            nn.Linear(1024, 128 * 7 * 7),
            nn.ReLU(),
            nn.BatchNorm1d(128 * 7 * 7),
        )
        self.conv = nn.Sequential(
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        image: Tensor = self.conv(self.fc(z).view(-1, 128, 7, 7))
        return image


class FashionDiscriminator(nn.Module):
    """Table 4: image (n, 1, 28, 28) in [-1, 1] -> logit (n,); D(x) is its sigmoid.

    The second convolution is read as (4, 4, 64, 128). With ``outputs`` the same trunk
    ends in that many values instead: the encoder used while a prior is trained.
    """

    def __init__(self, outputs: int = 1, width: int = 64) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(1, width, 4, stride=2, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
        )
        self.fc = nn.Sequential(
            nn.Linear(2 * width * 7 * 7, 16 * width),
            nn.LeakyReLU(0.2),
            nn.BatchNorm1d(16 * width),
            nn.Linear(16 * width, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv(x).flatten(1))
        return out.squeeze(1)
