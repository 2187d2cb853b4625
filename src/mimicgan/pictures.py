"""One picture file in, one image of the prior's shape out, by a fixed rule.

The EXIF orientation is applied. Transparent pictures are laid over black, which is the background
of Fashion-MNIST. Grey, palette, CMYK, 16-bit and other modes are turned into grey (ITU-R 601) or
RGB, whichever the prior has. A picture of another size is cut at its centre to the prior's aspect
ratio and resized (Lanczos, antialiased); one of the prior's size keeps its pixels. Of several
frames the first counts.
"""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mimicgan.errors import UserError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
KINDS = ", ".join(suffix[1:] for suffix in FORMATS)
MAX_PIXELS = 50_000_000
LAID = "transparent, laid over black"


def read_picture(
    path: Path,
    shape: tuple[int, int, int],
    content: bytes | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
) -> tuple[Tensor, list[str]]:
    """The picture as an image (c, h, w) float32 in [0, 1], and what was done to it in words.

    ``shape`` is (c, h, w) with c = 1 or 3; ``content`` that of the file, where it was read
    already. Raises UserError naming the file when it is no picture,
    damaged, or has more than ``max_pixels`` (checked before they are decoded).
    """
    if shape[0] not in (1, 3):
        raise ValueError(f"pictures have 1 or 3 channels, not {shape[0]}; give .npy arrays")
    try:
        # Pillow warns of large sizes and broken metadata; the first is refused below.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = path if content is None else BytesIO(content)
            with Image.open(file, formats=[*set(FORMATS.values())]) as picture:
                if picture.width * picture.height > max_pixels:
                    raise Image.DecompressionBombError
                return _decoded(picture, shape)
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} has more than {max_pixels // 1_000_000} million pixels; make it smaller first"
        ) from error
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"{path} is damaged or no picture of the kinds {KINDS}; replace it or take it away"
        ) from error
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; make it smaller first") from error
    except Exception as error:
        # Fed with damaged bytes a decoder may raise nearly anything.
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(path, error) from error
        raise UserError(
            f"{path} is damaged or no picture ({error}); replace it or take it away"
        ) from error


def unreadable(path: Path, error: OSError) -> UserError:
    """What to tell of a picture that the system does not hand out."""
    return UserError(f"cannot read {path}: {error.strerror}; check the file")


def _decoded(picture: Image.Image, shape: tuple[int, int, int]) -> tuple[Tensor, list[str]]:
    channels, height, width = shape
    done = []
    if getattr(picture, "n_frames", 1) > 1:
        done.append("of several frames, the first taken")
        picture.seek(0)
    picture.load()
    plain = ImageOps.exif_transpose(picture)
    if plain.mode.startswith(("I", "F")):
        plain, changed = _deep(plain)
        done += [LAID] if changed else []
    elif plain.has_transparency_data:
        plain, changed = _over_black(plain)
        done += [LAID] if changed else []
    colour = plain.mode not in ("1", "L", "F", "LA", "La")
    if plain.mode != "F":
        rgb = plain.convert("RGB") if colour else plain.convert("L")
        plain = rgb.convert("L") if channels == 1 else rgb
    if colour and channels == 1:
        done.append("in colour, turned grey")
    if plain.size != (width, height):
        done.append(f"of another size, cut at the centre and resized to {width}x{height}")
        plain = plain.crop(_centre(plain.size, width / height))
        plain = plain.resize((width, height), Image.Resampling.LANCZOS)
    # Lanczos overshoots at edges where there is no 8-bit mode to clip it.
    pixels = (np.asarray(plain, dtype=np.float32) / 255).clip(0, 1)
    image = torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)
    return image.expand(channels, -1, -1).contiguous(), done


def _deep(picture: Image.Image) -> tuple[Image.Image, bool]:
    """16-bit integers, and floats in [0, 1], as mode "F" in [0, 255], over black, and whether any
    of it was transparent."""
    values = np.asarray(picture).astype(np.float32)
    full = 1.0 if picture.mode == "F" else 65535.0
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= full):
        raise ValueError(f"values outside [0, {full:g}] or not finite")
    # One grey value may stand for nothing at all.
    nothing = picture.info.get("transparency")
    through = values == (nothing if isinstance(nothing, int) else -1)
    values[through] = 0
    return Image.fromarray(values * np.float32(255 / full)), bool(through.any())


def _over_black(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The picture over black, and whether any of it was transparent."""
    grey = picture.mode in ("L", "LA", "La")
    layer = picture.convert("RGBA")
    changed = int(np.asarray(layer.getchannel("A")).min()) < 255
    if changed:
        layer = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer)
    plain = layer.convert("RGB")
    return plain.convert("L") if grey else plain, changed


def _centre(size: tuple[int, int], aspect: float) -> tuple[int, int, int, int]:
    """The largest centred box (left, top, right, bottom) of about that width over height."""
    width = max(1, min(size[0], round(size[1] * aspect)))
    height = max(1, min(size[1], round(size[0] / aspect)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height
