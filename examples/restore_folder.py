"""Restore a folder of pictures from Python. Usage: restore_folder.py IN OUT"""

import sys
from pathlib import Path

import mimicgan
from mimicgan.image_files import read_images, write_images


def main(source: str, out: str) -> None:
    prior = mimicgan.load_prior("fashion-mnist")
    found = read_images(source, prior.image_shape)
    # A folder that is there already should not be told after minutes of work.
    Path(out).mkdir()
    result = mimicgan.restore(found.images, prior)
    write_images(Path(out), found.names, result.images)
    print(f"{len(found.names)} images; misfit {result.misfit}; understood: {result.understood}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
