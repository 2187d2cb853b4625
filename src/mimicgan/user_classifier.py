"""A user's own classifier: any failure of it, and what is no logits, becomes one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from mimicgan.errors import UserError
from mimicgan.images import to_user
from mimicgan.prior import Prior


class _Exported(nn.Module):
    """A module with a program of torch.export in it, which refuses eval() and train()."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self.program = program

    def train(self, mode: bool = True) -> Self:
        for part in self.modules():
            part.training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.program(x)
        return out


def in_eval(classifier: nn.Module) -> nn.Module:
    """``classifier`` in eval mode, behind a module that can be put into it where it cannot."""
    try:
        return classifier.eval()
    except NotImplementedError:
        return _Exported(classifier).eval()


@contextmanager
def lent(network: nn.Module) -> Iterator[None]:
    """``network`` comes back as it was: in its mode, with no gradient on its parameters."""
    modes = {part: part.training for part in network.modules()}
    live = [p for p in network.parameters() if p.requires_grad]
    for p in live:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in live:
            p.requires_grad_(True)
        for part, mode in modes.items():
            if part.training != mode:
                part.training = mode


def answers(classify: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Logits (n, classes) of images (n, c, h, w) in [0, 1]; UserError where there are none."""
    try:
        logits = classify(images)
    except UserError:
        raise
    except Exception as error:
        # Runtimes raise what they like: AssertionError for a guard, classes of their own.
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(
            f"the classifier does not take {tuple(images.shape)} images ({reason}); use one for "
            "the same images, and where it is exported, export with a dynamic first dimension"
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise UserError("the classifier must give logits (n, classes) with two classes or more")
    if len(logits) != len(images):
        raise UserError(
            f"the classifier gives {len(logits)} rows of logits for {len(images)} images; "
            "it must give logits (n, classes)"
        )
    return logits


def check_logits(logits: Tensor) -> None:
    """UserError for logits (n, classes) that are not finite, or are probabilities."""
    if not logits.isfinite().all():
        raise UserError("the classifier gives NaN or infinite logits; mend it")
    sums = logits.sum(dim=1)
    if bool((logits >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise UserError(
            "the classifier gives probabilities; leave its softmax out, so that it gives logits"
        )


@torch.no_grad()
def check_classifier(classify: Callable[[Tensor], Tensor], prior: Prior) -> None:
    """UserError unless ``classify`` gives finite logits (n, classes) for images of the prior."""
    images = to_user(prior.sample(8, torch.Generator().manual_seed(0)))
    check_logits(answers(classify, images))
    # A network that was exported for one number of images takes no other.
    answers(classify, images[:1])
