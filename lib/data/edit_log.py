"""The log of what people decided about single images: other classes, exclusions, fixed splits, and what was undone.

`edits.jsonl` lies in the data set's folder; a line is never changed, so every earlier state can be read again. Table
and pixels stay what the import wrote: an edit is applied when they are read. Classes are named as the source names
them, so that a later name or order of the classes changes no edit. The version of a state is a hash of what is in
effect, not of how it came about: after an undo the version is that of before.
"""

import hashlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lib.data.label_schema import open_versions
from lib.errors import UserError

LOG_FILE = "edits.jsonl"
FORMAT_VERSION = 1
RELABEL, EXCLUDE, RESTORE, SPLIT, UNDO = KINDS = ("relabel", "exclude", "restore", "split", "undo")
PERSON, AUDIT = "person", "audit"
_IMPORT, _TORN = (
    "import",
    "torn",
)  # lines of the program's own: what a new import no longer has; that a line was cut off
_SPLITS = ("train", "val", "test", "")


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One entry of the log.

    `value` is the class of a relabel (by the source's name), the part of a split ("" lets it be drawn again) or the
    edit that an undo takes back; `as_imported` are those images of a relabel whose class in the source it is. A split
    that divides the whole set has `parts`, one for each of its images, in place of a value.
    """

    edit_id: str
    time_s: float
    kind: str
    image_ids: tuple[str, ...]
    value: str = ""
    reason: str = ""
    who: str = PERSON
    as_imported: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    is_in_effect: bool = True  # whether no later undo takes it back

    @cached_property
    def part_of(self) -> dict[str, str]:
        """Image id -> part, of a split."""
        return dict(zip(self.image_ids, self.parts or (self.value,) * len(self.image_ids), strict=True))


@dataclass(frozen=True)
class ImageState:
    """What is in effect for one image; None: as the source has it."""

    label: str | None = None
    split: str | None = None
    is_excluded: bool = False


_AS_IMPORTED = ImageState()


class EditLog:
    """The edits of a data set up to one line, and what they amount to.

    Attributes:
        edits: all entries in their order.
        states: image_id -> what is in effect, for the images where that is not what the source says.
        digests: a number for each state that there was, from 0 for no edit to the present one.
        notices: what is wrong with the log without making it unreadable, in sentences.
    """

    def __init__(self, lines: Sequence[dict[str, Any]] = (), notices: Sequence[str] = ()) -> None:
        self._lines, self.notices, self.digests = list(lines), list(notices), [0]
        self.states: dict[str, ImageState] = {}
        self._entries: dict[str, Edit] = {}
        self._of_image: defaultdict[str, list[str]] = defaultdict(list)
        self._undone: set[str] = set()
        self._gone: set[str] = set()
        self._gone_classes: set[str] = set()
        for line in self._lines:
            self._take(line)
            digest = self.digests[-1]
            for image_id in self._touched(line):
                before, after = self.states.get(image_id, _AS_IMPORTED), self._state(image_id)
                if before != after:
                    digest = (digest - _number(image_id, before) + _number(image_id, after)) % 2**128
                    self.states.pop(image_id) if after == _AS_IMPORTED else self.states.update({image_id: after})
            self.digests.append(digest)

    def _take(self, line: dict[str, Any]) -> None:
        if line["kind"] == _IMPORT:
            self._gone, self._gone_classes = set(line["image_ids"]), set(line["classes"])
        elif line["kind"] != _TORN:
            edit = _edit(line)
            self._entries[edit.edit_id] = edit
            if edit.kind == UNDO:
                self._undone ^= {edit.value}
                # What an undo had taken back is in effect again once the undo is taken back itself.
                while (other := self._entries[edit.value]).kind == UNDO:
                    edit = other
                    self._undone ^= {edit.value}
            else:
                for image_id in edit.image_ids:
                    self._of_image[image_id].append(edit.edit_id)

    def _touched(self, line: dict[str, Any]) -> Iterable[str]:
        if line["kind"] == _IMPORT:
            return list(self._of_image)
        edit = None if line["kind"] == _TORN else self._entries[line["edit_id"]]
        while edit is not None and edit.kind == UNDO:
            edit = self._entries[edit.value]
        return edit.image_ids if edit else ()

    def _state(self, image_id: str) -> ImageState:
        label, split, is_excluded = None, None, False
        for edit_id in () if image_id in self._gone else self._of_image[image_id]:
            edit = self._entries[edit_id]
            if edit_id in self._undone:
                continue
            if edit.kind == RELABEL and edit.value not in self._gone_classes:
                label = None if image_id in edit.as_imported else edit.value
            elif edit.kind == SPLIT:
                split = edit.part_of[image_id] or None
            elif edit.kind in (EXCLUDE, RESTORE):
                is_excluded = edit.kind == EXCLUDE
        return ImageState(label, split, is_excluded)

    @cached_property
    def edits(self) -> list[Edit]:
        """All entries in their order."""
        return [replace(edit, is_in_effect=edit.edit_id not in self._undone) for edit in self._entries.values()]

    @property
    def digest(self) -> int:
        """Of the present state; 0 where everything is as imported."""
        return self.digests[-1]

    def state_with(self, digest: int) -> "EditLog":
        """The log up to the last line that left this state behind."""
        last = len(self.digests) - 1 - self.digests[::-1].index(digest)
        return self if last == len(self._lines) else EditLog(self._lines[:last])

    def next_id(self) -> str:
        """The name of the next entry: its number."""
        return str(max(map(int, self._entries), default=0) + 1)

    def get(self, edit_id: str) -> Edit:
        """An entry by its name; raises UserError where there is none."""
        found = next((edit for edit in self.edits if edit.edit_id == str(edit_id)), None)
        if found is None:
            last = f"the last one is {self.edits[-1].edit_id}" if self.edits else "there are none"
            raise UserError(f"There is no edit {edit_id!r}; {last}.")
        return found

    def with_line(self, line: dict[str, Any]) -> "EditLog":
        """The log as it would be with one more line."""
        return EditLog([*self._lines, line], self.notices)


NO_EDITS = EditLog()


def edited_version(version: str, digest: int) -> str:
    """The version of a data set whose content and classes have `version`, with the edits of a digest in effect."""
    return hashlib.sha256(json.dumps([version, f"{digest:x}"]).encode()).hexdigest()[:16] if digest else version


def present_version(folder: Path, description: Mapping[str, Any]) -> str:
    """The version of a data set as it is now; raises UserError where its log cannot be read."""
    return edited_version(str(description["version"]), read_log(folder).digest)


def open_states(folder: Path, description: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """The versions that can be read -> the version of the classes and the digest of the edits, the present one first.

    After it those with the present classes, the latest first, then those of the earlier names and orders.
    """
    log = read_log(folder)
    digests = list(dict.fromkeys([*log.digests[::-1], 0]))
    pairs = ((version, digest) for version in open_versions(description) for digest in digests)
    return {edited_version(*pair): pair for pair in pairs}


def versions_ever(folder: Path, description: Mapping[str, Any]) -> set[str]:
    """All versions that the data set has had, with those whose images were imported anew since."""
    versions = {str(description["version"]), *(str(entry["version"]) for entry in description.get("history", ()))}
    return {edited_version(version, digest) for version in versions for digest in read_log(folder).digests}


def read_log(folder: Path) -> EditLog:
    """The log of a data set's folder, empty where there is none; raises UserError on a line that does not fit."""
    path = folder / LOG_FILE
    try:
        found = path.stat()
    except FileNotFoundError:
        return NO_EDITS
    return _read(path, found.st_ino, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=32)
def _read(path: Path, *_: int) -> EditLog:
    """Read once for each state of the file, which only grows."""
    *whole, tail = path.read_bytes().split(b"\n")
    notices, lines, seen = [], [], set[str]()
    for number, text in enumerate([*whole, tail] if tail else whole, start=1):
        try:
            line = json.loads(text)
            _check(line, seen)
        except (ValueError, KeyError, TypeError) as error:
            if number > len(whole) or _is_torn_marker(whole[number : number + 1]):
                notices.append(
                    f"Line {number} of the edit log {path} was cut off as it was written, after a crash or on a full "
                    "disk; that edit has no effect, make it again."
                )
                continue
            raise UserError(
                f"Line {number} of the edit log {path} does not fit ({str(error) or type(error).__name__}); put that "
                "line right, or take it out."
            ) from None
        lines.append(line)
    return EditLog(lines, notices)


def append_line(folder: Path, line: dict[str, Any]) -> None:
    """Write one line and see it to the disk; the caller holds the data set's lock.

    Raises UserError where it cannot be written whole; what was cut off then, or by an earlier crash, stays and is
    marked as such by the next line.
    """
    path = folder / LOG_FILE
    data = _encoded(line)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            tail = path.read_bytes().rpartition(b"\n")[2]
            data = b"\n" + (b"" if _is_whole(tail) else _encoded({"kind": _TORN, "num_bytes": len(tail)})) + data
        if os.write(handle, data) != len(data):
            raise OSError(28, "the disk is full")
        os.fsync(handle)
    except OSError as error:
        raise UserError(f"The edit was not kept: {path} cannot be written ({error.strerror}).") from None
    finally:
        os.close(handle)


def new_line(log: EditLog, kind: str, image_ids: Sequence[str], **content: Any) -> dict[str, Any]:
    """A line for one more entry; `content` are further fields of an `Edit`."""
    return {
        "format_version": FORMAT_VERSION, "edit_id": log.next_id(), "time_s": round(time.time(), 3), "kind": kind,
        "image_ids": list(image_ids), **content,
    }  # fmt: skip


def carry_log(old: Path, new: Path, image_ids: Iterable[str], classes: Iterable[str]) -> int:
    """Take the log of a data set along to a new import of it; the number of images whose edits fell away.

    `image_ids` and `classes` (by the source's names) are those of the new import. An edit of an image that comes back
    in a later import is in effect again.
    """
    log, present, known = read_log(old), set(image_ids), set(classes)
    if not log.edits:
        return 0
    (new / LOG_FILE).write_bytes((old / LOG_FILE).read_bytes())
    named = {image_id for edit in log.edits if edit.kind != UNDO for image_id in edit.image_ids}
    lost = {edit.value for edit in log.edits if edit.kind == RELABEL} - known
    line = {"format_version": FORMAT_VERSION, "kind": _IMPORT, "time_s": round(time.time(), 3)}
    append_line(new, {**line, "image_ids": sorted(named - present), "classes": sorted(lost)})
    return sum(image_id not in present or state.label in lost for image_id, state in log.states.items())


def _encoded(line: dict[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=True).encode() + b"\n"


def _edit(line: dict[str, Any]) -> Edit:
    known = {name: line[name] for name in Edit.__dataclass_fields__ if name in line}
    return Edit(**known | {name: tuple(line.get(name, ())) for name in ("image_ids", "as_imported", "parts")})


def _check(line: Any, seen: set[str]) -> None:
    """Raise ValueError, KeyError or TypeError with what is wrong with a line; `seen` are the entries before it."""
    if not isinstance(line, dict):
        raise ValueError("it is no JSON object")
    if int(line.get("format_version", FORMAT_VERSION)) > FORMAT_VERSION:
        raise ValueError(f"it is of format {line['format_version']}, newer than {FORMAT_VERSION}; update the program")
    kind, ids = line.get("kind"), line.get("image_ids", [])
    if kind == _TORN:
        return
    if kind not in (*KINDS, _IMPORT):
        raise ValueError(f"it is of an unknown kind, {kind!r}")
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise ValueError("its image_ids are no list of names")
    if kind == _IMPORT:
        if not isinstance(line.get("classes"), list):
            raise ValueError("it has no list of classes")
        return
    name = line.get("edit_id")
    if not isinstance(name, str) or not name.isdecimal() or name in seen:
        raise ValueError(f"its edit_id is {name!r}, which is no new number")
    if not isinstance(line.get("value", ""), str) or not isinstance(line.get("time_s"), int | float):
        raise ValueError("its value is no text or its time_s no number")
    if (kind == RELABEL and not line.get("value")) or (kind == SPLIT and line.get("value") not in _SPLITS):
        raise ValueError(f"a {kind} cannot have the value {line.get('value')!r}")
    parts = line.get("parts", [])
    if parts and (kind != SPLIT or len(parts) != len(ids) or not set(parts) <= set(_SPLITS)):
        raise ValueError("its parts do not fit its images")
    if kind == UNDO and line.get("value") not in seen:
        raise ValueError(f"it undoes the edit {line.get('value')!r}, which is not before it")
    seen.add(name)


def _is_whole(text: bytes) -> bool:
    """Whether the last line lacks its end alone."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is_torn_marker(following: Sequence[bytes]) -> bool:
    try:
        return bool(following) and json.loads(following[0])["kind"] == _TORN
    except (ValueError, KeyError, TypeError):
        return False


def _number(image_id: str, state: ImageState) -> int:
    """A number for the state of an image, 0 as imported; their sum does not depend on the order of edits."""
    if state == _AS_IMPORTED:
        return 0
    said = json.dumps([image_id, state.label, state.split, state.is_excluded])
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:16], "big")
