"""Generated images that, taken together, look like the training images: herded and retouched."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from mimicgan.images import rounded
from mimicgan.losses import distances
from mimicgan.misfit import prior_mismatch
from mimicgan.models.retouch import Retouch
from mimicgan.prior import Prior
from mimicgan.set_distance import POSITIONAL, SetDistance, random_corners

CHOSEN_BY = 6000
"""Real images, at most, that typical ones are made to look like."""
HELD_OUT = 1000
"""Further ones, at most a fifth of all, that they are measured against."""
RETOUCHED_BY = 2000
"""Images of either kind, at most, that the retouching is learnt from."""
COMPARED = 512
"""Generated images that are measured against these."""


def with_typical(
    prior: Prior,
    images: Tensor,
    generator: torch.Generator,
    callback: Callable[[float], None] | None = None,
) -> Prior:
    """The prior with the bank, the retouching and the mismatch that real ``images`` (n, c, h, w) in
    [-1, 1] give it.

    Generated images are retouched only where that takes them nearer to images held out.
    ``callback`` is told the share of the work that is done. ValueError for fewer than ten images.
    """
    if len(images) < 10:
        raise ValueError(f"{len(images)} images show no distribution; give 10 or more")
    order = torch.randperm(len(images), generator=generator)
    cut = min(HELD_OUT, len(images) // 5)
    held, chosen = images[order[:cut]], images[order[cut : cut + CHOSEN_BY]]
    prior = replace(prior, bank=None, retouch=None)
    made = rounded(prior.sample(RETOUCHED_BY, generator))
    retouch = Retouch.fitted(made, chosen[:RETOUCHED_BY])
    plain, retouched = made[:COMPARED], rounded(retouch(made[:COMPARED]))
    if prior_mismatch(held, retouched, generator) < prior_mismatch(held, plain, generator):
        prior = replace(prior, retouch=retouch)
    prior = replace(prior, bank=herded(prior, chosen, generator, callback=callback))
    typical = rounded(prior.typical(COMPARED, generator))
    return replace(prior, mismatch=prior_mismatch(held, typical, generator))


@torch.no_grad()
def herded(
    prior: Prior,
    images: Tensor,
    generator: torch.Generator,
    count: int = 4096,
    draws: int = 12288,
    callback: Callable[[float], None] | None = None,
) -> Tensor:
    """``count`` of ``draws`` latents (count, k), chosen one by one against real ``images``.

    Each is the one that brings the set of generated images nearest to the real ones (n, c, h, w) in
    [-1, 1], in the energy distance over the views of ``SetDistance`` but its patches (Chen, Welling
    and Smola 2010, herding with the kernel -|a - b|). A GAN draws some kinds of images too often; a
    fit would take that for a damage. ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images show no distribution; give 2 or more")
    latents = prior.draw(draws, generator)
    made = rounded(prior.retouched(prior.images_of(latents)))
    reference = SetDistance(images[:500], random_corners(prior.image_shape, generator))
    ours, theirs = (reference.views(x)[:POSITIONAL] for x in (made, images))
    scales = reference.scales[:POSITIONAL]
    to_real, between = torch.zeros(draws), torch.zeros(draws, draws)
    # The time goes with how many numbers there are to an image in a view.
    done, total = 0, draws * sum(own.shape[1] for own in ours)
    for own, real, scale in zip(ours, theirs, scales, strict=True):
        for rows in torch.split(torch.arange(draws), 1000):
            to_real[rows] += distances(own[rows], real).mean(dim=1) / scale
            between[rows] += distances(own[rows], own) / scale
            done += len(rows) * own.shape[1]
            if callback is not None:
                callback(done / total)
    to_chosen, taken = torch.zeros(draws), torch.zeros(draws)
    chosen: list[int] = []
    while len(chosen) < min(count, draws):
        best = int((to_real - to_chosen / (len(chosen) + 1) + taken).argmin())
        chosen.append(best)
        taken[best] = torch.inf
        to_chosen += between[best]
    return latents[chosen]
