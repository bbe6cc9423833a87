"""The errors a person may see: one sentence that says what is wrong, what was received and what to do."""


class UserError(ValueError):
    """Bad input or a missing prerequisite; the message is shown to the person as it is.

    `ending` is how a run ends that meets it (lib/tracking/endings.py).
    """

    ending = "refused"


class BadImage(UserError):
    """A file that cannot be used as an image; the message is the reason."""


class WeightsUnavailable(UserError):
    """Pretrained weights that are not at hand; the message names file, folder and the command that fetches them."""


class DiskFull(UserError):
    """What is to be written does not fit on the disk; the message says how much is missing."""

    ending = "disk_full"


class Stopped(RuntimeError):
    """Raised inside long work after somebody asked it to stop; not an error for the person."""
