"""Learn a damage from one batch, keep it, and restore single images with it later."""

import tempfile
from pathlib import Path

import torch

import mimicgan
from mimicgan.data import fashion_mnist
from mimicgan.learnt import Damage


def main() -> torch.Tensor:
    prior = mimicgan.load_prior("fashion-mnist")
    images = fashion_mnist.sample().images[:60].float() / 255
    observed = mimicgan.corrupt("negative-blur", images, torch.Generator().manual_seed(0))
    result = mimicgan.restore(observed[:50], prior)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "camera.safetensors"
        result.damage.save(path)
        damage = Damage.load(path, prior)
    later = mimicgan.restore(observed[50:51], prior, damage=damage)
    print(f"learnt in {result.seconds:.0f} s, one image more in {later.seconds:.3f} s")
    return later.images


if __name__ == "__main__":
    main()
