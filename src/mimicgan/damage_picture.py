"""The learnt damage to look at: its parts, and what it does to a test card and to clean images."""

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mimicgan.damage import ComposedDamage, knots, plain_values
from mimicgan.images import to_user
from mimicgan.overview import BACKGROUND, FONT_SIZE, GAP, INK, grid, stacked

CURVE = 128


def damage_picture(
    damage: ComposedDamage, clean: Tensor, generator: torch.Generator
) -> Image.Image:
    """An RGB picture of ``damage``: only the parts that it uses, each with a word on it.

    Mask and offset, the blur's kernel, the tone curve (from clean to damaged), how colours are
    mixed, noise and the share of replaced pixels; below them a test card and ``clean`` images
    (n, c, h, w) in [-1, 1] of the generator, before and after.
    """
    plain = plain_values(damage.shape, damage.size)
    used = {
        name
        for name, own in damage.named_parameters()
        if not torch.allclose(own, plain[name], atol=1e-3)
    }
    parts: list[Image.Image] = []
    fixed = {"gain": damage.gain, "offset": damage.offset}
    shown = {name: part for name, part in fixed.items() if name in used}
    if shown:
        rows = [(f"{name}, black to white: -1 to 1", to_user(p[None])) for name, p in shown.items()]
        parts.append(grid([(label, image.expand(1, -1, -1, -1)) for label, image in rows]))
    if used & {"sharpness", "kernel"}:
        kernel = damage.blur_kernel().detach()
        parts.append(grid([("blur kernel, its peak white", (kernel / kernel.max())[None, None])]))
    if "curve" in used:
        parts.append(_curve(damage.curve.detach()))
    parts.append(_words(_sentences(damage, used)))
    damage.generator = generator
    before = torch.cat([test_card(damage.shape)[None], clean[:8]])
    with torch.no_grad():
        after = damage(before)
    title = "the damage on a test card and on images that the generator invents"
    shown_rows = [("before", to_user(before)), ("after", to_user(after))]
    parts.append(grid(shown_rows, title=title))
    return stacked(parts)


def test_card(shape: tuple[int, int, int]) -> Tensor:
    """A picture (c, h, w) in [-1, 1] with a ramp, a grid of lines, a dot and sharp edges."""
    channels, height, width = shape
    card = torch.linspace(-1, 1, width).expand(height, width).clone()
    card[: height // 4] = -1
    card[: height // 4, :: max(2, width // 8)] = 1
    card[-height // 4 :] = 0
    card[-height // 4 : -height // 8, width // 4 : -width // 4] = 1
    card[height // 2, width // 2] = 1
    return card.expand(channels, height, width).clone()


def _sentences(damage: ComposedDamage, used: set[str]) -> list[str]:
    words = []
    if used & {"affine", "field", "jitter"}:
        words.append("geometry: moved or bent; see the test card")
    if "outside" in used:
        grey, share = (float(damage.fill) + 1) / 2, float(damage.outside)
        words.append(f"beyond the edge: {share:.0%} of {grey:.2f} of [0, 1], else the edge itself")
    if "pooling" in used:
        words.append(f"resampling: {float(damage.pooling.abs().sum()):.0%} from coarser pixels")
    if "edges" in used:
        sharpened, drawn = damage.edges.tolist()
        words.append(f"edges: sharpened by {sharpened:+.2f}, darkened by {drawn:+.2f}")
    for part in ("columns", "rows"):
        if part in used:
            count = int((damage.get_parameter(part) != 0).sum())
            some = f"1 {part[:-1]} repeats" if count == 1 else f"{count} {part} repeat"
            words.append(f"stuck: {some} another {part[:-1]}")
    if "colour" in used and len(damage.colour) == 3:
        rows = [" ".join(f"{share:+.2f}" for share in row) for row in damage.colour.tolist()]
        words.append("colours, of clean red, green, blue: red {}; green {}; blue {}".format(*rows))
    if "level" in used:
        words.append(f"level: {float(damage.level):+.2f} of each image's own median taken off")
    if "grain" in used:
        share = float((damage.grain != 0).float().mean())
        words.append(f"covered: {share:.0%} of the pixels show noise alone")
    if "noise" in used:
        white, grain, photon = (abs(float(v)) / 2 for v in damage.noise)
        words.append(f"noise of [0, 1]: {white:.3f}, in grains {grain:.3f}, of light {photon:.3f}")
    kinds = ("pixels", "pixels", "blocks of 4x4", "rows", "images: a square")
    for kind, chance, value in zip(
        kinds, damage.chance.sigmoid().tolist(), damage.value.tolist(), strict=True
    ):
        if chance >= 0.01:
            words.append(f"replaced: {chance:.0%} of {kind}, by {(value + 1) / 2:.2f} of [0, 1]")
    return words or ["no noise, nothing moved or replaced"]


def _words(lines: list[str]) -> Image.Image:
    font = ImageFont.load_default(FONT_SIZE)
    width = max(round(font.getlength(line)) for line in lines) + 2 * GAP
    sheet = Image.new("RGB", (width, (FONT_SIZE + GAP) * len(lines) + GAP), BACKGROUND)
    for number, line in enumerate(lines):
        ImageDraw.Draw(sheet).text((GAP, GAP + number * (FONT_SIZE + GAP)), line, INK, font)
    return sheet


def _curve(curve: Tensor) -> Image.Image:
    sheet = Image.new("RGB", (CURVE + 180, CURVE + 2 * GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((GAP, GAP, GAP + CURVE, GAP + CURVE), outline="silver")
    draw.line((GAP, GAP + CURVE, GAP + CURVE, GAP), fill="silver")
    points = [
        (GAP + CURVE * (1 + place) / 2, GAP + CURVE * (1 - v) / 2)
        for place, v in zip(knots().tolist(), curve.clamp(-1, 1).tolist(), strict=True)
    ]
    draw.line(points, fill=INK, width=2)
    font = ImageFont.load_default(FONT_SIZE)
    words = "tone curve: from clean\n(left to right) to damaged\n(bottom to top)"
    draw.text((CURVE + 3 * GAP, GAP), words, INK, font)
    return sheet
