"""What a person says of a run: labels, a note, a pin, and that it is put away. Tags of MLflow, and kept in the folder.

`mlflow ui` shows them: the note as the run's description, the others as columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lib.errors import UserError
from lib.tracking import state as states
from lib.tracking.store import client

LABELS_TAG, NOTE_TAG, PINNED_TAG, ARCHIVED_TAG = "labels", "mlflow.note.content", "pinned", "archived"
MARK_TAGS = (LABELS_TAG, NOTE_TAG, PINNED_TAG, ARCHIVED_TAG)
MAX_NOTE, MAX_LABEL = 2000, 40
_YES = "yes"


@dataclass(frozen=True)
class Marks:
    """The marks of one run; `labels` in alphabetical order."""

    labels: tuple[str, ...] = ()
    note: str = ""
    is_pinned: bool = False
    is_archived: bool = False

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> "Marks":
        """Read them from the tags of a run."""
        labels = tuple(filter(None, (word.strip() for word in tags.get(LABELS_TAG, "").split(","))))
        return cls(
            labels, tags.get(NOTE_TAG, ""), bool(tags.get(PINNED_TAG)), bool(tags.get(ARCHIVED_TAG))
        )  # fmt: skip


def label_run(run_id: str, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> tuple[str, ...]:
    """Give a run labels and take others away; returns those that it has now. Raises UserError on an unusable one."""
    gone = {_label(label).casefold() for label in remove}
    now = {label.casefold(): label for label in Marks.of(client().get_run(run_id).data.tags).labels}
    now |= {label.casefold(): label for label in map(_label, add)}
    kept = tuple(sorted(label for key, label in now.items() if key not in gone))
    _mark(run_id, LABELS_TAG, ", ".join(kept))
    return kept


def note_run(run_id: str, text: str) -> None:
    """Write a note on a run in place of the one that it has; an empty text takes it away."""
    lines = [" ".join(line.split()) for line in text.strip().splitlines()]
    if len(note := "\n".join(lines)) > MAX_NOTE:
        raise UserError(f"A note has at most {MAX_NOTE:,} characters, received {len(note):,}.")
    _mark(run_id, NOTE_TAG, note)


def pin_run(run_id: str, *, is_pinned: bool = True) -> None:
    """Keep a run on top of the board, or let it go to its place."""
    _mark(run_id, PINNED_TAG, _YES if is_pinned else "")


def archive_run(run_id: str, *, is_archived: bool = True) -> None:
    """Put a run away: it is shown only to those who ask for archived runs. Or bring it back."""
    _mark(run_id, ARCHIVED_TAG, _YES if is_archived else "")


def _label(text: str) -> str:
    label = " ".join(text.split())
    if not label or "," in label or len(label) > MAX_LABEL or not label.isprintable():
        raise UserError(f"A tag is 1 to {MAX_LABEL} letters without a comma, received {text!r:.60}.")
    return label


def _mark(run_id: str, tag: str, value: str) -> None:
    """The run store first, since it may be a server's and say no; then the folder, from which a store is repaired."""
    if value:
        client().log_batch(run_id, tags={tag: value})
    else:
        client().delete_tag(run_id, tag)
    if (states.run_folder(run_id) / states.STATE_FILE).exists():
        marks = {key: text for key, text in states.read_state(run_id).marks.items() if key != tag}
        states.update_state(run_id, marks={**marks, **({tag: value} if value else {})})
