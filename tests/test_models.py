"""Tables 3 and 4 (layers, order, sizes counted by hand) and the classifier."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mimicgan.errors import UserError
from mimicgan.models import architecture
from mimicgan.models.classifier import FashionClassifier
from mimicgan.models.fashion import FashionDiscriminator, FashionGenerator
from mimicgan.models.restorer import Restorer

Layers = list[tuple[str, tuple[int, ...]]]

TABLE_3: Layers = [
    ("Linear", (1024,)),
    ("ReLU", (1024,)),
    ("BatchNorm1d", (1024,)),
    ("Linear", (6272,)),
    ("ReLU", (6272,)),
    ("BatchNorm1d", (6272,)),
    ("ConvTranspose2d", (64, 14, 14)),
    ("ReLU", (64, 14, 14)),
    ("ConvTranspose2d", (1, 28, 28)),
    ("Tanh", (1, 28, 28)),
]
TABLE_4: Layers = [
    ("Conv2d", (64, 14, 14)),
    ("BatchNorm2d", (64, 14, 14)),
    ("LeakyReLU", (64, 14, 14)),
    ("Conv2d", (128, 7, 7)),
    ("BatchNorm2d", (128, 7, 7)),
    ("LeakyReLU", (128, 7, 7)),
    ("Linear", (1024,)),
    ("LeakyReLU", (1024,)),
    ("BatchNorm1d", (1024,)),
    ("Linear", (1,)),
]
# Weights and biases of each layer in the order of the tables; a batch norm has a scale and a shift.
PARAMETERS_3 = [
    100 * 1024 + 1024,
    2 * 1024,
    1024 * 6272 + 6272,
    2 * 6272,
    4 * 4 * 64 * 128 + 64,
    4 * 4 * 1 * 64 + 1,
]
PARAMETERS_4 = [
    4 * 4 * 1 * 64 + 64,
    2 * 64,
    4 * 4 * 64 * 128 + 128,
    2 * 128,
    6272 * 1024 + 1024,
    2 * 1024,
    1024 * 1 + 1,
]


def layers(network: nn.Module, inputs: Tensor) -> Layers:
    """Kind and output shape of every layer in the order in which they run."""
    seen: Layers = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        seen.append((type(module).__name__, tuple(output.shape[1:])))

    for module in network.modules():
        # A reshape is no layer of the table's with weights or activation.
        if not list(module.children()):
            module.register_forward_hook(note)
    network(inputs)
    return seen


def test_table_3() -> None:
    generator = FashionGenerator()
    assert layers(generator, torch.zeros(2, 100)) == TABLE_3
    assert sum(p.numel() for p in generator.parameters()) == sum(PARAMETERS_3) == 6_678_977


def test_table_4() -> None:
    discriminator = FashionDiscriminator()
    assert layers(discriminator, torch.zeros(2, 1, 28, 28)) == TABLE_4
    assert sum(p.numel() for p in discriminator.parameters()) == sum(PARAMETERS_4) == 6_559_297


def randomised(network: nn.Module) -> nn.Module:
    """The network in eval mode, with every weight and statistic away from its neutral start."""
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(torch.rand(value.shape, generator=draws) + 0.5)
            elif name.endswith(("bias", "running_mean")):
                value.copy_(torch.randn(value.shape, generator=draws) * 0.1)
            elif value.dim() == 1:
                value.copy_(torch.rand(value.shape, generator=draws) + 0.5)
    return network.eval()


def normed(x: Tensor, norm: nn.Module) -> Tensor:
    shape = (1, -1) + (1,) * (x.dim() - 2)
    s = {name: value.view(shape) for name, value in norm.state_dict().items() if value.dim()}
    scaled = (x - s["running_mean"]) / (s["running_var"] + 1e-5).sqrt()
    return scaled * s["weight"] + s["bias"]


@torch.no_grad()
def test_generator_computes_table_3() -> None:
    generator = randomised(FashionGenerator())
    fc, conv = generator.fc, generator.conv
    z = torch.rand(3, 100, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = normed((z @ fc[0].weight.T + fc[0].bias).relu(), fc[2])
    x = normed((x @ fc[3].weight.T + fc[3].bias).relu(), fc[5]).reshape(3, 128, 7, 7)
    for layer, activation in ((conv[0], torch.relu), (conv[2], torch.tanh)):
        # A transposed convolution of stride 2 is a convolution of the image with zeros between.
        n, c, h, w = x.shape
        spread = x.new_zeros(n, c, 2 * h - 1, 2 * w - 1)
        spread[:, :, ::2, ::2] = x
        kernel = layer.weight.transpose(0, 1).flip(2, 3)
        x = activation(functional.conv2d(spread, kernel, layer.bias, padding=2))
    got = generator(z)
    torch.testing.assert_close(got, x, atol=1e-5, rtol=1e-4)
    assert got.shape == (3, 1, 28, 28)
    assert got.abs().max() <= 1
    assert got.min() < 0 < got.max()


@torch.no_grad()
def test_discriminator_computes_table_4_without_the_sigmoid() -> None:
    discriminator = randomised(FashionDiscriminator())
    conv, fc = discriminator.conv, discriminator.fc
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1)) * 2 - 1
    x = images
    for layer, norm in ((conv[0], conv[1]), (conv[3], conv[4])):
        x = normed(functional.conv2d(x, layer.weight, layer.bias, stride=2, padding=1), norm)
        x = torch.maximum(x, 0.2 * x)
    x = x.reshape(3, -1) @ fc[0].weight.T + fc[0].bias
    x = normed(torch.maximum(x, 0.2 * x), fc[2])
    logits = (x @ fc[3].weight.T + fc[3].bias)[:, 0]
    got = discriminator(images)
    torch.testing.assert_close(got, logits, atol=1e-5, rtol=1e-4)
    assert got.shape == (3,)
    assert discriminator(images[:1]).shape == (1,)


def test_the_architecture_by_name() -> None:
    fashion = architecture("fashion")
    generator = fashion.generator()
    assert isinstance(generator, FashionGenerator)
    assert isinstance(fashion.discriminator(), FashionDiscriminator)
    codes = fashion.encoder()(torch.zeros(2, *generator.image_shape))
    assert codes.shape == (2, 2 * generator.latent_size)
    with pytest.raises(UserError, match=r"no architecture 'x'.*fashion"):
        architecture("x")


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 48), (1, 30, 33), (3, 9, 14), (1, 5, 5)])
def test_a_restorer_takes_any_sides_and_learns_every_pixel(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network = Restorer(shape, 8, 16)
    y = torch.rand(3, *shape) * 2 - 1
    out = network(y)
    assert out.shape == y.shape
    for place in ((0, 0), (-1, -1)):
        (own,) = torch.autograd.grad(
            out[..., place[0], place[1]].sum(), network.last.weight, retain_graph=True
        )
        assert own.abs().sum() > 0


def test_classifier_gives_ten_logits_and_repeats_itself_in_eval_mode() -> None:
    classifier = FashionClassifier().eval()
    images = torch.rand(5, 1, 28, 28) * 2 - 1
    logits = classifier(images)
    assert logits.shape == (5, 10)
    assert torch.equal(classifier(images), logits)
    assert not torch.equal(classifier.train()(images), logits)
