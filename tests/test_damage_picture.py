"""The picture of a learnt damage shows the parts that it uses, and no others."""

import numpy as np
import torch

from mimicgan.damage import ComposedDamage
from mimicgan.damage_picture import _sentences, damage_picture
from mimicgan.damage_picture import test_card as card_of

SHAPE = (1, 28, 28)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_more_parts_make_a_taller_picture() -> None:
    clean = torch.rand(4, *SHAPE, generator=seeded()) * 2 - 1
    plain = ComposedDamage(SHAPE).requires_grad_(False)
    first = damage_picture(plain, clean, seeded())
    with torch.no_grad():
        plain.curve.copy_(-plain.curve)
        plain.gain.fill_(-0.5)
        plain.sharpness.copy_(torch.tensor([0.3, 0.0, 0.3]))
    second = damage_picture(plain, clean, seeded())
    assert second.height > first.height + 128
    assert second.mode == "RGB"


def test_the_words_hold_the_numbers() -> None:
    damage = ComposedDamage(SHAPE).requires_grad_(False)
    damage.chance[0] = torch.tensor(0.7).logit()
    damage.value[0] = 0.0
    assert _sentences(damage, {"chance", "value"}) == ["replaced: 70% of pixels, by 0.50 of [0, 1]"]
    damage.rows[:3] = 4.0
    assert _sentences(damage, {"rows"})[0] == "stuck: 3 rows repeat another row"


def test_mixed_colours_are_told_and_are_those_that_come_out() -> None:
    clean = torch.rand(2, 3, 16, 16, generator=seeded()) * 0.4
    damage = ComposedDamage((3, 16, 16)).requires_grad_(False)
    plain = damage_picture(damage, clean, seeded())
    damage.colour.copy_(torch.tensor([[0.5, 0.0, 0.25], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))
    told = _sentences(damage, {"colour"})[0]
    assert told.endswith("red +0.50 +0.00 +0.25; green +0.00 -1.00 +0.00; blue +0.00 +0.00 +1.00")
    # The words go by rows: red is made of half the red and a quarter of the blue.
    red = 0.5 * clean[:, 0] + 0.25 * clean[:, 2]
    torch.testing.assert_close(damage(clean)[:, 0], red, rtol=0, atol=1e-3)
    assert damage_picture(damage, clean, seeded()).width > plain.width


def test_the_card_has_black_white_and_all_greys_between() -> None:
    for shape in (SHAPE, (3, 64, 64)):
        card = card_of(shape)
        assert card.shape == shape
        assert card.min() == -1
        assert card.max() == 1
        assert len(np.unique(card.numpy())) > 20
