"""Arrays that are dear to make, kept on disk under content hashes, up to a limit: the least recently used go first.

An entry in use is never removed: whoever reads one holds a shared lock (flock) on its file for as long as the array
lives, and the system lets go of it when a process dies, however it dies.
"""

from lib.disk_cache.entries import KINDS, Entry, entry_path, is_in_use, list_entries, read_entry, remove_entry
from lib.disk_cache.room import (
    DEFAULT_LIMIT_GIB,
    Usage,
    cache_limit_bytes,
    check_disk,
    clear,
    make_room,
    set_cache_limit,
    size_words,
    usage,
)
from lib.disk_cache.writing import write_entry

__all__ = [
    "DEFAULT_LIMIT_GIB",
    "KINDS",
    "Entry",
    "Usage",
    "cache_limit_bytes",
    "check_disk",
    "clear",
    "entry_path",
    "is_in_use",
    "list_entries",
    "make_room",
    "read_entry",
    "remove_entry",
    "set_cache_limit",
    "size_words",
    "usage",
    "write_entry",
]
