"""Strict tables from a name to its specification: duplicates raise, unknown names say what is known."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from lib.errors import UserError


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The key in the table."""
        ...


Spec = TypeVar("Spec", bound=Named)


class Registry(Generic[Spec]):
    """An ordered table of specifications; `kind` is the word its error messages use, such as "backbone"."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._specs: dict[str, Spec] = {}
        self._unlisted: dict[str, Spec] = {}
        self._families: dict[str, Callable[[str], Spec]] = {}

    def add(self, spec: Spec, *, is_listed: bool = True) -> Spec:
        """Enter a specification; one that is not listed can be asked for by name and is offered nowhere.

        Raises:
            ValueError: the name is taken.
        """
        if spec.name in self:
            raise ValueError(f"The {self.kind} {spec.name!r} is in the table already; choose another name.")
        (self._specs if is_listed else self._unlisted)[spec.name] = spec
        return spec

    def add_family(self, prefix: str, find: Callable[[str], Spec]) -> None:
        """Let `find` make the specification of any name with this prefix when it is asked for; they are listed nowhere.

        `find` raises UserError for a name that it does not know.
        """
        self._families[prefix] = find

    def get(self, name: str) -> Spec:
        """Return the specification of that name; raises UserError with the nearest and all known names."""
        for prefix, find in self._families.items():
            if name.startswith(prefix):
                return find(name)
        for specs in (self._specs, self._unlisted):
            if name in specs:
                return specs[name]
        near = difflib.get_close_matches(name, self._specs, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        families = "".join(f", or {prefix}NAME" for prefix in self._families)
        raise UserError(f"Unknown {self.kind} {name!r}.{hint} Choose one of: {', '.join(self._specs)}{families}.")

    @property
    def names(self) -> tuple[str, ...]:
        """All listed names in the order of entry."""
        return tuple(self._specs)

    def __iter__(self) -> Iterator[Spec]:
        return iter(self._specs.values())

    def may_know(self, name: str) -> bool:
        """Whether the name is listed or belongs to a family, which is not asked: that may take seconds."""
        return name in self._specs or name.startswith(tuple(self._families))

    def __contains__(self, name: object) -> bool:
        return name in self._specs or name in self._unlisted

    def __len__(self) -> int:
        return len(self._specs)
