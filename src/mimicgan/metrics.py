"""How near restored images come to the clean ones, and how sure an accuracy is."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# 1.959964...: the two-sided 95 % point of the normal distribution.
Z95 = 1.959963984540054


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio (n,) in dB of images (n, c, h, w), data range 1.

    Pooled over the pixels of an image, never over the set; equal images give infinity.
    """
    _same_shape(images, reference)
    error = (images.double() - reference.double()).square().flatten(1).mean(dim=1)
    return -10 * error.log10()


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity (n,) of images (n, c, h, w), data range 1 (Wang et al. 2004).

    As in their paper: a Gaussian window of 11 pixels and sigma 1.5, K = (0.01, 0.03), population
    covariances, the mean over all places where the window fits, here also over the channels.
    """
    _same_shape(images, reference)
    size, sigma = 11, 1.5
    if min(images.shape[2:]) < size:
        raise ValueError(f"ssim needs images of {size} pixels a side, not {tuple(images.shape)}")
    x, y = images.double().flatten(0, 1)[:, None], reference.double().flatten(0, 1)[:, None]
    offsets = torch.arange(size, dtype=torch.float64, device=x.device) - size // 2
    line = torch.exp(-(offsets**2) / (2 * sigma**2))
    line = line / line.sum()

    def mean(values: Tensor) -> Tensor:
        rows = functional.conv2d(values, line.view(1, 1, 1, size))
        return functional.conv2d(rows, line.view(1, 1, size, 1))

    mean_x, mean_y = mean(x), mean(y)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    covariance = mean(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return (luminance * structure).view(len(images), -1).mean(dim=1)


@torch.no_grad()
def feature_distance(images: Tensor, reference: Tensor, network: nn.Module) -> Tensor:
    """Perceptual distance (n,) of images (n, c, h, w) by the convolutions of ``network``.

    As LPIPS (Zhang et al. 2018) without its learnt weights: at every place the features of a
    convolution are scaled to length one; the squares of their differences are summed over channels
    and averaged over places, then over convolutions. ``network`` takes images in [-1, 1].
    """
    _same_shape(images, reference)
    found: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: found.append(output))
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    try:
        network(torch.cat([images, reference]) * 2 - 1)
    finally:
        for hook in hooks:
            hook.remove()
    terms = []
    for features in found:
        ours, theirs = functional.normalize(features, dim=1).chunk(2)
        terms.append((ours - theirs).square().sum(dim=1).flatten(1).mean(dim=1))
    return torch.stack(terms).mean(dim=0).double()


@torch.no_grad()
def last_features(images: Tensor, network: nn.Module, batch: int = 500) -> Tensor:
    """What the last layer of ``network`` gets to see of images (n, c, h, w) in [-1, 1]: (n, k).

    Feature maps are averaged over their places. ValueError where there is no such layer.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        raise ValueError("the network has no linear layer and no convolution to take features of")
    found: list[Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
    try:
        for part in torch.split(images, batch):
            network(part)
    finally:
        hook.remove()
    features = torch.cat(found)
    return features if features.ndim == 2 else features.flatten(2).mean(dim=2)


def frechet_distance(ours: Tensor, theirs: Tensor) -> float:
    """Frechet distance of two sets of features (n, k) and (m, k), each taken as a normal (Heusel et
    al. 2017): the squared distance of their means plus tr(A + B - 2 (AB)^(1/2)).

    ValueError for fewer than two of a set, or features of different length.
    """
    if min(len(ours), len(theirs)) < 2 or ours.shape[1:] != theirs.shape[1:]:
        got = f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
        raise ValueError(f"a Frechet distance needs (n, k) and (m, k) with n, m > 1, not {got}")
    first, second = ours.double(), theirs.double()
    size = first.shape[1]
    # The covariance of a single feature would be a number.
    a, b = (features.T.cov().view(size, size) for features in (first, second))
    values, vectors = torch.linalg.eigh(a)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    both = torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum()
    apart = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    return float(apart + a.trace() + b.trace() - 2 * both)


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers and its 95 % confidence interval."""

    value: float
    low: float
    high: float
    count: int


def accuracy(logits: Tensor, labels: Tensor) -> Accuracy:
    """The share of logits (n, classes) whose largest entry is the label (n,)."""
    if len(logits) != len(labels):
        raise ValueError(f"{len(logits)} answers need as many labels, not {len(labels)}")
    correct = int((logits.argmax(dim=1) == labels).sum())
    return wilson(correct, len(labels))


def wilson(correct: int, count: int) -> Accuracy:
    """``correct`` of ``count`` with Wilson's score interval (1927), 95 %."""
    if not 0 <= correct <= count or count == 0:
        raise ValueError(f"cannot give the share of {correct} in {count}")
    share, z2 = correct / count, Z95**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 / (1 + z2 / count) * (share * (1 - share) / count + z2 / (4 * count**2)) ** 0.5
    return Accuracy(share, max(0.0, centre - half), min(1.0, centre + half), count)


def _same_shape(images: Tensor, reference: Tensor) -> None:
    if images.ndim != 4 or images.shape != reference.shape:
        got = f"{tuple(images.shape)} and {tuple(reference.shape)}"
        raise ValueError(f"images and reference must both be the same (n, c, h, w), not {got}")
