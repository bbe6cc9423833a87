"""What somebody says of a data set's classes: their order, the names to show, grades or not, medical or not."""

import csv
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lib.data.grades import severity_order
from lib.errors import UserError

_MAX_NAME_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class KindChange:
    """None leaves a question as it is.

    Attributes:
        is_ordinal: whether the classes are grades, so that their order means something. Names that tell their severity
            must be in its order, unless `order` says otherwise.
        is_medical: whether every answer is shown with the medical notice.
        order: all classes, by the name they have now or in the source, in the wanted order.
        is_by_source: whether `order` has the source's names alone; a name may stand for another class there than here.
        class_names: the names to show: one for each class, in the wanted order; or new names by present ones.
    """

    is_ordinal: bool | None = None
    is_medical: bool | None = None
    order: Sequence[str] | None = None
    is_by_source: bool = False
    class_names: Sequence[str] | Mapping[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said."""
        return self == KindChange()


@dataclass(frozen=True)
class NamedClasses:
    """Classes in the order of their targets: the names that are shown, and those of the source (folder, label)."""

    names: tuple[str, ...]
    sources: tuple[str, ...]

    def changed(self, change: KindChange) -> "NamedClasses":
        """The classes in the order and with the names that are asked for.

        Raises:
            UserError: an unknown or missing class, a wrong number of names, an empty name or one given twice.
        """
        positions: Sequence[int] = range(len(self.names))
        if change.order is not None:
            positions = self._positions(change.order, (self.sources,) if change.is_by_source else self._known)
        names = [self.names[position] for position in positions]
        if change.is_ordinal and change.order is None:
            self._refuse_alphabet()
        if isinstance(change.class_names, Mapping):
            renamed = {self._position(old, self._known): _clean(new) for old, new in change.class_names.items()}
            names = [renamed.get(position, name) for position, name in zip(positions, names, strict=True)]
        elif change.class_names is not None:
            names = [_clean(name) for name in change.class_names]
            if len(names) != len(self.names):
                raise UserError(
                    f"{_number(len(names), 'class name')} given for {len(self.names)} classes "
                    f"({', '.join(self.names)}); give one for each, in their order, or old=new for some."
                )
        _refuse_repeated(names)
        return NamedClasses(tuple(names), tuple(self.sources[position] for position in positions))

    def _refuse_alphabet(self) -> None:
        """Grades in a folder's alphabet ("Mild, Moderate, No_DR, Severe") would be counted in the wrong order."""
        order = severity_order(self.names) or severity_order(self.sources)
        if order is not None and order not in (self.names, self.sources):
            raise UserError(
                f"As grades, the classes {', '.join(self.names)} would count in this order, which is not that of their "
                f'severity; give the order too, such as --order "{",".join(order)}".'
            )

    @property
    def _known(self) -> tuple[tuple[str, ...], ...]:
        return self.names, self.sources

    def _positions(self, order: Sequence[str], known: Sequence[tuple[str, ...]]) -> list[int]:
        positions = [self._position(name, known) for name in order]
        repeated = next((name for k, name in enumerate(order) if positions[k] in positions[:k]), None)
        if repeated is not None:
            raise UserError(f"The order names the class {repeated!r} twice; name each of {', '.join(self.names)} once.")
        missing = [name for k, name in enumerate(self.names) if k not in positions]
        if missing:
            raise UserError(f"The order lacks the class {missing[0]!r}; name each of {', '.join(self.names)} once.")
        return positions

    def _position(self, name: str, known: Sequence[tuple[str, ...]]) -> int:
        for names in known:
            if name in names:
                return names.index(name)
        raise UserError(f"There is no class {name!r}; the classes are {', '.join(known[0])}.")


def parse_class_names(text: str) -> Sequence[str] | Mapping[str, str]:
    """Names from a line of the command line: "No DR,Mild,..." or "0=No DR,1=Mild"; quotes keep a comma in a name."""
    names = parse_names(text)
    if not names or not all("=" in name for name in names):
        return names
    parts = [name.partition("=") for name in names]
    pairs = [(old.strip(), new.strip()) for old, _, new in parts]
    _refuse_repeated([old for old, _ in pairs])
    return dict(pairs)


def parse_names(text: str) -> list[str]:
    """Names between commas; quotes keep a comma in a name."""
    return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]


def _clean(name: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned or not cleaned.isprintable():
        raise UserError(f"A class name must be printable and not empty, received {name!r}.")
    if len(cleaned) > _MAX_NAME_LENGTH:
        raise UserError(f"A class name has at most {_MAX_NAME_LENGTH} letters, received {len(cleaned)}.")
    return cleaned


def _refuse_repeated(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"The class name {name!r} is given twice; each class needs a name of its own.")
        seen.add(name)


def _number(count: int, what: str) -> str:
    return f"{count} {what} was" if count == 1 else f"{count} {what}s were"
