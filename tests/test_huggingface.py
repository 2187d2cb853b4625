"""Priors of the Hugging Face hub: all of it local, no network."""

import errno
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cli_cases import listing
from mimicgan.errors import UserError
from mimicgan.pretrained import load_card, load_prior, prior_shape
from prior_cases import CARD

hub = pytest.importorskip("huggingface_hub")

from mimicgan.adapters.huggingface import (  # noqa: E402
    from_pretrained,
    push_to_hub,
    save_pretrained,
)

FILES = ["README.md", "prior.json", "prior.safetensors"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, prior_folder: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache after a download of someone/untrained, and no network."""
    cache = tmp_path / "cache"
    repository = cache / "models--someone--untrained"
    save_pretrained(prior_folder, repository / "snapshots" / COMMIT)
    for name in ("main", "v1"):
        ref = repository / "refs" / name
        ref.parent.mkdir(exist_ok=True)
        ref.write_text(COMMIT)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_a_prior_is_saved_with_its_card_and_comes_back(tmp_path: Path, prior_folder: str) -> None:
    save_pretrained(prior_folder, tmp_path / "mine")
    assert listing(tmp_path / "mine") == FILES
    back, wanted = from_pretrained(tmp_path / "mine"), load_prior(prior_folder)
    z = wanted.draw(3, torch.Generator().manual_seed(0))
    assert torch.equal(back.images_of(z), wanted.images_of(z))
    assert back.discriminator is not None
    assert back.restorer is not None
    card = hub.ModelCard.load(tmp_path / "mine" / "README.md")
    assert (card.data.license, card.data.library_name) == ("mit", "mimicgan")
    assert f"- terms of the weights: {CARD.licence}\n" in card.text
    assert "- psnr: 1.5\n" in card.text


def test_a_bank_travels_and_foreign_terms_are_other(tmp_path: Path) -> None:
    save_pretrained("faces", tmp_path / "faces")
    assert listing(tmp_path / "faces") == sorted([*FILES, "bank.safetensors"])
    assert from_pretrained(tmp_path / "faces").bank is not None
    card = hub.ModelCard.load(tmp_path / "faces" / "README.md")
    assert card.data.license == "other"
    assert "non-commercial" in card.text


def test_a_prior_that_cannot_be_saved_anew_stays_as_it_was(
    tmp_path: Path, prior_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(prior_folder, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.suffix == ".md":
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        save_pretrained("fashion-mnist", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_repository_is_named_with_hf_hub(cache: Path, prior_folder: str) -> None:
    wanted = load_prior(prior_folder)
    z = wanted.draw(2, torch.Generator().manual_seed(0))
    for name in ("hf-hub:someone/untrained", "hf-hub:someone/untrained@v1"):
        assert torch.equal(load_prior(name).images_of(z), wanted.images_of(z))
    assert load_card("hf-hub:someone/untrained") == CARD
    assert prior_shape("hf-hub:someone/untrained") == (1, 28, 28)
    here: dict[str, Any] = {"cache_dir": cache, "local_files_only": True}
    assert from_pretrained("someone/untrained", **here).name == "untrained"
    assert from_pretrained("someone/untrained", revision="v1", **here).name == "untrained"


def test_what_cannot_be_had_is_told_in_a_line(cache: Path) -> None:
    for name in ("someone/else", "someone/untrained@v2", "no name", "../x"):
        with pytest.raises(UserError, match="give the folder") as caught:
            load_prior(f"hf-hub:{name}")
        assert "\n" not in str(caught.value)
    weights = next(cache.rglob("prior.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match="SHA-256 differs"):
        load_prior("hf-hub:someone/untrained")
    with pytest.raises(UserError, match="SHA-256 differs"):
        save_pretrained(weights.parent, cache / "again")
    assert not (cache / "again").exists()


def test_uploading_sends_the_same_folder(
    prior_folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            sent["token"] = token

        def create_repo(self, repo_id: str, **how: object) -> None:
            sent["made"] = (repo_id, how["private"])

        def upload_folder(self, *, folder_path: str, **how: Any) -> SimpleNamespace:
            sent["files"] = listing(Path(folder_path))
            sent["loads"] = load_prior(folder_path).name
            if how["revision"] == "gone":
                raise RuntimeError("no such branch\nat all")
            return SimpleNamespace(commit_url="somewhere")

    monkeypatch.setattr(hub, "HfApi", Api)
    assert push_to_hub(prior_folder, "someone/new", private=True, token="t") == "somewhere"
    assert sent == {
        "token": "t",
        "made": ("someone/new", True),
        "files": FILES,
        "loads": "untrained",
    }
    with pytest.raises(UserError, match=r"someone/new \(no such branch\)"):
        push_to_hub(prior_folder, "someone/new", revision="gone")


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"mimicgan\[hub\]"):
        load_prior("hf-hub:someone/untrained")
