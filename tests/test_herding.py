"""Kernel herding: the chosen latents make images like the real ones."""

import pytest
import torch

from mimicgan.prior import Prior
from mimicgan.set_distance import SetDistance, random_corners
from mimicgan.training.herding import herded


class Stripe(torch.nn.Module):
    """The first latent sets the brightness of the left half."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        x = torch.full((len(z), 1, 12, 12), -0.5)
        x[..., :6] = z[:, :1, None, None].expand(-1, 1, 12, 6)
        return x


def test_the_chosen_ones_follow_the_real_images() -> None:
    prior = Prior(Stripe(), 3, (1, 12, 12))
    g = torch.Generator().manual_seed(0)
    z = prior.draw(600, g)
    real = prior.images_of(torch.cat([z[:, :1].abs() ** 2, z[:, 1:]], dim=1))
    bank = herded(prior, real[:300], g, count=60, draws=400)
    assert bank.shape == (60, 3)
    assert len(bank.unique(dim=0)) == 60
    distance = SetDistance(real[300:], random_corners((1, 12, 12), g))
    assert distance(prior.images_of(bank)) < 0.2 * distance(prior.sample(300, g))
    # The mean of a squared uniform number.
    assert abs(bank[:, 0].mean() - 1 / 3) < 0.05


def test_one_image_shows_no_distribution() -> None:
    prior = Prior(Stripe(), 3, (1, 12, 12))
    with pytest.raises(ValueError, match="give 2 or more"):
        herded(prior, torch.zeros(1, 1, 12, 12), torch.Generator())
