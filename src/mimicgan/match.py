"""Mimicry by matching distributions: fit f so that f(G(z)) looks like the observations, as a set.

Algorithm 1 pairs a wrong guess of every image with its observation. Here nothing is paired: random
damages are tried, the nearest are refined by gradient steps on a set distance, and the best one
makes unlimited pairs (f(G(z)), G(z)) on which the prior's restorer is fine-tuned.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.blurs import near, shaped
from mimicgan.consistency import Residuals, slack_of
from mimicgan.fit import Fit, fit_damage
from mimicgan.images import rounded
from mimicgan.learnt import Damage, warm_restorer
from mimicgan.match_settings import MatchSettings
from mimicgan.mimic import Step
from mimicgan.misfit import JUDGES, restored_misfit, simulated_misfit, some
from mimicgan.pattern import changes_contrast, has_pattern, paired_pattern
from mimicgan.prior import Prior
from mimicgan.pruning import FEW
from mimicgan.training.restorer import fit_restorer
from mimicgan.variety import Source

UNFINISHED = 1.2
"""How many times more the universal restorer may change in what is restored of observations than in
what is restored of simulated ones; where it is more, these are not restored."""
PATTERN = 1.0
"""Misfit up to which a pattern that was learnt from pairs is trusted: the one that was fitted says
more of what happens to be observed, so that even a right one has some tenths."""
UNSEEN = 10.0
"""How many times further off a restorer is, in squares, than the universal one finds by changing
what it restored: that one sees a part alone. Half as many below ``FEW``, where more is chance."""
TIE = 1.2
"""How many times as far off as the universal one, in squares, it may be: of two that are as near,
the one that was made for the damage keeps more of what tells images apart."""
TOGETHER = 16
"""Images of a step that get the same one of the blurs near the learnt one."""
WELL = 0.25
"""Misfit below which a damage explains the observations so well that this error means something."""


def match(
    y: Tensor,
    prior: Prior,
    settings: MatchSettings,
    generator: torch.Generator,
    callback: Callable[[Step], None] | None = None,
) -> Damage:
    """Fit the damage of observations y (n, c, h, w) in [-1, 1], then a restorer for it.

    UserError for fewer than ``settings.fewest`` when the prior has no restorer of its own.
    """
    if len(y) < settings.fewest:
        return Damage.universal(prior)
    settings = settings.sized(prior.image_shape, len(y))
    made = prior.images_of(prior.typical_latents(settings.bank, generator))
    bank = rounded(prior.retouched(made))
    source = Source.of(prior, made, bank)
    universal = None if prior.restorer is None else Damage.universal(prior).restore
    guess = None if universal is None else universal(y)

    def fitting(step: Step) -> None:
        if callback is not None:
            callback(step if guess is None else replace(step, estimate=lambda: guess))

    found: list[_Candidate] = []
    enough = settings.enough(len(y))
    while len(found) < settings.attempts:
        fit = fit_damage(y, bank, settings, generator, fitting, prior.mismatch, universal)
        found.append(_Candidate(fit, y, bank, source, prior, settings, generator, callback))
        if fit.misfit < enough and not fit.undamaged:
            # A restorer can show that a damage is wrong whose images look right.
            found[-1].train(settings.trial)
        if found[-1].doubt < enough:
            break
    best = min(found, key=lambda each: each.doubt)
    # Images that no damage explains, the identity among them, are not undamaged.
    if best.fit.undamaged and best.misfit < settings.good_misfit:
        # A restorer costs even a clean image some detail.
        return Damage(best.damage, nn.Identity(), best.misfit)
    if best.fit.undamaged and prior.restorer is not None:
        return Damage(best.damage, prior.restorer, best.misfit, own=False)
    if best.fit.misfit >= enough:
        best.train(settings.trial)
    if best.simulated < settings.misfit_limit or prior.restorer is None:
        best.train(1.0)
        best.show()
    if best.wrong and prior.restorer is not None:
        # It knows many damages; one that was made for a wrong one has forgotten them.
        return Damage(best.damage, prior.restorer, best.misfit, own=False)
    damage = best.outcome()
    if best.misfit < WELL:
        return replace(damage, error=expected_error(damage, bank[:JUDGES], generator))
    return damage


class _Candidate:
    """A fit with a restorer that is trained for it, a share of the steps at a time."""

    def __init__(
        self,
        fit: Fit,
        y: Tensor,
        bank: Tensor,
        source: Source,
        prior: Prior,
        settings: MatchSettings,
        generator: torch.Generator,
        callback: Callable[[Step], None] | None,
    ) -> None:
        self.fit, self.y, self.bank, self.source, self.settings = fit, y, bank, source, settings
        self.generator, self.callback, self.prior = generator, callback, prior
        self.damage, self.simulated = fit.damage, fit.misfit
        self.patterned = has_pattern(fit.damage)
        self.seed = int(torch.randint(2**31, (), generator=generator))
        self.restorer = warm_restorer(prior, self.seed)
        self.steps = settings.restorer_steps if prior.restorer is not None else settings.fresh_steps
        self.done = 0
        self.shown: float | None = None
        self.contradicted = False

    @property
    def so_far(self) -> Damage:
        return Damage(self.damage, self.restorer)

    @property
    def misfit(self) -> float:
        """That of the damage, or what its restorer shows where that is larger."""
        return self._or_shown(self.simulated)

    @property
    def doubt(self) -> float:
        """The same of the fit, by which attempts are compared: a pattern from pairs says less of
        what happens to be observed."""
        return self._or_shown(self.fit.misfit)

    def _or_shown(self, misfit: float) -> float:
        return misfit if self.shown is None else max(misfit, self.shown)

    @property
    def exact(self) -> float:
        """Misfit up to which the damage can be asked what the observations hold."""
        return PATTERN if self.patterned else self.settings.good_misfit

    def train(self, share: float) -> None:
        """Go on until ``share`` of the steps are done; after the first of them the restorer has
        a say in ``misfit``.

        A fixed pattern is learnt in turn with the restorer: at the end, and half way to it when the
        restorer has been trained before.
        """
        first, settings = self.done, self.settings
        count = round(share * self.steps) - first
        turn = count // 2 if first else None
        # Patterns are learnt on the way, blurs are not.
        varied = len(self.y) >= FEW and shaped(self.damage)

        def pairs(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            if step == turn:
                self._learn_pattern(generator)
            # A restorer that takes detail from what is shown says of a gain what it was told.
            alone = self.patterned and changes_contrast(self.damage)
            source = self.source.plain if alone else self.source
            clean = source.draw(settings.restorer_batch, generator)
            simulate = self._varied if varied else self.so_far.simulate
            return simulate(clean, generator), clean

        def note(step: int, loss: float) -> None:
            if self.callback is not None:
                so_far = self.so_far
                at = first + step
                self.callback(Step(at, "restorer", loss, loss, lambda: so_far.restore(self.y)))

        fit_restorer(self.restorer, pairs, count, settings.restorer_rate, self.seed + first, note)
        self.done = first + count
        self._learn_pattern(self.generator)
        if self.shown is None:
            self.shown = restored_misfit(
                self.so_far, self.y, self.bank, self.prior.mismatch, self.generator
            )

    def _varied(self, clean: Tensor, generator: torch.Generator) -> Tensor:
        """``clean`` under blurs near the learnt one: a restorer for one alone makes echoes of what
        another one left."""
        parts = []
        for part in torch.split(clean, TOGETHER):
            damage = replace(self.so_far, surrogate=near(self.damage, generator))
            parts.append(damage.simulate(part, generator))
        return torch.cat(parts)

    def _learn_pattern(self, generator: torch.Generator) -> None:
        if not self.patterned:
            return
        so_far = self._with_slack(generator)
        damage = paired_pattern(self.damage, so_far.restore(self.y), self.y, so_far.guess(self.y))
        misfit = simulated_misfit(
            replace(so_far, surrogate=damage), self.y, self.bank, self.prior.mismatch, generator
        )
        if misfit > max(self.fit.misfit, PATTERN):
            damage, misfit = self.fit.damage, self.fit.misfit
            self.patterned = False
        self.damage, self.simulated = damage, misfit

    @torch.no_grad()
    def _residuals(self, generator: torch.Generator) -> Residuals:
        damage = self.so_far
        y, clean = some(self.y, 2 * JUDGES, generator), self.bank[:JUDGES]
        simulated = damage.simulate(clean, generator)
        again, restored = damage.guess(simulated), damage.guess(y)
        return Residuals.of(self.damage, clean, simulated, again, y, restored)

    def _with_slack(self, generator: torch.Generator) -> Damage:
        """Both so far, as a damage that takes what it restores towards what observations show,
        where that leaves no more than a share of the restorer's error."""
        slack = slack_of(self._residuals(generator), self.settings.asked_again)
        return replace(self.so_far, slack=slack)

    def show(self) -> None:
        """Let the restorer, trained to the end, say whether the damage is ``wrong``.

        It is right where its restorer is likely about as near as the universal one, or nearer. One
        that is trained for long also treats observations differently for no more than what
        generated images lack; then it leaves the universal restorer as little to do in both, and
        what the damage makes of restored images does not contradict the observations. Few images
        are too few for that.
        """
        shown = restored_misfit(self.so_far, self.y, self.bank, self.prior.mismatch, self.generator)
        right = (
            len(self.y) < FEW
            or shown < self.settings.sure_misfit
            or (self._unfinished() < UNFINISHED and not self._residuals(self.generator).contradict)
        ) and self._gains()
        before = self.shown if self.shown is not None else shown
        self.shown = min(before, shown) if right else max(before, shown)
        self.contradicted = not right

    def _changed(self, restored: Tensor) -> float:
        """What the universal restorer changes, in mean square, in images (n, c, h, w)."""
        again = Damage.universal(self.prior).guess(restored)
        return functional.mse_loss(again, restored).item()

    def _unfinished(self) -> float:
        """How many times more it changes in what is restored of observations than in what is
        restored of simulated ones; 1 where there is no universal restorer."""
        if self.prior.restorer is None:
            return 1.0
        damage = self.so_far
        y, clean = some(self.y, 2 * JUDGES, self.generator), self.bank[: 2 * JUDGES]
        again = damage.guess(damage.simulate(clean, self.generator))
        return self._changed(damage.guess(y)) / max(self._changed(again), 1e-6)

    def _gains(self) -> bool:
        """Whether the restorer is likely as near to clean images as the universal one, or nearer.

        How far off both are, simulated images tell; how much further off the former is on
        observations, what the latter changes in what was restored of them.
        """
        if self.prior.restorer is None:
            return True
        damage, clean = self.so_far, self.bank[:JUDGES]
        simulated = damage.simulate(clean, torch.Generator().manual_seed(self.seed))
        again = damage.guess(simulated)
        y = some(self.y, 2 * JUDGES, torch.Generator().manual_seed(self.seed))
        further = max(self._changed(damage.guess(y)) - self._changed(again), 0.0)
        unseen = UNSEEN / 2 if len(self.y) < FEW else UNSEEN
        off = functional.mse_loss(again, clean).item() + unseen * further
        universal = Damage.universal(self.prior).guess(simulated)
        return off < TIE * functional.mse_loss(universal, clean).item()

    @property
    def wrong(self) -> bool:
        """Whether simulated images, or the restorer in the end, show that the damage is wrong."""
        return self.contradicted or self.misfit >= self.settings.misfit_limit

    def outcome(self) -> Damage:
        """The damage with its restorer; observations are asked again only where it is exact."""
        if self.misfit < self.exact and not self.wrong:
            return replace(self._with_slack(self.generator), misfit=self.misfit)
        return replace(self.so_far, misfit=self.misfit)


def expected_error(damage: Damage, images: Tensor, generator: torch.Generator) -> float:
    """Mean distance of ``images`` (n, c, h, w) in [-1, 1] to what is restored of them."""
    again = damage.restore(damage.simulate(images, generator))
    return float((again - images).abs().mean())
