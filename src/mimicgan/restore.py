"""What a user calls: any number of images, any method, one Restoration."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mimicgan.errors import at_least, check_seed
from mimicgan.images import check_images, to_internal, to_user
from mimicgan.learnt import Damage
from mimicgan.match import match
from mimicgan.match_settings import MatchSettings
from mimicgan.mimic import Step, mimic
from mimicgan.misfit import misfit_of
from mimicgan.presets import MIMICGAN, PGD, MimicSettings
from mimicgan.prior import Prior, check_prior
from mimicgan.realism import expressed, realistic
from mimicgan.training.checkpoint import step_generator

Method = Literal["auto", "mimicgan", "pgd", "universal"]
Output = Literal["auto", "fidelity", "realism"]


@dataclass(frozen=True)
class Settings:
    """All settings of a restoration; the same fields are the command line's flags."""

    method: Method = "auto"
    """auto: match distributions, then train a restorer; mimicgan: Algorithm 1; pgd: Algorithm 1
    with an identity surrogate; universal: the shipped restorer alone, with nothing learnt from the
    observations."""
    seed: int = 0
    """Seed of all randomness."""
    batch: int = 100
    """Images that share one surrogate in Algorithm 1 and PGD, and whose latents are found at once.
    """
    mimic: MimicSettings = field(default_factory=lambda: MIMICGAN)
    """Numbers of Algorithm 1 (method mimicgan)."""
    pgd: MimicSettings = field(default_factory=lambda: PGD)
    """Numbers of projected gradient descent (method pgd)."""
    match: MatchSettings = field(default_factory=MatchSettings)
    """Numbers of the default method (method auto)."""
    output: Output = "auto"
    """What the methods auto and universal give. fidelity: what the restorer makes, the mean of what
    an image may have been, soft where the damage left little; realism: the nearest image that the
    generator makes. auto: realism where a damage was learnt that fits, and the restorer gets more
    of an image wrong than the generator cannot express; else fidelity."""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("method", self.method, get_args(Method)),
            ("output", self.output, get_args(Output)),
        ):
            if value not in known:
                raise ValueError(f"no {what} {value!r}; there are: {', '.join(known)}")
        at_least(1, batch=self.batch)
        check_seed(self.seed)

    @property
    def by_latents(self) -> bool:
        """Whether the method looks for a latent for every image, and has no restorer."""
        return self.method in ("mimicgan", "pgd")


def settings_of(given: Settings | Method | MimicSettings) -> Settings:
    """The settings that a method's name, or numbers of Algorithm 1, stand for."""
    if isinstance(given, MimicSettings):
        return Settings("mimicgan", mimic=given)
    return Settings(given) if isinstance(given, str) else given


@dataclass(frozen=True)
class Restoration:
    """The outcome of ``restore``; images (n, c, h, w) in [0, 1]."""

    images: Tensor
    """Restored images."""
    simulated: Tensor
    """The learnt damage applied to the restored images: what the observations should look like."""
    surrogate: nn.Module
    """The learnt damage (of the last batch), images in [-1, 1] -> images."""
    latents: Tensor | None
    """Latents (n, k) of the restored images where the method finds them, else None."""
    history: list[Step]
    """Losses after every update."""
    settings: Settings
    damage: Damage | None
    """Learnt damage and restorer (method auto), to use on further images of the same source."""
    misfit: float | None
    """Set distance of simulated to real observations beyond sampling noise, in units of a slight
    one (method auto; of these observations also where the damage was given), or the same of what is
    restored of both where that is larger; None for too few to tell."""
    seconds: float
    generator_passes: int
    """Images that went forward through the generator, all in all."""

    @property
    def restorer(self) -> Literal["own", "universal"] | None:
        """Whether the images come from a restorer made for this damage, or from the one that the
        prior ships; None with Algorithm 1 and PGD."""
        if self.damage is None:
            return None
        return "own" if self.damage.own else "universal"

    @property
    def understood(self) -> bool | None:
        """Whether the damage was understood, and its own restorer restored; None where the method
        cannot tell."""
        if self.misfit is None:
            return None
        return self.misfit <= self.settings.match.misfit_limit and self.restorer != "universal"


def restore(
    observed: Tensor,
    prior: Prior,
    settings: Settings | Method | MimicSettings = "auto",
    *,
    damage: Damage | None = None,
    surrogate: nn.Module | None = None,
    callback: Callable[[Step], None] | None = None,
) -> Restoration:
    """Restore observed images (n, c, h, w) in [0, 1], float32, that share one unknown damage.

    Any n >= 1. ``settings`` may be the name of a method, or the numbers of Algorithm 1 alone, such
    as ``presets.DEFENSE_GAN``. ``damage`` is a learnt damage from an earlier restoration of the
    same source: then nothing is fitted. ``surrogate`` is a module of one's own, images in [-1, 1]
    to images, that takes the place of Table 5's in Algorithm 1; a copy of it is trained for each
    batch.
    ``callback`` sees every update. Works under no_grad and inference_mode; the same settings and
    seed give the same result on one machine. Raises ValueError for images of another shape or
    range, and for a damage or a surrogate that the method has no use for.
    """
    settings = settings_of(settings)
    check_prior(prior)
    check_images(observed, prior.image_shape)
    if damage is not None and settings.method != "auto":
        raise ValueError(f"a damage is for the method auto, not {settings.method}; leave it out")
    if surrogate is not None and not settings.by_latents:
        raise ValueError(f"a surrogate is for mimicgan, not {settings.method}; leave it out")
    started = time.perf_counter()
    history: list[Step] = []

    def note(step: Step, first: int = 0) -> None:
        step = replace(step, first=first)
        # What is kept must not hold on to networks.
        history.append(replace(step, estimate=None))
        if callback is not None:
            callback(step)

    # Callers may run under inference_mode, whose tensors can take no part in a fit.
    with torch.inference_mode(False), torch.enable_grad(), prior.counted() as passes:
        y = to_internal(observed.detach().clone())
        misfit: float | None = None
        latents: Tensor | None = None
        if not settings.by_latents:
            generator = torch.Generator().manual_seed(settings.seed)
            if settings.method == "universal":
                damage = Damage.universal(prior)
            fitted = damage is None
            if damage is None:
                damage = match(y, prior, settings.match, generator, note)
                misfit = damage.misfit
            elif settings.method == "auto" and damage.describes and len(y) >= settings.match.fewest:
                misfit = misfit_of(damage, y, prior, generator)
                if not damage.own:
                    # The restorer that showed that it is wrong was not kept.
                    misfit = max(misfit, damage.misfit or 0.0)
            images, learnt = damage.restore(y), damage.surrogate
            forced = settings.output == "realism" and not damage.undamaged
            error = damage.error if fitted and settings.output == "auto" else None
            if forced or error is not None:
                # What tells nothing of the damage cannot turn images into the observations.
                told = damage.own and damage.describes
                goal, known = (y, damage) if told else (images, Damage.universal(prior))
                z = realistic(goal, images, known, prior, settings.seed, settings.batch, note)
                sharp = prior.images_of(z)
                if error is None or expressed(images, sharp, error):
                    images, latents = sharp, z
            simulated = damage.simulate(images, generator)
        else:
            own = settings.mimic if settings.method == "mimicgan" else settings.pgd
            found: list[Tensor] = []
            shown, made = [], []
            # Even parts: one image left over would get a surrogate of its own.
            parts = -(-len(y) // settings.batch)
            for index, part in enumerate(torch.tensor_split(y, parts)):
                generator = step_generator(settings.seed, index)
                noted = partial(note, first=sum(len(each) for each in found))
                z, learnt = mimic(part, prior, own, generator, copy.deepcopy(surrogate), noted)
                with torch.no_grad():
                    made.append(prior.generator(z))
                    shown.append(learnt(made[-1]))
                found.append(z)
            latents, images, simulated = torch.cat(found), torch.cat(made), torch.cat(shown)
    return Restoration(
        images=to_user(images),
        simulated=to_user(simulated),
        surrogate=learnt,
        latents=latents,
        history=history,
        settings=settings,
        damage=damage,
        misfit=misfit,
        seconds=time.perf_counter() - started,
        generator_passes=passes.images,
    )


def learnt_damage(observed: Tensor, prior: Prior, settings: Settings) -> Damage:
    """The damage that ``restore`` learns by the method auto, without looking for sharp images."""
    damage = restore(observed, prior, replace(settings, method="auto", output="fidelity")).damage
    if damage is None:
        raise AssertionError("method auto always learns a damage")
    return damage
