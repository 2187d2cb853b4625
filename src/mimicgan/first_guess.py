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


FAR = 0.2
"""Change of an affine map, in half sides, from which first guesses are made for it alone."""


class FirstGuesses:
    """Guesses of the clean images of y (n, c, h, w) in [-1, 1] by ``restore``.

    That restorer knows images the right way up and in their place: where a damage turns, mirrors,
    moves or scales them, the observations are taken back first.
    """

    def __init__(self, y: Tensor, restore: Restore, weight: float) -> None:
        self.y, self.restore, self.weight = y, restore, weight
        self._guesses: dict[tuple[float, ...], Tensor] = {}

    def of(self, damage: ComposedDamage) -> Tensor:
        """The guesses (n, c, h, w), right for the turn and place that ``damage`` has."""
        place = main_move(damage)
        key = tuple(place.flatten().tolist())
        if key in self._guesses:
            return self._guesses[key]
        guess = self.restore(_taken_back(self.y, place))
        if torch.equal(place, place.round()):
            # There are eight of these, and no end of the others.
            self._guesses[key] = guess
        return guess

    def apart(self, damage: ComposedDamage, distance: SetDistance) -> float:
        """The weighted distance of the observations to what ``damage`` makes of their guesses."""
        return self.weight * distance.paired(damage(self.of(damage))).item()


@torch.no_grad()
def main_move(damage: ComposedDamage) -> Tensor:
    """The damage's affine map (2, 3); the nearest turn by right angles, or mirroring, where that
    is near."""
    place = torch.eye(2, 3) + damage.affine
    turn = torch.cat([place[:, :2].round(), torch.zeros(2, 1)], dim=1)
    if (place - turn).abs().max() < FAR and torch.equal(turn[:, :2] @ turn[:, :2].T, torch.eye(2)):
        return turn
    return place if place[:, :2].det().abs() > FAR else torch.eye(2, 3)


def _taken_back(y: Tensor, place: Tensor) -> Tensor:
    if torch.equal(place, torch.eye(2, 3)):
        return y
    turn = place[:, :2].inverse()
    back = torch.cat([turn, -turn @ place[:, 2:]], dim=1).expand(len(y), 2, 3)
    grid = functional.affine_grid(back, list(y.shape), align_corners=False)
    return functional.grid_sample(y, grid, padding_mode="border", align_corners=False)
