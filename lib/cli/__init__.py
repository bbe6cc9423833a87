"""The command line, `python -m lib` or `transferscope`. A command is imported when it is called: `--help` is quick."""

import atexit
import gc
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from lib.errors import UserError, disk_fault
from lib.settings import home

# name -> (module, attribute, what it does)
COMMANDS = {
    "run": ("lib.cli.dashboard", "run_dashboard", "Serve the dashboard."),
    "doctor": ("lib.cli.doctor", "doctor", "Show versions, device, number format and which weights are at hand."),
    "demo": ("lib.cli.demo", "demo", "Install the recorded demo, train it here, or record it anew."),
    "datasets": (
        "lib.cli.datasets",
        "datasets",
        "Import, make, list, show, measure, audit, edit, delete and restore data sets.",
    ),
    "weights": ("lib.cli.storage", "weights", "List and download pretrained weights."),
    "train": ("lib.cli.training", "train", "Train a classifier on a data set."),
    "race": ("lib.cli.sweeps", "race", "Race the ladder: from nothing trained to from scratch, on one split and seed."),
    "recipes": ("lib.cli.recipes", "recipes", "List, show and run the published experiments."),
    "estimate": ("lib.cli.estimates", "estimate", "Say what a training would take, before it starts."),
    "advise": ("lib.cli.estimates", "advise", "Suggest a strategy from the images' number and likeness to the source."),
    "lr-range": ("lib.cli.estimates", "lr_range", "Find a learning rate by a range test, with a picture."),
    "seeds": ("lib.cli.sweeps", "seeds", "List, show, stop and resume trainings repeated with several seeds."),
    "sizes": ("lib.cli.sweeps", "sizes", "Train with several numbers of training images; list, stop and resume them."),
    "runs": ("lib.cli.runs", "runs", "List, show, stop, resume, delete and restore runs."),
    "evaluate": ("lib.cli.grading", "evaluate", "Evaluate a run's classifier on another data set."),
    "compare": ("lib.cli.comparison", "compare_command", "Compare runs: intervals and paired tests."),
    "operating-point": ("lib.cli.referral", "operating_point", "Choose from which score on a run refers."),
    "stages": ("lib.cli.stages", "stages", "Say what each stage of a network is worth for a data set."),
    "drift": ("lib.cli.drift", "drift", "Say what fine-tuning moved: a run's network against its start."),
    "explain": ("lib.cli.explanation", "explain", "Draw what a network looks at in one image."),
    "unit": ("lib.cli.units", "unit", "Show what one channel of a network looks for."),
    "calibrate": ("lib.cli.calibration", "calibrate", "Fit a run's gate and calibration anew."),
    "grade": ("lib.cli.grading", "grade", "Grade images with a run's classifier."),
    "corrections": ("lib.cli.corrections", "corrections", "List, undo and export corrections of grades."),
    "serve": ("lib.cli.serving", "serve", "Grade over HTTP with a run's classifier."),
    "extract": ("lib.cli.extraction", "extract", "Compute frozen features in bulk, in parts for several machines."),
    "pretrain": ("lib.cli.pretrain", "pretrain", "Make the bundled backbone again, or measure what it is worth."),
    "storage": ("lib.cli.storage", "storage", "Say what takes room, delete it, bring it back, set a quota."),
    "caches": ("lib.cli.storage", "caches", "List, limit and clear what is kept to save time."),
    "export": ("lib.cli.bundles", "export", "Write a run's classifier as one zip or ONNX file."),
    "bundles": ("lib.cli.bundles", "bundles", "Import, list and delete classifiers that were exported elsewhere."),
    "registry": ("lib.cli.bundles", "registry", "Register runs in MLflow's registry; move an alias and roll it back."),
}
BAD_INPUT_STATUS = 2
INTERRUPTED_STATUS = 130


class LazyGroup(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, what) for name, (_, _, what) in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", "with_version", is_flag=True, help="Show the version and exit.")
@click.pass_context
def cli(ctx: click.Context, *, with_version: bool) -> None:
    """Transferscope: see, train, compare and use transfer learning across image domains."""
    if with_version:
        from lib.tracking.writer import code_version

        click.echo(f"Transferscope {code_version() or 'of an unknown version'}")
        ctx.exit()
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 bad input (one line on stderr), 130 interrupted, 1 our own fault."""
    # Importing torch makes a million objects that all stay; looking through them again and again for garbage
    # takes a second of seven.
    gc.set_threshold(100_000, 50, 50)
    status = run(arguments)
    # All is written by now. To unload torch would take most of a second, in which a stopped training still seems to be
    # at work; so what others left for the exit is done here, and nothing more.
    atexit._run_exitfuncs()
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files may be no text
    try:
        called = "transferscope" if Path(sys.argv[0]).name == "transferscope" else "python -m lib"
        status = cli.main(args=arguments, prog_name=called, standalone_mode=False)
        sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # click turns the first into the second
        # The reader (`| head`) went away; what is left in the buffer must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001  (nobody ever sees a traceback)
        return _answer(error)
    return status if isinstance(status, int) else 0


def _answer(error: BaseException) -> int:
    """Say what went wrong, in one line on standard error; returns the exit status."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message())
        return BAD_INPUT_STATUS
    if isinstance(error, click.UsageError):
        usage = f" See: {error.ctx.command_path} --help" if error.ctx else ""
        return _complain(f"{error.format_message().rstrip('.')}.{usage}", BAD_INPUT_STATUS)
    error = disk_fault(error) or error if isinstance(error, Exception) else error
    if isinstance(error, UserError | click.ClickException):
        return _complain(str(error), BAD_INPUT_STATUS)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _complain("Interrupted.", INTERRUPTED_STATUS)
    return _complain(f"Unexpected error ({type(error).__name__}); {_keep_traceback(error)}", 1)


def _complain(message: str, status: int) -> int:
    sys.stdout.flush()
    click.echo(" ".join(f"Error: {message}".split()), err=True)
    return status


def _keep_traceback(error: BaseException) -> str:
    """Keep what a developer needs; returns where it is."""
    path = home() / "errors.log"
    trace = "".join(traceback.format_exception(error))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"\n{datetime.now().astimezone().isoformat()} {' '.join(sys.argv)}\n{trace}")
    except OSError as refused:
        return f"its details could not be written to {path} ({refused.strerror})."
    return f"its details are in {path}."
