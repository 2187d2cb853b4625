"""Section 4.3: clean and predict. A classifier behind a restoration, as one module."""

import math
from collections.abc import Callable
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from mimicgan.errors import UserError
from mimicgan.images import check_images, to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.presets import PGD, MimicSettings
from mimicgan.prior import Prior, check_prior
from mimicgan.restore import Method, Settings, learnt_damage, restore, settings_of
from mimicgan.training.hardening import HardenSettings, harden
from mimicgan.user_classifier import check_classifier, in_eval, lent

Gradient = Literal["exact", "straight-through", "unrolled", "none"]

SLIGHT = 0.05
"""Mean change of a pixel, of [-1, 1], below which a learnt damage is not what a classifier suffers
from."""


class Cleaner(nn.Module):
    """Images (n, c, h, w) in [0, 1] -> restored ones, as a module with a gradient.

    ``settings`` is a method's name or Settings. ``universal`` (the prior's restorer) and a given
    ``damage`` clean each image by itself, at the cost of a forward pass. The other methods learn
    the damage from the images of a call, in parts of ``settings.batch`` that are made even, so that
    an image's result depends on the images around it; ``learn`` fixes a damage once, after which
    one image is as good as many. Images that look undamaged, or hardly damaged, go through the
    prior's restorer: a small attack is no damage to ``restore``, which gives them back as they are.
    A learnt damage cleans by its restorer alone: the steps of ``consistency.consistent``, which
    ``restore`` takes towards the observations, would bring an attack back.

    Images may be on any device, and the result is there too. Cleaning itself runs on the processor:
    neither ``to`` nor ``cuda`` move the prior or the damage.

    ``gradient`` is what an attacker, or a training, gets with respect to the images, backward or
    forward:
    ``exact`` through the restorer, with a learnt damage held fixed; ``straight-through``, where
    cleaning counts as the identity (BPDA, Athalye et al. 2018); ``unrolled`` through
    ``unrolled_steps`` plain gradient steps on the latents that follow the solver's (methods
    mimicgan and pgd, while no damage is set); ``none``. The images are the same with any of them.
    """

    def __init__(
        self,
        prior: Prior,
        settings: Settings | Method | MimicSettings = "universal",
        *,
        damage: Damage | None = None,
        gradient: Gradient = "exact",
        unrolled_steps: int = 5,
    ) -> None:
        super().__init__()
        check_prior(prior)
        self.settings = settings_of(settings)
        if gradient not in get_args(Gradient):
            raise UserError(f"no gradient {gradient!r}; there are: {', '.join(get_args(Gradient))}")
        if unrolled_steps < 1:
            raise UserError(f"{unrolled_steps} unrolled steps make no gradient; give 1 or more")
        if self.settings.output == "realism":
            raise UserError(
                "a classifier gets what the restorer makes; leave the output realism out"
            )
        self.prior, self.gradient, self.unrolled_steps = prior, gradient, unrolled_steps
        universal = damage is None and self.settings.method == "universal"
        self.damage = Damage.universal(prior) if universal else damage
        by_latents = self.damage is None and self.settings.by_latents
        if (gradient == "unrolled") != by_latents and gradient in ("exact", "unrolled"):
            raise UserError(
                "the gradient is exact for a restorer (methods universal and auto, or a damage) "
                "and unrolled for latents (mimicgan and pgd); choose the other, straight-through "
                "or none"
            )
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: a batch norm that learns from cleaned images is no defence."""
        return super().train(False) if mode else super().train(mode)

    def learn(self, observed: Tensor) -> Self:
        """Learn the damage of images (n, c, h, w) in [0, 1] once, for all later calls."""
        check_images(observed, self.prior.image_shape)
        self.damage = self._fitted(observed.cpu())
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.cleaned(x)

    def cleaned(self, x: Tensor) -> Tensor:
        """The restored images (n, c, h, w) in [0, 1], with the gradient that was asked for."""
        check_images(x, self.prior.image_shape)
        return self._cleaned(x.cpu()).to(x.device)

    def _cleaned(self, x: Tensor) -> Tensor:
        backward = x.requires_grad and torch.is_grad_enabled()
        dual = forward_ad.unpack_dual(x)  # type: ignore[no-untyped-call]
        wanted = backward or dual.tangent is not None
        if not wanted or self.gradient == "none":
            with torch.no_grad():
                # Derivatives of forward mode go through no_grad.
                return self._solved(x).detach()
        if self.gradient == "straight-through":
            return x + (self._solved(x.detach()) - x).detach()
        if self.damage is not None:
            return _through(self.damage, x)
        if self.gradient == "unrolled":
            return self._unrolled(x)
        return torch.cat([_through(self._fitted(part), part) for part in self._parts(x)])

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        return torch.tensor_split(x, -(-len(x) // self.settings.batch))

    def _fitted(self, part: Tensor) -> Damage:
        damage = learnt_damage(part.detach(), self.prior, self.settings)
        if self.prior.restorer is not None and self._slight(damage):
            # What looks undamaged may have been changed by an attacker, too little to be seen; and
            # a restorer for a slight damage lets pass what an attacker hid.
            return Damage.universal(self.prior)
        return damage

    def _slight(self, damage: Damage) -> bool:
        generator = torch.Generator().manual_seed(self.settings.seed)
        clean = self.prior.typical(256, generator)
        change = (damage.simulate(clean, generator) - clean).abs().mean()
        return damage.undamaged or float(change) < SLIGHT

    def _solved(self, x: Tensor) -> Tensor:
        if self.damage is not None:
            return _through(self.damage, x)
        if self.settings.method == "auto":
            return torch.cat([_through(self._fitted(part), part) for part in self._parts(x)])
        parts = [restore(part, self.prior, self.settings).images for part in self._parts(x)]
        return torch.cat(parts)

    def _unrolled(self, x: Tensor) -> Tensor:
        own = self.settings.pgd if self.settings.method == "pgd" else self.settings.mimic
        # SGD's rate goes with the size of its gradients; these steps are of length one.
        rate = PGD.latent_rate if own.optimizer == "sgd" else own.latent_rate
        cleaned = []
        for part in self._parts(x):
            result = restore(part.detach(), self.prior, self.settings)
            if result.latents is None:
                raise AssertionError("mimicgan and pgd find latents")
            y, z = to_internal(part), result.latents.clone().requires_grad_(True)
            for _ in range(self.unrolled_steps):
                # Squares: the sign that l1 leaves as gradient does not depend on y.
                apart = result.surrogate(self.prior.generator(z)) - y
                loss = apart.square().flatten(1).mean(dim=1).sum()
                (slope,) = torch.autograd.grad(loss, z, create_graph=True)
                # Unit steps: a plain gradient of a mean over pixels would hardly move z.
                norm = slope.detach().norm(dim=1, keepdim=True).clamp(min=1e-12)
                z = (z - rate * slope / norm).clamp(*self.prior.box)
            further = to_user(self.prior.generator(z))
            # The solver's images, so that what is attacked is what is used; only the slope differs.
            cleaned.append(result.images + (further - further.detach()))
        return torch.cat(cleaned)


class Purified(Cleaner):
    """Images (n, c, h, w) in [0, 1] -> logits (n, classes) of ``classifier`` on cleaned images.

    ``classifier`` gets images in ``classifier_range``, on the device of its parameters. It is used
    as it is, in eval mode; a program of torch.export in the mode that it was exported in. This is
    no security control: an attacker who knows it can get around it. The rest is Cleaner's.

    With ``smoothing``, a standard deviation in units of [0, 1], the logits are the logarithm of
    the mean class probabilities over ``draws`` copies of the images with normal noise, each copy
    cleaned by itself (randomized smoothing, Cohen et al. 2019, with a denoiser, Salman et al.
    2020). The noise comes from ``settings.seed``, the same in every call, and differs from place to
    place in a batch. It needs a restorer: the method universal, or a damage that is given, hardened
    or learnt.

    Raises UserError for a classifier that does not fit the prior's images, gives NaN, or gives
    probabilities where logits are expected.
    """

    def __init__(
        self,
        classifier: nn.Module,
        prior: Prior,
        settings: Settings | Method | MimicSettings = "universal",
        *,
        damage: Damage | None = None,
        gradient: Gradient = "exact",
        classifier_range: tuple[float, float] = (0.0, 1.0),
        unrolled_steps: int = 5,
        smoothing: float = 0.0,
        draws: int = 8,
    ) -> None:
        super().__init__(
            prior, settings, damage=damage, gradient=gradient, unrolled_steps=unrolled_steps
        )
        if not 0 <= smoothing < math.inf or draws < 1:
            raise UserError(
                f"smoothing {smoothing} with {draws} draws makes no sense; give 0 or more and 1 or "
                "more"
            )
        low, high = classifier_range
        if not -math.inf < low < high < math.inf:
            raise UserError(
                f"classifier_range {classifier_range} is no range; give (lowest, highest), such as "
                "(0, 1) or (-1, 1)"
            )
        self.smoothing, self.draws = smoothing, draws
        self.classifier = in_eval(classifier)
        self.classifier_range = classifier_range
        check_classifier(self._classified, prior)

    def harden(
        self,
        settings: HardenSettings | None = None,
        callback: Callable[[int, float], None] | None = None,
        images: Tensor | None = None,
    ) -> Self:
        """Train the cleaning, once, on attacks on this very classifier (``training.hardening``).

        It needs no labels, and takes some minutes. ``images`` (n, c, h, w) in [0, 1] are clean
        ones, if you have some; else the prior makes them. ``damage.save`` keeps the result, for
        ``damage`` of another Purified. ValueError for images of another kind than the prior's.
        """
        if images is not None:
            check_images(images, self.prior.image_shape)
            images = images.cpu()
        with lent(self.classifier):
            self.damage = harden(
                lambda x: self._classified((x + 1) / 2), self.prior, settings, callback, images
            )
        return self

    def forward(self, x: Tensor) -> Tensor:
        if not self.smoothing:
            return self._classified(self.cleaned(x))
        if self.damage is None:
            raise UserError("smoothing needs a learnt damage; call learn first, or give a damage")
        check_images(x, self.prior.image_shape)
        generator = torch.Generator().manual_seed(self.settings.seed)
        found = []
        for _ in range(self.draws):
            noise = torch.randn(x.shape, generator=generator).to(x.device)
            noisy = (x + self.smoothing * noise).clamp(0, 1)
            found.append(self._classified(self.cleaned(noisy)).log_softmax(dim=1))
        return torch.stack(found).logsumexp(dim=0) - math.log(self.draws)

    def _classified(self, x: Tensor) -> Tensor:
        low, high = self.classifier_range
        home = next(self.classifier.parameters(), x).device
        logits = self.classifier((x * (high - low) + low).to(home))
        return logits.to(x.device) if isinstance(logits, Tensor) else logits


def _through(damage: Damage, x: Tensor, batch: int = 500) -> Tensor:
    parts = torch.split(to_internal(x), batch)
    clean = (torch.cat([damage.restorer(part) for part in parts]) + 1) / 2
    # A clamp would hide the gradient of pixels that the restorer drives to black or white.
    return clean + (clean.clamp(0, 1) - clean).detach()
