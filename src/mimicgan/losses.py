"""Equation 3 and the set distances, one function a formula."""

import torch
from torch import Tensor
from torch.nn import functional


def mimicking_loss(y: Tensor, y_est: Tensor, norm: str = "l1") -> Tensor:
    """L_obs (section 3.1, a): mean of |Y_obs - f(G(z))| over images (n, c, h, w), or of squares."""
    apart = y - y_est
    return apart.square().mean() if norm == "l2" else apart.abs().mean()


def adversarial_loss(logit: Tensor) -> Tensor:
    """L_adv (section 3.1, b): mean of log(1 - D(G(z))) from D's logits (n,), as minus softplus."""
    return -functional.softplus(logit).mean()


def identity_loss(y: Tensor, x: Tensor, y_est: Tensor) -> Tensor:
    """L_I (section 3.1, c): mean of |Y_obs - G(z)| + |f(G(z)) - G(z)|, images (n, c, h, w)."""
    return (y - x).abs().mean() + (y_est - x).abs().mean()


def energy_distance(a: Tensor, b: Tensor, within: Tensor | None = None) -> Tensor:
    """Energy distance (Szekely and Rizzo 2013) of two sets of vectors (n, k) and (m, k), unbiased.

    2 E|a - b| - E|a - a'| - E|b - b'|: zero on average when both come from one distribution.
    ``within`` is ``spread(b)`` where that is known already.
    """
    return 2 * distances(a, b).mean() - spread(a) - (spread(b) if within is None else within)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (n, m) between the rows of a (n, k) and b (m, k), smooth at zero."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None] - 2 * (a @ b.T)
    # The root has no gradient at zero, and rounding may fall below it.
    return (squares.clamp(min=0) + 1e-6 * a.shape[1]).sqrt()


MANY = 256
"""Rows of each part that ``spread`` compares, where there are at least twice as many."""


def spread(a: Tensor) -> Tensor:
    """E|a - a'|: the mean distance between two rows of a (n, k); zero for a single row.

    Many rows are dealt out to parts, and each part is compared with the next one only: an
    incomplete U-statistic, without bias and about as exact, at a cost that grows with n.
    """
    n = len(a)
    if (count := n // MANY) > 1:
        # Rows in turn would be rows of one kind where the images alternate.
        shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
        parts = a[shuffled].tensor_split(count)
        # Two parts are one pair, not two.
        others = parts[1:] if count == 2 else [*parts[1:], parts[0]]
        apart = [distances(x, y).mean() for x, y in zip(parts, others, strict=False)]
        return torch.stack(apart).mean()
    between = distances(a, a)
    return (between.sum() - between.diagonal().sum()) / max(n * (n - 1), 1)
