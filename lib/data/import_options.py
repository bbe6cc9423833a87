"""What a person chose for an import: what is read, what is kept of an image, and what is said of the classes."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lib.data.kind import KindChange, NamedClasses
from lib.data.sources.options import SourceOptions
from lib.data.specs import DatasetSpec, check_crop_policy
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

MIN_STORE_SIDE_PX, MAX_STORE_SIDE_PX = 64, 2048


@dataclass(frozen=True)
class ImportOptions:
    """A repeated import of the same source uses them again.

    `spec_changes` sets fields of the `DatasetSpec`; its class_names and `class_order` (the source's names of all
    classes) are in the order of the targets; where they are empty, the source's own names and order are taken.
    """

    group_column: str | None = None
    store_side_px: int = DEFAULT_STORE_SIDE_PX
    crop_policy: str = "center_square"
    spec_changes: dict[str, Any] = field(default_factory=dict)
    class_order: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    class_column: str | None = None
    image_column: str | None = None
    pairs: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_order", tuple(self.class_order))  # a list, where it was read from JSON
        object.__setattr__(self, "labels", tuple(self.labels))
        check_crop_policy(self.crop_policy)
        if not MIN_STORE_SIDE_PX <= self.store_side_px <= MAX_STORE_SIDE_PX:
            raise UserError(
                f"The store's side must be {MIN_STORE_SIDE_PX} to {MAX_STORE_SIDE_PX} px, not {self.store_side_px}."
            )

    @classmethod
    def of(cls, description: dict[str, Any]) -> "ImportOptions":
        """The options of a data set's last import; those that are younger than it have their defaults."""
        return cls(**description["options"])

    @property
    def source(self) -> SourceOptions:
        """How the folder is read."""
        return SourceOptions(
            self.labels, self.class_column, self.image_column, self.group_column, pairs=self.pairs
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def is_same(self, other: "ImportOptions") -> bool:
        """Whether both ask for the same."""
        return self.to_dict() == other.to_dict()

    def is_of_same_images(self, other: "ImportOptions") -> bool:
        """Whether both give the same table and pixels, whatever is said of the classes."""
        return self.with_kind_of(ImportOptions()).is_same(other.with_kind_of(ImportOptions()))

    def with_kind_of(self, other: "ImportOptions") -> "ImportOptions":
        """These options with what others say of the classes."""
        return dataclasses.replace(self, spec_changes=other.spec_changes, class_order=other.class_order)

    def classes(self, sources: Sequence[str]) -> NamedClasses:
        """Names and order of a source's classes; raises UserError where the options are of other classes."""
        order = self.class_order or tuple(sources)
        if sorted(order) != sorted(sources):
            odd = sorted(set(order) ^ set(sources))
            raise UserError(
                f"The classes of the source are {', '.join(sources)}; the order that was set is of others (see "
                f"{odd[0]!r}). Give a new order, or import under another name."
            )
        names = tuple(self.spec_changes.get("class_names") or order)
        if len(names) != len(order):
            raise UserError(f"{len(names)} class names were given for {len(order)} class folders.")
        return NamedClasses(names, order)

    def changed(self, change: KindChange, sources: Sequence[str]) -> "ImportOptions":
        """The options after a change of what is said of the classes of a source; raises UserError as `changed` does."""
        return self.saying(self.classes(sources).changed(change), sources, change)

    def saying(self, classes: NamedClasses, sources: Sequence[str], change: KindChange) -> "ImportOptions":
        """The options with names and order of `classes`, and the flags of a change."""
        said = {flag: getattr(change, flag) for flag in ("is_ordinal", "is_medical")}
        spec_changes = {**self.spec_changes, **{flag: value for flag, value in said.items() if value is not None}}
        spec_changes.pop("class_names", None)
        if classes.names != classes.sources:
            spec_changes["class_names"] = list(classes.names)
        order = () if classes.sources == tuple(sources) else classes.sources
        return dataclasses.replace(self, spec_changes=spec_changes, class_order=order)

    def spec(
        self,
        classes: NamedClasses,
        *,
        name: str,
        store_side_px: int,
        value_scale: dict[str, Any] | None,
        split_caveat: str = "",
    ) -> DatasetSpec:
        """The description of a data set that is imported so, with the scale of its images of more than 8 bits."""
        fields: dict[str, Any] = {"title": name, "crop_policy": self.crop_policy, "store_side_px": store_side_px}
        fields |= {"value_scale": value_scale, "split_caveat": split_caveat}
        return DatasetSpec.from_dict({**fields, **self.spec_changes, "class_names": classes.names, "name": name})
