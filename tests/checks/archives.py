"""Archives made to do harm, and what they cost: `python -m tests.checks.archives [--mib 1024]`.

Builds each archive, opens it with each reader of the program in a process of its own, and prints that process's peak of
memory above what it had before, and the reader's answer. Exits with status 1 if one takes more than the limit. Building
a gigabyte of zeros for bzip2 and LZMA takes a minute.
"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MIB = 64
READERS = ("upload", "grade FOLDER", "grade --run BUNDLE.zip")
_STATED_BYTES = 1000
_PIECE = b"\0" * 2**20


def lying(path: Path, method: int, mib: int, names: tuple[str, ...] = ("photo.jpg",)) -> Path:
    """Members of so many MiB of zeros that state 1,000 bytes, with the right checksum of those."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=False) as member:
                for _ in range(mib):
                    member.write(_PIECE)
    data = bytearray(path.read_bytes())
    stated = struct.pack("<I", zlib.crc32(b"\0" * _STATED_BYTES)), struct.pack("<I", _STATED_BYTES)
    for mark, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):  # CRC, packed size, size
        at = -1
        while (at := data.find(mark, at + 1)) >= 0:
            data[at + offset : at + offset + 4] = stated[0]
            data[at + offset + 8 : at + offset + 12] = stated[1]
    path.write_bytes(data)
    return path


def honest_bomb(path: Path, mib: int, names: tuple[str, ...] = ("photo.jpg",)) -> Path:
    """Members that state what they hold: a thousand times their packed size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            with archive.open(name, "w", force_zip64=True) as member:
                for _ in range(mib):
                    member.write(_PIECE)
    return path


def overlapping(path: Path, count: int, names: tuple[str, ...] = ("photo.jpg",)) -> Path:
    """Entries that all point to the same bytes, so that the archive unpacks to `count` times what it holds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, bytes(range(256)) * 2**12)
        for member in list(archive.infolist()) * (count - 1):
            archive.filelist.append(member)
        archive._didModify = True
    return path


def crowded(path: Path, count: int) -> Path:
    """So many empty members."""
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(count):
            archive.writestr(f"{number}.jpg", b"")
    return path


def nested(path: Path, mib: int, depth: int = 3) -> Path:
    """A bomb in an archive in an archive."""
    inner = honest_bomb(path.with_suffix(".inner"), mib)
    for _ in range(depth):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(inner, "inner.zip")
        inner = path.replace(path.with_suffix(".inner"))
    return inner.replace(path)


_BUNDLE = ("manifest.json", "network.safetensors")
BUILDERS: dict[str, Callable[[Path, int, tuple[str, ...]], Path]] = {
    "bzip2 that states 1,000 bytes": lambda path, mib, names: lying(path, zipfile.ZIP_BZIP2, mib, names),
    "LZMA that states 1,000 bytes": lambda path, mib, names: lying(path, zipfile.ZIP_LZMA, mib, names),
    "deflate that states 1,000 bytes": lambda path, mib, names: lying(path, zipfile.ZIP_DEFLATED, mib, names),
    "deflate that states what it holds": honest_bomb,
    "overlapping members": overlapping,
    "30,000 members": lambda path, mib, names: crowded(path, 30_000),
    "archives in archives": lambda path, mib, names: nested(path, mib),
}


def read(reader: str, path: Path) -> str:
    """Let a reader of the program at an archive; returns what it says."""
    from lib.errors import UserError
    from lib.grading.upload_session import expand_paths, expand_uploads

    if reader == READERS[2]:
        from lib.models.bundles import load_bundle

        try:
            load_bundle(path)
        except UserError as error:
            return str(error)
        return "loaded"
    expansion = expand_uploads([(path.name, path.read_bytes())]) if reader == READERS[0] else expand_paths([path])
    reasons = list(dict.fromkeys(entry.reason for entry in expansion.skipped))
    return f"{len(expansion.items)} files taken, {len(expansion.skipped)} left out: {' '.join(reasons)}"


def _peak_mib() -> float:
    # Unlike ru_maxrss this does not count what the process was before it became this program.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _child(reader: str, path: str) -> None:
    import lib.grading.upload_session

    if reader == READERS[2]:
        import lib.models.bundles  # noqa: F401  (torch)
    before = _peak_mib()
    answer = read(reader, Path(path))
    print(json.dumps({"mib": _peak_mib() - before, "answer": answer}))


def main() -> int:
    """Run the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="How much a bomb holds.")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
        return 0
    worst = 0.0
    with tempfile.TemporaryDirectory(prefix="transferscope-archives-") as name:
        for title, build in BUILDERS.items():
            photos = build(Path(name, "photos.zip"), options.mib, ("photo.jpg",))
            bundle = build(Path(name, "bundle.zip"), options.mib, _BUNDLE)
            for reader in READERS:
                path = bundle if reader == READERS[2] else photos
                command = [sys.executable, "-m", "tests.checks.archives", "--child", reader, str(path)]
                child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
                size = f"{title} ({path.stat().st_size:,} bytes), {reader}"
                if child.returncode:
                    print(f"{size}: ended with status {child.returncode}\n{child.stderr}")
                    worst = float("inf")
                    continue
                said = json.loads(child.stdout.splitlines()[-1])
                worst = max(worst, said["mib"])
                print(f"{size}: {said['mib']:.0f} MiB. {said['answer']}", flush=True)
    print(f"At most {worst:.0f} MiB; the limit is {LIMIT_MIB} MiB.")
    return int(worst > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
