"""Priors and classifiers on disk."""

import errno
import json
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimicgan.errors import UserError
from mimicgan.models.classifier import FashionClassifier
from mimicgan.presets import MIMICGAN
from mimicgan.pretrained import (
    Card,
    load_card,
    load_classifier,
    load_prior,
    prior_shape,
    save_classifier,
    save_prior,
    shipped,
    word_for,
)
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore
from prior_cases import CARD, save_untrained, untrained_generator

WEIGHTS, JSON = "prior.safetensors", "prior.json"


def refused(path: Path | str | nn.Module, **own: object) -> str:
    with pytest.raises(UserError) as caught:
        load_prior(path, **own)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_saved_prior_comes_back_in_float32(tmp_path: Path) -> None:
    generator = save_untrained(tmp_path / "p")
    prior = load_prior(tmp_path / "p")
    assert (prior.name, prior.latent_size, prior.image_shape) == ("untrained", 100, (1, 28, 28))
    assert prior.box == (-1.0, 1.0)
    assert prior_shape(tmp_path / "p") == (1, 28, 28)
    assert load_card(tmp_path / "p") == CARD
    for name, value in prior.generator.state_dict().items():
        saved = generator.state_dict()[name]
        assert value.dtype == saved.dtype
        # Half precision keeps 11 bits, which is what makes the file half as long.
        torch.testing.assert_close(value, saved.half().to(saved.dtype), rtol=0, atol=0)
    z = prior.draw(5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.generator(z), generator(z), rtol=0, atol=5e-3)
    assert prior.discriminator is not None
    assert prior.restorer is not None
    assert prior.discriminator(prior.generator(z)).shape == (5,)
    assert prior.restorer(prior.generator(z)).shape == (5, 1, 28, 28)
    for module in (prior.generator, prior.discriminator, prior.restorer):
        assert not module.training
        assert not any(p.requires_grad for p in module.parameters())


def test_discriminator_restorer_and_box_are_optional(tmp_path: Path) -> None:
    save_untrained(tmp_path / "small", parts=False)
    small = load_prior(str(tmp_path / "small"))
    assert small.discriminator is None
    assert small.restorer is None
    save_prior(tmp_path / "boxed", CARD, untrained_generator(), box=(-0.5, 0.25))
    assert load_prior(tmp_path / "boxed").box == (-0.5, 0.25)


def test_values_beyond_half_precision_are_kept(tmp_path: Path) -> None:
    generator = untrained_generator()
    with torch.no_grad():
        generator.fc[2].running_var.fill_(1e6)
    save_prior(tmp_path, CARD, generator)
    assert load_prior(tmp_path).generator.fc[2].running_var[0] == 1e6  # type: ignore[index]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    save_untrained(folder, parts=False)
    whole, card = (folder / WEIGHTS).read_bytes(), (folder / JSON).read_text()

    tampered = bytearray(whole)
    tampered[-1] ^= 1
    (folder / WEIGHTS).write_bytes(tampered)
    assert "SHA-256 differs" in refused(folder)
    (folder / WEIGHTS).write_bytes(whole[:-100])
    assert "SHA-256 differs" in refused(folder)
    (folder / WEIGHTS).unlink()
    assert "copy or make it again" in refused(folder)
    (folder / WEIGHTS).write_bytes(whole)

    fields = json.loads(card)
    for changed, told in (
        ({**fields, "architecture": "tomorrow"}, "no architecture 'tomorrow'"),
        ({**fields, "latent_size": 7}, "no prior that this version can read"),
        ({**fields, "image_shape": [1, 32, 32]}, "no prior that this version can read"),
        ({**fields, "metrics": []}, "no prior that this version can read"),
        ({**fields, "name": ["x"]}, "no prior that this version can read"),
        ({**fields, "architecture": {}}, "no prior that this version can read"),
        ({**fields, "box": 3}, "no prior that this version can read"),
        ({k: v for k, v in fields.items() if k != "name"}, "no prior that this version can read"),
        ({k: v for k, v in fields.items() if k != "sha256"}, "SHA-256 differs"),
        ([], "no prior that this version can read"),
    ):
        (folder / JSON).write_text(json.dumps(changed))
        assert told in refused(folder)
    (folder / JSON).write_text("{")
    assert "no prior that this version can read" in refused(folder)
    (folder / JSON).unlink()
    assert "copy or make it again" in refused(folder)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_prior_that_cannot_be_written_anew_stays_as_it_was(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_prior(tmp_path, CARD, untrained_generator(), bank=torch.zeros(2, 100))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    written, write = 0, Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        nonlocal written
        written += 1
        if written == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_prior(tmp_path, replace(CARD, seed=4), untrained_generator(), bank=torch.ones(2, 100))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    save_prior(tmp_path, replace(CARD, seed=4), untrained_generator(), bank=torch.ones(2, 100))
    prior = load_prior(tmp_path)
    assert prior.bank is not None
    assert prior.bank.min() == 1


def test_a_false_card_takes_no_memory(tmp_path: Path) -> None:
    """A width of a million would be terabytes of weights; a resource limit makes it a crash."""
    from mimicgan.models.dcgan import DcganGenerator

    save_prior(tmp_path, Card("c", "dcgan"), DcganGenerator(8))
    fields = json.loads((tmp_path / JSON).read_text())
    assert fields["width"] == 8
    for changed in ({"width": 10**6}, {"width": 10**30}, {"image_shape": [3, 10**8, 10**8]}):
        (tmp_path / JSON).write_text(json.dumps({**fields, **changed}))
        assert "no prior that this version can read" in refused(tmp_path)


def test_loading_draws_no_random_numbers(tmp_path: Path) -> None:
    save_untrained(tmp_path)
    before = torch.get_rng_state()
    load_prior(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_prior_made_under_inference_mode_can_be_restored_with(tmp_path: Path) -> None:
    save_untrained(tmp_path / "saved")
    scripted(tmp_path / "own.pt")
    with torch.inference_mode():
        priors = [
            load_prior(tmp_path / "saved"),
            load_prior(tmp_path / "own.pt", **OWN),  # type: ignore[arg-type]
            Prior(Tiny(), 3, (1, 4, 6)),
        ]
        classifier = load_classifier()
    for prior in priors:
        y = torch.rand(2, *prior.image_shape)
        one = replace(MIMICGAN, iterations=1, latent_steps=1, surrogate_steps=1)
        assert restore(y, prior, Settings("mimicgan", mimic=one)).images.shape == y.shape
    x = torch.rand(2, 1, 28, 28, requires_grad=True)
    classifier(x).sum().backward()
    assert x.grad is not None


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    generator = untrained_generator()
    generator.extra = nn.Linear(2, 2)
    save_prior(tmp_path, CARD, generator)
    assert "no prior that this version can read" in refused(tmp_path)
    with pytest.raises(ValueError, match="no architecture"):
        save_prior(tmp_path, Card("x", "unknown"), generator)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    assert "there are: faces, fashion-mnist;" in refused("no-such-prior")
    assert refused("no/such").startswith("no/such does not exist; name a folder or a generator's")
    with pytest.raises(
        UserError, match="there are: fashion-mnist; name a folder or a classifier's"
    ):
        load_classifier("faces")
    (tmp_path / "file").write_text("x")
    assert "name the folder" in refused(tmp_path / "file")
    assert "does not exist" in refused(tmp_path / "gone.pt2")
    save_untrained(tmp_path / "p", parts=False)
    for own in ({"latent_size": 100}, {"box": (-1.0, 1.0)}, {"discriminator": nn.Identity()}):
        assert "leave them out" in refused(tmp_path / "p", **own)
    assert "leave them out" in refused("fashion-mnist", box=(-2.0, 2.0))


def test_a_folder_is_never_taken_for_a_shipped_prior(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("faces").mkdir()
    assert load_card("faces").name != CARD.name
    save_untrained(Path("faces"))
    assert "write ./faces for the latter" in refused("faces")
    assert word_for(Path("faces")) == "./faces"
    for own in ("./faces", "faces/", Path("faces"), tmp_path / "faces"):
        assert load_card(own) == CARD


class Tiny(nn.Module):
    """A user's own generator: latents (n, 3) -> images (n, 1, 4, 6)."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 24)
        self.scale = scale

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.linear(z)).view(-1, 1, 4, 6) * self.scale


class Double(Tiny):
    """What numpy's constants make of it."""

    def forward(self, z: Tensor) -> Tensor:
        return super().forward(z).double()


OWN = {"latent_size": 3, "image_shape": (1, 4, 6)}


def exported(path: Path, *, dynamic: bool = True) -> Path:
    shapes = {"z": {0: torch.export.Dim("n")}} if dynamic else None
    torch.export.save(
        torch.export.export(Tiny().eval(), (torch.zeros(2, 3),), dynamic_shapes=shapes), path
    )
    return path


def scripted(path: Path, scale: float = 1.0) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Tiny(scale).eval(), (torch.zeros(2, 3),)).save(str(path))
    return path


@pytest.mark.parametrize("form", ["pt2", "pt"])
def test_a_users_own_generator(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{form}"
    exported(path) if form == "pt2" else scripted(path)
    prior = load_prior(path, **OWN, box=(-2.0, 2.0))  # type: ignore[arg-type]
    assert (prior.name, prior.box, prior.discriminator) == ("mine", (-2.0, 2.0), None)
    z = prior.draw(5, torch.Generator().manual_seed(0)).requires_grad_(True)
    with prior.counted() as passes:
        images = prior.generator(z)
    torch.testing.assert_close(images, Tiny()(z))
    assert passes.images == 5
    images.square().sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    # As it goes to a worker of a cluster, which has no such file.
    path.unlink()
    sent = pickle.loads(pickle.dumps(prior))
    assert torch.equal(sent.generator(z), images)
    assert sent.sha256() == prior.sha256()
    other = load_prior(scripted(tmp_path / "other.pt", 0.5), **OWN, box=(-2.0, 2.0))  # type: ignore[arg-type]
    assert other.sha256() != prior.sha256()


class Judge(nn.Module):
    """Images (n, 1, 4, 6) -> logits (n,), or (n, 1)."""

    def __init__(self, *, flat: bool = True) -> None:
        super().__init__()
        self.linear, self.flat = nn.Linear(24, 1), flat

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x.flatten(1))
        return out[:, 0] if self.flat else out


class Talker(nn.Module):
    """Logits, and something beside them."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1).sum(dim=1), x


def test_a_users_own_module() -> None:
    generator, judge = Tiny().train(), Judge()
    own: dict[str, Any] = {**OWN, "box": (0.0, 2.0), "discriminator": judge}
    prior = load_prior(generator, **own)
    assert prior.generator is generator
    assert prior.discriminator is judge
    assert (prior.latent_size, prior.image_shape, prior.box) == (3, (1, 4, 6), (0.0, 2.0))
    assert not any(p.requires_grad for p in (*generator.parameters(), *judge.parameters()))
    assert not generator.training
    assert load_prior(Tiny(), **OWN).box == (-1.0, 1.0)  # type: ignore[arg-type]

    # As a JSON file has it.
    listed = load_prior(Tiny(), latent_size=3, image_shape=[1, 4, 6])  # type: ignore[arg-type]
    assert listed.image_shape == (1, 4, 6)
    assert "channels, height and width" in refused(Tiny(), latent_size=3, image_shape=(4, 6))

    untold = refused(Tiny())
    assert untold.startswith("Tiny does not tell its latent size")
    assert "--latent-size N --image-shape C H W" in untold
    assert "gives float64 instead of float32" in refused(Double(), **OWN)
    assert "Tiny fails on latents (1, 4)" in refused(Tiny(), latent_size=4, image_shape=(1, 4, 6))
    assert "instead of images" in refused(Tiny(), latent_size=3, image_shape=(1, 6, 4))
    assert "instead of [-1, 1]" in refused(Tiny(255.0), **OWN)
    assert "flatten" in refused(Tiny(), **OWN, discriminator=Judge(flat=False))
    assert "gives tuple instead of logits" in refused(Tiny(), **OWN, discriminator=Talker())
    assert "discriminator of Tiny fails" in refused(Tiny(), **OWN, discriminator=nn.Linear(2, 2))
    for box in ((1.0, -1.0), (0.0, 0.0), (float("nan"), 1.0)):
        assert "lower first" in refused(Tiny(), **OWN, box=box)
    program = torch.export.export(Tiny().eval(), (torch.zeros(2, 3),)).module()
    assert "save it to a file" in refused(program, **OWN)


def test_a_users_generator_is_checked(tmp_path: Path) -> None:
    good = scripted(tmp_path / "good.pt")
    assert "give both" in refused(good)
    assert "give both" in refused(good, latent_size=3)
    assert "fails on latents (1, 4)" in refused(good, latent_size=4, image_shape=(1, 4, 6))
    wrong = refused(good, latent_size=3, image_shape=(3, 4, 6))
    assert "gives (1, 1, 4, 6) instead of images (1, 3, 4, 6)" in wrong
    assert "instead of [-1, 1]" in refused(scripted(tmp_path / "bright.pt", 255.0), **OWN)
    assert "instead of [-1, 1]" in refused(scripted(tmp_path / "nan.pt", float("nan")), **OWN)
    fixed = exported(tmp_path / "fixed.pt2", dynamic=False)
    assert "dynamic first dimension" in refused(fixed, **OWN)


def test_pickles_and_damaged_programs_are_refused(tmp_path: Path) -> None:
    for name in ("a.pth", "a.ckpt", "a.bin", "a.pt"):
        torch.save(Tiny().state_dict(), tmp_path / name)
        told = refused(tmp_path / name, **OWN)
        assert "torch.export.save" in told
    (tmp_path / "b.pt").write_bytes(b"nothing")
    assert "torch.export.save" in refused(tmp_path / "b.pt", **OWN)
    path = exported(tmp_path / "cut.pt2")
    path.write_bytes(path.read_bytes()[:500])
    assert "cannot open" in refused(path, **OWN)


def test_a_classifier_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FashionClassifier().eval()
    card = Card("c", "fashion-classifier", metrics={"accuracy": 0.9})
    save_classifier(tmp_path, card, model)
    loaded = load_classifier(tmp_path)
    x = torch.rand(3, 1, 28, 28) * 2 - 1
    torch.testing.assert_close(loaded(x), model(x), rtol=0, atol=5e-3)
    assert not loaded.training
    assert load_card(tmp_path, "classifier") == card
    # Both kinds may share a folder.
    save_untrained(tmp_path, parts=False)
    assert load_prior(tmp_path).name == "untrained"
    content = (tmp_path / "classifier.safetensors").read_bytes()
    (tmp_path / "classifier.safetensors").write_bytes(content[:-1])
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_classifier(tmp_path)
    with pytest.raises(UserError, match="no classifier called"):
        load_classifier("nowhere")
    with pytest.raises(ValueError, match="no architecture"):
        save_classifier(tmp_path, CARD, model)


@pytest.mark.parametrize("name", shipped())
def test_shipped_priors_load(name: str) -> None:
    prior = load_prior(name)
    card = load_card(name)
    assert prior.discriminator is not None
    assert card.licence
    assert card.command


def test_import_stays_light() -> None:
    """Nothing heavier than torch, and nothing that only the commands need."""
    heavy = {"PIL", "rich", "tyro", "cv2", "matplotlib", "torchvision", "ray", "gradio", "skimage"}
    code = "import sys, mimicgan; print(*{m.partition('.')[0] for m in sys.modules})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    loaded = set(run.stdout.split())
    assert {"torch", "mimicgan"} <= loaded
    assert not heavy & loaded


def test_public_names() -> None:
    import mimicgan

    assert set(mimicgan.__all__) == {
        "Cleaner",
        "Prior",
        "Purified",
        "Restoration",
        "Settings",
        "__version__",
        "corrupt",
        "load_prior",
        "restore",
    }
    assert all(hasattr(mimicgan, name) for name in mimicgan.__all__)
