"""The default method's settings, and how they follow from the number and size of the images."""

from dataclasses import dataclass, replace

from mimicgan.errors import at_least, within
from mimicgan.refine import FitSettings


@dataclass(frozen=True)
class MatchSettings(FitSettings):
    """Numbers of the default method: those of the fit, and of the restorer made for it."""

    attempts: int = 2
    """Fits at most; a further one is made where the last is not sure, or where a restorer that is
    trained for it in few steps shows that it is wrong. The best one's goes on."""
    sure_misfit: float = 0.3
    """Misfit that chance alone rarely makes of 100 images (``enough``)."""
    good_misfit: float = 0.6
    """Misfit below which a damage is trusted to say what the observations hold: restored images are
    taken towards them (``match.py`` has a larger one for fixed patterns). From ``misfit_limit``
    on, or where its restorer shows in the end that it is wrong, the universal one restores."""
    restorer_steps: int = 1600
    """Updates of the restorer on pairs (f(G(z)), G(z))."""
    fresh_steps: int = 2400
    """The same where the prior ships no restorer to start from."""
    trial: float = 0.25
    """Share of the restorer's steps after which it tells whether the damage is wrong."""
    restorer_batch: int = 64
    restorer_rate: float = 5e-3
    asked_again: float = 0.85
    """Share of the restorer's mean square error that may be left, on generated images, after steps
    towards the observations; else there are none: where the restorer has drawn from them what there
    is, it is worth more than they are."""
    fewest: int = 4
    """With fewer observations nothing is fitted and the universal restorer is used."""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, attempts=self.attempts, restorer_batch=self.restorer_batch)
        within(0, 1, asked_again=self.asked_again, trial=self.trial)

    def sized(self, shape: tuple[int, int, int], count: int) -> "MatchSettings":
        """The settings for ``count`` images (c, h, w) of ``shape``; above: for 100 of 28x28.

        ``sample``, ``restorer_batch`` and ``restorer_steps`` fall as the side grows, so that the
        time hardly does, and with fewer images, of which less can be learnt; with its batch the
        restorer's rate falls too.
        """
        share = min(1.0, (count / 100) ** 0.25, (28 * 28 / (shape[1] * shape[2])) ** 0.5)
        return replace(
            self,
            sample=max(1, round(self.sample * share)),
            restorer_batch=max(1, round(self.restorer_batch * share)),
            restorer_steps=max(1, round(self.restorer_steps * share)),
            restorer_rate=self.restorer_rate * share**0.5,
        )

    def enough(self, count: int) -> float:
        """Misfit below which no further fit to ``count`` images is tried: ``sure_misfit``, and more
        for fewer than 100, up to ``good_misfit``.

        A few images are further from what even the right damage makes of generated ones; another
        fit would follow what these happen to be.
        """
        rises: float = max(1.0, (100 / count) ** 0.5)
        return max(self.sure_misfit, min(self.good_misfit, rises * self.sure_misfit))
