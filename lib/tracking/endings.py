"""How a run can end without being finished, in one table: pages, command line and documentation read it."""

from dataclasses import dataclass

from lib.registry import Registry


@dataclass(frozen=True)
class EndingSpec:
    """A way to end; `title` stands on the badge, `can_resume` says whether the same again could go better."""

    name: str
    title: str
    summary: str
    can_resume: bool = True


ENDINGS: Registry[EndingSpec] = Registry("ending")
for _ending in (
    EndingSpec("stopped", "Stopped", "Somebody asked it to stop."),
    EndingSpec("cancelled", "Cancelled", "Taken out of the queue before it began."),
    EndingSpec(
        "diverged",
        "Loss not a number",
        "The loss or a weight became infinite or undefined; the same steps would lead there again.",
        can_resume=False,
    ),
    EndingSpec("out_of_memory", "Out of memory", "Memory ran out, also with smaller micro-batches."),
    EndingSpec(
        "memory_kill", "Killed, probably memory", "SIGKILL from outside: most often the system, short of memory."
    ),
    EndingSpec("crashed", "Crashed", "The process broke off with another signal."),
    EndingSpec("disk_full", "Disk full", "A checkpoint, a cache or the run store could not be written."),
    EndingSpec("silent", "No sign of life", "Its process, under another host name, fell silent for half a minute."),
    EndingSpec("restarted", "Machine restarted", "The machine was restarted while it ran."),
    EndingSpec("never_started", "Never started", "Its process did not come up."),
    EndingSpec("refused", "Not possible", "Something is wrong with the data set or the settings."),
    EndingSpec("unexpected", "Unexpected error", "An error that nobody foresaw; the log has it."),
):
    ENDINGS.add(_ending)


def ending_title(name: str, state: str) -> str:
    """What a badge says: the ending where it tells more than the state."""
    return ENDINGS.get(name).title if name in ENDINGS and name not in ("stopped", "cancelled") else state


def can_resume(name: str) -> bool:
    """Whether Resume is offered after this ending; runs from before the table have none, and may."""
    return name not in ENDINGS or ENDINGS.get(name).can_resume
