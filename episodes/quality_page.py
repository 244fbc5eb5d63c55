"""An HTML page with the results of a data-quality check."""

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from episodes.quality import QualityResult

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render(result: QualityResult, *, title: str) -> str:
    """One self-contained HTML page: it loads nothing from elsewhere, and all data in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shown"] = _shown
    passed = [rule for rule in result.rules if rule.passed]
    return environment.get_template("quality.html").render(
        title=title, result=result, failed=result.failed_rules, remarks=result.remarks, passed_rules=passed
    )


def _shown(value: Any) -> str:
    """A value for a reader: times to the second, numbers to six digits."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
