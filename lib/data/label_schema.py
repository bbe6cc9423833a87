"""What is said of a data set's classes (names, order, grades, medical), and the versions that each change of it makes.

The table keeps the targets of the import. A version says which of its own targets each of them is (`target_order`), so
that a change of order or names touches neither table nor pixels, and a run of an earlier version still reads the
targets and names that it was trained with. `dataset.json` holds the present version and, as `history`, the earlier
ones.
"""

import csv
import hashlib
import json
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lib.data.grades import severity_order
from lib.data.specs import DatasetSpec
from lib.errors import UserError

# Of a description with earlier versions, and of one with an edit log: a program that knows none of them would read the
# wrong targets.
HISTORY_FORMAT, FORMAT_VERSION = 2, 3
_MAX_NAME_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class SchemaChange:
    """A change of what is said of the classes; None leaves a question as it is."""

    # Whether the classes are grades, so that their order means something. Names that tell their severity must be in its
    # order, unless `order` says otherwise.
    is_ordinal: bool | None = None
    is_medical: bool | None = None  # whether every answer is shown with the medical notice
    order: Sequence[str] | None = None  # all classes, by the name they have now or in the source
    is_by_source: bool = False  # `order` has the source's names alone: one may stand for another class there than here
    # The names to show: one for each class, in the wanted order; or new names by present ones.
    class_names: Sequence[str] | Mapping[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self == SchemaChange()

    @property
    def flags(self) -> dict[str, Any]:
        """Those of is_ordinal and is_medical that are said, as fields of a `DatasetSpec`."""
        said = {"is_ordinal": self.is_ordinal, "is_medical": self.is_medical}
        return {flag: value for flag, value in said.items() if value is not None}


@dataclass(frozen=True)
class LabelSchema:
    """Classes in the order of their targets: the names that are shown, and those of the source (folder, label)."""

    names: tuple[str, ...]
    sources: tuple[str, ...]

    def changed(self, change: SchemaChange) -> "LabelSchema":
        """The classes in the order and with the names that are asked for.

        Raises UserError on an unknown or missing class, a wrong number of names, an empty name or one given twice.
        """
        known, positions = (self.names, self.sources), list(range(len(self.names)))
        if change.order is not None:
            positions = self._positions(change.order, (self.sources,) if change.is_by_source else known)
        elif change.is_ordinal:
            self._refuse_alphabet()
        names = [self.names[position] for position in positions]
        if isinstance(change.class_names, Mapping):
            renamed = self._renamed(change.class_names)
            names = [renamed.get(position, name) for position, name in zip(positions, names, strict=True)]
        elif change.class_names is not None:
            names = [_clean(name) for name in change.class_names]
            if len(names) != len(self.names):
                given = "1 class name was" if len(names) == 1 else f"{len(names)} class names were"
                raise UserError(
                    f"{given} given for {len(self.names)} classes ({', '.join(self.names)}); give one for each, in "
                    "their order, or old=new for some."
                )
        _refuse_repeated(names)
        return LabelSchema(tuple(names), tuple(self.sources[position] for position in positions))

    def _renamed(self, names: Mapping[str, str]) -> dict[int, str]:
        """New names by position; a class may be called by its present name or the source's, but only once."""
        renamed: dict[int, str] = {}
        for old, new in names.items():
            position = _position(old, (self.names, self.sources))
            if position in renamed:
                raise UserError(
                    f"The class {self.names[position]!r} is given two names, {renamed[position]!r} and {new!r}; "
                    "give it one."
                )
            renamed[position] = _clean(new)
        return renamed

    def _refuse_alphabet(self) -> None:
        """Grades in a folder's alphabet ("Mild, Moderate, No_DR, Severe") would be counted in the wrong order."""
        order = severity_order(self.names) or severity_order(self.sources)
        if order is not None and order not in (self.names, self.sources):
            raise UserError(
                f"As grades, the classes {', '.join(self.names)} would count in this order, which is not that of their "
                f'severity; give the order too, such as --order "{",".join(order)}".'
            )

    def _positions(self, order: Sequence[str], known: Sequence[tuple[str, ...]]) -> list[int]:
        positions = [_position(name, known) for name in order]
        repeated = next((name for k, name in enumerate(order) if positions[k] in positions[:k]), None)
        missing = next((name for k, name in enumerate(self.names) if k not in positions), None)
        problem = f"lacks the class {missing!r}" if repeated is None else f"names the class {repeated!r} twice"
        if repeated is not None or missing is not None:
            raise UserError(f"The order {problem}; name each of {', '.join(self.names)} once.")
        return positions


def _position(name: str, known: Sequence[tuple[str, ...]]) -> int:
    for names in known:
        if name in names:
            return names.index(name)
    raise UserError(f"There is no class {name!r}; the classes are {', '.join(known[0])}.")


def parse_class_names(text: str) -> Sequence[str] | Mapping[str, str]:
    """Names from a line of the command line: "No DR,Mild,..." or "0=No DR,1=Mild"; quotes keep a comma in a name."""
    names = parse_names(text)
    if not names or not all("=" in name for name in names):
        return names
    pairs = [(old.strip(), new.strip()) for old, _, new in (name.partition("=") for name in names)]
    _refuse_repeated([old for old, _ in pairs])
    return dict(pairs)


def parse_names(text: str) -> list[str]:
    """Names between commas; quotes keep a comma in a name. Raises UserError where the text is no one line of them."""
    try:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error:
        raise UserError(
            f"Class names are given in one line, with commas between them, such as No DR,Mild; received {text[:80]!r}."
        ) from None


def _clean(name: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned or not cleaned.isprintable():
        raise UserError(f"A class name must be printable and not empty, received {name!r}.")
    if len(cleaned) > _MAX_NAME_LENGTH:
        raise UserError(f"A class name has at most {_MAX_NAME_LENGTH} letters, received {len(cleaned)}.")
    return cleaned


def _refuse_repeated(names: list[str]) -> None:
    repeated = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if repeated is not None:
        raise UserError(f"The class name {repeated!r} is given twice; each class needs a name of its own.")


def content_version(description: dict[str, Any]) -> str:
    """The version of table and pixels, which all versions that share them have in common."""
    return str(description.get("content_version") or description["version"])


def target_order(description: dict[str, Any]) -> list[int]:
    """For each class of the table, the target that it has in this version."""
    return list(description.get("target_order") or range(len(description["spec"]["class_names"])))


def schema_of(description: dict[str, Any]) -> LabelSchema:
    """The classes in the order of this version's targets; without a source's name, the name of the import stands in."""
    order, sources = target_order(description), stored_sources(description)
    names = description["spec"]["class_names"]
    return LabelSchema(tuple(names), tuple(sources[order.index(target)] for target in range(len(names))))


def stored_sources(description: dict[str, Any]) -> list[str]:
    """The classes of the table by the names of their source, in the order of the table's targets."""
    content, history = content_version(description), description.get("history", ())
    first = next((entry for entry in history if entry["version"] == content), description)
    return list(description.get("class_sources") or first["spec"]["class_names"])


def open_versions(description: dict[str, Any]) -> list[str]:
    """The versions that can be read, the present one first, then the latest of the others."""
    return list(dict.fromkeys([str(description["version"]), *(entry["version"] for entry in _readable(description))]))


def as_of(description: dict[str, Any], version: str | None) -> dict[str, Any]:
    """The description as it was at a version; raises UserError if that one cannot be read any more."""
    if version is None or version == description["version"]:
        return description
    for entry in _readable(description):
        if entry["version"] == version:
            return {**description, **{key: entry[key] for key in ("version", "spec", "target_order")}}
    raise UserError(
        f"The data set {description['spec']['name']!r} is at version {description['version']}; its version {version} "
        "is not kept, because its images were imported anew."
    )


def _readable(description: dict[str, Any]) -> list[dict[str, Any]]:
    """Earlier versions over the present table and pixels, the latest first."""
    here = content_version(description)
    return [entry for entry in reversed(description.get("history", ())) if entry["content_version"] == here]


def described(content: str, sources: Sequence[str], schema: LabelSchema, spec: DatasetSpec) -> dict[str, Any]:
    """What a description says of the classes.

    `content` is the version of table and pixels; `sources` are in the order of the table's targets, `schema` and the
    names of `spec` in that of this version's.
    """
    order = [schema.sources.index(source) for source in sources]
    is_in_order, version = order == sorted(order), content
    # The version is that of the content itself, until something is said of its classes.
    if not is_in_order or schema.names != schema.sources or spec.is_ordinal or spec.is_medical:
        seen = [content, list(spec.class_names), order, spec.is_ordinal, spec.is_medical]
        version = hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
    return {
        "format_version": 1 if is_in_order else HISTORY_FORMAT,
        "spec": spec.to_dict(),
        "version": version,
        "content_version": content,
        "class_sources": list(sources),
        "target_order": order,
    }


def changed_description(description: dict[str, Any], schema: LabelSchema, spec: DatasetSpec) -> dict[str, Any]:
    """The description after a change of names, order or kind; the present one joins its history.

    What has been there before gets its old version back, so that changing back is an undo.
    """
    now = described(content_version(description), stored_sources(description), schema, spec)
    history = [*description.get("history", ()), _entry(description)]
    now["version"] = next((e["version"] for e in history if _said(e) == _said(now)), now["version"])
    format_version = max(HISTORY_FORMAT, int(description["format_version"]))
    return {**description, **now, "format_version": format_version, "history": _without(history, now)}


def with_history(description: dict[str, Any], previous: dict[str, Any]) -> dict[str, Any]:
    """A new import's description with the versions of the one that it replaces, so that runs can name them."""
    history = _without([*previous.get("history", ()), _entry(previous)], description)
    format_version = max(HISTORY_FORMAT, int(previous["format_version"]))
    return {**description, "format_version": format_version, "history": history} if history else description


def _entry(description: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": description["version"],
        "content_version": content_version(description),
        "spec": description["spec"],
        "target_order": target_order(description),
        "until_s": time.time(),
    }


def _said(description: dict[str, Any]) -> list[Any]:
    spec = [description["spec"].get(key) for key in ("class_names", "is_ordinal", "is_medical")]
    return [*spec, description["content_version"], description["target_order"]]


def _without(history: list[dict[str, Any]], present: dict[str, Any]) -> list[dict[str, Any]]:
    """The history without the version that is the present one, each of the others once."""
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in history:
        key = (str(entry["version"]), str(entry["content_version"]))
        if key != (present["version"], content_version(present)):
            kept.pop(key, None)
            kept[key] = entry
    return list(kept.values())
