"""The command `mario`.

Heavy packages are imported by the command that needs them: `mario --help` answers at once.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from configs import LOGGERS, PROJECT, ConfigError, Settings, load, preset_names, to_dict
from flows import faults, new_process, usage
from flows.prefect_access import MARIO_PROCESS
from flows.tables import print_table

app = typer.Typer(
    help="Train, measure and compare agents that play Super Mario Bros.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
database_app = typer.Typer(invoke_without_command=True)
app.add_typer(database_app, name="database")
console = Console()
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as often as needed")]

Model = Annotated[str, typer.Argument(help="a name in models/, a path, a run's id, or models:/NAME@ALIAS")]
Sha256 = Annotated[
    str | None, typer.Option("--sha256", help="of the manifest of a model from elsewhere, as its maker names it")
]
AnyFile = Annotated[bool, typer.Option("--trust", help="load a model file from elsewhere, whatever it is")]
Name = Annotated[str | None, typer.Option("--as", help="its name there; default: the level or the preset")]

Status = Literal["running", "gone", "completed", "failed", "interrupted"]

_INTERRUPTED = 130  # what a shell reports for a command that SIGINT ended

# They write nothing: a full disk is no reason to refuse them, and `stop` may help there.
_WRITE_NOTHING = ("presets", "stop", "watch")


@app.callback()
def prepare(context: typer.Context) -> None:
    """Before each command: the home that it writes into, and what Prefect and MLflow read when they are imported."""
    settings = Settings.from_environment()
    # A command that is asked for its help writes nothing either.
    if context.invoked_subcommand not in _WRITE_NOTHING and "--help" not in sys.argv[1:]:
        settings.check_home()
    settings.apply()


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="a preset's name (see `mario presets`) or a YAML file")],
    overrides: Overrides = None,
    experiment: Annotated[str | None, typer.Option(help="go on with this experiment, or begin one of this name")] = None,
    extend: Annotated[int | None, typer.Option(min=1, help="train this experiment to so many steps, more than before")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="begin it at step 0; what is there is kept as NAME-old-1")] = False,
) -> None:
    """Smoke test, integration run, training, evaluation and report, in this process."""
    from flows.running import run_pipeline

    raise typer.Exit(run_pipeline(preset, overrides or [], experiment, restart=restart, extend=extend))


@app.command()
def evaluate(
    model: Model,
    overrides: Overrides = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", callback=usage.new_file, help="write the figures to this file")
    ] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="episodes under each protocol")] = None,
    experiment: Annotated[str | None, typer.Option(help="go on with this evaluation, or begin one of this name")] = None,
    sha256: Sha256 = None,
    trust: AnyFile = False,
) -> None:
    """Let a model play under every protocol, and a random policy for reference; a shipped one's figures are confirmed.

    With --set environment.stage=2 and the like it plays something else, which is recorded so and compared with nothing.
    """
    from flows.evaluating import evaluate_model
    from flows.models import Trust

    settings, changed = Settings.from_environment(), overrides or []
    table, figures = evaluate_model(model, episodes, settings, Trust(sha256, trust), experiment, changed)
    print_table(table, model, console)
    if json_file is not None:
        json_file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        console.print(f"figures: {json_file}", soft_wrap=True)
    if (found := figures.get("confirmation")) is not None:
        console.print(_confirmed(found), soft_wrap=True)
        if found["contradicted"]:
            raise typer.Exit(1)
    elif changed:
        console.print(
            f"played with {' '.join(changed)}: not compared with any figures the model was shipped with", soft_wrap=True
        )


def _confirmed(found: Mapping[str, Any]) -> str:
    outdated = f"; not compared, as the rule was another then: {', '.join(found['outdated'])}" if found["outdated"] else ""
    if found["contradicted"]:
        return f"NOT what the model was shipped with: {', '.join(found['contradicted'])}{outdated}"
    if found["identical"]:
        return f"every figure is the one the model was shipped with{outdated}"
    return f"within the intervals of the figures the model was shipped with{outdated}"


@app.command()
def keep(
    experiment: Annotated[str, typer.Argument(help="name or id of a run that has ended")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.new_folder, help="where results are kept")] = PROJECT / "results",
    replace: Annotated[bool, typer.Option("--replace", help="also another run's results of that name")] = False,
) -> None:
    """Keep a run with the project: figures, learning curve, report, configuration and where they come from."""
    from tasks.keeping import keep_experiment

    kept = keep_experiment(experiment, Settings.from_environment(), folder, name, replace_other=replace)
    console.print(f"results: {kept.folder}", soft_wrap=True)
    if kept.notice:
        console.print(kept.notice, soft_wrap=True)


@app.command()
def ship(
    experiment: Annotated[str, typer.Argument(help="name or id of a run that has ended")],
    name: Name = None,
    folder: Annotated[Path, typer.Option(callback=usage.new_folder, help="where models are kept")] = PROJECT / "models",
) -> None:
    """Keep a run's policy with the project, with the figures of its evaluation."""
    from tasks.keeping import ship_model

    description = ship_model(experiment, Settings.from_environment(), folder, name)
    console.print(f"model: {description.with_suffix('')}.pth, {description.name}", soft_wrap=True)
    digest = hashlib.sha256(description.read_bytes()).hexdigest()
    console.print(f"SHA-256 of {description.name}, which others give to --sha256: {digest}", soft_wrap=True)


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="names or ids; several are compared")],
    output: Annotated[Path | None, typer.Option(callback=usage.new_folder, help="folder for the report")] = None,
) -> None:
    """Write the report on one experiment, or one that compares several."""
    from tasks.experiment import load_experiment
    from tasks.report import comparison_folder, report_on

    settings = Settings.from_environment()
    loaded = [load_experiment(name, settings) for name in experiments]
    folder = output or (
        loaded[0].directory / "report" if len(loaded) == 1 else settings.home / "reports" / comparison_folder(experiments)
    )
    paths = report_on(loaded, settings, folder)
    console.print(f"report: {paths.html}", soft_wrap=True)


@app.command()
def watch(
    model: Annotated[str | None, typer.Argument(help="a name in models/, a path, a run's id, or models:/NAME@ALIAS")] = None,
    episode: Annotated[int | None, typer.Option(help="play a stored episode again, exactly")] = None,
    video: Annotated[Path | None, typer.Option(callback=usage.new_file, help="write an MP4 file, no window")] = None,
    stochastic: Annotated[bool, typer.Option(help="let the model choose at random, as in training")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the stochastic choices")] = 0,
    sha256: Sha256 = None,
    trust: AnyFile = False,
) -> None:
    """See a model play, or any stored episode again."""
    from flows.models import Trust
    from flows.watching import episode_frames, model_frames, show

    if (model is None) == (episode is None):
        raise ConfigError("name a model, or an episode with --episode ID (`mario episodes` lists them)")
    settings = Settings.from_environment()
    if episode is not None:
        frames = episode_frames(episode, settings)
    else:
        frames = model_frames(str(model), settings, Trust(sha256, trust), stochastic=stochastic, seed=seed)
    written = show(frames, video)
    if written is not None:
        console.print(f"video: {written}", soft_wrap=True)


@app.command()
def episodes(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    experiment: Annotated[str | None, typer.Option(help="of this experiment only")] = None,
) -> None:
    """The latest episodes."""
    from tasks.experiment import open_store

    with open_store(Settings.from_environment()) as store:
        latest = store.latest(count, None if experiment is None else store.experiment(experiment).id)
    rows = [
        {
            "id": row["id"],
            "experiment": row["experiment"],
            "played as": row["protocol"] if row["phase"] == "evaluate" else row["phase"],
            "step": row["global_step"],
            "level": f"{row['world']}-{row['stage']}",
            "pixels": row["distance_traveled"],
            "reward": f"{row['reward']:.1f}",
            "ended": row["end_reason"],
        }
        for row in latest.to_dict("records")
    ]
    print_table(rows, "latest episodes", console)


@app.command()
def experiments(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    status: Annotated[Status | None, typer.Option(help="only these; gone: recorded as running, but no process runs it")] = None,
    preset: Annotated[str | None, typer.Option(help="of this preset only")] = None,
    mark_crashed: Annotated[str | None, typer.Option(help="record that this one, whose process is gone, has failed")] = None,
) -> None:
    """The latest experiments: how they stand, and how far they are."""
    from flows import experiments as listing

    settings = Settings.from_environment()
    if mark_crashed is not None:
        listing.mark_crashed(mark_crashed, settings)
        console.print(f"{mark_crashed} is recorded as failed; it can still be gone on with", soft_wrap=True)
        return
    rows = listing.list_experiments(settings, count, status, preset)
    print_table(rows, "latest experiments", console)
    if listing.any_gone(rows):
        console.print("gone: nothing runs it any more. Its `mario run` command goes on; --mark-crashed NAME records the end.")


@app.command()
def quality(
    experiment: Annotated[str, typer.Argument(help="name or id")],
    accept: Annotated[str | None, typer.Option(help="this broken rule, as it was last seen; the run goes on then")] = None,
    because: Annotated[str, typer.Option(help="why it may be broken; kept with the experiment")] = "",
    phase: Annotated[str | None, typer.Option(help="accept it in this phase only: integration, train or evaluate")] = None,
) -> None:
    """What the data-quality checks of an experiment found; or accept a broken rule that you have looked into."""
    from tasks.experiment import load_experiment
    from tasks.quality import accept_rule, quality_table

    loaded = load_experiment(experiment, Settings.from_environment())
    if accept is not None:
        phases = accept_rule(loaded, accept, because, phase)
        console.print(f"accepted in {', '.join(phases)}; the command of the run, given again, goes on", soft_wrap=True)
    print_table(quality_table(loaded), f"data quality of {loaded.name}", console)


@app.command()
def check(
    preset: Annotated[str, typer.Argument(help="the preset whose needs are checked")] = "dqn",
    overrides: Overrides = None,
) -> None:
    """The smoke test alone: everything that could fail later, in seconds."""
    from tasks.checks import run_checks

    results = run_checks(load(preset, overrides or []), Settings.from_environment())
    rows = [
        {"check": each.name, "": "ok" if each.passed else "FAILED", "found": each.detail, "seconds": f"{each.seconds:.1f}"}
        for each in results
    ]
    print_table(rows, f"smoke test of {preset}", console)
    if not all(each.passed for each in results):
        raise typer.Exit(1)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(help="show this one whole")] = None) -> None:
    """List the presets, or show one with every key."""
    import yaml

    if name is not None:
        console.print(yaml.safe_dump(to_dict(load(name)), sort_keys=False), markup=False, highlight=False)
        return
    loaded = [(each, load(each)) for each in preset_names()]
    rows = [
        {
            "preset": each,
            "algorithm": config.agent.algorithm,
            "steps": f"{config.train.total_steps:,}",
            "description": config.description,
        }
        for each, config in loaded
    ]
    print_table(rows, "presets", console)


@app.command()
def ui(
    prefect_port: Annotated[int, typer.Option(min=1, max=65535)] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Prefect server, its worker and the MLflow server, on loopback, until Ctrl-C."""
    from flows.servers import Ports, serve

    serve(Settings.from_environment(), Ports(prefect_port, mlflow_port))


@app.command()
def stop() -> None:
    """Stop the embedded Postgres (it starts again by itself)."""
    from episodes import stop_embedded

    stopped = stop_embedded(Settings.from_environment().home)
    console.print("the embedded Postgres is stopped" if stopped else "no embedded Postgres is running")


@database_app.callback()
def database(context: typer.Context) -> None:
    """Print the command that opens the episode database with psql; `upgrade` brings its tables to the newest revision."""
    if context.invoked_subcommand is not None:
        return
    from episodes import RevisionError, psql_command
    from tasks.experiment import open_store

    settings = Settings.from_environment()
    try:
        open_store(settings).close()
    except RevisionError as error:  # psql opens it all the same
        errors.print(f"{error}", markup=False, highlight=False, soft_wrap=True)
    command = 'psql "$DATABASE_URL"' if settings.database_url else psql_command(settings.home)
    console.print(command, markup=False, highlight=False, soft_wrap=True)


@database_app.command()
def upgrade(
    force: Annotated[bool, typer.Option("--force", help="also while experiments are being run on it")] = False,
) -> None:
    """Bring the tables of the episode database to the newest revision."""
    from episodes import upgrade_database

    settings = Settings.from_environment()
    url, steps = upgrade_database(settings.database_url, settings.create_home(), force=force)
    for step in steps:
        console.print(f"applied {step}", markup=False, highlight=False, soft_wrap=True)
    if not steps:
        console.print(f"nothing is pending: {url} is at the newest revision", markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Entry point: faults that a person can mend are printed as one message, without a traceback."""
    new_process.prepare()
    os.environ[MARIO_PROCESS] = str(os.getpid())
    try:
        # In this mode the code of `typer.Exit` is returned, not raised.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        _explain(error)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> None:
    """Print what a person can act on, and leave everything else to a traceback."""
    if isinstance(error, typer.TyperException):
        if (message := usage.slip(error)) is not None:
            _print_error(message)
        sys.exit(2)
    # Our own errors are written for people. So is the message of one from outside; the rest are faults of the program.
    if type(error).__module__.split(".")[0] in LOGGERS:
        _print_error(str(error))
        sys.exit(1)
    if isinstance(error, OSError) and (message := usage.outside(error)) is not None:
        _print_error(message)
        sys.exit(1)
    if (message := faults.message_of(error, Settings.from_environment().home)) is not None:
        _print_error(message)
        sys.exit(1)
    raise error


def _print_error(message: str) -> None:
    errors.print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
