"""Training by several processes (``torchrun``): parts of a batch, and what is taken over all of it.

Every process draws the same random numbers, works on its part of each batch and holds the same
networks. Gradients are averaged and batch norms see the whole batch, so that the result is that of
one process, up to the order of sums.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mimicgan.errors import UserError


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; by default it is alone."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and shows."""
        return self.rank == 0

    def part(self, x: Tensor) -> Tensor:
        """This process's rows of a batch (n, ...), n a multiple of ``size``."""
        if len(x) % self.size:
            raise ValueError(f"{len(x)} rows cannot be split evenly over {self.size} processes")
        return x.chunk(self.size)[self.rank] if self.size > 1 else x

    def join(self, network: nn.Module) -> None:
        """Let the batch norms inside ``network`` see the whole batch; its state keeps its names."""
        if self.size == 1:
            return
        for parent in network.modules():
            for name, child in parent.named_children():
                if isinstance(child, _BatchNorm):
                    setattr(parent, name, JointBatchNorm(child))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average the gradients of the parts of a batch, all in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        parts = torch.split(flat, [g.numel() for g in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def average(self, values: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.size > 1:
            distributed.all_reduce(values := values.clone())
        return values / self.size


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The processes that ``torchrun`` has started; this one alone where it was started without.

    UserError when the others cannot be reached.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Ranks()
        return
    # The defaults of its functions hold the group that is there at the import. torch's optimisers
    # import it; later than here, the group's threads would outlive it and may abort the exit.
    import torch.distributed.nn.functional  # noqa: F401

    try:
        distributed.init_process_group("gloo")
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"the processes cannot meet ({reason}); start them by torchrun") from error
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


class JointBatchNorm(_BatchNorm):
    """Batch norm over the parts of a batch that all processes hold, for images or for rows.

    torch's own SyncBatchNorm refuses the processor.
    """

    def __init__(self, alone: _BatchNorm) -> None:
        super().__init__(alone.num_features, alone.eps, alone.momentum)
        self.load_state_dict(alone.state_dict())
        self.train(alone.training)

    def _check_input_dim(self, _input: Tensor) -> None:
        """Rows (n, c) and images (n, c, h, w) are welcome."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        places = [k for k in range(x.ndim) if k != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        size = distributed.get_world_size()
        count = x.numel() // x.shape[1] * size
        mean = _sum(x.mean(places)) / size
        centred = x - mean.view(shape)
        variance = _sum(centred.square().mean(places)) / size
        with torch.no_grad():
            self._note(mean, variance * (count / (count - 1)))
        scale = self.weight * (variance + self.eps).rsqrt()
        out: Tensor = centred * scale.view(shape) + self.bias.view(shape)
        return out

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        """Blend the running statistics, as torch does."""
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise AssertionError("the batch norms here keep statistics")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def _sum(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]
    return total


class _Sum(torch.autograd.Function):
    """The sum over all processes. The loss is the sum of theirs, hence so are the gradients."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        distributed.all_reduce(total := x.clone())
        return total

    @staticmethod
    def backward(_ctx: Any, gradient: Tensor) -> Tensor:
        distributed.all_reduce(total := gradient.contiguous().clone())
        return total
