import subprocess
import sys

from core.paths import PROJECT_ROOT


def test_the_web_process_names_every_missing_setting_and_stops() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "webapp"],
        cwd=PROJECT_ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    for name in ("DATABASE_URL", "ECOMCRM_SECRET_KEY", "ECOMCRM_HOME"):
        assert f"{name}: is missing" in result.stderr
    assert "Traceback" not in result.stderr
