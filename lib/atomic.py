"""Files that are either whole or absent: temporary name, fsync, rename, fsync of the folder."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

Kept = TypeVar("Kept")


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target` that replaces it on success and vanishes on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync_file(temporary)
        temporary.chmod(0o644)
        temporary.replace(target)
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk, as they must be before it gets the name by which it counts."""
    with path.open("rb+") as written:
        os.fsync(written.fileno())


def read_json_or_empty(path: Path) -> dict[str, Any]:
    """Parse a JSON file that holds an object; empty where it is not there or cannot be read."""
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        return {}


def write_text(target: Path, text: str) -> None:
    """Write text as UTF-8, as it is."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(target: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    with atomic_path(target) as temporary:
        # A name that is no text holds single surrogates; written as "\\udcff" JSON gives them back.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(source: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(source.read_text(encoding="utf-8"))


def read_kept(path: Path, parse: Callable[[dict[str, Any]], Kept]) -> Kept | None:
    """What was written to a JSON file before; None where there is none, or none that `parse` understands."""
    try:
        return parse(read_json(path))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def digest_of(described: Any) -> str:
    """The name under which a cache keeps what depends on no more than what is described: a hash, 32 characters."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
