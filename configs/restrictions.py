"""Names that MLflow accepts, checked before any work instead of after a whole training.

The rules are those of MLflow 3.17 (`mlflow.utils.validation`: `_validate_model_name`, `_validate_logged_model_name`,
`_validate_model_alias_name_reserved`, `_validate_experiment_name`; the columns of `mlflow.store`'s tables; its parser of
``models:/NAME/VERSION``). `tests/tracking/test_restrictions.py` compares them with MLflow itself. Other modules check texts
that Postgres cannot store (`configs.source`), names of experiments (`tasks.experiment`) and ROMs (`mario_env.console`).
"""

import re

MAX_NAME = 256  # characters of MLflow's columns for names of experiments and registered models

# Names of logged models may not contain the first six, URIs models:/NAME@ALIAS not the others.
_FORBIDDEN_IN_MODEL_NAMES = "/:.%\"'?@"
_MLFLOW_ID = re.compile(r"(m-)?[0-9a-f]{32}")


def model_name_fault(name: str) -> str | None:
    """Why `name` cannot name a registered model; None if it can."""
    if not name.strip():
        return "it is blank"
    if len(name) > MAX_NAME:
        return f"it has {len(name)} characters, and MLflow allows {MAX_NAME}"
    if found := [letter for letter in _FORBIDDEN_IN_MODEL_NAMES if letter in name]:
        return f"MLflow does not allow {' '.join(found)} in a model's name"
    if _MLFLOW_ID.fullmatch(name):
        return "it looks like the id of a run or a model"
    return control_character_fault(name)


# Aliases that promotions set.
CANDIDATE = "candidate"
CHAMPION = "champion"


def alias_fault(name: str) -> str | None:
    """Why `name`, of a preset, cannot be the alias of a model version; None if it can."""
    if name.lower() in (CANDIDATE, CHAMPION):
        return "promotions set this alias, and the preset's name becomes one"
    if name.lower() == "latest" or re.fullmatch(r"[vV]\d+", name):
        return "MLflow reserves this word for model versions, and the preset's name becomes an alias"
    return None


def control_character_fault(text: str) -> str | None:
    """Why `text` is not a single line of printable text; None if it is."""
    found = next((letter for letter in text if ord(letter) < 32 or ord(letter) == 127), None)
    return None if found is None else f"it contains the control character {found!r}"
