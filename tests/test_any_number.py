"""Any number of images is restored, in memory that does not grow with their number."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from image_cases import some
from mimicgan.commands.progress import watched
from mimicgan.damage import ComposedDamage
from mimicgan.images import to_internal, to_user
from mimicgan.mimic import Step
from mimicgan.models.restorer import Restorer
from mimicgan.presets import MIMICGAN
from mimicgan.prior import Prior
from mimicgan.restore import Method, Restoration, restore
from test_job import TINY

SHAPE = (1, 16, 16)
ONE = replace(MIMICGAN, iterations=1, latent_steps=1, surrogate_steps=1)


def restored(observed: Tensor, method: Method) -> tuple[Restoration, Prior]:
    """Images under the fewest steps that there can be, and the prior used, untrained."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(8, 256), nn.Tanh(), nn.Unflatten(1, SHAPE))
    prior = Prior(generator, 8, SHAPE, restorer=Restorer(SHAPE))
    return restore(observed, prior, replace(TINY, method=method, mimic=ONE)), prior


@pytest.mark.parametrize("count", [1, 2, 7, 25, 100, 1000])
@pytest.mark.parametrize("method", ["auto", "mimicgan"])
def test_any_number_is_restored(method: Method, count: int) -> None:
    observed = some((count, *SHAPE))
    result, prior = restored(observed, method)
    for images in (result.images, result.simulated):
        assert (images.shape, images.dtype) == (observed.shape, torch.float32)
        assert 0 <= images.min() <= images.max() <= 1
    # One for one with the observations: each is what its own latent, or the restorer, makes of it.
    if method == "mimicgan":
        assert result.latents is not None
        expected = prior.generator(result.latents)
    else:
        assert result.damage is not None
        # Of so few nothing is learnt; what the others teach is nothing that explains them, but for
        # what chance explains of seven and of a hundred.
        learnt = isinstance(result.surrogate, ComposedDamage)
        assert learnt == (count >= 4)
        assert (result.damage.restorer is prior.restorer) == (count not in (7, 100))
        assert (result.understood is None) == (count < 4)
        with torch.no_grad():
            expected = torch.cat([result.damage.restorer(y[None]) for y in to_internal(observed)])
    torch.testing.assert_close(result.images, to_user(expected), rtol=0, atol=1e-4)


def test_a_preview_keeps_to_the_first_images(tmp_path: Path) -> None:
    preview = tmp_path / "preview.png"
    told: list[tuple[int, bytes]] = []

    def see(step: Step) -> None:
        told.append((step.first, preview.read_bytes() if preview.exists() else b""))

    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(8, 256), nn.Tanh(), nn.Unflatten(1, SHAPE))
    observed = some((5, *SHAPE))
    settings = replace(TINY, method="pgd", pgd=replace(ONE, iterations=2), batch=3)
    show = watched(preview, observed, see, every=0.0)
    restore(observed, Prior(generator, 8, SHAPE), settings, callback=show)
    assert [first for first, _ in told if first] == [3] * (len(told) // 2)
    assert told[-1][1] == preview.read_bytes() != b""
    # That of the last update of the first part.
    assert next(content for first, content in told if first) == preview.read_bytes()


GROWTH = """
import re
from pathlib import Path
import torch
from image_cases import some
from test_any_number import SHAPE, restored

torch.set_num_threads(1)
# What needs less comes first: a peak stays.
for method in ("mimicgan", "auto"):
    for count in (500, 1000):
        restored(some((count, *SHAPE)), method)
        # Not getrusage, which counts the memory of the process that started this one.
        print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the peak")
def test_memory_does_not_grow_with_the_number() -> None:
    run = subprocess.run(
        [sys.executable, "-c", GROWTH],
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    peaks = [int(word) for word in run.stdout.split()]
    # The 500 images more are half a megabyte; what is made of them at once is not.
    assert peaks[1] - peaks[0] < 30
    assert peaks[3] - peaks[2] < 30
    assert peaks[3] < 900
