"""What a person chose for an import, and what the import of a folder would take and make of it."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.data.decoder_pool import num_decoders
from lib.data.drawing import ALL_IMAGES, Draw, draw_images
from lib.data.label_schema import LabelSchema, SchemaChange
from lib.data.schema_suggestion import SchemaSuggestion, count_round_fields, suggest_schema
from lib.data.sources.files import existing_folder
from lib.data.sources.folder import FolderScan, scan_folder
from lib.data.sources.tables import SourceOptions, label_paths
from lib.data.specs import DatasetSpec, check_crop_policy
from lib.data.splits import refuse_crossing
from lib.errors import UserError
from lib.settings import DEFAULT_STORE_SIDE_PX

MIN_STORE_SIDE_PX, MAX_STORE_SIDE_PX = 64, 2048


@dataclass(frozen=True, kw_only=True)
class ImportOptions(SourceOptions):
    """What is read, what is kept of an image, what is said of the classes; a repeated import uses them again.

    `source_values` are the options of the source that are not among these here and that its key does not say.
    `spec_changes` sets fields of the `DatasetSpec`; its class_names and `class_order` (the source's names of all
    classes) are in the order of the targets; where they are empty, the source's own names and order are taken.
    """

    store_side_px: int = DEFAULT_STORE_SIDE_PX
    crop_policy: str = "center_square"
    pseudonyms: bool = False
    spec_changes: dict[str, Any] = field(default_factory=dict)
    class_order: tuple[str, ...] = ()
    source_name: str = "folder"
    source_values: dict[str, Any] = field(default_factory=dict)
    draw: Draw = ALL_IMAGES

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "class_order", tuple(self.class_order))
        if not isinstance(self.draw, Draw):  # read from JSON
            object.__setattr__(self, "draw", Draw(**self.draw))
        check_crop_policy(self.crop_policy)
        if not MIN_STORE_SIDE_PX <= self.store_side_px <= MAX_STORE_SIDE_PX:
            raise UserError(
                f"The store's side must be {MIN_STORE_SIDE_PX} to {MAX_STORE_SIDE_PX} px, not {self.store_side_px}."
            )

    @classmethod
    def of(cls, description: dict[str, Any]) -> "ImportOptions":
        """The options of a data set's last import; those that are younger than it have their defaults."""
        return cls(**description["options"])

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def is_same(self, other: "ImportOptions") -> bool:
        """Whether both ask for the same."""
        return self.to_dict() == other.to_dict()

    def is_of_same_images(self, other: "ImportOptions") -> bool:
        """Whether both give the same table and pixels, whatever is said of the classes."""
        return self.with_schema_of(ImportOptions()).is_same(other.with_schema_of(ImportOptions()))

    def with_schema_of(self, other: "ImportOptions") -> "ImportOptions":
        """These options with what others say of the classes."""
        return dataclasses.replace(self, spec_changes=other.spec_changes, class_order=other.class_order)

    def schema(self, sources: Sequence[str]) -> LabelSchema:
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
        return LabelSchema(names, order)

    def with_schema(self, schema: LabelSchema, sources: Sequence[str], change: SchemaChange) -> "ImportOptions":
        """The options with names and order of a schema, and the flags of a change; `sources` are in their own order."""
        spec_changes = {**self.spec_changes, **change.flags}
        spec_changes.pop("class_names", None)
        if schema.names != schema.sources:
            spec_changes["class_names"] = list(schema.names)
        order = () if schema.sources == tuple(sources) else schema.sources
        return dataclasses.replace(self, spec_changes=spec_changes, class_order=order)

    def spec(self, schema: LabelSchema, **fields: Any) -> DatasetSpec:
        """The description of a data set that is imported so; `fields` are its name and what its images decide."""
        content = {"title": fields["name"], "crop_policy": self.crop_policy, **fields, **self.spec_changes}
        return DatasetSpec.from_dict({**content, "class_names": schema.names, "name": fields["name"]})


@dataclass(frozen=True)
class ImportEstimate:
    """What an import will take: files to decode, disk (at most) and about how long."""

    num_files: int
    store_mib: float
    seconds: float
    class_names: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()  # how the folder is read, where that is not plain
    split_caveat: str = ""


def estimate_import(
    path: str | Path,
    *,
    store_side_px: int = DEFAULT_STORE_SIDE_PX,
    draw: Draw = ALL_IMAGES,
    is_allowed: Callable[[Path], bool] | None = None,
    **reading: Any,
) -> ImportEstimate:
    """Estimate disk and time of an import from the folder's listing, and say how it is read.

    `reading` are the fields of `SourceOptions` that the import will be given.
    """
    scan = draw_images(_scan(path, is_allowed, **reading), draw)
    entries = scan.entries
    refuse_crossing_parts(scan)
    # Measured on one core: 4 ms a small photograph, 40 MB of large JPEG files a second, 1 s to start.
    seconds = 1.0 + sum(0.004 + entry.num_bytes / 40e6 for entry in entries) / num_decoders(len(entries))
    store_mib = len(entries) * store_side_px**2 * 3 / 2**20
    return ImportEstimate(len(entries), store_mib, seconds, scan.class_names, scan.notices, scan.split_caveat)


def refuse_crossing_parts(scan: FolderScan) -> None:
    """Raise UserError where a patient of a scan surely has images in two of its parts."""
    facts = [(entry.group_id, entry.split, entry.num_bytes) for entry in scan.entries]
    groups, parts, sizes = zip(*facts, strict=True) if facts else ((), (), ())
    refuse_crossing(groups, parts, sizes)


def suggest_for_folder(
    path: str | Path, *, is_allowed: Callable[[Path], bool] | None = None, **reading: Any
) -> SchemaSuggestion:
    """What names and pictures of a folder suggest of its kind; about a second. `reading` as of `estimate_import`."""
    scan = _scan(path, is_allowed, **reading)
    # Of a preview of an archive only the first few images are there, the others are holes in the disk.
    fields = count_round_fields([entry.path for entry in scan.entries if entry.path.stat().st_blocks])
    return suggest_schema(scan.class_names, name=scan.folder.name, round_fields=fields)


def _scan(
    path: str | Path,
    is_allowed: Callable[[Path], bool] | None,
    *,
    labels: str | Path | Sequence[str | Path] = (),
    **reading: Any,
) -> FolderScan:
    options = SourceOptions(label_paths(existing_folder(path), labels), **reading)
    return scan_folder(path, options, is_allowed=is_allowed)
