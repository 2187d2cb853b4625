"""The hold-out list keeps its promises, and stays what it was when it was frozen."""

import hashlib
import math
from functools import cache

import pytest
import torch
from torch import Generator, Tensor

from mimicgan.experiments.unseen_corruptions import STRENGTHS, UNSEEN, corrupt_unseen

DAMAGES = [name for name in UNSEEN if name != "none"]
FIXED = [name for name in UNSEEN if not UNSEEN[name].per_image]
PER_IMAGE = [name for name in UNSEEN if UNSEEN[name].per_image]
# What each docstring says of its own draws, written a second time.
RANDOM_BUT_FIXED = {
    "uneven_lighting",
    "fixed_pattern_noise",
    "motion_blur",
    "dirt_on_lens",
    "tilt",
    "elastic_warp",
    "fixed_scratches",
}


def seeded(seed: int = 0) -> Generator:
    """A generator with this seed."""
    return torch.Generator().manual_seed(seed)


def garments(n: int, c: int = 1, height: int = 28, width: int = 28) -> Tensor:
    """Striped boxes on black, the same at every call: (n, c, h, w) in [0, 1]."""
    low, high, tone, pitch = torch.rand((4, n, c, 1, 1), generator=seeded(7))
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    inside = (y > 0.05 + 0.2 * low) & (y < 0.95 - 0.2 * high) & ((x - 0.5).abs() < 0.15 + 0.3 * low)
    stripes = 0.75 + 0.25 * torch.sin((10 + 20 * pitch) * (x + y))
    images: Tensor = inside * stripes * (0.3 + 0.7 * tone)
    return images


@cache
def change(name: str, strength: str) -> float:
    """Mean absolute change that a damage makes to the garments."""
    images = garments(24)
    return float((corrupt_unseen(name, strength, images, seeded()) - images).abs().mean())


def test_twenty_damages_and_the_control() -> None:
    assert len(UNSEEN) == 21
    assert all(entry.name == name and entry.description for name, entry in UNSEEN.items())
    assert STRENGTHS == ("low", "middle", "high")


def test_the_list_is_frozen() -> None:
    table = [(name, *map(float, entry.amounts)) for name, entry in UNSEEN.items()]
    assert hashlib.sha256(repr(table).encode()).hexdigest()[:16] == "236dc6264ee828b5", table


CHANGES = {
    "gamma": (0.0824, 0.1599, 0.1736),
    "low_contrast": (0.0443, 0.1329, 0.2658),
    "overexposure": (0.2164, 0.2974, 0.4795),
    "uneven_lighting": (0.0967, 0.1541, 0.1703),
    "gaussian_noise": (0.0545, 0.1073, 0.1974),
    "salt_and_pepper": (0.0209, 0.0613, 0.1492),
    "photon_noise": (0.0657, 0.1270, 0.1843),
    "fixed_pattern_noise": (0.0341, 0.0828, 0.1655),
    "motion_blur": (0.0404, 0.0745, 0.0953),
    "defocus_blur": (0.0328, 0.0639, 0.1019),
    "dirt_on_lens": (0.0374, 0.1176, 0.1940),
    "tilt": (0.0439, 0.0804, 0.1150),
    "elastic_warp": (0.0367, 0.0788, 0.1330),
    "row_jitter": (0.0274, 0.0840, 0.1363),
    "pixelation": (0.0364, 0.0708, 0.1090),
    "jpeg": (0.0524, 0.0846, 0.1200),
    "block_dropout": (0.0306, 0.1152, 0.2259),
    "fixed_scratches": (0.0217, 0.0526, 0.1574),
    "random_scratches": (0.0265, 0.0751, 0.1663),
    "occluding_square": (0.0522, 0.1433, 0.2270),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_functions_are_frozen(name: str) -> None:
    # The tolerance is for other releases of torch and of libjpeg, not for another function.
    assert [change(name, s) for s in STRENGTHS] == pytest.approx(CHANGES[name], abs=2e-3)


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("name", UNSEEN)
def test_shape_type_range_and_input_are_kept(name: str, strength: str) -> None:
    for shape in ((3, 1, 28, 28), (3, 3, 16, 21)):
        # A garment, all white and all black: clipping errors show at the ends of the range.
        images = garments(*shape)
        images[1], images[2] = 1, 0
        before = images.clone()
        damaged = corrupt_unseen(name, strength, images, seeded())
        assert damaged.shape == images.shape
        assert damaged.dtype == torch.float32
        assert 0 <= float(damaged.min()) <= float(damaged.max()) <= 1
        assert torch.equal(images, before)
        assert damaged.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("name", UNSEEN)
def test_a_seed_decides_the_damage(name: str) -> None:
    images = garments(4)
    first = corrupt_unseen(name, "middle", images, seeded(1))
    assert torch.equal(first, corrupt_unseen(name, "middle", images, seeded(1)))
    others = [corrupt_unseen(name, "middle", images, seeded(seed)) for seed in range(2, 6)]
    random = UNSEEN[name].per_image or name in RANDOM_BUT_FIXED
    assert any(not torch.equal(first, other) for other in others) == random


@pytest.mark.parametrize("name", DAMAGES)
def test_more_strength_moves_images_further(name: str) -> None:
    low, middle, high = (change(name, strength) for strength in STRENGTHS)
    assert 0 < low < middle < high


@pytest.mark.parametrize("strength", STRENGTHS)
def test_none_changes_nothing(strength: str) -> None:
    images = garments(3)
    assert torch.equal(corrupt_unseen("none", strength, images, seeded()), images)


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_damage_is_one_on_all_images(name: str) -> None:
    same = garments(1).expand(4, -1, -1, -1)
    damaged = corrupt_unseen(name, "middle", same, seeded())
    assert torch.allclose(damaged, damaged[:1], atol=1e-6)
    # However many images a call has, the damage is the same.
    alone = corrupt_unseen(name, "middle", same[:1], seeded())
    assert torch.allclose(damaged[:1], alone, atol=1e-6)


@pytest.mark.parametrize("name", PER_IMAGE)
def test_a_damage_per_image_differs_between_images(name: str) -> None:
    damaged = corrupt_unseen(name, "middle", garments(1).expand(3, -1, -1, -1), seeded())
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(damaged[i], damaged[j])


def test_hand_solved_tones() -> None:
    grey = torch.full((1, 1, 16, 16), 0.5)
    for name, expected in (
        ("gamma", 0.5**2),
        ("low_contrast", 0.51),
        ("overexposure", 1.0),
        # Flat pictures stay flat under whatever only mixes or moves neighbours.
        ("motion_blur", 0.5),
        ("defocus_blur", 0.5),
        ("elastic_warp", 0.5),
        ("row_jitter", 0.5),
        ("pixelation", 0.5),
    ):
        damaged = corrupt_unseen(name, "low", grey, seeded())
        assert torch.allclose(damaged, torch.full_like(grey, expected), atol=1e-6), name
    compressed = corrupt_unseen("jpeg", "middle", grey, seeded())
    assert float(compressed.std()) == 0


def test_noise_has_the_stated_moments() -> None:
    grey = torch.full((4, 1, 128, 128), 0.5)
    noisy = UNSEEN["gaussian_noise"].function(grey, 0.1, seeded())
    assert float(noisy.std()) == pytest.approx(0.1, rel=0.02)
    counts = UNSEEN["photon_noise"].function(grey, 0.02, seeded())
    assert float(counts.mean()) == pytest.approx(0.5, abs=0.003)
    # A Poisson variable's variance is its mean, here (0.5 + 0.1) / 0.02 photons of height 0.02.
    assert float(counts.var()) == pytest.approx(0.6 * 0.02, rel=0.03)
    salted = UNSEEN["salt_and_pepper"].function(grey, 0.2, seeded())
    assert float((salted == 1).float().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((salted == 0).float().mean()) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize(("name", "reach"), [("motion_blur", 0.35 / 2), ("defocus_blur", 0.12)])
def test_a_blurred_point_keeps_its_light_and_spreads_as_far_as_stated(
    name: str, reach: float
) -> None:
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    blurred = corrupt_unseen(name, "middle", point, seeded())
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    spread = [math.hypot(y - 20, x - 20) for _, _, y, x in blurred.nonzero().tolist()]
    assert max(spread) == pytest.approx(reach * 41, abs=1.01)


def test_a_square_covers_the_stated_area_and_blocks_their_share() -> None:
    white = torch.ones(40, 1, 28, 28)
    covered = corrupt_unseen("occluding_square", "middle", white, seeded()) < 1
    assert covered.sum(dim=(1, 2, 3)).tolist() == [round(0.6 * 28) ** 2] * 40
    lost = corrupt_unseen("block_dropout", "middle", white, seeded()) == 0.5
    assert float(lost.float().mean()) == pytest.approx(0.3, abs=0.03)
    assert all(
        rows.all() or not rows.any() for rows in lost.unfold(2, 4, 4).unfold(3, 4, 4)[0, 0, 0]
    )


def test_a_tilt_keeps_the_centre_and_turns_the_rest() -> None:
    images = torch.zeros(1, 1, 41, 41)
    images[..., 20, :] = 1
    tilted = corrupt_unseen("tilt", "middle", images, seeded())[0, 0]
    assert float(tilted[20, 20]) == pytest.approx(1, abs=1e-4)
    # The old row lies where sin(t) u + cos(t) v = 0, with u = x + t / 2 y sheared first.
    turn = 0.45
    column = 30
    rise = 10 * math.sin(turn) / (math.cos(turn) + turn / 2 * math.sin(turn))
    brightest = abs(int(tilted[:, column].argmax()) - 20)
    assert brightest == pytest.approx(rise, abs=1)


def test_unknown_names_and_wrong_images_are_refused() -> None:
    images = garments(1)
    with pytest.raises(KeyError, match="choose one of none, gamma"):
        corrupt_unseen("rain", "low", images, seeded())
    with pytest.raises(KeyError, match="choose one of low, middle, high"):
        corrupt_unseen("gamma", "extreme", images, seeded())
    for wrong in (images[0], images.double(), images[..., :15]):
        with pytest.raises(ValueError, match="images must be float32"):
            corrupt_unseen("gamma", "low", wrong, seeded())
    for wrong in (images * 2, images - 1, images * math.nan):
        with pytest.raises(ValueError, match=r"images must lie in \[0, 1\]"):
            corrupt_unseen("gamma", "low", wrong, seeded())
