"""Section 4.3: the attacks of the paper, by foolbox, with the settings of cleverhans v2.1.0.

Images are in [0, 1]; ``eps`` is in units of that range.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mimicgan.errors import UserError, needed
from mimicgan.images import check_images, to_user
from mimicgan.prior import Prior
from mimicgan.training.checkpoint import seeded
from mimicgan.user_classifier import answers, check_logits, in_eval, lent


@dataclass(frozen=True)
class Attack:
    """An attack by name; ``make`` gives foolbox's for an eps."""

    name: str
    make: Callable[[float], Any]
    bounded: bool
    """Whether eps bounds the largest change of a pixel; else the attack seeks a small change."""
    description: str


def _foolbox() -> Any:
    return needed("foolbox", "attacks")


ATTACKS: dict[str, Attack] = {
    a.name: a
    for a in (
        Attack(
            "fgsm",
            lambda _eps: _foolbox().attacks.LinfFastGradientAttack(random_start=False),
            True,
            "one step of eps along the sign of the gradient",
        ),
        Attack(
            "bim",
            lambda eps: _foolbox().attacks.LinfBasicIterativeAttack(
                abs_stepsize=eps / 6, steps=10, random_start=False
            ),
            True,
            "10 steps of eps / 6",
        ),
        Attack(
            "pgdm",
            lambda eps: _foolbox().attacks.LinfPGD(
                abs_stepsize=eps / 30, steps=40, random_start=True
            ),
            True,
            "40 steps of eps / 30 from a random start",
        ),
        Attack(
            "cw-l2",
            lambda _eps: _foolbox().attacks.L2CarliniWagnerAttack(
                binary_search_steps=5, steps=1000, stepsize=5e-3, initial_const=1e-2, confidence=0
            ),
            False,
            "Carlini and Wagner, 5 searches of 1000 steps",
        ),
        Attack(
            "deepfool",
            lambda _eps: _foolbox().attacks.L2DeepFoolAttack(
                steps=50, candidates=10, overshoot=0.02
            ),
            False,
            "50 steps to the nearest border between classes",
        ),
    )
}
"""The paper's five attacks on pixels; the sixth is on latents."""


SQUARE, QUERIES = "square", 500


def attacked(
    name: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None = None,
    *,
    eps: float = 0.3,
    seed: int = 0,
    batch: int = 100,
    queries: int = QUERIES,
) -> Tensor:
    """Adversarial images (n, c, h, w) in [0, 1] against ``model``, images in [0, 1] -> logits.

    ``labels`` (n,), int64, are the classes to leave; without them the model's own prediction, as
    cleverhans has it when it is given none. ``name`` is one of ``ATTACKS``, foolbox's, which clips
    to [0, 1] at every step; or ``square``, which sees no gradient and tries up to ``queries``
    changes of an image (500, where its authors allow 10,000; ART asks the model three times for
    each). An image that is not fooled comes back changed as well, but from ``cw-l2``.
    ``model`` is used in eval mode and stays as it was. UserError for a name that
    there is not, labels out of range, an eps outside of (0, 1], a model that gives no logits, or
    when foolbox is missing; ValueError for images of another shape or range.
    """
    if name != SQUARE and name not in ATTACKS:
        raise UserError(f"no attack {name!r}; there are: {', '.join([*ATTACKS, SQUARE])}")
    if batch < 1 or queries < 1:
        raise UserError(f"batch {batch} with {queries} queries makes no sense; give 1 or more")
    with lent(model), torch.inference_mode(False), torch.enable_grad():
        model, logits = _attackable(model, images, labels, eps=eps, batch=batch)
        # foolbox refuses what rounding left beside the range; and it needs gradients of its own.
        images = images.detach().clamp(0, 1)
        labels = None if labels is None else labels.clone()
        if name == SQUARE:
            return _square(model, images, labels, eps, seed, batch, queries, logits.shape[1])
        foolbox = _foolbox()
        # The device is where foolbox puts the model.
        home = next(model.parameters(), images).device
        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=home)
        targets = logits.argmax(dim=1) if labels is None else labels
        attack = ATTACKS[name]
        made = []
        with seeded(seed, images.device):
            for x, y in zip(torch.split(images, batch), torch.split(targets, batch), strict=True):
                method = attack.make(eps)
                bound = eps if attack.bounded else None
                _, clipped, _ = method(
                    wrapped, x, foolbox.criteria.Misclassification(y), epsilons=bound
                )
                made.append(clipped.detach())
        return torch.cat(made)


@torch.no_grad()
def _attackable(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    *,
    eps: float | None = None,
    shape: tuple[int, int, int] | None = None,
    batch: int = 100,
) -> tuple[nn.Module, Tensor]:
    """``model`` in eval mode and its logits; UserError or ValueError for what makes no attack."""
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise ValueError(
            "images must be a torch.Tensor (n, channels, height, width); use x[None] for one image"
        )
    check_images(images, shape or (images.shape[1], images.shape[2], images.shape[3]))
    if eps is not None and not 0 < eps <= 1:
        raise UserError(f"eps {eps} is no share of [0, 1]; give more than 0, such as 8 / 255")
    model = in_eval(model)
    logits = torch.cat([answers(model, part) for part in torch.split(images, batch)])
    check_logits(logits)
    classes = logits.shape[1]
    if labels is not None and not (
        isinstance(labels, Tensor)
        and labels.dtype == torch.int64
        and labels.shape == (len(images),)
        and int(labels.min()) >= 0
        and int(labels.max()) < classes
    ):
        raise UserError(
            f"labels must be one of 0 to {classes - 1} for each of the images, int64; "
            "use torch.as_tensor(labels).long()"
        )
    return model, logits


def _square(
    model: nn.Module,
    images: Tensor,
    labels: Tensor | None,
    eps: float,
    seed: int,
    batch: int,
    queries: int,
    classes: int,
) -> Tensor:
    """Square attack (Andriushchenko et al. 2020) by ART: random search."""
    evasion = needed("art.attacks.evasion", "art")
    classification = needed("art.estimators.classification", "art")
    wrapped = classification.PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0, 1),
        device_type="cpu",
    )
    attack = evasion.SquareAttack(
        wrapped, eps=eps, max_iter=queries, nb_restarts=1, batch_size=batch, verbose=False
    )
    before = np.random.get_state()  # noqa: NPY002
    # ART draws from NumPy's global generator.
    np.random.seed(seed)  # noqa: NPY002
    try:
        made = attack.generate(images.numpy(), None if labels is None else labels.numpy())
    finally:
        np.random.set_state(before)  # noqa: NPY002
    return torch.from_numpy(made).float().clamp(0, 1)


def on_manifold(
    model: nn.Module,
    prior: Prior,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    projection_steps: int = 300,
    attack_steps: int = 500,
    searches: int = 3,
) -> Tensor:
    """The "obfuscated" attack (Athalye et al. 2018) on images (n, c, h, w) in [0, 1]: G(z) itself.

    Latents are brought near the images, then moved until ``model`` (images in [0, 1] -> logits)
    errs; the nearest that succeeds is kept. A defence by projection leaves it as it is. ``labels``
    (n,) and errors are those of ``attacked``; the images must be of the prior's shape.
    """
    with lent(model), torch.inference_mode(False), torch.enable_grad():
        model, _ = _attackable(model, images, labels, shape=prior.image_shape)
        images, labels = images.detach(), labels.clone()
        generator = torch.Generator().manual_seed(seed)
        low, high = prior.box
        tries = torch.stack([prior.draw(len(images), generator) for _ in range(10)])
        with torch.no_grad():
            made = torch.stack([to_user(prior.images_of(z)) for z in tries])
            best = (made - images).square().flatten(2).sum(dim=2).argmin(dim=0)
        z = tries[best, torch.arange(len(images))].clone().requires_grad_(True)

        def image(z: Tensor) -> Tensor:
            out: Tensor = (prior.generator(z.clamp(low, high)) + 1) / 2
            return out

        def apart(x: Tensor) -> Tensor:
            return (x - images).square().flatten(1).sum(dim=1)

        optimizer = torch.optim.Adam([z], lr=0.05)
        for _ in range(projection_steps):
            optimizer.zero_grad()
            apart(image(z)).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        start = z.detach().clamp(low, high)
        result = image(start).detach()
        nearest = torch.full((len(images),), torch.inf)
        weight = torch.full((len(images),), 10.0)
        for _ in range(searches):
            z = start.clone().requires_grad_(True)
            optimizer = torch.optim.Adam([z], lr=0.02)
            fooled = torch.zeros(len(images), dtype=torch.bool)
            for _ in range(attack_steps):
                x = image(z)
                margin = _margin(model(x), labels)
                distance = apart(x)
                better = (margin < 0) & (distance < nearest)
                fooled |= margin < 0
                result[better], nearest[better] = x.detach()[better], distance.detach()[better]
                optimizer.zero_grad()
                (distance + weight * (margin + 0.1).clamp(min=0)).sum().backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            weight = torch.where(fooled, weight / 4, weight * 10)
        return result.clamp(0, 1)


def _margin(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the right class is ahead of the best other one; negative where the model errs."""
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own - others.max(dim=1).values


def universal_perturbation(
    model: nn.Module, images: Tensor, target: int, *, eps: float = 0.3
) -> Tensor:
    """Section 4.3: the mean change (1, c, h, w) that leads ``images`` to one class.

    One targeted FGSM step on each of the images (the paper has 15) in [0, 1]; add alpha times it
    to others. The paper's sign, X minus X_adv, would help the classifier: this is the one that
    hurts. Errors are those of ``attacked``, for a ``target`` out of range too.
    """
    with lent(model), torch.inference_mode(False), torch.enable_grad():
        labels = torch.full((len(images),), target)
        model, _ = _attackable(model, images, labels, eps=eps)
        images = images.detach()
        x = images.clone().requires_grad_(True)
        loss = nn.functional.cross_entropy(model(x), labels, reduction="sum")
        (slope,) = torch.autograd.grad(loss, x)
    moved = (images - eps * slope.sign()).clamp(0, 1)
    return (moved - images).mean(dim=0, keepdim=True)
