"""Equation 3 and the set distances, one function a formula."""

from torch import Tensor
from torch.nn import functional


def mimicking_loss(y: Tensor, y_est: Tensor) -> Tensor:
    """L_obs (section 3.1, a): mean over pixels and images of |Y_obs - f(G(z))|, images (n, c, h, w)."""
    return (y - y_est).abs().mean()


def adversarial_loss(logit: Tensor) -> Tensor:
    """L_adv (section 3.1, b): mean of log(1 - D(G(z))) from D's logits (n,), as minus softplus."""
    return -functional.softplus(logit).mean()


def identity_loss(y: Tensor, x: Tensor, y_est: Tensor) -> Tensor:
    """L_I (section 3.1, c): mean of |Y_obs - G(z)| + |f(G(z)) - G(z)|, images (n, c, h, w)."""
    return (y - x).abs().mean() + (y_est - x).abs().mean()
