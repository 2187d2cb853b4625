"""Latents whose images, taken together, look like the training images: kernel herding."""

import torch
from torch import Tensor

from mimicgan.images import rounded
from mimicgan.losses import distances
from mimicgan.prior import Prior
from mimicgan.set_distance import POSITIONAL, SetDistance, random_corners


@torch.no_grad()
def herded(
    prior: Prior, images: Tensor, generator: torch.Generator, count: int = 4096, draws: int = 12288
) -> Tensor:
    """``count`` of ``draws`` latents (count, k), chosen one by one against real ``images``.

    Each is the one that brings the set of generated images nearest to the real ones (n, c, h, w) in
    [-1, 1], in the energy distance over the views of ``SetDistance`` but its patches (Chen, Welling
    and Smola 2010, herding with the kernel -|a - b|). A GAN draws some kinds of images too often;
    a fit would take that for a damage. ValueError for fewer than two images.
    """
    if len(images) < 2:
        raise ValueError(f"{len(images)} images show no distribution; give 2 or more")
    latents = prior.draw(draws, generator)
    made = rounded(prior.images_of(latents))
    reference = SetDistance(images[:500], random_corners(prior.image_shape, generator))
    ours, theirs = (reference.views(x)[:POSITIONAL] for x in (made, images))
    scales = reference.scales[:POSITIONAL]
    to_real, between = torch.zeros(draws), torch.zeros(draws, draws)
    for own, real, scale in zip(ours, theirs, scales, strict=True):
        for rows in torch.split(torch.arange(draws), 1000):
            to_real[rows] += distances(own[rows], real).mean(dim=1) / scale
            between[rows] += distances(own[rows], own) / scale
    to_chosen, taken = torch.zeros(draws), torch.zeros(draws)
    chosen: list[int] = []
    while len(chosen) < min(count, draws):
        best = int((to_real - to_chosen / (len(chosen) + 1) + taken).argmin())
        chosen.append(best)
        taken[best] = torch.inf
        to_chosen += between[best]
    return latents[chosen]
