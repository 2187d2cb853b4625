"""Training of a prior: resumed, killed, finished, all with networks of a few hundred weights."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mimicgan.errors import UserError
from mimicgan.models import ARCHITECTURES
from mimicgan.training import checkpoint
from mimicgan.training.gan import GanProgress, GanSettings, GanTraining
from tiny_gan import SETTINGS, TinyGenerator, pictures


class StoppedError(Exception):
    pass


def stop_after(step: int) -> Callable[[GanProgress], None]:
    def callback(progress: GanProgress) -> None:
        if progress.step == step:
            raise StoppedError

    return callback


def states(training: GanTraining) -> dict[str, Tensor]:
    """Every tensor of a run: networks, average, and both optimisers' moments."""
    found: dict[str, Tensor] = {}
    for part in ("generator", "discriminator", "encoder", "average"):
        for name, value in getattr(training, part).state_dict().items():
            found[f"{part}.{name}"] = value
    for part in ("generator_optimizer", "discriminator_optimizer"):
        for index, slot in getattr(training, part).state_dict()["state"].items():
            found |= {f"{part}.{index}.{name}": value for name, value in slot.items()}
    return found


def assert_same_run(a: GanTraining, b: GanTraining) -> None:
    left, right = states(a), states(b)
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> GanTraining:
    training = GanTraining(SETTINGS)
    training.run(pictures(), tmp_path_factory.mktemp("gan") / "state.pt", every=100)
    return training


@pytest.mark.parametrize("stop", [1, 3, 4, 7, 8])
def test_a_stopped_run_goes_on_to_the_same_result(
    tmp_path: Path, unbroken: GanTraining, stop: int
) -> None:
    """Stops between checkpoints (every second step), before and after the discriminator joins."""
    path = tmp_path / "state.pt"
    with pytest.raises(StoppedError):
        GanTraining(SETTINGS).run(pictures(), path, every=2, callback=stop_after(stop))
    assert path.exists() == (stop >= 2)
    torch.manual_seed(99)
    resumed = GanTraining(SETTINGS)
    seen: list[int] = []
    resumed.run(pictures(), path, every=2, callback=lambda progress: seen.append(progress.step))
    assert seen == list(range(stop - stop % 2 + 1, 10))
    assert_same_run(resumed, unbroken)


def test_a_finished_run_is_not_trained_again(tmp_path: Path, unbroken: GanTraining) -> None:
    unbroken.save(tmp_path / "state.pt")
    again = GanTraining(SETTINGS)
    generator = again.run(pictures(), tmp_path / "state.pt", callback=stop_after(1))
    assert_same_run(again, unbroken)
    expected = unbroken.finished_generator().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in generator.state_dict().items())


@pytest.mark.parametrize("change", [{"seed": 1}, {"ema": 0.5}, {"steps": 20}])
def test_other_settings_are_refused(
    tmp_path: Path, unbroken: GanTraining, change: dict[str, int]
) -> None:
    path = tmp_path / "state.pt"
    unbroken.save(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="other settings") as refusal:
        GanTraining(replace(SETTINGS, **change)).run(pictures(), path)
    assert str(path) in str(refusal.value)
    assert path.read_bytes() == content


def test_other_images_are_refused(tmp_path: Path, unbroken: GanTraining) -> None:
    path = tmp_path / "state.pt"
    unbroken.save(path)
    content = path.read_bytes()
    changed = pictures()
    changed[3, 0, 1, 2] ^= 1
    for images in (changed, pictures().flip(0), pictures()[:-1]):
        with pytest.raises(UserError, match="other images; give the same images") as refusal:
            GanTraining(SETTINGS).run(images, path)
        assert str(path) in str(refusal.value)
    assert path.read_bytes() == content
    # Resumed before the images are known, a run still belongs to them.
    again = GanTraining(SETTINGS)
    assert again.resume(path)
    again.save(path)
    with pytest.raises(UserError, match="other images"):
        GanTraining(SETTINGS).run(changed, path)
    state = torch.load(path, weights_only=True)
    del state["data"]
    torch.save(state, path)
    assert GanTraining(SETTINGS).run(changed, path) is not None


def test_another_seed_gives_another_run(tmp_path: Path, unbroken: GanTraining) -> None:
    other = GanTraining(replace(SETTINGS, seed=1))
    other.run(pictures(), tmp_path / "state.pt")
    assert not torch.equal(other.average.first.weight, unbroken.average.first.weight)


def test_finished_generators_statistics_are_those_of_its_activations(
    unbroken: GanTraining,
) -> None:
    finished = unbroken.finished_generator()
    assert isinstance(finished, TinyGenerator)
    assert not finished.training
    assert not any(p.requires_grad for p in finished.parameters())
    w = {name: value.double() for name, value in unbroken.average.state_dict().items()}
    draws = torch.Generator().manual_seed(SETTINGS.seed)
    z = torch.stack([torch.rand(250, 3, generator=draws) * 2 - 1 for _ in range(40)]).double()
    for layer, norm in (("first", "norm"), ("second", "norm2")):
        h = (z @ w[f"{layer}.weight"].T + w[f"{layer}.bias"]).clamp(min=0)
        measured = finished.state_dict()
        torch.testing.assert_close(
            measured[f"{norm}.running_mean"].double(), h.mean((0, 1)), rtol=0, atol=1e-5
        )
        torch.testing.assert_close(
            measured[f"{norm}.running_var"].double(), h.var(1).mean(0), rtol=1e-4, atol=1e-6
        )
        # While measuring, a batch is normalised by its own mean and variance.
        z = (h - h.mean(1, keepdim=True)) / (h.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        z = z * w[f"{norm}.weight"] + w[f"{norm}.bias"]
    # The weights are the average's, and the average's own statistics are left alone.
    assert torch.equal(finished.last.weight, unbroken.average.last.weight)
    assert not torch.equal(finished.norm.running_mean, unbroken.average.norm.running_mean)


def test_the_average_follows_the_generator_by_its_formula() -> None:
    training = GanTraining(replace(SETTINGS, ema=0.3))
    expected = training.generator.first.weight.detach().clone()
    for step in range(1, 7):
        training.update(pictures())
        # At first a young average: its decay grows as step / (step + 10) up to ema.
        decay = min(0.3, step / (step + 10))
        expected = decay * expected + (1 - decay) * training.generator.first.weight.detach()
    torch.testing.assert_close(training.average.first.weight, expected, rtol=1e-5, atol=1e-6)


def test_the_discriminator_waits_for_the_warmup_and_the_rates_follow_the_plan() -> None:
    training = GanTraining(replace(SETTINGS, steps=30, warmup=3, learning_rate=3e-4))
    start = training.discriminator.last.weight.detach().clone()
    rates = []
    for step in range(30):
        progress = training.update(pictures())
        rates.append(training.generator_optimizer.param_groups[0]["lr"])
        joined = step >= 3
        assert (progress.discriminator_loss > 0) == (progress.generator_loss > 0) == joined
        assert torch.equal(training.discriminator.last.weight, start) == (not joined)
    assert rates[:3] == [1e-3] * 3
    assert rates[3:20] == pytest.approx([3e-4] * 17)
    # Over the last third it falls in a line towards a tenth.
    falling = [3e-4 * (0.1 + 0.9 * (30 - step) / 10) for step in range(20, 30)]
    assert rates[20:] == pytest.approx(falling)


def test_training_learns_to_reproduce_the_pictures() -> None:
    training = GanTraining(replace(SETTINGS, steps=150, warmup=100, warmup_rate=1e-2))
    losses = [training.update(pictures()).reconstruction_loss for _ in range(150)]
    assert sum(losses[-10:]) / 10 < 0.4 * losses[0]


def test_a_plain_gan_is_the_case_without_reconstruction() -> None:
    training = GanTraining(replace(SETTINGS, warmup=0, reconstruction=0.0))
    encoder = training.encoder.last.weight.detach().clone()
    generator = training.generator.last.weight.detach().clone()
    progress = training.update(pictures())
    assert progress.reconstruction_loss == progress.divergence == 0
    assert torch.equal(training.encoder.last.weight, encoder)
    assert not torch.equal(training.generator.last.weight, generator)


def test_every_epoch_shows_each_picture_once_in_another_order() -> None:
    epochs = [
        torch.cat([checkpoint.batch_indices(20, 5, epoch * 4 + i, seed=3) for i in range(4)])
        for epoch in range(3)
    ]
    assert all(sorted(epoch.tolist()) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 3
    other = torch.cat([checkpoint.batch_indices(20, 5, i, seed=4) for i in range(4)])
    assert not torch.equal(other, epochs[0])


KILLED_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
from mimicgan.training.gan import GanTraining
from tiny_gan import SETTINGS, pictures

whole_write, saves = Path.write_bytes, 0

def write(path, content):
    global saves
    saves += 1
    if saves < 3:
        return whole_write(path, content)
    with open(path, "wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

Path.write_bytes = write
GanTraining(SETTINGS).run(pictures(), Path(sys.argv[1]), every=2)
"""


def test_killed_while_it_saves_a_run_keeps_its_last_checkpoint(
    tmp_path: Path, unbroken: GanTraining
) -> None:
    path = tmp_path / "state.pt"
    process = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(path)],
        env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL
    resumed = GanTraining(SETTINGS)
    assert resumed.resume(path)
    assert resumed.step == 4
    resumed.run(pictures(), path)
    assert_same_run(resumed, unbroken)


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert not GanTraining(SETTINGS).resume(tmp_path / "state.pt")


def test_the_shipped_recipe_names_an_architecture() -> None:
    assert GanSettings().architecture in ARCHITECTURES


def test_the_callers_random_numbers_stay_as_they_were(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    GanTraining(SETTINGS).run(pictures(), tmp_path / "state.pt")
    assert torch.equal(torch.get_rng_state(), before)


def test_fewer_pictures_than_a_batch_are_refused(tmp_path: Path) -> None:
    for batch, count in ((8, 7), (0, 7)):
        with pytest.raises(ValueError, match=f"batch of {batch} does not go with {count} images"):
            checkpoint.batch_indices(count, batch, 0, seed=0)
    assert checkpoint.batch_indices(8, 8, 0, seed=0).sort().values.tolist() == list(range(8))
    with pytest.raises(ValueError, match="batch of 8"):
        GanTraining(SETTINGS).run(pictures(7), tmp_path / "state.pt")


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise AssertionError('a pickle was run')",)


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path: Path, unbroken: GanTraining) -> None:
    path = tmp_path / "state.pt"
    unbroken.save(path)
    whole = path.read_bytes()
    half = len(whole) // 2
    flipped = whole[:half] + bytes([whole[half] ^ 255]) + whole[half + 1 :]
    state = torch.load(path, weights_only=True)
    contents: list[object] = [whole[:half], whole[:10], b"", b"nothing", b"\x80\x04."]
    contents += [Harmful(), [1, 2], {"settings": state["settings"]}, {**state, "step": "9"}]
    contents += [{**state, "generator": {}}, {**state, "generator_optimizer": {"state": {}}}]
    contents += [{k: v for k, v in state.items() if k != "encoder"}]
    for content in contents:
        path.unlink()
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(UserError, match="delete it to start anew") as caught:
            GanTraining(SETTINGS).resume(path)
        assert str(path) in str(caught.value)
    path.write_bytes(flipped)
    try:
        # A flip within the numbers is seen by the archive's own checksum.
        GanTraining(SETTINGS).resume(path)
    except UserError as error:
        assert str(path) in str(error)
