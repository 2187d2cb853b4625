"""The two RMSProp flavours: torch's, and the one the paper's TensorFlow 1 used."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class TensorFlowRMSprop(torch.optim.Optimizer):
    """RMSProp of TensorFlow 1: the mean square starts at ONE and epsilon stands inside the root.

    ms <- decay * ms + (1 - decay) * g^2;  p <- p - lr * g / sqrt(ms + eps). With gradients of 1e-3
    a first step is some three thousand times smaller than torch's.
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float, decay: float = 0.9, eps: float = 1e-10
    ) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "eps": eps})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                mean_square = state.setdefault("mean_square", torch.ones_like(p))
                mean_square.lerp_(p.grad.square(), 1 - group["decay"])
                p.sub_(group["lr"] * p.grad / (mean_square + group["eps"]).sqrt())


def optimizer(name: str, params: Iterable[Tensor], rate: float) -> torch.optim.Optimizer:
    """The optimiser "rmsprop", "tf-rmsprop", "adam" or "sgd" (momentum 0.7), at rate ``rate``."""
    known: dict[str, Callable[..., Any]] = {
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=rate, alpha=0.9),
        "tf-rmsprop": lambda p: TensorFlowRMSprop(p, lr=rate),
        "adam": lambda p: torch.optim.Adam(p, lr=rate),
        "sgd": lambda p: torch.optim.SGD(p, lr=rate, momentum=0.7),
    }
    built: torch.optim.Optimizer = known[name](list(params))
    return built
