"""What tracking reports to the person who runs it."""


class TrackingError(RuntimeError):
    """MLflow could not be used: the message says where, why, and what to do. Passwords in it are masked."""


class RunNotFoundError(TrackingError):
    """The run to be continued is not in the tracking store (or was deleted there)."""


class ModelNotFoundError(TrackingError):
    """A reference names no model; the message lists the nearest registered names."""
