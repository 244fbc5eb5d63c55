"""The data of a run in MLflow: what a dataset is called, and what it consists of."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

Context = Literal["training", "evaluation"]


def dataset_input(context: Context, name: str, description: Mapping[str, Any]) -> "DatasetInput":
    """A dataset that code makes, as the input of a run.

    A game has no file of examples: each run plays its own. What identifies them is the description.

    Args:
        context: what the run does with the data; MLflow's UI shows it.
        name: of the dataset.
        description: JSON types. It is the dataset's source and its profile. MLflow's digest is that of name and description.
    """
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

    meta_dataset: Any = MetaDataset  # abstract for a type checker only
    data = meta_dataset(CodeDatasetSource(dict(description)), name=name)
    dataset = Dataset(**data.to_dict(), profile=json.dumps(description))
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, context)])
