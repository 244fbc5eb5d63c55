"""Phase 1: the smoke test, which finds in seconds what would fail later."""

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from configs import Config, Settings
from tasks.artifacts import show_table
from tasks.checks import CheckFailedError, run_checks
from tasks.phases import PhaseRecord
from tasks.transient import is_transient


@task(name="smoke test", cache_policy=NO_CACHE, persist_result=False)
def smoke_test(config: Config, settings: Settings) -> PhaseRecord:
    """Run all checks. This needs no experiment, so nothing has been started if it fails.

    Raises:
        CheckFailedError: at least one check failed; the message names all faults.
    """
    started = time.perf_counter()
    results = run_checks(config, settings)
    show_table(
        "smoke-test",
        [
            {"check": each.name, "passed": each.passed, "found": each.detail, "seconds": f"{each.seconds:.2f}"}
            for each in results
        ],
        f"Smoke test of {config.name}",
    )
    failed = [each for each in results if not each.passed]
    if failed:
        message = "the smoke test failed:\n" + "\n".join(f"{each.name}: {each.detail}" for each in failed)
        # A retry is useful only if all faults are transient.
        permanent = [each.error for each in failed if not is_transient(each.error)]
        raise CheckFailedError(message) from (permanent or [failed[0].error])[0]
    return PhaseRecord("smoke", time.perf_counter() - started)
