"""The solver against Algorithm 1 written out again, and against cases solved by hand."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mimicgan.mimic import Step, mimic
from mimicgan.presets import PGD, MimicSettings
from mimicgan.prior import Prior
from mimicgan.restore import Settings, restore
from mimicgan.surrogate import ConvSurrogate

SHAPE = (1, 6, 6)
LATENT = 5
SMALL = MimicSettings(
    iterations=3,
    surrogate_steps=2,
    latent_steps=3,
    surrogate_rate=0.02,
    latent_rate=0.1,
    adversarial=0.3,
    identity=0.2,
    optimizer="rmsprop",
    last="relu",
    skip=1.0,
    scale=1.0,
)


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, so that another order of sums makes no difference that counts."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Watched(nn.Module):
    """A small generator with a batch norm that notes the range of its latents."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(LATENT, 12)
        self.norm = nn.BatchNorm1d(12)
        self.out = nn.Linear(12, 36)
        self.low, self.high = float("inf"), float("-inf")

    def forward(self, z: Tensor) -> Tensor:
        self.low, self.high = min(self.low, z.min().item()), max(self.high, z.max().item())
        return self.out(self.norm(self.fc(z).relu())).tanh().view(-1, *SHAPE)


class Judge(nn.Module):
    """A small discriminator with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.2), nn.Linear(8, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return 3 * self.body(x).squeeze(1)


def small_prior(**fields: Any) -> Prior:
    torch.manual_seed(3)
    parts: dict[str, Any] = {"generator": Watched(), "discriminator": Judge(), **fields}
    return Prior(latent_size=LATENT, image_shape=SHAPE, **parts)


def observed(count: int = 4) -> Tensor:
    return torch.rand(count, *SHAPE, generator=seeded(7)) * 2 - 1


# (a) Algorithm 1 and equation 3, line by line from the paper. Choices that the paper leaves open:
# norms are means over pixels; the surrogate sees the mean over the images, each latent its own
# image's loss.

Update = Callable[[Tensor, Tensor, dict[str, Tensor]], Tensor]


def paper_rmsprop(p: Tensor, g: Tensor, slot: dict[str, Tensor]) -> Tensor:
    slot["ms"] = 0.9 * slot.get("ms", torch.zeros_like(p)) + 0.1 * g * g
    return g / (slot["ms"] ** 0.5 + 1e-8)


def paper_tf_rmsprop(p: Tensor, g: Tensor, slot: dict[str, Tensor]) -> Tensor:
    slot["ms"] = 0.9 * slot.get("ms", torch.ones_like(p)) + 0.1 * g * g
    return g / (slot["ms"] + 1e-10) ** 0.5


def paper_adam(p: Tensor, g: Tensor, slot: dict[str, Tensor]) -> Tensor:
    t = slot["t"] = slot.get("t", torch.zeros(())) + 1
    slot["m"] = 0.9 * slot.get("m", torch.zeros_like(p)) + 0.1 * g
    slot["v"] = 0.999 * slot.get("v", torch.zeros_like(p)) + 0.001 * g * g
    return (slot["m"] / (1 - 0.9**t)) / ((slot["v"] / (1 - 0.999**t)) ** 0.5 + 1e-8)


UPDATES: dict[str, Update] = {
    "rmsprop": paper_rmsprop,
    "tf-rmsprop": paper_tf_rmsprop,
    "adam": paper_adam,
}


def algorithm_1(
    Y_obs: Tensor, prior: Prior, s: MimicSettings, f: nn.Module, draws: torch.Generator
) -> tuple[Tensor, list[tuple[str, float, float]]]:
    """The paper's Algorithm 1: latents, and (loop, loss, mimicking loss) of every update."""
    N = len(Y_obs)
    G, D = prior.generator, prior.discriminator
    low, high = prior.box
    realizations = torch.rand(1000, LATENT, generator=draws) * (high - low) + low
    mean = sum(realizations[i] for i in range(1000)) / 1000
    z = torch.stack([mean for _ in range(N)])
    theta = list(f.parameters())
    slots: list[dict[str, Tensor]] = [{} for _ in theta]
    slot_z: dict[str, Tensor] = {}
    descend, history = UPDATES[s.optimizer], []

    def losses(z: Tensor, with_adversarial: bool) -> tuple[list[Tensor], list[Tensor]]:
        X = G(z)
        Y_est = f(X)
        total, mimicking = [], []
        for j in range(N):
            L_obs = (Y_obs[j] - Y_est[j]).abs().sum() / 36
            L_I = (Y_obs[j] - X[j]).abs().sum() / 36 + (Y_est[j] - X[j]).abs().sum() / 36
            L = L_obs + s.identity * L_I
            if with_adversarial and D is not None:
                L = L + s.adversarial * torch.log(1 - 1 / (1 + torch.exp(-D(X)[j])))
            total.append(L)
            mimicking.append(L_obs)
        return total, mimicking

    def note(loop: str, total: list[Tensor], mimicking: list[Tensor]) -> None:
        sums = [torch.stack(values).detach().sum().item() for values in (total, mimicking)]
        history.append((loop, sums[0] / N, sums[1] / N))

    for _ in range(s.iterations):
        for _ in range(s.surrogate_steps):
            # L_adv does not depend on theta.
            total, mimicking = losses(z, with_adversarial=False)
            gradients = torch.autograd.grad(sum(total) / N, theta)
            with torch.no_grad():
                for p, g, slot in zip(theta, gradients, slots, strict=True):
                    p.copy_(p - s.surrogate_rate * descend(p, g, slot))
            note("surrogate", total, mimicking)
        for _ in range(s.latent_steps):
            z = z.detach().requires_grad_(True)
            total, mimicking = losses(z, with_adversarial=True)
            (g,) = torch.autograd.grad(sum(total), z)
            z = (z - s.latent_rate * descend(z, g, slot_z)).detach()
            z = torch.where(z < low, torch.tensor(low), z)
            z = torch.where(z > high, torch.tensor(high), z)
            note("latent", total, mimicking)
    return z, history


CASES = {
    "torch's RMSProp": SMALL,
    "TensorFlow's RMSProp": replace(SMALL, optimizer="tf-rmsprop", latent_rate=3.0),
    "Adam": replace(SMALL, optimizer="adam"),
    "mimicking loss alone": replace(SMALL, adversarial=0.0, identity=0.0),
    "adversarial loss alone": replace(SMALL, identity=0.0, adversarial=1.0),
    "one update each": replace(SMALL, surrogate_steps=1, latent_steps=1, iterations=5),
    "no surrogate update": replace(SMALL, surrogate_steps=0),
    "long strides, clipped": replace(SMALL, latent_rate=0.7, iterations=6),
    "another start": replace(SMALL, skip=0.0, scale=0.3, last="tanh"),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", CASES)
def test_the_solver_is_algorithm_1(name: str) -> None:
    settings, prior, y = CASES[name], small_prior(), observed()
    steps: list[Step] = []
    z, f = mimic(y, prior, settings, seeded(), callback=steps.append)

    draws = seeded()
    expected_f = ConvSurrogate(
        SHAPE, last=settings.last, skip=settings.skip, scale=settings.scale, generator=draws
    )
    expected_z, history = algorithm_1(y, prior, settings, expected_f, draws)
    torch.testing.assert_close(z, expected_z, rtol=0, atol=1e-8)
    torch.testing.assert_close(f.state_dict(), expected_f.state_dict(), rtol=0, atol=1e-8)
    assert [step.kind for step in steps] == [loop for loop, _, _ in history]
    got = torch.tensor([(step.loss, step.mimicking) for step in steps])
    torch.testing.assert_close(got, torch.tensor([h[1:] for h in history]), rtol=0, atol=1e-8)
    if "clipped" in name:
        assert (z.abs() == 1).any()


@pytest.mark.usefixtures("double")
def test_identity_surrogate_is_projected_gradient_descent() -> None:
    settings = replace(PGD, iterations=4, latent_steps=3, latent_rate=0.1, adversarial=0.3)
    prior, y = small_prior(), observed()
    kinds: list[str] = []
    z, f = mimic(y, prior, settings, seeded(), callback=lambda step: kinds.append(step.kind))
    expected, _ = algorithm_1(y, prior, settings, nn.Identity(), seeded())
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-8)
    x = torch.rand(2, *SHAPE)
    assert torch.equal(f(x), x)
    assert kinds == ["latent"] * 12
    # Steps for a surrogate without parameters are no steps.
    again, _ = mimic(y, prior, replace(settings, surrogate_steps=5), seeded())
    assert torch.equal(again, z)


# (b) Cases with a known answer.


class Diagonal(nn.Module):
    """G(z) = offset + scale * z, a pixel for each latent."""

    def __init__(self, scale: Tensor, offset: float = 0.0) -> None:
        super().__init__()
        self.scale, self.offset = nn.Parameter(scale), offset

    def forward(self, z: Tensor) -> Tensor:
        return (self.offset + self.scale * z).view(-1, 1, 4, 4)


class Gain(nn.Module):
    """f(x) = gain * x, with a step size of its own left to the optimiser."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x


def diagonal_prior(generator: nn.Module) -> Prior:
    return Prior(generator=generator, latent_size=16, image_shape=(1, 4, 4))


@pytest.mark.parametrize("name", ["rmsprop", "tf-rmsprop", "adam"])
def test_linear_generator_without_damage_is_inverted_and_clipped(name: Any) -> None:
    scale = torch.linspace(-2, 2, 16) + 0.1
    truth = torch.rand(6, 16, generator=seeded()) * 3 - 1.5
    y = (scale * truth).view(-1, 1, 4, 4)
    settings = replace(PGD, optimizer=name, iterations=60, latent_steps=10, latent_rate=0.005)
    z, _ = mimic(y, diagonal_prior(Diagonal(scale)), settings, seeded())
    # The l1 distance falls apart into one of each pixel: z = y / scale, or the end of the box.
    torch.testing.assert_close(z, truth.clamp(-1, 1), rtol=0, atol=0.03)
    beyond = truth.abs() > 1.05
    assert torch.equal(z[beyond], truth.sign()[beyond])


def test_each_image_keeps_its_own_step_whatever_the_batch() -> None:
    scale = torch.ones(16)
    y = torch.rand(8, 1, 4, 4, generator=seeded()) * 2 - 1
    settings = replace(
        PGD, optimizer="tf-rmsprop", iterations=2, latent_steps=3, latent_rate=0.1, adversarial=0.0
    )
    together, _ = mimic(y, diagonal_prior(Diagonal(scale)), settings, seeded())
    for index in range(8):
        alone, _ = mimic(y[index : index + 1], diagonal_prior(Diagonal(scale)), settings, seeded())
        torch.testing.assert_close(together[index : index + 1], alone, rtol=0, atol=1e-6)


@pytest.mark.parametrize("truth", [-1.0, -0.6, 0.5])
def test_sign_and_gain_of_a_damage_are_recovered(truth: float) -> None:
    """Images lie in [0.25, 0.75]: one gain alone lets both ends of y be reached."""
    generator = Diagonal(torch.full((16,), 0.25), offset=0.5)
    latents = torch.linspace(-1, 1, 15 * 16)[torch.randperm(15 * 16, generator=seeded())]
    clean = generator(latents.view(15, 16)).detach()
    settings = MimicSettings(
        iterations=2,
        surrogate_steps=500,
        latent_steps=500,
        surrogate_rate=0.005,
        latent_rate=0.005,
        adversarial=0.0,
        optimizer="rmsprop",
    )
    gain = Gain()
    z, f = mimic(truth * clean, diagonal_prior(generator), settings, seeded(), surrogate=gain)
    assert f is gain
    assert gain.gain.item() == pytest.approx(truth, abs=0.02)
    torch.testing.assert_close(generator(z), clean, rtol=0, atol=0.02)


# The manner of its work.


def test_latents_stay_in_the_box_and_start_at_its_mean() -> None:
    prior = small_prior(box=(-0.5, 0.25))
    z, _ = mimic(observed(), prior, replace(SMALL, latent_rate=0.3), seeded())
    generator = prior.generator
    assert isinstance(generator, Watched)
    assert -0.5 <= generator.low <= generator.high <= 0.25
    assert z.min() == -0.5
    assert z.max() == 0.25
    start, _ = mimic(observed(), prior, replace(PGD, iterations=0), seeded())
    assert torch.equal(start, start[:1].expand_as(start))
    torch.testing.assert_close(start[0], torch.full((LATENT,), -0.125), rtol=0, atol=0.04)


def test_callback_hears_t1_surrogate_then_t2_latent_updates() -> None:
    steps: list[Step] = []
    prior, y = small_prior(), observed()
    z, _ = mimic(y, prior, SMALL, seeded(), callback=steps.append)
    expected = [(t, k) for t in range(3) for k in ["surrogate"] * 2 + ["latent"] * 3]
    assert [(step.iteration, step.kind) for step in steps] == expected
    silent, _ = mimic(y, prior, SMALL, seeded())
    assert torch.equal(silent, z)


def test_generator_passes_are_counted_and_the_images_of_t1_are_made_once() -> None:
    prior = small_prior()
    with prior.counted() as passes:
        mimic(observed(4), prior, SMALL, seeded())
        assert passes.images == 4 * 3 * (1 + 3)
    with prior.counted() as passes:
        mimic(observed(2), prior, replace(PGD, iterations=3, latent_steps=3), seeded())
    prior.sample(5, seeded())
    assert passes.images == 2 * 3 * 3


def test_a_seed_fixes_the_result_to_the_bit_and_the_global_one_has_no_part() -> None:
    results = []
    for noise, seed in ((1, 0), (2, 0), (2, 1)):
        prior = small_prior()
        torch.manual_seed(noise)
        z, f = mimic(observed(), prior, SMALL, seeded(seed))
        results.append(torch.cat([z.flatten(), *(p.flatten() for p in f.parameters())]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[1], results[2])


def test_the_prior_and_the_observations_stay_as_they_are() -> None:
    prior, y = small_prior(), observed()
    networks = nn.ModuleList([prior.generator, prior.discriminator or nn.Identity()])
    before, y_before = copy.deepcopy(networks.state_dict()), y.clone()
    mimic(y, prior, SMALL, seeded())
    assert torch.equal(y, y_before)
    assert all(torch.equal(value, before[name]) for name, value in networks.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in networks.parameters())


def test_a_users_own_surrogate_is_trained_and_returned_in_eval_mode() -> None:
    own = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 1, 1))
    before = copy.deepcopy(own.state_dict())
    losses: list[float] = []
    prior = small_prior()
    z, f = mimic(
        -prior.sample(6, seeded(5)),
        prior,
        replace(SMALL, iterations=15, surrogate="identity"),
        seeded(),
        surrogate=own,
        callback=lambda step: losses.append(step.mimicking),
    )
    assert f is own
    assert not f.training
    assert not any(p.requires_grad for p in f.parameters())
    assert not z.requires_grad
    assert all(not torch.equal(value, before[name]) for name, value in own.state_dict().items())
    assert losses[-1] < 0.8 * losses[0]


def test_a_prior_needs_no_discriminator() -> None:
    without = small_prior(discriminator=None)
    z, _ = mimic(observed(), without, SMALL, seeded())
    expected, _ = mimic(observed(), small_prior(), replace(SMALL, adversarial=0.0), seeded())
    assert torch.equal(z, expected)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("method", ["mimicgan", "pgd"])
def test_restore_works_under_no_grad_and_inference_mode(mode: Any, method: Any) -> None:
    pgd = replace(PGD, iterations=3, latent_steps=3, latent_rate=0.1)
    settings = Settings(method=method, mimic=SMALL, pgd=pgd)
    prior = small_prior()
    plain = restore((observed() + 1) / 2, prior, settings)
    with mode():
        # The caller's images are made inside, too.
        inside = restore((observed() + 1) / 2, prior, settings)
    assert torch.equal(inside.images, plain.images)
    assert inside.latents is not None
    assert plain.latents is not None
    assert torch.equal(inside.latents, plain.latents)
    assert inside.latents.std() > 0.05
    passes = {"mimicgan": 4 * 3 * (1 + 3) + 4, "pgd": 4 * 3 * 3 + 4}[method]
    assert inside.generator_passes == passes
    assert len(inside.history) == {"mimicgan": 15, "pgd": 9}[method]


def test_the_best_of_several_starts_is_kept_for_every_image() -> None:
    prior = Prior(nn.Linear(3, 16).requires_grad_(False), 3, (1, 4, 4))
    prior = replace(prior, generator=nn.Sequential(prior.generator, nn.Unflatten(1, (1, 4, 4))))
    y = prior.sample(5, seeded(1))
    still = replace(PGD, iterations=1, latent_steps=1, latent_rate=0.0, start="random", norm="l2")
    tries = replace(still, restarts=6)
    z, _ = mimic(y, prior, tries, seeded(2))
    generator = seeded(2)
    prior.mean_latent(generator)
    drawn = prior.draw(30, generator).view(5, 6, 3)
    for image, found, choices in zip(y, z, drawn, strict=True):
        apart = (prior.generator(choices) - image).square().flatten(1).mean(dim=1)
        torch.testing.assert_close(found, choices[apart.argmin()])


def test_the_latents_rate_drops_to_a_tenth() -> None:
    prior = Prior(nn.Unflatten(1, (1, 2, 2)), 4, (1, 2, 2))
    y = torch.full((1, 1, 2, 2), 0.9)
    base = replace(PGD, iterations=2, latent_steps=1, optimizer="sgd", latent_rate=0.1, norm="l2")
    late = mimic(y, prior, replace(base, iterations=1), seeded())[0]
    full = mimic(y, prior, base, seeded())[0]
    less = mimic(y, prior, replace(base, drop=0.5), seeded())[0]
    torch.testing.assert_close(less - late, 0.1 * (full - late))


@pytest.mark.parametrize(
    "slip",
    [
        {"restarts": 0},
        {"iterations": -1},
        {"latent_steps": -1},
        {"latent_rate": float("nan")},
        {"surrogate_rate": float("inf")},
        {"drop": 2.0},
    ],
)
def test_numbers_of_algorithm_1_that_make_no_sense_are_refused(slip: dict[str, Any]) -> None:
    ((name, value),) = slip.items()
    with pytest.raises(ValueError, match=f"{name} {value:g} .*give"):
        MimicSettings(**slip)
