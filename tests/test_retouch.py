"""Retouching takes what all generated images have wrong out of them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.card import Card
from mimicgan.errors import UserError
from mimicgan.misfit import prior_mismatch
from mimicgan.models.dcgan import DcganGenerator
from mimicgan.models.retouch import Retouch
from mimicgan.pretrained import load_prior, save_prior
from mimicgan.prior import Prior
from mimicgan.training import herding

SHAPE = (3, 20, 24)


def pictures(count: int, seed: int) -> Tensor:
    """Bright and dark areas, some with sharp borders, on a ground that is brighter below."""
    g = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 3, 5, 6, generator=g)
    areas = functional.interpolate(coarse, scale_factor=4, mode="bilinear")
    areas = areas + 0.5 * areas.sign()
    ground = torch.linspace(-0.5, 0.5, 20).view(20, 1)
    return (0.5 * areas + ground).clamp(-1, 1)


def weak(x: Tensor) -> Tensor:
    """The same from a bad generator: flat, soft, noisy, and too bright."""
    g = torch.Generator().manual_seed(7)
    soft = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (0.7 * soft + 0.2 + 0.05 * torch.randn(x.shape, generator=g)).clamp(-1, 1)


class Weak(nn.Module):
    """Latents that number the pictures of a bad generator."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("made", weak(pictures(500, 1)))

    made: Tensor

    def forward(self, z: Tensor) -> Tensor:
        index = ((z[:, 0] + 1) / 2 * len(self.made)).long().clamp(0, len(self.made) - 1)
        return self.made[index]


def test_what_is_wrong_in_all_images_is_taken_out() -> None:
    made, real, held = weak(pictures(400, 1)), pictures(400, 2), pictures(200, 3)
    retouch = Retouch.fitted(made, real)
    other = weak(pictures(200, 4))
    retouched = retouch(other)
    g = torch.Generator().manual_seed(0)
    before, after = (prior_mismatch(held, x, g) for x in (other, retouched))
    assert after < 0.4 * before
    # Every picture is still its own, with its contrast back and more of its edges.
    clean = pictures(200, 4)
    assert (retouched - clean).square().mean() < 0.5 * (other - clean).square().mean()
    assert retouched.abs().max() <= 1
    assert torch.allclose(retouched.mean(dim=(0, 2, 3)), real.mean(dim=(0, 2, 3)), atol=0.03)


def test_images_that_are_right_stay_as_they_are() -> None:
    x = pictures(300, 1)
    assert torch.allclose(Retouch(SHAPE)(x), x, atol=1e-4)
    assert (Retouch.fitted(x, pictures(300, 2))(x) - x).square().mean() < 3e-3
    # Neither frequencies without power nor a single grey value end in what is no number.
    assert torch.equal(Retouch.fitted(torch.zeros_like(x), torch.zeros_like(x))(0 * x), 0 * x)


def test_a_prior_is_completed_by_what_images_held_out_are_nearer_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(herding, "herded", partial(herding.herded, count=200, draws=400))
    prior, real = Prior(Weak(), 2, SHAPE), pictures(300, 2)
    g = torch.Generator().manual_seed(0)
    completed = herding.with_typical(prior, real, g)
    assert completed.retouch is not None
    assert completed.bank is not None
    before = prior_mismatch(real, prior.sample(200, g), g)
    assert prior_mismatch(real, completed.typical(200, g), g) < 0.4 * before
    assert completed.mismatch < 0.4 * before
    # What the generator itself makes is left alone: latents are sought by it.
    assert completed.images_of(completed.bank[:5]).equal(prior.images_of(completed.bank[:5]))
    with pytest.raises(ValueError, match="give 10 or more"):
        herding.with_typical(prior, real[:9], g)


def test_a_prior_keeps_its_retouching_on_disk(tmp_path: Path) -> None:
    generator = DcganGenerator(4)
    shape = generator.image_shape
    retouch = Retouch(shape)
    retouch.greys.mul_(0.5)
    bank = torch.rand(6, generator.latent_size) * 2 - 1
    save_prior(tmp_path, Card("f", "dcgan"), generator, bank=bank, retouch=retouch)
    prior = load_prior(tmp_path)
    assert prior.retouch is not None
    typical = prior.typical(6, torch.Generator().manual_seed(0))
    assert 0 < typical.abs().max() <= 0.5
    without = replace(prior, retouch=None)
    again = without.typical(6, torch.Generator().manual_seed(0))
    assert torch.allclose(typical, again / 2, atol=2e-3)
    assert without.sha256() != prior.sha256()


def test_a_retouching_of_other_images_is_refused(tmp_path: Path) -> None:
    generator = DcganGenerator(4)
    bank = torch.zeros(2, generator.latent_size)
    save_prior(tmp_path, Card("f", "dcgan"), generator, bank=bank, retouch=Retouch(SHAPE))
    with pytest.raises(UserError, match="prior"):
        load_prior(tmp_path)
