"""The command `mario`.

Heavy packages are imported in the commands that need them, so that `mario --help` is fast.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from configs import CHECKOUT, LOGGERS, Protocol, Settings, load, preset_names, to_dict
from flows import faults, new_process, usage
from flows.database_command import database_app
from flows.export_command import export_app
from flows.model_commands import model_app
from flows.prefect_access import MARIO_PROCESS
from flows.tables import print_table

app = typer.Typer(
    help="Train, measure and compare agents that play Super Mario Bros.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(database_app, name="database")
app.add_typer(model_app)
app.add_typer(export_app)
console = Console(markup=False)
errors = Console(stderr=True, markup=False)

Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; may be repeated")]

Status = Literal["running", "gone", "completed", "failed", "interrupted"]

_INTERRUPTED = 130  # the exit code that shells report for a command ended by SIGINT

# These commands write nothing: they work on a full disk too, where `stop` may help.
_READ_ONLY = ("presets", "stop", "watch")


@app.callback()
def prepare(context: typer.Context) -> None:
    """Check the home folder, and set the variables that Prefect and MLflow read when they are imported."""
    settings = Settings.from_environment()
    # Printing a command's help writes nothing either.
    if context.invoked_subcommand not in _READ_ONLY and "--help" not in sys.argv[1:]:
        if CHECKOUT is None and not os.environ.get("MARIO_HOME") and not settings.home.exists():
            errors.print(f"runs write to {settings.home} (set MARIO_HOME for another folder)", soft_wrap=True)
        settings.check_home()
    settings.apply()


@app.command()
def run(
    preset: Annotated[str, typer.Argument(help="name of a preset (see `mario presets`), or a YAML file")],
    overrides: Overrides = None,
    experiment: Annotated[str | None, typer.Option(help="continue this experiment, or start one with this name")] = None,
    extend: Annotated[int | None, typer.Option(min=1, help="train the experiment further, to this number of steps")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="start at step 0; the old state is kept as NAME-old-1")] = False,
) -> None:
    """Run the whole pipeline in this process: smoke test, integration run, training, evaluation, report."""
    from flows.running import run_pipeline

    raise typer.Exit(run_pipeline(preset, overrides or [], experiment, restart=restart, extend=extend))


@app.command()
def sweep(
    file: Annotated[
        str, typer.Argument(help="a YAML file with presets, levels, seeds and overrides, or `levels`: the project's own")
    ],
    local: Annotated[
        int | None, typer.Option(min=1, help="run it in so many processes on this machine, not on Prefect's workers")
    ] = None,
) -> None:
    """Run every combination of presets, levels, variants and seeds; started again, it goes on."""
    from flows.sweeping import run_sweep

    raise typer.Exit(run_sweep(file, local))


@app.command()
def report(
    experiments: Annotated[list[str], typer.Argument(help="names or ids; two or more are compared")],
    output: Annotated[Path | None, typer.Option(callback=usage.output_folder, help="folder for the report")] = None,
) -> None:
    """Write a report on one experiment, or on a comparison of several."""
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
def compare(
    experiments: Annotated[list[str], typer.Argument(help="names, ids, or patterns such as 'ppo-*'")],
    output: Annotated[Path | None, typer.Option(callback=usage.output_folder, help="folder for the page")] = None,
    protocol: Annotated[Protocol, typer.Option(help="evaluation to compare")] = "stochastic",
    clips: Annotated[bool, typer.Option(help="make short videos of how episodes end")] = True,
) -> None:
    """Compare many experiments by seeds: presets and levels with intervals over their seeds."""
    from flows import comparing

    comparison = comparing.compare_experiments(experiments, Settings.from_environment(), output, protocol, clips=clips)
    print_table(comparing.comparison_table(comparison), "completion by group", console)
    for each, reason in comparison.results.grouping.left_out:
        console.print(f"left out: {each.name} {reason}", soft_wrap=True)
    console.print(f"comparison: {comparison.paths.html}", soft_wrap=True)


@app.command()
def episodes(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    experiment: Annotated[str | None, typer.Option(help="only episodes of this experiment")] = None,
    demonstration: Annotated[
        int | None, typer.Option(metavar="ID", help="print this episode as train.curriculum.demonstrations takes it")
    ] = None,
) -> None:
    """List the latest episodes."""
    from tasks.experiment import open_store

    if demonstration is not None:
        from tasks.demonstration import demonstration as demonstration_of

        level, actions = demonstration_of(demonstration, Settings.from_environment())
        console.print(f"{level}: '{actions}'", soft_wrap=True, highlight=False)
        return
    with open_store(Settings.from_environment()) as store:
        latest = store.latest(count, None if experiment is None else store.experiment(experiment).id)
    rows = [
        {
            "id": row["id"],
            "experiment": row["experiment"],
            "played as": row["protocol"] if row["phase"] == "evaluate" else row["phase"],
            "step": row["global_step"],
            "level": f"{row['world']}-{row['stage']}" + _begun_at(row["start_decision"]),
            "pixels": row["distance_traveled"],
            "reward": f"{row['reward']:.1f}",
            "ended": row["end_reason"],
        }
        for row in latest.to_dict("records")
    ]
    print_table(rows, "latest episodes", console)


def _begun_at(start_decision: float | None) -> str:
    """Where on a demonstration an episode began, if not at the start; pandas says NaN for null."""
    return f" from {start_decision:.0f}" if start_decision is not None and start_decision > 0 else ""


@app.command()
def experiments(
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="how many")] = 20,
    status: Annotated[Status | None, typer.Option(help="only this status; gone: running, but its process has ended")] = None,
    preset: Annotated[str | None, typer.Option(help="only experiments of this preset")] = None,
    mark_crashed: Annotated[str | None, typer.Option(help="record this experiment, whose process is gone, as failed")] = None,
) -> None:
    """List the latest experiments with their status and progress."""
    from flows import experiments as listing
    from tasks import starting

    settings = Settings.from_environment()
    if mark_crashed is not None:
        starting.mark_crashed(mark_crashed, settings)
        console.print(f"{mark_crashed} is recorded as failed; it can still be continued", soft_wrap=True)
        return
    rows = listing.list_experiments(settings, count, status, preset)
    print_table(rows, "latest experiments", console)
    if listing.any_gone(rows):
        console.print(
            "gone: its process has ended, or gives no sign of life. Its `mario run` command continues it; --mark-crashed NAME "
            "records it as failed."
        )


@app.command()
def quality(
    experiment: Annotated[str, typer.Argument(help="name or id")],
    accept: Annotated[
        str | None, typer.Option(help="accept this broken rule as it was last seen, to let the run continue")
    ] = None,
    because: Annotated[str, typer.Option(help="why it is acceptable; stored with the experiment")] = "",
    phase: Annotated[str | None, typer.Option(help="accept it only in this phase: integration, train or evaluate")] = None,
) -> None:
    """Show the results of an experiment's data-quality checks, or accept a broken rule."""
    from tasks.experiment import load_experiment
    from tasks.quality import accept_rule, quality_table

    loaded = load_experiment(experiment, Settings.from_environment())
    if accept is not None:
        phases = accept_rule(loaded, accept, because, phase)
        console.print(f"accepted in {', '.join(phases)}; repeat the command of the run to continue it", soft_wrap=True)
    print_table(quality_table(loaded), f"data quality of {loaded.name}", console)


@app.command()
def prune(
    rules: Annotated[list[str] | None, typer.Argument(help="actions, failed, archived; default: all three")] = None,
    days: Annotated[int, typer.Option(min=1, help="only experiments that ended more than so many days ago")] = 90,
    yes: Annotated[bool, typer.Option("--yes", help="delete; without it, it is only shown what would be deleted")] = False,
) -> None:
    """Delete actions of old training episodes, and failed and archived experiments; shows first what it would delete."""
    from flows import pruning
    from tasks.pruning import find_prunable, prune_all

    settings = Settings.from_environment()
    found = find_prunable(settings, pruning.chosen_rules(rules or []), days)
    if not found:
        console.print(f"nothing to delete of experiments that ended more than {days} days ago", soft_wrap=True)
        return
    print_table(pruning.pruning_table(found), f"ended more than {days} days ago", console)
    if not yes:
        console.print(f"{pruning.total(found)}. Nothing was deleted; --yes deletes it.", soft_wrap=True)
        return
    deleted = []
    for each, done in prune_all(settings, found, days):
        if done:
            deleted.append(each)
        else:
            console.print(f"left alone: {each.rows.name} has been continued meanwhile", soft_wrap=True)
    console.print(f"deleted: {pruning.total(deleted)}", soft_wrap=True)


@app.command()
def check(
    preset: Annotated[str, typer.Argument(help="the preset to check for")] = "dqn",
    overrides: Overrides = None,
) -> None:
    """Run only the smoke test, which finds in seconds what would fail later."""
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
def presets(name: Annotated[str | None, typer.Argument(help="show all keys of this preset")] = None) -> None:
    """List the presets, or show one with all keys."""
    import yaml

    if name is not None:
        console.print(yaml.safe_dump(to_dict(load(name)), sort_keys=False), highlight=False)
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
    """Run Prefect's server, its workers and MLflow's server on loopback, until Ctrl-C."""
    from flows.servers import Ports, serve

    serve(Settings.from_environment(), Ports(prefect_port, mlflow_port))


@app.command()
def worker(
    pool: Annotated[str, typer.Argument(help="the work pool, such as mario or mario-gpu")],
    queue: Annotated[list[str] | None, typer.Option(help="only flow runs of this work queue; may be repeated")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many flow runs at once")] = 1,
    name: Annotated[str | None, typer.Option(help="the worker's name on Prefect's page")] = None,
) -> None:
    """Run a worker of a process pool until Ctrl-C or SIGTERM, which end its flow runs with a checkpoint."""
    from flows.graceful import run as run_gracefully
    from flows.graceful import worker_arguments

    raise typer.Exit(run_gracefully(worker_arguments(pool, queues=queue or [], limit=limit, name=name)))


@app.command(name="deploy")
def deploy_flows() -> None:
    """Create the work pools and deployments on the configured Prefect server; `mario ui` does so by itself."""
    from flows.deploying import deploy

    deploy()


@app.command()
def stop() -> None:
    """Stop the embedded Postgres. It starts again when it is needed."""
    from episodes import stop_embedded

    stopped = stop_embedded(Settings.from_environment().home)
    console.print("the embedded Postgres is stopped" if stopped else "no embedded Postgres is running")


def main() -> None:
    """The entry point. Faults that the user can fix are printed as one message without a traceback."""
    new_process.prepare()
    os.environ[MARIO_PROCESS] = str(os.getpid())
    try:
        # In this mode the exit code of `typer.Exit` is returned, not raised.
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        errors.print("interrupted")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        _print_fault(error)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _print_fault(error: Exception) -> None:
    """Print a message if the user can act on `error`, and exit. Otherwise raise it, which prints the traceback."""
    if isinstance(error, typer.TyperException):
        if (message := usage.usage_message(error)) is not None:
            _print_error(message)
        sys.exit(2)
    # The project's own errors have messages for the user. Errors from outside get one. All others are bugs.
    if type(error).__module__.split(".")[0] in LOGGERS:
        _print_error(str(error))
        sys.exit(1)
    if isinstance(error, OSError) and (message := usage.os_error_message(error)) is not None:
        _print_error(message)
        sys.exit(1)
    if (message := faults.describe_fault(error, Settings.from_environment().home)) is not None:
        _print_error(message)
        sys.exit(1)
    raise error


def _print_error(message: str) -> None:
    errors.print(f"error: {message}", highlight=False, soft_wrap=True)
