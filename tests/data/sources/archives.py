"""Archives for the tests: honest ones of a folder, and ones made entry by entry."""

import io
import tarfile
import zipfile
from pathlib import Path


def zip_of(folder: Path, target: Path, *, top: str = "") -> Path:
    """A zip of what is in a folder, below the folder `top` of the archive."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}{path.relative_to(folder)}")
    return target


def tar_of(folder: Path, target: Path, *, top: str = ".") -> Path:
    """A tar, packed by gzip where its name ends so."""
    with tarfile.open(target, "w:gz" if target.name.endswith("gz") else "w") as archive:
        archive.add(folder, top)
    return target


def tar_with(target: Path, *entries: tuple[str, bytes | None, dict]) -> Path:
    """A tar of entries: a name, its content, and fields of `TarInfo`."""
    with tarfile.open(target, "w:gz" if target.name.endswith("gz") else "w") as archive:
        for name, content, fields in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content or b"")
            for field, value in fields.items():
                setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content or b""))
    return target
