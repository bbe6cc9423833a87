"""`demo install | prepare | status | stop | record`."""

import click

from lib.cli import INTERRUPTED_STATUS
from lib.cli.output import ProgressLine, answer, json_option, note, print_facts, print_json
from lib.demo import DEMO
from lib.jobs.processes import lower_priority


@click.group()
def demo() -> None:
    """The default story: a generated data set and a finished run for each strategy."""


@demo.command()
@json_option
def install(as_json: bool) -> None:
    """Install the recorded demo: its data set, runs and race, in seconds; nothing is trained.

    The dashboard does so by itself on its first start. Runs of it that were deleted come back; others are not touched.
    """
    from lib.demo.installation import install as install_demo

    with ProgressLine() as progress:
        recording = install_demo(progress=progress)
    content = {"runs": recording.runs, "race_id": recording.race_id, "recorded": recording.words}
    sentence = f"The demo is installed: {len(recording.runs)} runs, {recording.words}."
    answer(content, sentence, as_json=as_json)


@demo.command()
@click.option("--worker", is_flag=True, hidden=True, help="What the start page starts: quietly and politely.")
@json_option
def prepare(worker: bool, as_json: bool) -> int:
    """Train the demo's runs on this machine; what was trained here already is not made again.

    Ctrl-C stops it; a second call goes on from there.
    """
    from lib.sweeps.runner import run_sweep

    if worker:
        lower_priority()
    with ProgressLine() as progress:
        state = run_sweep(DEMO, progress=progress)
    if as_json:
        print_json(state.facts())
    elif state.state == "finished":
        click.echo(
            f"The demo was trained here: {len(state.runs)} runs ({state.seconds_total:.0f} s). "
            "See: python -m lib runs list"
        )
    else:
        note(state.message)
    return 0 if state.state == "finished" else INTERRUPTED_STATUS


@demo.command()
@json_option
def status(as_json: bool) -> None:
    """Show how far the preparation is."""
    facts = DEMO.read().facts()
    if as_json:
        print_json(facts)
    else:
        print_facts({key: value for key, value in facts.items() if not isinstance(value, dict)})


@demo.command()
def stop() -> None:
    """Stop a preparation that runs in the background."""
    click.echo(DEMO.stop_and_wait().message or "No preparation is running.")


@demo.command()
@click.option("--machine", default="", help="What to call this machine (default: its cores and processor).")
def record(machine: str) -> None:
    """Record the demo anew, as it ships with the program: in assets/demo, and the samples in data/samples.

    It takes about ten minutes of two cores, in a home of its own.
    """
    from lib.demo.making import record as record_demo
    from lib.demo.recording import size_table
    from lib.demo.samples import write_samples

    with ProgressLine() as progress:
        recording = record_demo(machine=machine, progress=progress)
    write_samples()
    click.echo(size_table(recording))
