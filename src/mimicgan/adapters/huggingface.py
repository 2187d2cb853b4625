"""Hugging Face hub: priors that others can name, as ``hf-hub:ORG/NAME`` or here.

What travels is the folder that ``save_prior`` writes, safetensors and a card with their SHA-256,
which are checked after a download; no pickle is ever fetched.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mimicgan.errors import UserError, needed
from mimicgan.files import write_together
from mimicgan.pretrained import BANK, HUB, Card, load_card, load_prior, prior_folder
from mimicgan.prior import Prior

README = "README.md"
PRIOR_FILES = ("prior.json", "prior.safetensors", BANK)
FETCHED = (*PRIOR_FILES, "classifier.json", "classifier.safetensors")


def from_pretrained(
    name_or_path: Path | str,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Prior:
    """The prior in a local folder, or in the repository ORG/NAME of the hub.

    ``revision`` is a branch, a tag or a commit; ``local_files_only`` takes what was fetched before.
    Raises UserError when it cannot be had, is damaged, or is no prior.
    """
    if Path(name_or_path).is_dir():
        return load_prior(name_or_path)
    return load_prior(
        fetched(
            str(name_or_path).removeprefix(HUB),
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
    )


def save_pretrained(name_or_path: Path | str, folder: Path | str) -> None:
    """Write the prior called so, with a model card, to a folder that ``from_pretrained`` reads.

    Raises UserError when there is no such prior, or it is damaged.
    """
    # Read once, so that nothing damaged is passed on.
    load_prior(name_or_path)
    source, card = prior_folder(name_or_path), load_card(name_or_path)
    contents = {
        name: (source / name).read_bytes() for name in PRIOR_FILES if (source / name).exists()
    }
    contents[README] = _model_card(card).encode()
    write_together(Path(folder), contents)


def push_to_hub(
    name_or_path: Path | str,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Upload the prior called so to the repository ORG/NAME, made if need be; the commit's address.

    Raises UserError when it cannot be done.
    """
    hub = needed("huggingface_hub", "hub")
    with TemporaryDirectory() as folder:
        save_pretrained(name_or_path, folder)
        try:
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                revision=revision,
                commit_message="Upload a prior of mimicgan",
            )
        except Exception as error:
            raise UserError(
                f"cannot upload to {repo_id} ({_reason(error)}); check the name, the network and "
                "your access (hf auth login)"
            ) from error
    return str(done.commit_url)


def fetched(name: str, *, revision: str | None = None, **how: Any) -> Path:
    """The folder in the hub's cache with the files of ORG/NAME or ORG/NAME@REVISION.

    Raises UserError.
    """
    hub = needed("huggingface_hub", "hub")
    repo_id, _, asked = name.partition("@")
    try:
        return Path(
            hub.snapshot_download(
                repo_id, revision=revision or asked or None, allow_patterns=list(FETCHED), **how
            )
        )
    # The hub's errors and those of its transport have no class in common.
    except Exception as error:
        raise UserError(
            f"cannot get {name} from the hub ({_reason(error)}); check the name, the network and "
            "your access (hf auth login), or download it and give the folder"
        ) from error


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _model_card(card: Card) -> str:
    hub = needed("huggingface_hub", "hub")
    plain = card.licence.lower()
    facts = hub.ModelCardData(
        license=plain if plain in ("mit", "apache-2.0", "cc0-1.0", "cc-by-4.0") else "other",
        library_name="mimicgan",
        pipeline_tag="image-to-image",
        tags=["image-restoration", "blind", "gan"],
    )
    measured = "".join(f"- {name}: {value}\n" for name, value in card.metrics.items())
    return f"""---
{facts.to_yaml()}
---

# {card.name}

A prior for [mimicgan](https://arxiv.org/abs/1811.08484): a generator of clean images, with what is
needed to restore images from an unknown damage that they share.

```python
import mimicgan

prior = mimicgan.load_prior("{HUB}ORG/NAME")  # this repository's name
result = mimicgan.restore(observed, prior)
```

- trained on: {card.data or "not stated"}
- terms of the weights: {card.licence or "not stated"}
- architecture: {card.architecture}
- made by: `{card.command or "not stated"}`, seed {card.seed}
{measured}"""
