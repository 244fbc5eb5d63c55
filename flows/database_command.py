"""`mario database`: open the episode database in psql, or upgrade it."""

from typing import Annotated

import typer
from rich.console import Console

from configs import Settings

database_app = typer.Typer(invoke_without_command=True)
console = Console()
errors = Console(stderr=True)


@database_app.callback()
def database(context: typer.Context) -> None:
    """Print the command that opens the episode database in psql, or upgrade the database."""
    if context.invoked_subcommand is not None:
        return
    from episodes import RevisionError, psql_command
    from tasks.experiment import open_store

    settings = Settings.from_environment()
    try:
        open_store(settings).close()
    except RevisionError as error:  # psql can open it regardless
        errors.print(f"{error}", markup=False, highlight=False, soft_wrap=True)
    command = 'psql "$DATABASE_URL"' if settings.database_url else psql_command(settings.home)
    console.print(command, markup=False, highlight=False, soft_wrap=True)


@database_app.command()
def upgrade(
    force: Annotated[bool, typer.Option("--force", help="also while experiments are running on it")] = False,
) -> None:
    """Upgrade the tables of the episode database to the newest revision."""
    from episodes import upgrade_database

    settings = Settings.from_environment()
    url, steps = upgrade_database(settings.database_url, settings.create_home(), force=force)
    for step in steps:
        console.print(f"applied {step}", markup=False, highlight=False, soft_wrap=True)
    if not steps:
        console.print(f"nothing to do: {url} is at the newest revision", markup=False, highlight=False, soft_wrap=True)
