"""``mimicgan train classifier``: the classifier that the experiments measure with."""

import shlex
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import nn

from mimicgan.commands.flags import PATH, TrainFlags
from mimicgan.data import fashion_mnist
from mimicgan.errors import UserError
from mimicgan.metrics import accuracy
from mimicgan.pretrained import Card, load_classifier, save_classifier
from mimicgan.training.classifier import ClassifierSettings, train_classifier


@dataclass(frozen=True, kw_only=True)
class TrainClassifier(TrainFlags):
    """Train the classifier on Fashion-MNIST; its accuracies on unseen images go on the card.

    Examples:
      mimicgan train classifier --out runs/classifier
    """

    data_dir: Annotated[Path | None, PATH] = None
    """Where Fashion-MNIST is, if not in one of its usual places."""
    out: Path = Path("runs/classifier")
    """Folder for the checkpoint and the finished classifier."""
    settings: Annotated[ClassifierSettings, tyro.conf.arg(name="")] = field(
        default_factory=ClassifierSettings
    )

    def run(self) -> None:
        screen = self.screen()
        self.prepare()
        data = fashion_mnist.load("train", self.data_dir)
        if not 2 <= self.settings.batch <= len(data.images):
            raise UserError(f"--batch {self.settings.batch} must be 2 to {len(data.images)}")
        with screen.progress("training the classifier", self.settings.steps) as advance:
            model = train_classifier(
                data.images,
                data.labels,
                self.settings,
                self.out / "checkpoint.pt",
                callback=lambda step, loss: advance(step, f"loss {loss:.3f}"),
            )
        card = Card(
            name="fashion-mnist",
            architecture="fashion-classifier",
            data=f"Fashion-MNIST (Zalando SE), the first {len(data.images)} training images",
            licence="MIT",
            command=shlex.join(["mimicgan", *sys.argv[1:]]),
            seed=self.settings.seed,
            settings=asdict(self.settings),
        )
        save_classifier(self.out, card, model)
        # Measured as it ships: in half precision.
        shipped = load_classifier(self.out)
        metrics = {split: self._accuracy(shipped, split) for split in ("validation", "test")}
        save_classifier(self.out, Card(**{**asdict(card), "metrics": metrics}), model)
        screen.say(
            f"accuracy {metrics['test']['accuracy']:.2%} on the test images; "
            f"classifier in {self.out}"
        )
        screen.result({"command": "train classifier", "out": str(self.out), "metrics": metrics})

    @torch.no_grad()
    def _accuracy(self, model: nn.Module, split: Any) -> dict[str, Any]:
        data = fashion_mnist.load(split, self.data_dir)
        logits = torch.cat(
            [model(part.float() / 127.5 - 1) for part in torch.split(data.images, 500)]
        )
        found = accuracy(logits, data.labels)
        return {
            "accuracy": found.value,
            "accuracy_ci95": [found.low, found.high],
            "n_images": found.count,
        }
