"""Phase 1: seconds in which everything that could fail later is tried."""

import time

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from configs import Config, Settings
from tasks.checks import CheckFailedError, run_checks
from tasks.phases import PhaseRecord


@task(name="smoke test", cache_policy=NO_CACHE, persist_result=False)
def smoke_test(config: Config, settings: Settings) -> PhaseRecord:
    """Run every check; all faults are named at once. Needs no experiment: nothing has been begun when it fails.

    Raises:
        CheckFailedError: at least one check failed.
    """
    started = time.perf_counter()
    results = run_checks(config, settings)
    create_table_artifact(
        key="smoke-test",
        table=[
            {"check": each.name, "passed": each.passed, "found": each.detail, "seconds": f"{each.seconds:.2f}"}
            for each in results
        ],
        description=f"Smoke test of {config.name}",
    )
    failed = [f"{each.name}: {each.detail}" for each in results if not each.passed]
    if failed:
        raise CheckFailedError("the smoke test failed:\n" + "\n".join(failed))
    return PhaseRecord("smoke", time.perf_counter() - started)
