"""Attacks that know of the cleaning: what is left of the static table when they do.

PGDM and a black-box search on a restorer, the universal or the hardened one, and the classifier as
one, over a range of eps. The default method gets the same images: for it they are a transferred
attack, since it learns its restorer anew from every batch. The attack that is made for it
(``model-space``) fits restorers as the method does, each on what fooled those before it (GMSA, Chen
et al. 2022). Batch games vary what shares a batch with an attacked image.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mimicgan.attacks import ATTACKS, attacked
from mimicgan.experiments.bench import GUARD, Bench
from mimicgan.experiments.cases import Case
from mimicgan.experiments.defence import adversarial, kept
from mimicgan.experiments.options import Callback, ExperimentOptions
from mimicgan.experiments.robust_classification import undamaged
from mimicgan.experiments.runner import Experiment, run
from mimicgan.match_settings import MatchSettings
from mimicgan.purify import Gradient, Purified
from mimicgan.restore import Settings

NAME = "adaptive"
EXACT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
BPDA = (0.1, 0.3)
SQUARE = (0.05, 0.1, 0.3)
METHODS = ("observed", "median", "adversarial-training", "universal", "default")
HARDENED = ("observed", "adversarial-training", "hardened")
HARDENING = ("mimicgan.training.hardening", "mimicgan.models.restorer")
ON_BATCHES = ("observed", "universal", "hardened", "default")
FITS = 2
"""Restorers that the model-space attack fits."""
MODEL_SPACE = (0.05, 0.1, 0.3)
SHUFFLED = "all attacked, shuffled"
GAMES = ("one attacked", "half attacked", "all attacked", SHUFFLED, "attacks mixed")
ATTACKED_BY = "pgdm"


class Together(nn.Module):
    """Several models as one: the mean of their log-probabilities."""

    def __init__(self, models: list[nn.Module]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([m(x).log_softmax(dim=1) for m in self.models]).mean(dim=0)


def model_space(
    bench: Bench,
    images: Tensor,
    labels: Tensor,
    seed: int,
    *,
    eps: float,
    settings: MatchSettings | None = None,
) -> Tensor:
    """PGDM on the universal restorer and ``FITS`` more, fitted by the default method on the way.

    The seeds of these fits are not the defender's, which nobody knows.
    """
    classifier = bench.attackable()
    settings = settings or MatchSettings()
    parts = {
        "attack": "model-space",
        "eps": eps,
        "fits": FITS,
        "seed": seed,
        "settings": asdict(settings),
        "weights": bench.weights,
    }

    def make() -> Tensor:
        models: list[nn.Module] = [Purified(classifier, bench.prior)]
        for turn in range(FITS + 1):
            made = attacked("pgdm", Together(models), images, labels, eps=eps, seed=seed)
            if turn < FITS:
                # One batch, as the defender has it.
                fit = Settings("auto", seed + 1 + turn, batch=len(images), match=settings)
                models.append(Purified(classifier, bench.prior, fit).learn(made))
        return made

    return kept(bench, parts, images, ("mimicgan.attacks", "mimicgan.match"), make)


def batch_game(bench: Bench, images: Tensor, labels: Tensor, seed: int, *, game: str) -> Tensor:
    """A batch in which some images are attacked, all by PGDM or each by another attack."""
    one = partial(adversarial, bench, images, labels, seed, eps=0.3, guessed=True)
    if game == "one attacked":
        return torch.cat([one(name=ATTACKED_BY)[:1], images[1:]])
    if game in ("all attacked", SHUFFLED):
        return one(name=ATTACKED_BY)
    generator = torch.Generator().manual_seed(seed)
    mixed = images.clone()
    if game == "half attacked":
        half = torch.randperm(len(images), generator=generator)[: len(images) // 2]
        mixed[half] = one(name=ATTACKED_BY)[half]
        return mixed
    kinds = torch.randint(len(ATTACKS), (len(images),), generator=generator)
    for kind, name in enumerate(ATTACKS):
        mixed[kinds == kind] = one(name=name)[kinds == kind]
    return mixed


def cases() -> tuple[Case, ...]:
    """Exact gradients, straight-through gradients, none, several fits (true labels); games."""
    kinds: tuple[tuple[str, str, Gradient, tuple[float, ...]], ...] = (
        ("exact-gradient", "pgdm", "exact", EXACT),
        ("straight-through", "pgdm", "straight-through", BPDA),
        ("black-box", "square", "exact", SQUARE),
    )
    by_gradient = tuple(
        Case(
            f"{task}-hardened" if hardened else task,
            f"eps={eps:g}",
            undamaged,
            HARDENED if hardened else METHODS,
            code=("mimicgan.attacks", "mimicgan.purify", *(HARDENING if hardened else ())),
            settings=GUARD if hardened else {},
            adversary=partial(
                adversarial,
                name=name,
                eps=eps,
                guessed=False,
                through=gradient,
                hardened=hardened,
            ),
            defended=True,
            extra={"eps": eps},
        )
        for hardened in (False, True)
        for task, name, gradient, every in kinds
        for eps in every
    )
    several = tuple(
        Case(
            "model-space",
            f"eps={eps:g}",
            undamaged,
            ON_BATCHES,
            code=("mimicgan.attacks", "mimicgan.match", "mimicgan.purify"),
            settings=asdict(MatchSettings()),
            adversary=partial(model_space, eps=eps),
            defended=True,
        )
        for eps in MODEL_SPACE
    )
    games = tuple(
        Case(
            "batch-game",
            game,
            undamaged,
            ON_BATCHES,
            code=("mimicgan.attacks",),
            adversary=partial(batch_game, game=game),
            defended=True,
            judged=1 if game == "one attacked" else None,
            shuffled=game == SHUFFLED,
        )
        for game in GAMES
    )
    return by_gradient + several + games


def adaptive(
    options: ExperimentOptions, callback: Callback | None = None, bench: Bench | None = None
) -> Path | None:
    """Run the experiment; the result file's path, or None while other shards are at work."""
    return run(Experiment(NAME, cases()), options, callback, bench)
