"""`mario database`: open the episode database in psql, upgrade it, back it up, restore it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from configs import Settings
from flows import usage

database_app = typer.Typer(invoke_without_command=True)
console = Console(markup=False)
errors = Console(stderr=True, markup=False)


@database_app.callback()
def database(context: typer.Context) -> None:
    """Print the command that opens the episode database in psql; or upgrade, back up or restore the database."""
    if context.invoked_subcommand is not None:
        return
    from episodes import RevisionError, psql_command
    from tasks.experiment import open_store

    settings = Settings.from_environment()
    try:
        open_store(settings).close()
    except RevisionError as error:  # psql can open it regardless
        errors.print(f"{error}", highlight=False, soft_wrap=True)
    command = 'psql "$DATABASE_URL"' if settings.database_url else psql_command(settings.home)
    console.print(command, highlight=False, soft_wrap=True)


@database_app.command()
def upgrade(
    force: Annotated[bool, typer.Option("--force", help="also while experiments are running on it")] = False,
) -> None:
    """Upgrade the tables of the episode database to the newest revision."""
    from episodes import upgrade_database

    settings = Settings.from_environment()
    url, steps = upgrade_database(settings.database_url, settings.create_home(), force=force)
    for step in steps:
        console.print(f"applied {step}", highlight=False, soft_wrap=True)
    if not steps:
        console.print(f"nothing to do: {url} is at the newest revision", highlight=False, soft_wrap=True)


@database_app.command()
def backup(
    file: Annotated[Path, typer.Argument(callback=usage.output_file, help="the file to write; an existing one is replaced")],
) -> None:
    """Write all episodes and experiments into a file, in the custom format of pg_dump. Runs may go on meanwhile."""
    from episodes import back_up

    settings = Settings.from_environment()
    back_up(settings.database_url, settings.create_home(), file)
    console.print(f"backup: {file}", highlight=False, soft_wrap=True)


@database_app.command()
def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="a file of `mario database backup`")],
) -> None:
    """Read a backup into an empty database."""
    from episodes import restore as restore_database

    settings = Settings.from_environment()
    restore_database(settings.database_url, settings.create_home(), file)
    console.print(f"restored from {file}", highlight=False, soft_wrap=True)
