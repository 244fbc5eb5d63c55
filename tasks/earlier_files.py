"""Import of the records that earlier versions kept in files: `phases/*.json` and `quality/*.json` in an experiment's folder."""

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from episodes import EpisodeStore, FencingToken
from episodes.quality import QualityResult, RuleResult
from episodes.records import save_phase, save_quality
from episodes.schema import PHASES, RECORDED_PHASES

logger = logging.getLogger(__name__)

_PATHS: Final = ("model_path", "report", "video", "typical_video")


def import_files(store: EpisodeStore, token: FencingToken, directory: Path) -> None:
    """Move records from files in an experiment's `directory` to Postgres, where they replace nothing.

    Each file is renamed to `NAME.json.imported`, so it is imported once. A file that cannot be read counts as missing, as it
    always has.

    Raises:
        FencedError: a newer attempt has taken over.
        StoreError: the database fails.
    """

    def import_phase(path: Path, values: Mapping[str, Any]) -> None:
        kept_as = "" if path.parent.name == "phases" else path.parent.name
        details, seconds = relative_paths(values["details"], directory), float(values["seconds"])
        save_phase(store, token, path.stem, seconds, details, kept_as=kept_as, replace=False)  # type: ignore[arg-type]

    def import_quality(path: Path, values: Mapping[str, Any]) -> None:
        rules = [RuleResult(**rule) for rule in values["rules"]]
        save_quality(store, token, QualityResult(token.experiment_id, path.stem, rules, values["rows_checked"]), replace=False)

    phases = [path for pattern in ("*.json", "*-steps/*.json") for path in sorted((directory / "phases").glob(pattern))]
    _import([path for path in phases if path.stem in RECORDED_PHASES], import_phase)
    _import([path for path in sorted((directory / "quality").glob("*.json")) if path.stem in PHASES], import_quality)


def _import(paths: list[Path], save: Callable[[Path, Mapping[str, Any]], None]) -> None:
    for path in paths:
        try:
            save(path, json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None))
        except FileNotFoundError:  # another process imports it
            continue
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s cannot be read and counts as missing: %s", path, error)
        with suppress(FileNotFoundError):
            path.rename(path.with_name(f"{path.name}.imported"))


def relative_paths(details: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The details of a phase with paths relative to the experiment's `directory`, as they are stored."""

    def relative(value: Any) -> Any:
        inside = isinstance(value, str) and Path(value).is_relative_to(directory)
        return Path(value).relative_to(directory).as_posix() if inside else value

    return {name: relative(value) if name in _PATHS else value for name, value in details.items()}


def absolute_paths(details: Mapping[str, Any], directory: Path) -> dict[str, Any]:
    """The inverse of :func:`relative_paths`."""
    return {
        name: str(directory / value) if name in _PATHS and isinstance(value, str) else value for name, value in details.items()
    }
