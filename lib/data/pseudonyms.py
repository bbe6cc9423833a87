"""Pseudonyms for the patients that file names and group columns name.

The name of a patient becomes the first letters of an HMAC-SHA-256 (RFC 2104) with a key that is kept in the home and
goes into no export: the same patient has the same pseudonym in every data set of this home, and nobody without the key
can try names. Left and right stay. What the files are really called is kept in one file of the data set's folder, so
that a damaged image can be repaired from its original; tables, pages, reports and exports know the pseudonyms alone.
"""

import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from lib.data.sources.files import LeftOut, SourceEntry
from lib.data.sources.folder import FolderScan
from lib.data.sources.metadata import eye_in_name
from lib.errors import UserError
from lib.settings import home

_KEY_FILE = "pseudonyms.key"
_LETTERS, _SHORT = 10, 4
_WORDS = re.compile(r"[^\s,;()'\"]+")


def pseudonym(name: str) -> str:
    """The pseudonym of a patient's name or number: 10 letters and digits, the same each time in this home."""
    normal = " ".join(unicodedata.normalize("NFC", name).casefold().split())
    return hmac.new(_key(), normal.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:_LETTERS]


def with_pseudonyms(scan: FolderScan) -> FolderScan:
    """A scan whose patients, paths and reasons say pseudonyms; the files themselves are still known.

    An image is called by its part, its class, the pseudonym of its patient, the eye, and a few letters for itself.
    """
    entries = [_renamed(entry) for entry in scan.entries]
    said: dict[str, str] = {}
    for before, after in zip(scan.entries, entries, strict=True):
        name = PurePosixPath(after.relative).name
        said |= {before.key: after.relative, before.relative: after.relative}
        said |= dict.fromkeys((before.path.name, before.path.stem, PurePosixPath(before.relative).name), name)
        if before.group_id:
            said[before.group_id] = after.group_id
    left_out = [LeftOut(_path(one.path, said), _cleaned(one.reason, said), one.source) for one in scan.left_out]
    notices = tuple(_cleaned(notice, said) for notice in scan.notices)
    return replace(scan, entries=entries, left_out=left_out, notices=notices, has_pseudonyms=True)


def _renamed(entry: SourceEntry) -> SourceEntry:
    stem, eye = eye_in_name(entry.path.name) or (entry.path.stem, entry.laterality)
    patient = pseudonym(entry.group_id or stem)
    parts = [patient, eye if eye in ("left", "right") else "", pseudonym(entry.key)[:_SHORT]]
    name = "_".join(filter(None, parts)) + entry.path.suffix.lower()
    shown_as = "/".join(filter(None, (entry.split, entry.class_name, name)))
    return replace(entry, shown_as=shown_as, group_id=patient if entry.group_id else "")


def _path(path: str, said: Mapping[str, str]) -> str:
    """A file that is not used: an image by its pseudonym, anything else by its kind and a pseudonym of its name."""
    if path in said or path == ".":
        return said.get(path, path)
    return f"{pseudonym(path)}{PurePosixPath(path).suffix.lower()[:8]}"


def _cleaned(text: str, said: Mapping[str, str]) -> str:
    """A sentence in which no name of a file or patient is left."""
    return _WORDS.sub(lambda word: said.get(word.group().rstrip(".:"), word.group()), text)


def _key() -> bytes:
    """The key of this home, made when it is first needed and read by its owner alone."""
    path = home() / _KEY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(handle, "w") as opened:
            opened.write(secrets.token_hex(32))
            opened.flush()
            os.fsync(opened.fileno())
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError):
        key = b""
    if len(key) < 16:
        raise UserError(
            f"{path} is no key for pseudonyms any more; put it back from a copy, or remove it: then the same patients "
            "get other pseudonyms from now on."
        )
    return key
