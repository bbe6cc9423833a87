"""`run`: the dashboard."""

import os
import sys

import click

from lib.settings import PROJECT_ROOT


@click.command("run")
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True, help="Where to listen.")
@click.argument("streamlit_options", nargs=-1, type=click.UNPROCESSED)
def run_dashboard(port: int, streamlit_options: tuple[str, ...]) -> None:
    """Serve the dashboard on http://127.0.0.1:8501 until it is interrupted.

    What stands behind -- goes to Streamlit, such as: run -- --server.address 0.0.0.0
    """
    app = str(PROJECT_ROOT / "app.py")
    command = [sys.executable, "-m", "streamlit", "run", app, "--server.port", str(port), *streamlit_options]
    sys.stdout.flush()
    # In place of this process, so that signals and the exit status are Streamlit's own.
    os.execv(sys.executable, command)  # noqa: S606
