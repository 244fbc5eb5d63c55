"""Which names the systems behind us take. Found out here, before any work, and not after a whole training.

The rules are those of MLflow 3.17 (`mlflow.utils.validation`: `_validate_model_name`, `_validate_logged_model_name`,
`_validate_model_alias_name_reserved`, `_validate_experiment_name`; the columns of `mlflow.store`'s tables; its parser of
``models:/NAME/VERSION``). `tests/tracking/test_restrictions.py` tries them on MLflow itself. Texts that Postgres does not store
are refused by `configs.source`, experiments' names by `tasks.experiment`, ROMs that are not installed by `mario_env.console`.
"""

import re

MAX_NAME = 256  # characters of MLflow's columns for names of experiments and registered models

# A logged model takes none of the first six, a URI models:/NAME@ALIAS not the others.
_NOT_IN_MODEL_NAMES = "/:.%\"'?@"
_AN_ID = re.compile(r"(m-)?[0-9a-f]{32}")


def model_name_fault(name: str) -> str | None:
    """Why `name` can name no registered model; None if it can."""
    if not name.strip():
        return "it is blank"
    if len(name) > MAX_NAME:
        return f"it has {len(name)} characters, MLflow takes {MAX_NAME}"
    if found := [letter for letter in _NOT_IN_MODEL_NAMES if letter in name]:
        return f"MLflow takes no {' '.join(found)} in a model's name"
    if _AN_ID.fullmatch(name):
        return "it looks like the id of a run or a model"
    return control_character_fault(name)


def alias_fault(name: str) -> str | None:
    """Why `name` can be no alias of a model's version; None if it can."""
    if name.lower() == "latest" or re.fullmatch(r"[vV]\d+", name):
        return "MLflow keeps this word for versions of a model, and the preset's name becomes an alias"
    return None


def control_character_fault(text: str) -> str | None:
    """Why `text` can be no name on one line; None if it can."""
    found = next((letter for letter in text if ord(letter) < 32 or ord(letter) == 127), None)
    return None if found is None else f"it contains the control character {found!r}"
