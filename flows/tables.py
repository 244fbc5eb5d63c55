"""Tables on the console, or lists if the terminal is too narrow for a table."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Longer words (paths, hashes) may be broken, because they would not fit into any table.
_MAX_WORD_LENGTH = 40


def print_table(rows: Sequence[Mapping[str, Any]], title: str, console: Console) -> None:
    """Print `rows`, which have the same keys, as a table. If a table would break words, print a list instead."""
    if not rows:
        console.print(f"{title}: none yet", markup=False, highlight=False)
        return
    table = table_of(rows, title, console.width)
    if table is None:
        _print_list({name: [str(row[name]) for row in rows] for name in rows[0]}, len(rows), title, console)
        return
    console.print(table)


def table_of(rows: Sequence[Mapping[str, Any]], title: str, width: int) -> Table | None:
    """A table of `rows`, of which there is at least one; None if it would break words at a width of `width` characters."""
    columns = {name: [str(row[name]) for row in rows] for name in rows[0]}
    widths = _widths([[name, *values] for name, values in columns.items()], width)
    if widths is None:
        return None
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, width in zip(columns, widths, strict=True):
        table.add_column(name, width=width, overflow="fold")
    for values in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, values))
    return table


def _widths(columns: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """The width of each column, such that no word of at most `_MAX_WORD_LENGTH` is broken; None if `room` is too small."""
    # Each column needs padding and a separator; the box has two edges.
    room -= 2 * len(columns) + 1
    least = [max(min(len(word), _MAX_WORD_LENGTH) for text in column for word in _words(text)) for column in columns]
    natural = [max(len(text) for text in column) for column in columns]
    spare = room - sum(least)
    if spare < 0:
        return None
    widths = list(least)
    # Columns that need the least extra width come first, so that the others share what is left.
    order = sorted(range(len(columns)), key=lambda index: natural[index] - least[index])
    for position, index in enumerate(order):
        extra = min(natural[index] - least[index], spare // (len(order) - position))
        widths[index] += extra
        spare -= extra
    return widths


def _words(text: str) -> list[str]:
    return re.split(r"\s+", text)


def _print_list(columns: Mapping[str, Sequence[str]], count: int, title: str, console: Console) -> None:
    """Print each row as lines of name and value, with an empty line between rows."""
    console.print(Text(title, style="italic"))
    for index in range(count):
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for name, values in columns.items():
            grid.add_row(Text(name, style="bold"), Text(values[index]))
        console.print()
        console.print(grid)
