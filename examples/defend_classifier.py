"""Put a classifier behind a restoration, and see what an attack on it is worth then."""

import torch
from torch.nn import functional

import mimicgan
from mimicgan.data import fashion_mnist


def main(count: int = 100, eps: float = 0.1) -> tuple[float, float]:
    prior = mimicgan.load_prior("fashion-mnist")
    classifier = mimicgan.pretrained.load_classifier("fashion-mnist")
    data = fashion_mnist.sample()
    images, labels = data.images[:count].float() / 255, data.labels[:count]

    x = images.clone().requires_grad_(True)
    functional.cross_entropy(classifier(x * 2 - 1), labels).backward()
    attacked = (images + eps * x.grad.sign()).clamp(0, 1)

    defended = mimicgan.Purified(classifier, prior, classifier_range=(-1, 1))
    with torch.no_grad():
        bare = (classifier(attacked * 2 - 1).argmax(dim=1) == labels).float().mean().item()
        cleaned = (defended(attacked).argmax(dim=1) == labels).float().mean().item()
    print(f"FGSM, eps {eps}: {bare:.0%} right without, {cleaned:.0%} with cleaning")
    print("An attacker who knows of the cleaning does better: this is no security control.")
    return bare, cleaned


if __name__ == "__main__":
    main()
