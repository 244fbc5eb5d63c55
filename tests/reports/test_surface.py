"""The public names of the package, which are imported on first use."""

import subprocess
import sys

import pytest

import reports


@pytest.mark.parametrize("name", reports.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(reports, name).__name__ == name


def test_an_unknown_name_raises_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'bild_report'"):
        reports.bild_report  # noqa: B018


def test_importing_the_package_imports_no_heavy_packages() -> None:
    heavy = {"matplotlib", "pandas", "pygame", "torch"}
    code = f"import sys, reports, reports.video, reports.window; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
