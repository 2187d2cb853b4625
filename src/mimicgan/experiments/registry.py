"""The experiments by name."""

from collections.abc import Callable
from pathlib import Path

from mimicgan.experiments import (
    adaptive,
    calibration,
    defence,
    observations,
    recovery,
    robust_classification,
    sweep,
    universal_perturbation,
    unseen,
)
from mimicgan.experiments.options import Callback, ExperimentOptions

EXPERIMENTS: dict[str, Callable[[ExperimentOptions, Callback | None], Path | None]] = {
    robust_classification.NAME: robust_classification.robust_classification,
    unseen.NAME: unseen.unseen,
    observations.NAME: observations.observations,
    sweep.NAME: sweep.sweep,
    calibration.NAME: calibration.calibration,
    recovery.NAME: recovery.recovery,
    adaptive.NAME: adaptive.adaptive,
    defence.NAME: defence.defence,
    universal_perturbation.NAME: universal_perturbation.universal,
}
"""function(options, callback) -> path of the result, or None while other shards are at work."""
