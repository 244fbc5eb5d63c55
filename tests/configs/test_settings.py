"""Places and servers come from the environment, and nothing reports home."""

import stat
from pathlib import Path

from configs import PROJECT, Settings


def test_defaults_lie_in_the_projects_folder() -> None:
    settings = Settings.from_environment({"DATABASE_URL": ""})
    assert settings == Settings(home=PROJECT / ".mario", database_url=None, tracking_uri=None)


def test_the_environment_decides(tmp_path: Path) -> None:
    environment = {
        "MARIO_HOME": str(tmp_path),
        "DATABASE_URL": "postgresql://db/x",
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000",
    }
    settings = Settings.from_environment(environment)
    assert settings == Settings(tmp_path, "postgresql://db/x", "http://127.0.0.1:5000")


def test_the_home_is_for_its_user_alone(tmp_path: Path) -> None:
    home = Settings(tmp_path / "deep" / "home", None, None).create_home()
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_telemetry_is_off_unless_a_person_says_otherwise(tmp_path: Path) -> None:
    settings = Settings(tmp_path, None, None)
    target: dict[str, str] = {"PREFECT_HOME": "/elsewhere"}
    settings.apply(target)
    assert target["DO_NOT_TRACK"] == "true"
    assert target["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert target["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert target["PREFECT_HOME"] == "/elsewhere"
