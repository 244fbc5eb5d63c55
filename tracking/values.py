"""Brings names, numbers and texts into MLflow's limits, and removes credentials."""

import json
import math
import numbers
import re
from collections.abc import Iterator, Mapping
from typing import Any

from configs.masking import mask_urls

# mlflow.utils.validation of MLflow 3.17
MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 8000

_FORBIDDEN = re.compile(r"[^\w.\- /]")  # a colon is allowed on Linux but not on Windows
_SECRET_NAME = re.compile(r"passw(or)?d|secret|token$|api_?key|credential|private_key", re.I)
_CUT = "… (cut; see config.yaml)"


def clean_name(name: str) -> str:
    """The name of a metric, parameter or tag with forbidden characters replaced by ``_``, cut to MLflow's length.

    MLflow treats names as paths: ``a//b``, ``/a`` and ``a/../b`` are refused, so empty and dotted parts are dropped.
    """
    parts = [part for part in _FORBIDDEN.sub("_", name).split("/") if part not in ("", ".", "..")]
    return "/".join(parts)[:MAX_NAME].rstrip("/") or "_"


def finite(value: object) -> float | None:
    """`value` as a float if it is a finite real number, a NumPy scalar or a tensor of one element.

    None for everything else: NaN and infinities (the database would store substitutes), booleans, texts, images.
    """
    if not isinstance(value, numbers.Real) and getattr(value, "size", None) is not None and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            return None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings as (``section.key``, value)."""
    for key, value in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, value


def parameters(tree: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as MLflow stores them: flat, as text, cut to its limit, without credentials."""
    return {clean_name(name): text(value, MAX_PARAM) for name, value in flatten(without_secrets(tree))}


def text(value: object, limit: int) -> str:
    """`value` as text of at most `limit` characters; a longer one says that it was cut. Passwords in URLs are masked."""
    whole = mask_urls(value if isinstance(value, str) else _as_text(value))
    return whole if len(whole) <= limit else whole[: limit - len(_CUT)] + _CUT


def without_secrets(value: Any, name: str = "") -> Any:
    """A copy of nested mappings and lists in which passwords, tokens and keys are replaced by ``***``."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if isinstance(value, str):
        return "***" if value and _SECRET_NAME.search(name) else mask_urls(value)
    return value


def _as_text(value: object) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(value, default=str)
    return str(value)
