"""Adversarial Robustness Toolbox: cleaning as a preprocessing defence."""

from typing import Any

from torch import Tensor

from mimicgan.errors import UserError, needed
from mimicgan.purify import Cleaner

PreprocessorPyTorch = needed("art.defences.preprocessor.preprocessor", "art").PreprocessorPyTorch


class MimicPreprocessor(PreprocessorPyTorch):  # type: ignore[misc, valid-type]
    """``PyTorchClassifier(..., preprocessing_defences=MimicPreprocessor(Cleaner(prior)))``.

    Images (n, c, h, w) in [0, 1]. ART hands over all images at once; ``cleaner`` owns the parts in
    which a damage is learnt, and the gradient that an attack gets: UserError where it has none. Of
    a Purified, the cleaning alone is used.
    """

    params = ("cleaner",)

    def __init__(
        self, cleaner: Cleaner, *, apply_fit: bool = False, apply_predict: bool = True
    ) -> None:
        if cleaner.gradient == "none":
            raise UserError(
                "ART's attacks need a gradient; make the cleaner with another than none, such as "
                "straight-through"
            )
        super().__init__(
            device_type="cpu", is_fitted=True, apply_fit=apply_fit, apply_predict=apply_predict
        )
        self.cleaner = cleaner

    def forward(self, x: Tensor, y: Any = None) -> tuple[Tensor, Any]:
        """Cleaned images with the cleaner's gradient, and the labels as they were."""
        # NumPy's floats are double, and a classifier of ART takes these.
        return self.cleaner.cleaned(x.float()), y
