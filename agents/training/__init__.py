"""One training: from an untrained agent, or its newest checkpoint, to a model on disk."""

from agents.training.loop import train
from agents.training.result import TrainingInterrupted, TrainingResult
from agents.training.start import STATE_FILES
from agents.training.validation import Validation

__all__ = ["STATE_FILES", "TrainingInterrupted", "TrainingResult", "Validation", "train"]
