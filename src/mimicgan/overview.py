"""One picture that shows rows of images beside each other, each row with a label."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mimicgan.image_files import as_pictures

BACKGROUND = "white"
INK = "black"
FRAME = "silver"
FONT_SIZE = 14
GAP = 4
CELL = 64
COLUMNS = 12


def grid(
    rows: Sequence[tuple[str, Tensor]], *, title: str = "", columns: int = COLUMNS
) -> Image.Image:
    """An RGB picture of ``rows``: a label and images (n, c, h, w) in [0, 1] each.

    At most ``columns`` images of a row are shown; small ones are enlarged by a whole factor, pixel
    by pixel, to at most 64. Each has a thin frame, for a white one to be seen on a white page; a
    line below says how many there are where not all are shown. All rows share h and w; ValueError
    otherwise, or without any image.
    """
    if not rows or columns < 1 or any(len(images) == 0 for _, images in rows):
        raise ValueError("an overview needs rows, and at least one image in each")
    sizes = {tuple(images.shape[2:]) for _, images in rows}
    if len(sizes) > 1:
        raise ValueError(f"the rows of an overview must have one image size, not {sorted(sizes)}")
    height, width = sizes.pop()
    factor = max(1, CELL // max(height, width))
    step_x, step_y = width * factor + GAP, height * factor + GAP
    font = ImageFont.load_default(FONT_SIZE)
    label_width = max(round(font.getlength(label)) for label, _ in rows) + 2 * GAP
    top = GAP + (FONT_SIZE + 2 * GAP if title else 0)
    most = max(len(images) for _, images in rows)
    shown = min(columns, most)
    left_out = f"the first {shown} of {most}" if shown < most else ""
    words = max(round(font.getlength(line)) for line in (title, left_out)) + 2 * GAP
    total, bottom = max(label_width + shown * step_x, words), top + len(rows) * step_y
    height_of_all = bottom + (FONT_SIZE + 2 * GAP if left_out else 0)
    sheet = Image.new("RGB", (total, height_of_all), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP), title, INK, font)
    draw.text((GAP, bottom), left_out, INK, font)
    for index, (label, images) in enumerate(rows):
        y = top + index * step_y
        draw.text((GAP, y + (step_y - GAP) / 2), label, INK, font, anchor="lm")
        for column, picture in enumerate(as_pictures(images[:columns])):
            cell = picture.resize((width * factor, height * factor), Image.Resampling.NEAREST)
            x = label_width + column * step_x
            draw.rectangle((x - 1, y - 1, x + cell.width, y + cell.height), outline=FRAME)
            sheet.paste(cell, (x, y))
    return sheet


def stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures one below the other on one sheet, as wide as the widest."""
    if not pictures:
        raise ValueError("nothing to stack; give at least one picture")
    width = max(p.width for p in pictures)
    sheet = Image.new("RGB", (width, sum(p.height + GAP for p in pictures)), BACKGROUND)
    y = 0
    for picture in pictures:
        sheet.paste(picture, (0, y))
        y += picture.height + GAP
    return sheet
