"""Which version of this code writes a run."""

import importlib.metadata
import subprocess
from functools import lru_cache

from lib.settings import PROJECT_ROOT


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit of a checkout ("-dirty" if changed), else the installed version; "" where neither is known."""
    if not (PROJECT_ROOT / ".git").exists():  # asked there, git would answer for whatever lies around the installation
        try:
            return importlib.metadata.version("transferscope")
        except importlib.metadata.PackageNotFoundError:
            return ""
    command = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
