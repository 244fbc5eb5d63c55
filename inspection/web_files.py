"""The files of the page in the browser: they lie in `inspection/web`, and the style is the report's with some lines more."""

import re
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["MEDIA_TYPES", "page", "read", "style"]

MEDIA_TYPES: Final = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
_SCRIPT: Final = '<script type="module" src="/static/app.js"></script>\n'
_NAME: Final = re.compile(r"[a-z]+\.(?:js|css)")


def read(name: str) -> bytes | None:
    """A file of the page; None if there is none of this name."""
    if name == "style.css":
        return style().encode()
    found = files("inspection") / "web" / name
    return found.read_bytes() if _NAME.fullmatch(name) and found.is_file() else None


@cache
def style() -> str:
    """The style sheet: the report's, then what only this page has."""
    report = (files("reports") / "templates" / "style.html").read_text(encoding="utf-8")
    return report.replace("<style>", "").replace("</style>", "") + (files("inspection") / "web" / "inspect.css").read_text(
        encoding="utf-8"
    )


def page(title: str, body: str, *, script: bool = True) -> str:
    """A page of the server. `title` and `body` are HTML of this project, never data."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<link rel="stylesheet" href="/static/style.css">\n'
        f"{_SCRIPT if script else ''}</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
