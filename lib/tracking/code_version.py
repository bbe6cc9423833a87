"""Which version of this code writes a run."""

import subprocess
from functools import lru_cache

from lib.settings import PROJECT_ROOT


@lru_cache(maxsize=1)
def code_version() -> str:
    """The commit this code is at ("-dirty" if changed), or "" outside a git checkout."""
    command = ["git", "-C", str(PROJECT_ROOT), "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""
