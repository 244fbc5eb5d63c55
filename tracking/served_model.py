"""An agent as MLflow serves it.

MLflow loads a model from a Python file that is stored with it ("models from code"). This package does not know how agents are
loaded, so the caller writes that file::

    from agents import load_agent
    from tracking.served_model import serve

    serve(load_agent)
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.models import AGENT_ARTIFACT


class Policy(Protocol):
    """What an agent must offer."""

    def act(self, observations: NDArray[Any], *, deterministic: bool) -> NDArray[np.int64]:
        """Actions int64 (n,) for a batch of observations (n, *shape)."""


def serve(load: Callable[[Path], Policy]) -> None:
    """Make an agent the model of the Python file that calls this.

    Args:
        load: reads the agent's file or folder that was given to :func:`tracking.models.register`.
    """
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel

    class ServedAgent(PythonModel):
        """Takes observations (n, *shape), returns the greedy actions int64 (n,)."""

        def load_context(self, context: Any) -> None:
            self.policy = load(Path(context.artifacts[AGENT_ARTIFACT]))

        def predict(self, context: Any, model_input: NDArray[Any], params: Any = None) -> NDArray[np.int64]:
            return np.asarray(self.policy.act(np.asarray(model_input), deterministic=True), dtype=np.int64)

        # MLflow derives a signature from the type hint and warns if it cannot; with the plain class it does not try.
        predict.__annotations__["model_input"] = np.ndarray

    set_model(ServedAgent())
