"""scikit-learn: cleaning as a transformer, for pipelines on flat rows of pixels."""

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from mimicgan.errors import needed
from mimicgan.prior import Prior
from mimicgan.purify import Cleaner
from mimicgan.restore import Method, Settings

Array = NDArray[Any]
_base = needed("sklearn.base", "scikit-learn")
BaseEstimator, TransformerMixin = _base.BaseEstimator, _base.TransformerMixin
check_is_fitted = needed("sklearn.utils.validation", "scikit-learn").check_is_fitted


class MimicTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc, valid-type]
    """Rows (n, c * h * w) or images (n, c, h, w) in [0, 1] -> the same, cleaned.

    ``fit`` learns the damage of its X with ``method`` auto, and nothing with ``universal``;
    ``transform`` cleans any number of rows with it. ValueError for X of other images or another
    range than the prior's, or of whole numbers; NotFittedError, which is one, before ``fit``.
    """

    def __init__(self, prior: Prior, method: Method = "auto", seed: int = 0) -> None:
        self.prior, self.method, self.seed = prior, method, seed

    def fit(self, X: Array, y: Any = None) -> Self:  # noqa: ARG002
        """Learn the damage of X."""
        cleaner = Cleaner(self.prior, Settings(self.method, self.seed), gradient="none")
        if self.method == "auto":
            cleaner.learn(self._images(X))
        # Set last: where X was refused, nothing is fitted.
        self.cleaner_ = cleaner
        return self

    def transform(self, X: Array) -> Array:
        """X cleaned, in its own shape and type."""
        check_is_fitted(self)
        with torch.no_grad():
            cleaned = self.cleaner_(self._images(X))
        rows: Array = cleaned.numpy().reshape(np.shape(X))
        return rows.astype(np.asarray(X).dtype, copy=False)

    def _images(self, X: Array) -> torch.Tensor:
        if not np.issubdtype(np.asarray(X).dtype, np.floating):
            # What is cleaned has X's type, in which it would be rounded to black.
            raise ValueError("X must be floating-point in [0, 1]; use X.astype(np.float32) / 255")
        # A copy: processes of joblib share arrays that torch must not write to.
        images = torch.from_numpy(np.array(X, dtype=np.float32, order="C"))
        if images.ndim != 2:
            return images
        shape, columns = self.prior.image_shape, images.shape[1]
        if columns != math.prod(shape):
            raise ValueError(
                f"X must have {math.prod(shape)} columns, {shape} in a row, not {columns}; "
                "resize the images, or use a prior for them"
            )
        return images.view(-1, *shape)
