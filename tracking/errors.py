"""The exceptions of tracking."""


class TrackingError(RuntimeError):
    """MLflow failed. The message says where, why, and what to do; passwords in it are masked."""


class RunNotFoundError(TrackingError):
    """The run to be continued is not in the tracking store, or was deleted there."""


class ModelNotFoundError(TrackingError):
    """A reference names no model; the message lists similar registered names."""
