"""`mario ship --half`: a policy in half precision, with the figures of the rounded weights."""

import tempfile
from pathlib import Path

from configs import Settings
from flows.evaluating import evaluate_model
from flows.models import Trust
from tasks.keeping import ship_model


def ship_rounded(name: str, settings: Settings, folder: Path, target: str | None) -> Path:
    """Write the policy of the experiment `name` as :func:`tasks.keeping.ship_model` does, in half precision.

    Rounding may change a decision, so the rounded policy is evaluated as the experiment was, and has these figures.

    Raises:
        StoreError, UnfinishedError, CheckpointError: as :func:`tasks.keeping.ship_model`.
        StoreUnavailableError, TrackingError: as :func:`flows.evaluating.evaluate_model`.
    """
    with tempfile.TemporaryDirectory(prefix="train-mario-") as draft:
        rounded = ship_model(name, settings, Path(draft), target, half_precision=True)
        _, figures = evaluate_model(str(rounded), None, settings, Trust(anyway=True))
    return ship_model(name, settings, folder, target, half_precision=True, evaluation=figures["protocols"])
