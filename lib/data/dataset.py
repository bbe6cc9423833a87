"""An imported data set: one table, one memory-mapped store of square images, one description."""

import io
import os
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np
from PIL import Image

from lib.atomic import read_json, sha256_of_file
from lib.checked_rows import CheckedRows
from lib.data.decoder_pool import DecoderPool
from lib.data.edit_log import Edit, EditLog, edited_version, open_states, read_log
from lib.data.images import DecodedImage
from lib.data.kept_splits import kept_split
from lib.data.label_schema import FORMAT_VERSION, as_of, content_version, schema_of, target_order
from lib.data.originals import originals_folder, read_names
from lib.data.specs import BY_FILE, DatasetSpec
from lib.data.splits import ADD_OR_LEAVE, EXCLUDED, assign_splits, require_parts, with_fixed
from lib.errors import BadImage, UserError

if TYPE_CHECKING:
    import pandas as pd

DESCRIPTION_FILE = "dataset.json"
TABLE_FILE = "table.parquet"
LEFT_OUT_FILE = "left_out.parquet"
PIXELS_FILE = "pixels.bin"
MASKS_FILE = "masks.bin"  # only where the source has masks
NO_LABEL = "no label"
STORED_FILES = (TABLE_FILE, LEFT_OUT_FILE, PIXELS_FILE)
_UNGRADABLE = re.compile(r"(?:^|;)\s*ungradable\s*(?:$|[:;])", re.IGNORECASE)
_AGAIN = "Delete the data set and import it again."


class Dataset:
    """Reads one data set of the library; cheap to open, the table and the pixels are read when asked for.

    `table` has one row an image: image_id, path (relative to the source, for the eye), source_path (its bytes), target,
    split (the folders' own, "" if none), group_id, laterality, flags (what the source's table says and the decoder
    noticed), mask_path ("" if none), width, height (of the original, upright), num_bytes, crop_left, crop_top,
    crop_right, crop_bottom (the stored square in the original's pixels).

    With `version` the classes have the order, names and kind of that earlier version (lib/data/label_schema.py), and
    those edits of single images are in effect that were then (lib/data/edit_log.py; `log` stands in for the stored
    one). An edit leaves rows and pixels where they are: it changes targets, and the part that an image is in.

    Attributes:
        version: a hash of pixels, targets, fixed splits and groups, of the classes' names, order and kind, and of the
            edits in effect.
        content_version: of pixels and rows alone, for caches: neither classes nor edits change it.
        class_names: in the order of the targets; `class_sources` is what the source calls each (its folder or label).
        num_images: rows of the table; bad ones and duplicates are left out, excluded ones are not.
        has_pseudonyms: whether paths and groups are pseudonyms; `source_path` knows the files all the same.
        is_unlabelled: whether the source gives no class; an image has one, and takes part, once a person labels it.
        has_masks: whether some images have one; `spec.mask_names` say what its values 1, 2, ... mean.
        notices: how the source was read, where that is not plain, in sentences.
        source_folder: where the original images are; it may be gone, and is no folder at all for a generated set.
    """

    def __init__(self, folder: Path, version: str | None = None, *, log: EditLog | None = None) -> None:
        self.folder = folder
        stored, log = read_description(folder), log or read_log(folder)
        if version not in (None, edited_version(str(stored["version"]), log.digest)):
            # What is not among the states that were there is left to `as_of` to refuse.
            version, digest = open_states(folder, stored).get(str(version), (version, 0))
            self.description, self._log = as_of(stored, version), log.state_with(digest)
        else:
            self.description, self._log = stored, log
        self.spec = DatasetSpec.from_dict(self.description["spec"])
        self.name, self.class_names = self.spec.name, self.spec.class_names
        self.class_sources = schema_of(self.description).sources
        self.version = edited_version(str(self.description["version"]), self._log.digest)
        self.content_version = content_version(self.description)
        self.num_images = int(self.description["num_images"])
        self.notices: list[str] = [*self.description.get("notices", ()), *log.notices]
        self.has_pseudonyms = bool(self.description.get("options", {}).get("pseudonyms"))
        self.is_unlabelled = bool(self.description.get("is_unlabelled"))
        self.has_masks = MASKS_FILE in self.description["num_bytes"]
        self.source_folder = originals_folder(folder, self.description)
        self._splits: dict[tuple[int, int | None, int | None], np.ndarray] = {}
        for name, num_bytes in self.description["num_bytes"].items():
            path = folder / name
            actual = path.stat().st_size if path.is_file() else None
            if actual != num_bytes:
                found = "is missing" if actual is None else f"has {actual} bytes instead of {num_bytes}"
                raise UserError(
                    f"The data set {self.spec.name!r} is damaged: {path} {found}; delete it and import it again."
                )

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, {self.num_images} images, {self.spec.num_classes} classes, {self.version})"

    @property
    def versions(self) -> list[str]:
        """The versions that `at_version` opens, the present one first."""
        return list(open_states(self.folder, read_description(self.folder)))

    def at_version(self, version: str) -> "Dataset":
        """The data set as it was at a version; raises UserError if that one is not kept."""
        return self if version == self.version else Dataset(self.folder, version)

    @cached_property
    def table(self) -> "pd.DataFrame":
        """One row an image; see the class."""
        table, order, labels = self._stored_table, target_order(self.description), self._edited("label")
        if order == sorted(order) and not labels:
            return table
        targets = reordered(table["target"].to_numpy(), order)
        for row, label in labels.items():
            if label in self.class_sources:  # an import anew may have lost it
                targets[row] = self.class_sources.index(label)
        return table.assign(target=targets)

    @property
    def edits(self) -> list[Edit]:
        """Every edit up to this version, in their order, those that were undone among them."""
        return self._log.edits

    @cached_property
    def is_excluded(self) -> np.ndarray:
        """Which images take no part, bool (N,): an edit excludes them, or they have no label yet."""
        return self.has_exclusion | (self.table["target"].to_numpy() < 0)

    @cached_property
    def has_exclusion(self) -> np.ndarray:
        """Which images an edit excludes, bool (N,)."""
        excluded = np.zeros(self.num_images, dtype=bool)
        excluded[list(self._edited("is_excluded"))] = True
        return excluded

    @property
    def fixed_parts(self) -> dict[int, str]:
        """Row -> the part that edits fix for it, whatever the split seed."""
        return self._edited("split")

    def _edited(self, what: str) -> dict[int, Any]:
        """Row -> what the edits in effect say there, where they say anything."""
        states = self._log.states
        if not states:
            return {}
        said = ((self._rows.get(image_id), getattr(state, what)) for image_id, state in states.items())
        return {row: value for row, value in said if row is not None and value}

    @property
    def _stored_table(self) -> "pd.DataFrame":
        """The table as the import wrote it, with the targets of that time."""
        return self._stored.table

    @cached_property
    def _stored(self) -> "_StoredTable":
        import pandas as pd

        self._refuse_replaced()
        path, expected = self.folder / TABLE_FILE, self.description["sha256"][TABLE_FILE]
        status = path.stat()
        key = (str(path), expected, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if (found := _tables.get(key)) is None:
            if sha256_of_file(path) != expected:
                raise UserError(self._damaged_file(TABLE_FILE))
            found = _StoredTable(pd.read_parquet(path))
            self._refuse_replaced()
            _tables[key] = found
        return found

    @property
    def stored_targets(self) -> tuple[np.ndarray, list[str]]:
        """Targets (N,) as the import counted the classes, and the present names of those classes.

        A split is drawn from these, so that it stays the same whatever the classes are called and ordered later, and
        whichever images are edited.
        """
        names = [self.class_names[target] for target in target_order(self.description)]
        return self._stored_table["target"].to_numpy(), names

    @cached_property
    def left_out(self) -> "pd.DataFrame":
        """Columns path and reason: every file of the source that is not in the table."""
        import pandas as pd

        return pd.read_parquet(self.folder / LEFT_OUT_FILE)

    def class_of(self, row: int) -> str:
        """The name of an image's class; "no label" for one that has none yet."""
        return str(self.class_labels[row])

    @cached_property
    def class_labels(self) -> np.ndarray:
        """The name of each image's class (N,), as `class_of`."""
        return np.array([*self.class_names, NO_LABEL], dtype=object)[self.table["target"].to_numpy()]

    def source_path(self, row: int) -> Path | None:
        """Where an image came from; None if its file is no longer there."""
        name = self.table["source_path"].iloc[row] if "source_path" in self.table else self.table["path"].iloc[row]
        if self.has_pseudonyms:
            name = os.fsencode(self._true_names.get(str(self.table["image_id"].iloc[row]), ("\0", ""))[0])
        path = self.source_folder / os.fsdecode(name)
        return path if path.is_file() else None

    @cached_property
    def _true_names(self) -> dict[str, tuple[str, str]]:
        """What files and masks are really called, where the table says pseudonyms."""
        return read_names(self.folder)

    @cached_property
    def pixels(self) -> CheckedRows:
        """Memory-mapped, read-only uint8 (N, S, S, 3); row i belongs to row i of the table.

        A block whose checksum is wrong is decoded again from its originals where it is read.
        """
        return self._mapped(PIXELS_FILE, (3,), self._decoded)

    def _mapped(
        self, file: str, channels: tuple[int, ...], decode: Callable[[DecoderPool, int], np.ndarray]
    ) -> CheckedRows:
        """A file of the store; sets of before there were checksums of blocks are read unchecked."""
        spec, side, path = self.spec, self.spec.store_side_px, self.folder / file
        rows = np.memmap(path, dtype=np.uint8, mode="r", shape=(self.num_images, side, side, *channels))
        self._refuse_replaced()

        def remake(wanted: range) -> np.ndarray:
            scale = spec.value_scale or BY_FILE  # sets of before there was one scale
            with DecoderPool(1, side_px=side, crop_policy=spec.crop_policy, value_scale=scale) as pool:
                return np.stack([decode(pool, row) for row in wanted])

        sums = self.description.get("block_sums", {}).get(file)
        name = f"the {file.removesuffix('.bin')} of the data set {self.name!r}"
        return CheckedRows(rows, sums, name=name, path=path, remake=remake)

    def _decoded(self, pool: DecoderPool, row: int) -> np.ndarray:
        """A stored square again from its original; raises UserError where that is gone or has changed."""
        facts, path = self.table.iloc[row], self.source_path(row)
        named = facts["path"] if self.has_pseudonyms else path
        if path is None:
            raise UserError(f"Its original {facts['path']} is no longer there. {_AGAIN}")
        try:
            image = pool.decode(path)
        except BadImage as error:
            raise UserError(f"Its original {named} cannot be read ({error}) {_AGAIN}") from None
        if not image.sha256.startswith(str(facts["image_id"])):
            raise UserError(f"Its original {named} has changed since the import. {_AGAIN}")
        return image.pixels

    def _decoded_mask(self, pool: DecoderPool, row: int) -> np.ndarray:
        facts = self.table.iloc[row]
        if not facts["mask_path"]:
            return np.zeros((pool.side_px, pool.side_px), dtype=np.uint8)
        name = self._true_names[str(facts["image_id"])][1] if self.has_pseudonyms else str(facts["mask_path"])
        path = self.source_folder / name
        box: Any = tuple(int(facts[f"crop_{edge}"]) for edge in ("left", "top", "right", "bottom"))
        try:
            size = int(facts["width"]), int(facts["height"])
            return pool.decode_mask(path, DecodedImage(np.empty(0, np.uint8), *size, box))
        except BadImage as error:
            named = facts["path"] if self.has_pseudonyms else path
            raise UserError(f"Its original {named} is not as it was ({error}) {_AGAIN}") from None

    def _refuse_replaced(self) -> None:
        """After a file was opened: an import may have put another data set in place since this one was described."""
        if content_version(read_description(self.folder)) != self.content_version:
            raise UserError(
                f"The images of the data set {self.name!r} were imported anew meanwhile (version {self.version} is not "
                "kept); start again."
            )

    def mask(self, row: int) -> np.ndarray | None:
        """The mask of an image, read-only uint8 (S, S) on `pixels[row]`, 0 for nothing; None if it has none."""
        if not self.has_masks or not self.table["mask_path"].iloc[row]:
            return None
        return self._masks[row]

    @cached_property
    def _masks(self) -> CheckedRows:
        return self._mapped(MASKS_FILE, (), self._decoded_mask)

    def split(self, split_seed: int, *, num_folds: int | None = None, fold: int | None = None) -> np.ndarray:
        """Return "train", "val" or "test" for each row, "excluded" for one that an edit takes out; see `assign_splits`.

        It is drawn as if nothing had been edited, so that an exclusion or another class of one image moves no other;
        then the edits in effect are applied. Fixed parts do not count where folds are asked for.
        Raises UserError also where the edits leave a class nothing to train, or nothing to validate or test on.
        """
        key = (split_seed, num_folds, fold)
        if key not in self._splits:
            groups, fixed = (self._stored_table[column].to_numpy() for column in ("group_id", "split"))
            targets, class_names = self.stored_targets
            wanted: dict[str, Any] = {"split_seed": split_seed, "num_folds": num_folds, "fold": fold}
            if self.is_unlabelled:
                drawn = self._split_of_labelled(wanted)
            else:
                drawn = kept_split(self.content_version, targets, groups, fixed, class_names=class_names, **wanted)
            self._splits[key] = self.apply_edits(drawn, has_fixed_parts=num_folds is None)
        return self._splits[key].copy()

    def _split_of_labelled(self, wanted: dict[str, Any]) -> np.ndarray:
        """The split of a set that is being labelled: drawn anew among the images that have a label."""
        order = target_order(self.description)
        targets = reordered(self.table["target"].to_numpy(), np.argsort(order).tolist())  # whatever their order is now
        rows, names = np.flatnonzero(targets >= 0), self.stored_targets[1]
        split = np.full(len(targets), EXCLUDED, dtype="<U8")
        groups = self._stored_table["group_id"].to_numpy()[rows]
        try:
            split[rows] = assign_splits(targets[rows], groups, None, class_names=names, **wanted)
        except UserError as error:
            why = str(error).replace(ADD_OR_LEAVE, "")
            raise UserError(
                f"{len(rows):,} of {len(targets):,} images of {self.name!r} have a label, too few to train yet: {why}"
                f"Label more of them (on Explore data; or: python -m lib datasets label-next {self.name})."
            ) from None
        return split

    def apply_edits(
        self,
        drawn: np.ndarray,
        rows: np.ndarray | None = None,
        *,
        has_fixed_parts: bool = True,
        class_names: Sequence[str] | None = None,
    ) -> np.ndarray:
        """A split (n,) of rows (n,) of the table (None: all), drawn without edits, as the edits in effect make it.

        `class_names` are those that the rows have, all by default; raises UserError as `split`.
        """
        rows = np.arange(self.num_images) if rows is None else rows
        if not self._log.states:
            return drawn
        split, parts = drawn.astype("<U8"), self._edited("split") if has_fixed_parts else {}
        if parts:
            fixed = np.array([parts.get(row, "") for row in range(self.num_images)], dtype="<U8")
            split = with_fixed(split, fixed[rows], self._stored_table["group_id"].to_numpy()[rows]).astype("<U8")
        split[self.is_excluded[rows]] = EXCLUDED
        require_parts(split, self.table["target"].to_numpy()[rows], class_names or self.class_names)
        return split

    def indices(self, image_ids: Sequence[str]) -> np.ndarray:
        """Rows of those images, int64, in that order; raises UserError on an unknown one."""
        unknown = [image_id for image_id in image_ids if image_id not in self._rows]
        if unknown:
            raise UserError(
                f"The data set {self.name!r} (version {self.version}) has no image {unknown[0]!r}; it may come from "
                "another version of it."
            )
        return np.array([self._rows[image_id] for image_id in image_ids], dtype=np.int64)

    @property
    def _rows(self) -> dict[str, int]:
        return self._stored.rows

    def thumbnail(self, row: int, size_px: int = 160, *, with_mask: bool = False) -> bytes:
        """One image as JPEG bytes of at most `size_px` a side; `with_mask` rings what its mask marks."""
        pixels = np.asarray(self.pixels[row])
        mask = self.mask(row) if with_mask else None
        if mask is not None:
            from lib.data.mask_overlay import outline_mask

            pixels = outline_mask(pixels, mask)
        image = Image.fromarray(pixels)
        side = min(size_px, self.spec.store_side_px)
        written = io.BytesIO()
        image.resize((side, side), Image.Resampling.BICUBIC).save(written, "JPEG", quality=87)
        return written.getvalue()

    def verify(self) -> None:
        """Compare all checksums (reads every byte); raises UserError naming the damaged file."""
        for name, expected in self.description["sha256"].items():
            if sha256_of_file(self.folder / name) != expected:
                raise UserError(self._damaged_file(name))

    def _damaged_file(self, name: str) -> str:
        where = f"the checksum of {self.folder / name} is wrong"
        return f"The data set {self.name!r} is damaged: {where}; delete it and import it again."


class _StoredTable:
    """A table as an import wrote it, and the row of each image_id; for reading."""

    def __init__(self, table: "pd.DataFrame") -> None:
        self.table = table

    @cached_property
    def rows(self) -> dict[str, int]:
        """Of each image_id."""
        return {image_id: row for row, image_id in enumerate(self.table["image_id"].tolist())}


# Shared by all versions of a data set that are open: each edit opens another one, and 20,000 rows take 50 ms to read.
_tables: WeakValueDictionary[tuple[Any, ...], _StoredTable] = WeakValueDictionary()


def reordered(targets: np.ndarray, order: Sequence[int] | np.ndarray) -> np.ndarray:
    """Targets (N,) as `order` numbers them, int64; -1, of an image without a label, stays."""
    return np.array([*order, -1], dtype=np.int64)[targets]


def takes_part(dataset: Any) -> np.ndarray:
    """Which rows of a data set, or of what stands in for one, nobody excluded: bool (N,)."""
    excluded = getattr(dataset, "is_excluded", None)
    return np.ones(len(dataset.table), dtype=bool) if excluded is None else ~np.asarray(excluded)


def parts_of(dataset: Any, split_seed: int) -> tuple[np.ndarray, str]:
    """The part of each row (N,), "" where the set cannot be divided; and why it cannot."""
    try:
        return dataset.split(split_seed), ""
    except UserError as error:
        return np.full(dataset.num_images, ""), str(error)


def says_ungradable(flags: str) -> bool:
    """Whether one of the flags of an image, between semicolons, is "ungradable" or such as "ungradable: blurred"."""
    return _UNGRADABLE.search(flags) is not None


def can_be_graded(dataset: Any) -> np.ndarray:
    """Which rows no flag calls ungradable: bool (N,).

    Where all images of a class are called so, that is what its class means, and they count as gradable.
    """
    table = dataset.table
    if "flags" not in table:
        return np.ones(len(table), dtype=bool)
    is_poor = table["flags"].fillna("").astype(str).map(says_ungradable).to_numpy(bool)
    has_good = np.isin(table["target"], table["target"][~is_poor])
    return np.asarray(~is_poor | ~has_good)


def read_description(folder: Path) -> dict[str, Any]:
    """Read `dataset.json`; raises UserError if it is missing, broken or of a newer format."""
    path = folder / DESCRIPTION_FILE
    try:
        description = read_json(path)
        version, _ = int(description["format_version"]), description["spec"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}); delete the data set and import it again."
        ) from None
    if version > FORMAT_VERSION:
        raise UserError(f"{path} has format {version}, newer than {FORMAT_VERSION}; update the program.")
    return description
