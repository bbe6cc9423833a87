"""Versions of a data set that share one table and one pixel store: earlier names, orders and kinds of its classes.

The table keeps the targets of the import. A version says which of its own targets each of them is (`target_order`), so
that a change of order or names touches neither table nor pixels, and a run of an earlier version still reads the
targets and names that it was trained with. `dataset.json` holds the present version and, as `history`, the earlier
ones.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

from lib.data.kind import NamedClasses
from lib.data.specs import DatasetSpec
from lib.errors import UserError

FORMAT_VERSION = 2  # of a description with earlier versions: a program that knows none would read the wrong targets


def content_version(description: dict[str, Any]) -> str:
    """The version of table and pixels, which all versions that share them have in common."""
    return str(description.get("content_version") or description["version"])


def target_order(description: dict[str, Any]) -> list[int]:
    """For each class of the table, the target that it has in this version."""
    return list(description.get("target_order") or range(len(description["spec"]["class_names"])))


def named_classes(description: dict[str, Any]) -> NamedClasses:
    """The classes in the order of this version's targets; without a source's name, the name of the import stands in."""
    names, order = description["spec"]["class_names"], target_order(description)
    sources = stored_names(description)
    return NamedClasses(tuple(names), tuple(sources[order.index(target)] for target in range(len(names))))


def stored_names(description: dict[str, Any]) -> list[str]:
    """The classes of the table by the names of their source, in the order of the table's targets."""
    if sources := description.get("class_sources"):
        return list(sources)
    first = next(
        (e for e in description.get("history", ()) if e["version"] == content_version(description)), description
    )
    return list(first["spec"]["class_names"])


def open_versions(description: dict[str, Any]) -> list[str]:
    """The versions that can be read, the present one first, then the latest of the others."""
    here = content_version(description)
    kept = [e["version"] for e in reversed(description.get("history", ())) if e["content_version"] == here]
    return list(dict.fromkeys([str(description["version"]), *kept]))


def as_of(description: dict[str, Any], version: str | None) -> dict[str, Any]:
    """The description as it was at a version; raises UserError if that one cannot be read any more."""
    if version is None or version == description["version"]:
        return description
    here = content_version(description)
    for entry in reversed(description.get("history", ())):
        if entry["version"] == version and entry["content_version"] == here:
            return {**description, **{key: entry[key] for key in ("version", "spec", "target_order")}}
    raise UserError(
        f"The data set {description['spec']['name']!r} is at version {description['version']}; its version {version} "
        "is not kept, because its images were imported anew."
    )


def described(content: str, sources: Sequence[str], classes: NamedClasses, spec: DatasetSpec) -> dict[str, Any]:
    """What a description says of the classes.

    Args:
        content: the version of table and pixels.
        sources: the source's names of the classes, in the order of the table's targets.
        classes: the same with the names to show, in the order of this version's targets.
        spec: the description, with those names.
    """
    order = [classes.sources.index(source) for source in sources]
    is_in_order = order == sorted(order)
    return {
        "format_version": 1 if is_in_order else FORMAT_VERSION,
        "spec": spec.to_dict(),
        "version": _version(content, spec, order, is_as_in_source=is_in_order and classes.names == classes.sources),
        "content_version": content,
        "class_sources": list(sources),
        "target_order": order,
    }


def changed_description(description: dict[str, Any], classes: NamedClasses, spec: DatasetSpec) -> dict[str, Any]:
    """The description after a change of names, order or kind; the present one joins its history.

    What has been there before gets its old version back, so that changing back is an undo.
    """
    content = content_version(description)
    now = described(content, stored_names(description), classes, spec)
    history = [*description.get("history", ()), _entry(description)]
    now["version"] = next((e["version"] for e in history if _says_the_same(e, now)), now["version"])
    return {**description, **now, "format_version": FORMAT_VERSION, "history": _without(history, now)}


def with_history(description: dict[str, Any], previous: dict[str, Any]) -> dict[str, Any]:
    """A new import's description with the versions of the one that it replaces, so that runs can name them."""
    history = _without([*previous.get("history", ()), _entry(previous)], description)
    return {**description, "format_version": FORMAT_VERSION, "history": history} if history else description


def _version(content: str, spec: DatasetSpec, order: list[int], *, is_as_in_source: bool) -> str:
    """The version of the content itself, until something is said of its classes."""
    if is_as_in_source and not spec.is_ordinal and not spec.is_medical:
        return content
    seen = [content, list(spec.class_names), order, spec.is_ordinal, spec.is_medical]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def _entry(description: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": description["version"],
        "content_version": content_version(description),
        "spec": description["spec"],
        "target_order": target_order(description),
        "until_s": time.time(),
    }


def _says_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    same = all(one["spec"].get(key) == other["spec"].get(key) for key in ("class_names", "is_ordinal", "is_medical"))
    return same and all(one[key] == other[key] for key in ("content_version", "target_order"))


def _without(history: list[dict[str, Any]], present: dict[str, Any]) -> list[dict[str, Any]]:
    """The history without the version that is the present one, each of the others once."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in history:
        key = (str(entry["version"]), str(entry["content_version"]))
        if key != (present["version"], content_version(present)):
            kept.pop(key, None)
            kept[key] = entry
    return list(kept.values())
