"""First guesses of the clean images, against which damages are checked one by one.

Sets of images cannot always tell a damage from another one. A restorer that knows no damage has an
opinion of each clean image, and the right damage takes that near the observation.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mimicgan.damage import ComposedDamage
from mimicgan.set_distance import SetDistance

Restore = Callable[[Tensor], Tensor]
"""Observations (n, c, h, w) in [-1, 1] -> guesses of the clean images."""


class FirstGuesses:
    """Guesses of the clean images of y (n, c, h, w) in [-1, 1] by ``restore``.

    That restorer knows images the right way up: where a damage mirrors them or turns them by a
    right angle, the observations are turned back first.
    """

    def __init__(self, y: Tensor, restore: Restore, weight: float) -> None:
        self.y, self.restore, self.weight = y, restore, weight
        self._guesses: dict[tuple[float, ...], Tensor] = {}

    def apart(self, damage: ComposedDamage, distance: SetDistance) -> float:
        """The weighted distance of the observations to what ``damage`` makes of their guesses."""
        turn = right_turn(damage)
        key = tuple(turn.flatten().tolist())
        if key not in self._guesses:
            self._guesses[key] = self.restore(_turned_back(self.y, turn))
        return self.weight * distance.paired(damage(self._guesses[key])).item()


@torch.no_grad()
def right_turn(damage: ComposedDamage) -> Tensor:
    """The turn by right angles, or mirroring, (2, 2) that is nearest to the damage's geometry."""
    turn = (torch.eye(2) + damage.affine[:, :2]).round()
    return turn if torch.equal(turn @ turn.T, torch.eye(2)) else torch.eye(2)


def _turned_back(y: Tensor, turn: Tensor) -> Tensor:
    if torch.equal(turn, torch.eye(2)):
        return y
    place = torch.cat([turn.T, torch.zeros(2, 1)], dim=1).expand(len(y), 2, 3)
    grid = functional.affine_grid(place, list(y.shape), align_corners=False)
    return functional.grid_sample(y, grid, padding_mode="border", align_corners=False)
