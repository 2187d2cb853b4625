"""DCGAN: shapes, widths, and the way to disk and back."""

from pathlib import Path

import pytest
import torch

from mimicgan.models.dcgan import DcganDiscriminator, DcganGenerator
from mimicgan.pretrained import Card, load_prior, save_prior
from mimicgan.training.gan import GanSettings, GanTraining


@pytest.mark.parametrize(("width", "size"), [(4, 16), (8, 64)])
def test_shapes_and_channels(width: int, size: int) -> None:
    generator = DcganGenerator(width, size).eval()
    image = generator(torch.zeros(2, 100))
    assert image.shape == (2, 3, size, size)
    assert image.abs().max() <= 1
    assert generator.fc.out_features == 16 * width * size // 8
    assert DcganDiscriminator(width=width, size=size)(image).shape == (2,)
    assert DcganDiscriminator(7, width, size)(image).shape == (2, 7)


@pytest.mark.parametrize("size", [8, 48])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        DcganGenerator(size=size)


def test_the_width_is_on_the_card_and_typical_images_come_from_the_bank(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = DcganGenerator(4).eval()
    bank = torch.rand(6, 100) * 2 - 1
    save_prior(tmp_path, Card("f", "dcgan"), generator, DcganDiscriminator(width=4), bank=bank)
    prior = load_prior(tmp_path)
    assert prior.image_shape == (3, 64, 64)
    typical = prior.typical(9, torch.Generator().manual_seed(0))
    assert len(typical) == 6
    wanted = prior.images_of(bank.half().float())
    apart = (typical[:, None] - wanted[None]).abs().flatten(2).amax(dim=2)
    assert (apart < 1e-5).sum().item() == 6
    (tmp_path / "bank.safetensors").write_bytes(b"other")
    with pytest.raises(Exception, match="SHA-256"):
        load_prior(tmp_path)


def test_a_step_of_training_at_a_chosen_width_mirrors_some_images() -> None:
    settings = GanSettings("dcgan", width=2, batch=4, warmup=1, steps=2, flip=True)
    training = GanTraining(settings)
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    for _ in range(2):
        training.update(images)
    assert training.generator.width == 2
    other = GanTraining(GanSettings("dcgan", width=2, batch=4, warmup=1, steps=2))
    other.update(images)
    assert not torch.equal(other.encoder.fc.weight, training.encoder.fc.weight)
