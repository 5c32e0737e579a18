"""Diff: two versions of one case side by side, class by class, and as a picture."""

from dataclasses import dataclass, field
from pathlib import Path

from curation.diff import ValueChange, diff
from curation.errors import CurationError, GridError, UsageError
from curation.labels import CLASS_IDS, is_reserved
from curation.rle import RunLengths
from curation.status import Origin, Status
from curation.volumes import decode_image
from db import case_files, queries
from db.case_files import CaseFile
from db.queries import AnnotationRow, CaseRef, VersionRow
from pipelines.case_masks import stored_mask
from pipelines.runs import Workbench
from pipelines.whole_files import write_whole


@dataclass(frozen=True)
class Side:
    """One of the two versions. `annotations` by class id; a version without a mask has empty `runs`."""

    address: str
    row: VersionRow
    file: CaseFile
    annotations: dict[int, AnnotationRow]
    runs: RunLengths = field(repr=False)


@dataclass(frozen=True)
class ValueDiff:
    """What changed of one class or reserved value; pairs are (before, after).

    Reserved values have no status and no origin. `by` is the model or person of the present drawing; the
    publisher's own has none.
    """

    value: int
    voxels: ValueChange
    gained_ml: float
    lost_ml: float
    status: tuple[Status | None, Status | None] = (None, None)
    origin: tuple[Origin | None, Origin | None] = (None, None)
    by: tuple[str | None, str | None] = (None, None)

    @property
    def differs(self) -> bool:
        """True if voxels, status or origin are not the same."""
        return self.voxels.changed or self.status[0] != self.status[1] or self.origin[0] != self.origin[1]


@dataclass(frozen=True)
class Comparison:
    """Two versions and what differs between them; values that are the same are not in it."""

    before: Side
    after: Side
    classes: dict[int, ValueDiff]
    reserved: dict[int, ValueDiff]


def compare(bench: Workbench, first: str, second: str | None = None) -> Comparison:
    """Compare two versions of one case.

    Args:
        bench: Catalog and store.
        first: Address of the version before, ``SOURCE/NAME[@N]``.
        second: Address of the version after; None: compare the parent of `first` with `first`.

    Raises:
        UsageError: Unknown case or version, two different cases, or a first version without `second`.
        GridError: The versions lie on different grids.
        StoredFileError: A mask is not in the store.
    """
    with bench.catalog.reading() as session:
        after = queries.resolve(session, second if second is not None else first)
        rows = {row.number: row for row in queries.history(session, after.case_id)}
        number = _before(queries.resolve(session, first), after, rows, second is None)
        files = case_files.case_files(session, [rows[number].id, after.version_id])
        annotations = [{a.class_id: a for a in queries.annotations(session, f.version_id)} for f in files]
    if difference := files[0].geometry.difference(files[1].geometry):
        raise GridError(
            f"{after.address}: versions {number} and {after.number} lie on different grids ({difference}), so "
            "their voxels cannot be compared; check both out and resample one onto the other's grid"
        )
    sides = [
        Side(f"{f.address}@{f.number}", rows[f.number], f, known, stored_mask(bench.store, f))
        for f, known in zip(files, annotations, strict=True)
    ]
    return _compared(*sides)


def _before(first: CaseRef, after: CaseRef, rows: dict[int, VersionRow], wants_parent: bool) -> int:
    """Number of the version that `after` is compared with."""
    if wants_parent:
        parent = rows[after.number].parent
        if parent is None:
            raise UsageError(
                f"{after.address}@{after.number}: is the first version, there is nothing before it; "
                "give a later one, or two versions"
            )
        return parent
    if first.case_id != after.case_id:
        raise UsageError(
            f"{first.address} and {after.address} are two cases; diff compares two versions of one case, "
            f"as in {after.address}@1 {after.address}@2"
        )
    return first.number


def _compared(before: Side, after: Side) -> Comparison:
    voxel_ml = after.file.geometry.voxel_ml
    found: dict[int, ValueDiff] = {}
    for value, change in diff(before.runs, after.runs).items():
        was, now = before.annotations.get(value), after.annotations.get(value)
        one = ValueDiff(
            value,
            change,
            change.gained * voxel_ml,
            change.lost * voxel_ml,
            (was.status if was else None, now.status if now else None),
            (was.origin if was else None, now.origin if now else None),
            (_by(was), _by(now)),
        )
        if one.differs:
            found[value] = one
    return Comparison(
        before,
        after,
        {value: one for value, one in found.items() if value in CLASS_IDS},
        {value: one for value, one in found.items() if is_reserved(value)},
    )


def _by(row: AnnotationRow | None) -> str | None:
    return (row.model or row.author) if row else None


def drawn(compared: Comparison) -> tuple[bytes, str | None] | None:
    """The most changed values as a picture (PNG), on the CT where the image is there; None where no voxel differs.

    The text says why the CT is not in it, as a sentence for the user; None if it is.
    """
    from pipelines.change_picture import picture

    changed = [one for one in (compared.classes | compared.reserved).values() if one.voxels.changed]
    if not changed:
        return None
    image, why_not = None, None
    case = compared.after.file
    if case.image is None:
        why_not = f"{case.address} has no image; drawn on gray"
    else:
        try:
            geometry, image = decode_image(case.image.read_bytes(), str(case.image))
            if difference := geometry.difference(case.geometry):
                image, why_not = None, f"{case.image}: not on the mask's grid ({difference}); drawn on gray"
        except OSError as error:
            why_not = (
                f"{case.image}: {error.strerror}; drawn on gray (`source move` says where images are now)"
            )
        except CurationError as error:
            why_not = f"{error}; drawn on gray"
    return picture(compared, changed, image), why_not


def draw(compared: Comparison, file: Path, *, replace: bool = False) -> str | None:
    """Write the picture of `drawn`.

    Returns:
        Why the CT is not in it, as a sentence for the user; None if it is.

    Raises:
        UsageError: Not a .png, the file exists, its folder does not, or no voxel differs.
    """
    check_new_file(file, ".png", replace)
    found = drawn(compared)
    if found is None:
        raise UsageError(f"{file}: not written; no voxel differs, so there is nothing to draw")
    write_whole(file, found[0])
    return found[1]


def check_new_file(file: Path, suffix: str, replace: bool) -> None:
    """Refuse a name that cannot be written before any work is done for it.

    Raises:
        UsageError: Another ending, a file that exists (unless `replace`), or no such folder.
    """
    if not file.name.endswith(suffix):
        raise UsageError(f"{file}: is written as {suffix}; choose a name that ends so")
    if file.exists() and not replace:
        raise UsageError(f"{file}: exists already; choose another name or use --force")
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent}: no such folder; make it first")
