"""`NAME=value` files: the home's own config.env and the project's .env."""

import os
from collections.abc import Mapping
from pathlib import Path


def read_env_file(path: Path) -> dict[str, str]:
    """The assignments in the file; an absent file has none. Comments and quotes are dropped."""
    if not path.exists():
        return {}
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}


def write_env_file(path: Path, values: Mapping[str, str], *, heading: str) -> None:
    """Replace the file as a whole, readable by its owner only."""
    text = "".join(f"{name}={value}\n" for name, value in sorted(values.items()))
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"# {heading}\n{text}")
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
