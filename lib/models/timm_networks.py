"""Networks of timm by name: what `timm:NAME` is, read from what was found out about it once. Imports no torch itself.

What a network is can only be learned by building it, which takes torch and seconds. So it is done once for each name
and version of timm, in a process of its own where torch is not loaded yet, and kept below `cache/` as JSON.
"""

import difflib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib import settings
from lib.atomic import read_json, write_json
from lib.errors import UserError
from lib.models.backbone_spec import TIMM, BackboneSpec, StageSpec

_FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9_]{1,80}(\.[A-Za-z0-9_\-]{1,60})?")
_TIMEOUT_S = 600.0
_LIST = "names"
_CHILD = "from lib.models.timm_networks import answer_child; import sys; answer_child(sys.argv[1])"


def find_timm(name: str) -> BackboneSpec:
    """The specification of `timm:NAME`; the first question about a name takes seconds, later ones a file.

    Raises:
        UserError: no network of that name, one that cannot be used, or no timm.
    """
    bare = name.removeprefix(TIMM)
    if not _NAME.fullmatch(bare):
        raise unknown_network(bare)
    return _spec_from(_known(bare))


def timm_names() -> tuple[str, ...]:
    """The names of all networks of timm, without prefix, with each choice of weights; UserError if there is no timm."""
    return tuple(_known(_LIST)["names"])


def search_timm(text: str, limit: int = 12) -> list[str]:
    """Those of `timm_names` that hold every word of a text; the most similar where none does; none without a word."""
    words, names = text.casefold().strip().removeprefix(TIMM).split(), timm_names()
    if not words:
        return []
    found = [name for name in names if all(word in name.casefold() for word in words)]
    if not found:
        return difflib.get_close_matches("_".join(words), names, n=limit, cutoff=0.4)
    # Whole names before the choices of weights, short ones before long ones.
    return sorted(found, key=lambda name: ("." in name, not name.startswith(words[0]), len(name)))[:limit]


def known_timm_specs() -> list[BackboneSpec]:
    """The networks of timm that were asked for before, by name; what cannot be read is left out."""
    try:
        paths = sorted(_folder().glob(f"*-{_FORMAT}.json"))
    except UserError:  # no timm
        return []
    found = []
    for path in paths:
        content = _read(path)
        if content is not None and "stages" in content:
            found.append(_spec_from(content))
    return sorted(found, key=lambda spec: spec.name)


def unknown_network(bare: str) -> UserError:
    """The error for a name, without prefix, that timm does not know, with the nearest ones."""
    names, architecture = timm_names(), bare.split(".", maxsplit=1)[0]
    tags = [name for name in names if name.startswith(f"{architecture}.")] if architecture in names else []
    near = tags[:5] or difflib.get_close_matches(bare, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(f'{TIMM}{name}' for name in near)}?" if near else ""
    return UserError(f"timm {_version()} has no network {bare[:80]!r}.{hint} Its names: `timm.list_models()`.")


def answer_child(bare: str) -> None:
    """What a child process does for its parent: write one line of JSON, a specification or why there is none."""
    # With torch loaded, nothing below asks for another child; the list of names then costs nothing more.
    import timm  # noqa: F401

    try:
        _known(_LIST)
        content = _compute(bare)
    except UserError as error:
        content = {"error": str(error)}
    sys.stdout.write("\n" + json.dumps(content) + "\n")


def _known(bare: str) -> dict[str, Any]:
    path = _path(bare)
    content = _read(path)
    if content is None:
        listed = _read(_path(_LIST))  # where it is at hand; else whoever builds the network will see
        if listed is not None and bare not in (_LIST, *listed["names"]):
            raise unknown_network(bare)
        content = _compute(bare) if "torch" in sys.modules else _ask_child(bare)
        write_json(path, content)
    return content


def _read(path: Path) -> dict[str, Any] | None:
    """What a file holds; None if it is not there or damaged."""
    try:
        moment = path.stat().st_mtime_ns
    except OSError:
        return None
    try:
        return _read_once(path, moment)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=256)
def _read_once(path: Path, moment: int) -> dict[str, Any] | None:
    content = read_json(path)
    return content if isinstance(content, dict) and ("names" in content or "stages" in content) else None


def _path(bare: str) -> Path:
    return _folder() / f"{bare}-{_FORMAT}.json"


def _folder() -> Path:
    return settings.cache_dir() / "timm" / _version()


@lru_cache(maxsize=1)  # reads and parses a file, several times for each view of a page
def _version() -> str:
    try:
        return importlib.metadata.version("timm")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "Networks of timm need the Python package timm, which is not installed here. Run `pip install -r "
            "requirements.txt`, or choose another network."
        ) from None


def _compute(bare: str) -> dict[str, Any]:
    import timm

    if bare == _LIST:
        return {"names": sorted({*timm.list_models(), *timm.list_pretrained()})}
    if bare not in timm_names() or not timm.is_model(bare):
        raise unknown_network(bare)
    from lib.models.timm_description import describe_timm

    return asdict(describe_timm(TIMM + bare))


def _ask_child(bare: str) -> dict[str, Any]:
    command = [sys.executable, "-c", _CHILD, bare]
    try:
        done = subprocess.run(
            command, cwd=settings.PROJECT_ROOT, capture_output=True, text=True, timeout=_TIMEOUT_S, env=os.environ
        )
        content = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise UserError(
            f"The network {TIMM}{bare} could not be looked at ({type(error).__name__}): the process that builds it "
            "ended early. It may need more memory than there is; choose a smaller network."
        ) from error
    if "error" in content:
        raise UserError(content["error"])
    found: dict[str, Any] = content
    return found


def _spec_from(content: dict[str, Any]) -> BackboneSpec:
    # Files of earlier versions hold the stages' parameters in a list of their own, and fields that are gone.
    counts = content.get("stage_parameters") or [0] * len(content["stages"])
    stages = [
        _built(StageSpec, {"num_parameters": count, **stage})
        for stage, count in zip(content["stages"], counts, strict=True)
    ]
    return _built(BackboneSpec, {**content, "network": content["name"], "stages": stages})


def _built(kind: Callable[..., Any], content: dict[str, Any]) -> Any:
    known = {field.name: content[field.name] for field in fields(kind) if field.name in content}  # type: ignore[arg-type]
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in known.items()})
