"""What comes in for one case: its mask file decoded and mapped, checked against its image, measured for the catalog."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation.errors import CurationError
from curation.mappings import LabelMapping, drawn_classes
from curation.merge import Conflict
from curation.parts import bind, check_names, fitting, is_bound, overlap_conflicts, read_parts
from curation.protocol import outside_protocol
from curation.rle import RunLengths
from curation.sides import map_with_sides
from curation.status import Finding, Severity
from curation.volumes import Geometry, decode_geometry, decode_mask, encode_and_hash
from db.ingest_state import KnownCase
from db.store import Store
from db.writes import AnnotationValues, ConflictValues
from pipelines.annotate import conflict_values, examine, ingested_annotations, nothing_annotated
from pipelines.files_of_users import file_bytes, require_file


@dataclass(frozen=True)
class IncomingCase:
    """The files of one case, and what is known of it.

    `protocol`: class ids looked for, None if nobody said; `stated`: it was said of this very case, not of its source.
    """

    name: str
    mask: Path | None
    image: Path | None
    mapping: LabelMapping
    revision_id: int
    protocol: tuple[int, ...] | None
    store: Store
    known: KnownCase | None
    stated: bool = False


@dataclass(frozen=True)
class Measured:
    """What a worker found out about one case.

    One of these holds: `refused` says why not; `unchanged`; `changed`, a known case whose mask is another one
    than before and has still to be merged; else the rest is a version to be written. `unfiled`: classes of the
    source's protocol that are not taken for looked for, because the case has none of their files.
    """

    job: IncomingCase
    refused: str | None = None
    unchanged: bool = False
    changed: bool = False
    geometry: Geometry | None = None
    annotations: tuple[AnnotationValues, ...] = ()
    reserved: dict[int, int] | None = None
    conflicts: tuple[ConflictValues, ...] = ()
    findings: tuple[Finding, ...] = ()
    incoming_hash: str | None = None
    file_hash: str | None = None
    voxel_hash: str | None = None
    message: str = ""
    note: str | None = None
    unfiled: frozenset[int] = frozenset()


@dataclass(frozen=True)
class ReadMask:
    """A mask file as read: stored values on its grid; `findings`: where a side rests on the header alone.

    `raw`: the file's own label values. `looked_for`: class ids, None if nobody said. Where a case has one file per
    class, `overlaps` is what two of them claim, and `unfiled` what was not looked for because it has no file.
    """

    geometry: Geometry
    raw: RunLengths
    runs: RunLengths
    findings: tuple[Finding, ...]
    looked_for: tuple[int, ...] | None
    overlaps: tuple[Conflict, ...] = ()
    unfiled: frozenset[int] = frozenset()


def measure(jobs: Sequence[IncomingCase]) -> list[Measured]:
    """Look at the files of some cases: a new case is measured, a known one compared. Touches no database.

    What is to be kept is in the store, together and for good, when this returns.
    """
    looks = [_look(job) for job in jobs]
    if not any(look.keep for look in looks):
        return [look.found for look in looks]
    try:
        kept = iter(jobs[0].store.put_all([data for look in looks for data in look.keep or ()]))
    except OSError as error:  # what ends the run comes as StoreUnwritableError
        return [
            Measured(look.found.job, refused=refusal(look.found.job, error)) if look.keep else look.found
            for look in looks
        ]
    return [
        replace(look.found, incoming_hash=next(kept), file_hash=next(kept)) if look.keep else look.found
        for look in looks
    ]


@dataclass(frozen=True)
class _Look:
    """What one case's files told, and the bytes to be kept for it: the mask as it came in and as we store it."""

    found: Measured
    keep: tuple[bytes, bytes] | None = None


def _look(job: IncomingCase) -> _Look:
    try:
        if job.mask is None:
            return _Look(_measure_image(job))
        data = mask_bytes(job.mask, job.mapping)
        if job.known is not None and job.known.number:
            return _Look(_compare(job, job.known, data, hashlib.sha256(data).hexdigest()))
        mask = read_mask(job, data)
        facts = examine(mask.runs, mask.geometry)
        stored, voxel_hash = encode_and_hash(mask.runs, mask.geometry)
        found = Measured(
            job,
            geometry=mask.geometry,
            annotations=ingested_annotations(facts, mask.looked_for),
            reserved=dict(facts.reserved),
            conflicts=conflict_values(mask.overlaps, mask.geometry.voxel_ml),
            findings=facts.findings
            + mask.findings
            + outside_protocol(mask.runs.voxels(), job.protocol, mask.geometry.voxel_ml),
            voxel_hash=voxel_hash,
            unfiled=mask.unfiled,
        )
        return _Look(found, (data, stored))
    except (CurationError, OSError) as error:
        return _Look(Measured(job, refused=refusal(job, error)))


def refusal(job: IncomingCase, error: CurationError | OSError) -> str:
    """A bad file is for the curator to see, not a reason to lose the night's run."""
    if isinstance(error, CurationError):
        return str(error)
    return f"{error.filename or job.mask or job.image}: {error.strerror}; check the file"


def read_mask(job: IncomingCase, data: bytes, *, named: str | None = None) -> ReadMask:
    """Decode and map the case's mask file, tell sides where it shows them, and check that it fits its image.

    Errors call the file by its path, or as `named`.

    Raises:
        CurationError: It cannot be read, has unknown values, or does not fit.
    """
    filename = named or str(job.mask)
    overlaps: tuple[Conflict, ...] = ()
    unfiled: frozenset[int] = frozenset()
    if is_bound(data):
        parts = read_parts(data, filename)
        if job.mapping.parts:
            check_names(parts, job.mapping.parts, filename)
        overlaps = overlap_conflicts(parts.overlaps, job.mapping.values)
        if job.protocol is not None and not job.stated:
            without_file = drawn_classes(job.mapping) - drawn_classes(job.mapping, parts.names.values())
            unfiled = without_file.intersection(job.protocol)
        geometry, raw = parts.geometry, parts.runs
    else:
        geometry, raw = decode_mask(data, filename)
    sided = map_with_sides(raw, job.mapping, geometry, filename)
    _check_image(job, geometry)
    # Why something has no side `examine` says of every version; that a side had no witness shows only here.
    witness = tuple(f for f in sided.findings if f.severity is Severity.INFO)
    looked_for = None if job.protocol is None else tuple(c for c in job.protocol if c not in unfiled)
    return ReadMask(geometry, raw, sided.runs, witness, looked_for, overlaps, unfiled)


def mask_bytes(mask: Path, mapping: LabelMapping) -> bytes:
    """A mask file's bytes; of a folder with one file per class, those that the mapping names, bound together.

    Raises:
        CurationError: The folder holds none of them, a file is of two entries of the mapping, or something is no file.
    """
    if not mask.is_dir():
        return file_bytes(mask)
    numbers: dict[str, int] = {}
    for path in mask.iterdir():
        found = [] if path.name.startswith(".") else fitting(path.name, mapping.parts)
        if len(found) > 1:
            patterns = " and ".join(f"{number} = '{mapping.parts[number]}'" for number in found)
            raise CurationError(
                f"{path}: fits {patterns} in [parts] of mapping '{mapping.name}'; name it in full in one of them"
            )
        if found:
            numbers[path.name] = found[0]
    if not numbers:
        raise CurationError(
            f"{mask}: holds no file that [parts] of mapping '{mapping.name}' names, such as "
            f"{next(iter(mapping.parts.values()))}; give the mapping that names its files"
        )
    rank = {number: at for at, number in enumerate(mapping.parts)}
    names = sorted(numbers, key=lambda name: (rank[numbers[name]], name))
    return bind((numbers[name], name, file_bytes(mask / name)) for name in names)


def decode_incoming(data: bytes, filename: str) -> tuple[Geometry, RunLengths]:
    """Kept incoming bytes as their own label values: one mask file, or a case's files bound together.

    Raises:
        CurationError: They cannot be read.
    """
    if not is_bound(data):
        return decode_mask(data, filename)
    parts = read_parts(data, filename)
    return parts.geometry, parts.runs


def _compare(job: IncomingCase, known: KnownCase, data: bytes, incoming_hash: str) -> Measured:
    """Whether a known case's mask is the one that this revision of the source gave before."""
    if known.seen.get(job.revision_id) != incoming_hash:
        return Measured(job, changed=True)
    if job.image is not None and known.image_path is None:
        # An image that came since must still fit it.
        _check_image(job, decode_incoming(data, str(job.mask))[0])
    return Measured(job, unchanged=True, incoming_hash=incoming_hash)


def _measure_image(job: IncomingCase) -> Measured:
    """An image without a mask: version 1, in which nobody has looked for anything."""
    assert job.image is not None, "a case has a mask or an image"
    if job.known is not None:
        return Measured(job, unchanged=True)
    require_file(job.image)
    with job.image.open("rb") as stream:
        geometry = decode_geometry(stream, str(job.image))
    return Measured(job, geometry=geometry, annotations=nothing_annotated())


def _check_image(job: IncomingCase, mask_geometry: Geometry) -> None:
    """Refuse a mask that does not lie on its image's grid."""
    if job.image is None:
        return
    require_file(job.image)
    with job.image.open("rb") as stream:
        image_geometry = decode_geometry(stream, str(job.image))
    if difference := mask_geometry.difference(image_geometry):
        raise CurationError(
            f"{job.mask}: does not fit its image {job.image}: {difference}; "
            "resample the mask onto the image's grid or give the image it was drawn on"
        )
