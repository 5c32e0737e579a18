"""Blame: who put each voxel of a case's mask there, as a table and as a label map with its legend."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from curation.blame import Blame, ChainVersion, blame
from curation.errors import CurationError
from curation.label_files import NamedValue, itksnap_labels, slicer_colors
from curation.labels import IGNORE
from curation.rle import RunLengths
from curation.status import Origin
from curation.volumes import Geometry, encode_image, encode_mask
from db import case_files, queries
from db.case_files import CaseFile
from db.models import VersionKind
from db.queries import AnnotationRow, VersionRow
from pipelines.case_masks import stored_mask
from pipelines.changes import check_new_file
from pipelines.runs import Workbench
from pipelines.whole_files import write_whole

# The palette of Okabe and Ito and five of Tol's muted colors, told apart by every kind of color vision.
_COLORS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#332288", "#117733",
    "#882255", "#999933", "#44aa99",
)  # fmt: skip
# A mask whose grid changed begins anew: every value it can hold is drawn by that version.
_EVERY_VALUE = frozenset(range(1, 256))
_LEGEND = (
    "value",
    "color",
    "version",
    "kind",
    "origin",
    "who",
    "run",
    "author",
    "when",
    "message",
    "voxels",
    "ml",
)


@dataclass(frozen=True)
class Hand:
    """One who drew in one version, and the value that stands for it in the label map.

    `who` is source and revision of what was ingested, the model of a pseudo label, the person of a correction.
    `author` is who ran what made the version.
    """

    value: int
    version: int
    kind: VersionKind
    origin: Origin
    who: str
    run: int | None
    author: str
    when: datetime
    message: str
    voxels: int
    ml: float

    @property
    def color(self) -> str:
        """Its color in the label map, ``#rrggbb``."""
        return _COLORS[(self.value - 1) % len(_COLORS)]

    @property
    def title(self) -> str:
        """The hand in one line, as a legend shows it."""
        run = f", run {self.run}" if self.run else ""
        why = f": {self.message}" if self.message else ""
        return f"@{self.version} {self.kind}, {self.origin} by {self.who}{run}, {self.when:%Y-%m-%d}{why}"


@dataclass(frozen=True)
class Share:
    """What one hand put there of one class or reserved value; `share` of its voxels, 0 to 1."""

    value: int
    hand: Hand
    voxels: int
    ml: float
    share: float


@dataclass(frozen=True)
class Traced:
    """The blame of one version of a case; `hands` by their value, `shares` by class and version."""

    address: str
    number: int
    hands: tuple[Hand, ...]
    shares: tuple[Share, ...]
    geometry: Geometry = field(repr=False)
    label_map: RunLengths = field(repr=False)


def trace(bench: Workbench, address: str) -> Traced:
    """Follow a version of a case back to those who drew it.

    Raises:
        UsageError: Unknown case or version.
        CurationError: The version has no mask.
        StoredFileError: The mask of one of its versions is not in the store.
    """
    with bench.catalog.reading() as session:
        found = queries.resolve(session, address)
        rows = [r for r in queries.history(session, found.case_id) if r.number <= found.number]
        files = case_files.case_files(session, [row.id for row in rows])
        annotations = {
            row.number: {a.class_id: a for a in queries.annotations(session, row.id)} for row in rows
        }
    case = files[-1]
    if case.file_hash is None:
        raise CurationError(f"{found.address}@{found.number}: has an image but no mask; nothing to blame")
    found_blame = blame(_chain(bench, rows, files))
    source = found.address.partition("/")[0]
    drawers = {
        (value, version): _drawer(
            source,
            rows[version - 1],
            annotations[version].get(value) or _doubted(rows[version - 1], annotations, value),
        )
        for value, version in found_blame.voxels
    }
    return _traced(case, rows, found_blame, drawers)


def _chain(bench: Workbench, rows: Sequence[VersionRow], files: Sequence[CaseFile]) -> Iterator[ChainVersion]:
    """The versions as blame sees them; a stored file that several share is decoded once."""
    decoded: dict[str | None, RunLengths] = {}
    by_number = {file.number: file for file in files}
    for row, file in zip(rows, files, strict=True):
        if file.file_hash not in decoded or file.file_hash is None:
            decoded[file.file_hash] = stored_mask(bench.store, file)
        before = by_number.get(row.restores or row.parent or 0)
        yield ChainVersion(row.number, decoded[file.file_hash], _redrawn(row, file, before), row.restores)


def _redrawn(row: VersionRow, file: CaseFile, before: CaseFile | None) -> frozenset[int]:
    """Values that another hand than in the version before drew as a whole.

    A correction is none: a person changes some voxels of a class and leaves the others to who drew them.
    Nor is a later revision of a source: what both publish alike was put there by the first.
    """
    if before is None:
        return frozenset()
    if before.geometry.difference(file.geometry):
        return _EVERY_VALUE
    if row.kind is VersionKind.CORRECTED:
        return frozenset()
    return frozenset(
        class_id
        for class_id, now in file.annotations.items()
        if (now.origin, now.prediction_id)
        != (before.annotations[class_id].origin, before.annotations[class_id].prediction_id)
    )


def _doubted(
    row: VersionRow, annotations: Mapping[int, Mapping[int, AnnotationRow]], value: int
) -> AnnotationRow | None:
    """A class that a complement drew, for the voxels of its model that were not sure enough and are ignored."""
    if row.kind is not VersionKind.COMPLEMENTED or value != IGNORE:
        return None
    before = annotations.get(row.parent or 0, {})
    return next(
        (
            now
            for class_id, now in annotations[row.number].items()
            if now.model and (class_id not in before or before[class_id].prediction_id != now.prediction_id)
        ),
        None,
    )


@dataclass(frozen=True, order=True)
class _Drawer:
    """Who drew a value in a version: what tells the hands of one version apart."""

    version: int
    origin: Origin
    who: str


def _drawer(source: str, row: VersionRow, annotation: AnnotationRow | None) -> _Drawer:
    """The drawer of what is new of one value in a version. Reserved values have no annotation."""
    origin = annotation.origin if annotation else None
    if annotation and origin is Origin.PSEUDO and annotation.model:
        return _Drawer(row.number, origin, annotation.model)
    if row.kind is VersionKind.INGESTED:
        # Also where the class stays a person's, whose correction it only adds to.
        return _Drawer(row.number, Origin.ORIGINAL, " ".join(filter(None, (source, row.revision))))
    person = annotation.author if annotation else None
    return _Drawer(row.number, origin or Origin.CORRECTED, person or row.author)


def _traced(
    case: CaseFile, rows: Sequence[VersionRow], found: Blame, drawers: dict[tuple[int, int], _Drawer]
) -> Traced:
    voxel_ml = case.geometry.voxel_ml
    of_drawer: dict[_Drawer, int] = dict.fromkeys(sorted(set(drawers.values())), 0)
    of_value: dict[int, int] = dict.fromkeys((value for value, _ in found.voxels), 0)
    for pair, voxels in found.voxels.items():
        of_drawer[drawers[pair]] += voxels
        of_value[pair[0]] += voxels
    hands: dict[_Drawer, Hand] = {}
    for number, (drawer, voxels) in enumerate(of_drawer.items(), 1):
        row = rows[drawer.version - 1]
        hands[drawer] = Hand(
            number, drawer.version, row.kind, drawer.origin, drawer.who, row.run_id, row.author,
            row.created_at, row.message, voxels, voxels * voxel_ml,
        )  # fmt: skip
    return Traced(
        case.address,
        case.number,
        tuple(hands.values()),
        tuple(
            Share(pair[0], hands[drawers[pair]], voxels, voxels * voxel_ml, voxels / of_value[pair[0]])
            for pair, voxels in found.voxels.items()
        ),
        case.geometry,
        found.numbered({pair: hands[drawer].value for pair, drawer in drawers.items()}),
    )


def write_label_map(traced: Traced, file: Path, *, replace: bool = False) -> list[Path]:
    """Write who drew each voxel as a label map on the case's own grid, with its legend.

    Beside ``NAME.nii.gz`` stand ``NAME.legend.csv``, ``NAME.label.txt`` (ITK-SNAP) and ``NAME.ctbl`` (3D
    Slicer). The label map comes last, so that it never stands without them.

    Returns:
        What was written, the label map first.

    Raises:
        UsageError: Not a .nii.gz, one of the files exists, or there is no such folder.
    """
    stem = file.name.removesuffix(".nii.gz")
    legend, labels, colors = (file.with_name(stem + end) for end in (".legend.csv", ".label.txt", ".ctbl"))
    check_new_file(file, ".nii.gz", replace)
    for beside in (legend, labels, colors):
        check_new_file(beside, "", replace)
    named = [NamedValue(hand.value, hand.title, hand.color) for hand in traced.hands]
    write_whole(legend, _legend_csv(traced.hands).encode())
    write_whole(labels, itksnap_labels(named).encode())
    write_whole(colors, slicer_colors(named, f"{traced.address}@{traced.number}").encode())
    write_whole(file, _encoded(traced))
    return [file, legend, labels, colors]


def _encoded(traced: Traced) -> bytes:
    """The label map as .nii.gz, uint8 unless more hands drew than it can tell apart."""
    if len(traced.hands) < 256:
        return encode_mask(traced.label_map, traced.geometry)
    return encode_image(traced.label_map.to_array().astype("<u2"), traced.geometry)


def _legend_csv(hands: Sequence[Hand]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_LEGEND)
    for h in hands:
        writer.writerow(
            (
                h.value, h.color, h.version, h.kind, h.origin, h.who, h.run or "", h.author,
                h.when.isoformat(), h.message, h.voxels, f"{h.ml:.6g}",
            )
        )  # fmt: skip
    return stream.getvalue()
