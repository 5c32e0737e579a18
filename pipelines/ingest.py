"""Ingest: files of one source become cases, version 1 of their masks, and the facts about every class."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from curation.errors import CurationError, UsageError
from curation.mappings import LabelMapping, apply_mapping
from curation.status import Finding
from curation.volumes import Geometry, decode_geometry, decode_mask, encode_and_hash
from db import ingest_state, writes
from db.ingest_state import KnownCase
from db.models import Role, VersionKind
from db.store import Store
from db.writes import AnnotationValues, NewVersion
from pipelines.annotate import examine, ingested_annotations, nothing_annotated
from pipelines.case_list import CaseFacts, read_case_list
from pipelines.folders import CaseFiles, find_cases
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run


@dataclass(frozen=True)
class IngestRequest:
    """What the user asks to ingest. `labels` and `images` are folders or single files; one may be None."""

    source: str
    mapping: LabelMapping
    revision: str | None = None
    labels: Path | None = None
    images: Path | None = None
    cases: Path | None = None
    role: Role | None = None
    message: str = ""


@dataclass(frozen=True)
class _Job:
    name: str
    mask: Path | None
    image: Path | None
    mapping: LabelMapping
    protocol: tuple[int, ...] | None
    store: Store
    known: KnownCase | None


@dataclass(frozen=True)
class _Measured:
    """What a worker found out about one case; exactly one of version, unchanged and refused is meant."""

    job: _Job
    refused: str | None = None
    unchanged: bool = False
    geometry: Geometry | None = None
    annotations: tuple[AnnotationValues, ...] = ()
    reserved: dict[int, int] | None = None
    findings: tuple[Finding, ...] = ()
    incoming_hash: str | None = None
    file_hash: str | None = None
    voxel_hash: str | None = None


def ingest(bench: Workbench, request: IngestRequest) -> Outcome:
    """Take the masks and images of one source into the catalog.

    A file seen before is no change; a changed file under a known name is a new version; a file that
    cannot be used is refused with its reason while the other cases go on. Source files are only read.

    Returns:
        Counts of new cases, new versions and unchanged cases; what was refused and noted.

    Raises:
        UsageError: An absent or empty folder, or a `--cases` file that cannot be used.
    """
    _check_names(request)
    patterns = request.mapping.file_patterns
    files = find_cases(request.labels, request.images, patterns.get("mask"), patterns.get("image"))
    listed = read_case_list(request.cases) if request.cases else {}
    if unknown := sorted(listed.keys() - {case.name for case in files}):
        shown = ", ".join(unknown[:5]) + (" …" if len(unknown) > 5 else "")
        raise UsageError(
            f"{request.cases}: {len(unknown)} cases have no file here: {shown}; correct the column 'case'"
        )
    parameters = {
        "source": request.source,
        "revision": request.revision,
        "labels": str(request.labels) if request.labels else None,
        "images": str(request.images) if request.images else None,
        "mapping": request.mapping.name,
    }
    with run(bench, "ingest", parameters, key=request.source, total=len(files)) as booking:
        taking = _Taking(bench, request, listed, booking)
        bench.progress.start(f"ingest {request.source}", len(files))
        jobs = list(taking.jobs(files))
        done = len(files) - len(jobs)
        for measured in map_cases(bench, _measure, jobs, len(jobs)):
            taking.book(measured)
            done += 1
            bench.progress.step(done, measured.job.name)
        booking.flush()
        bench.progress.finish()
        return booking.outcome


def _check_names(request: IngestRequest) -> None:
    if not request.source or any(sign in request.source for sign in "/@"):
        raise UsageError(f"source name '{request.source}' may not be empty or contain '/' or '@'; rename it")
    if request.labels is None and request.images is None:
        raise UsageError("nothing to ingest: give --labels DIR, --images DIR or both")


class _Taking:
    """One ingest under way: what is known of the source, and how each outcome is booked."""

    def __init__(
        self, bench: Workbench, request: IngestRequest, listed: dict[str, CaseFacts], booking: Booking
    ) -> None:
        self.bench = bench
        self.request = request
        self.listed = listed
        self.booking = booking
        # A mapping may serve another source than the one it was written for, whose licence is its own.
        described = request.mapping if request.mapping.source == request.source else None
        with bench.catalog.writing() as session:
            self.source_id = writes.ensure_source(
                session,
                request.source,
                licence=described.licence if described else None,
                citation=described.citation if described else None,
                image_root=str(_folder(request.images)) if request.images else None,
            )
            self.revision_id = writes.ensure_revision(
                session,
                self.source_id,
                request.revision or request.mapping.revision or request.mapping.name,
                mapping_name=request.mapping.name,
                mapping={str(value): target for value, target in request.mapping.values.items()},
                protocol=sorted(request.mapping.protocol) if request.mapping.protocol is not None else None,
            )
            self.image_root = ingest_state.image_root(session, self.source_id)
            self.known = ingest_state.known_cases(session, self.source_id)

    def jobs(self, files: list[CaseFiles]) -> Iterator[_Job]:
        """The cases that can be measured; the others are refused here, by name alone."""
        for case in files:
            if line := self._name_problem(case):
                self.booking.refuse(f"{self.request.source}/{case.name}", line)
                continue
            facts = self.listed.get(case.name, CaseFacts())
            protocol = facts.looked_for
            if protocol is None and self.request.mapping.protocol is not None:
                protocol = tuple(sorted(self.request.mapping.protocol))
            yield _Job(
                case.name,
                case.masks[0] if case.masks else None,
                case.images[0] if case.images else self._known_image(case.name),
                self.request.mapping,
                protocol,
                self.bench.store,
                self.known.get(case.name),
            )

    def _name_problem(self, case: CaseFiles) -> str | None:
        for what, paths in (("masks", case.masks), ("images", case.images)):
            if len(paths) > 1:
                names = ", ".join(str(path) for path in paths)
                return f"{names}: {len(paths)} {what} for one case '{case.name}'; keep the one that counts"
        if "@" in case.name or "/" in case.name:
            path = (case.masks or case.images)[0]
            return f"{path}: case names may not contain '/' or '@'; rename the file"
        return None

    def _known_image(self, name: str) -> Path | None:
        """The image that an earlier ingest booked: a mask that comes later must fit it too."""
        known = self.known.get(name)
        if known is None or known.image_path is None or self.image_root is None:
            return None
        path = Path(self.image_root) / known.image_path
        return path if path.is_file() else None

    def book(self, measured: _Measured) -> None:
        """Queue the rows of one measured case."""
        job, outcome = measured.job, self.booking.outcome
        address = f"{self.request.source}/{job.name}"
        if measured.refused:
            self.booking.refuse(address, measured.refused)
            return
        if self.request.images and job.mask and job.image is None:
            self.booking.note(
                address, f"{job.mask}: no image named {job.name} in {self.request.images}; noted, not refused"
            )
        if measured.geometry is not None and measured.geometry.note:
            self.booking.note(address, f"{job.mask or job.image}: {measured.geometry.note}")
        outcome.count("unchanged" if measured.unchanged else "new" if job.known is None else "new versions")
        self.booking.add(partial(self._write, measured))

    def _write(self, measured: _Measured, session: Session) -> None:
        job, facts = measured.job, self.listed.get(measured.job.name, CaseFacts())
        case_id = writes.ensure_case(
            session,
            self.source_id,
            job.name,
            patient=facts.patient,
            role=facts.role or self.request.role,
            licence=facts.licence,
            looked_for=list(facts.looked_for) if facts.looked_for is not None else None,
            extra=facts.extra or None,
            image_path=_relative(job.image, self.image_root),
        )
        if measured.unchanged or measured.geometry is None:
            return
        writes.add_version(
            session,
            case_id,
            job.known.newest_version_id if job.known else None,
            NewVersion(
                kind=VersionKind.INGESTED,
                author=self.bench.author,
                message=self.request.message,
                geometry=measured.geometry,
                incoming_hash=measured.incoming_hash,
                file_hash=measured.file_hash,
                voxel_hash=measured.voxel_hash,
                annotations=measured.annotations,
                reserved=measured.reserved or {},
                findings=measured.findings,
                revision_id=self.revision_id,
                run_id=self.booking.outcome.run_id,
            ),
        )


def _folder(path: Path) -> Path:
    return (path.parent if path.is_file() else path).resolve()


def _relative(image: Path | None, root: str | None) -> str | None:
    """An image's path as the catalog keeps it: relative to the image root where it lies below it."""
    if image is None:
        return None
    resolved = image.resolve()
    if root is not None and resolved.is_relative_to(root):
        return resolved.relative_to(root).as_posix()
    return str(resolved)


def _measure(job: _Job) -> _Measured:
    """Look at one case's files. Touches no database, so it runs in any worker."""
    try:
        if job.mask is None:
            return _measure_image(job)
        data = job.mask.read_bytes()
        incoming_hash = hashlib.sha256(data).hexdigest()
        if (
            job.known
            and job.known.incoming_hash == incoming_hash
            and not job.known.remapped(job.mapping.values)
        ):
            return _unchanged_mask(job, incoming_hash)
        geometry, raw = decode_mask(data, str(job.mask))
        runs = apply_mapping(raw, job.mapping, str(job.mask))
        _check_image(job, geometry)
        facts = examine(runs, geometry)
        stored, voxel_hash = encode_and_hash(runs, geometry)
        if job.known and job.known.voxel_hash == voxel_hash:
            return _Measured(job, unchanged=True)  # packed anew, but the same mask
        job.store.put(data)
        return _Measured(
            job,
            geometry=geometry,
            annotations=ingested_annotations(facts, job.protocol),
            reserved=dict(facts.reserved),
            findings=facts.findings,
            incoming_hash=incoming_hash,
            file_hash=job.store.put(stored),
            voxel_hash=voxel_hash,
        )
    except CurationError as error:
        # A bad file is for the curator to see, not a reason to lose the night's run.
        return _Measured(job, refused=str(error))
    except OSError as error:
        return _Measured(
            job, refused=f"{error.filename or job.mask or job.image}: {error.strerror}; check the file"
        )


def _unchanged_mask(job: _Job, incoming_hash: str) -> _Measured:
    """A mask seen before; an image that came since must still fit it."""
    if job.image is not None and job.known and job.known.image_path is None:
        geometry, _ = decode_mask(job.mask.read_bytes(), str(job.mask)) if job.mask else (None, None)
        if geometry is not None:
            _check_image(job, geometry)
    return _Measured(job, unchanged=True, incoming_hash=incoming_hash)


def _measure_image(job: _Job) -> _Measured:
    """An image without a mask: version 1, in which nobody has looked for anything."""
    assert job.image is not None, "a case has a mask or an image"
    if job.known is not None:
        return _Measured(job, unchanged=True)
    with job.image.open("rb") as stream:
        geometry = decode_geometry(stream, str(job.image))
    return _Measured(job, geometry=geometry, annotations=nothing_annotated())


def _check_image(job: _Job, mask_geometry: Geometry) -> None:
    """Refuse a mask that does not lie on its image's grid."""
    if job.image is None:
        return
    with job.image.open("rb") as stream:
        image_geometry = decode_geometry(stream, str(job.image))
    if difference := mask_geometry.difference(image_geometry):
        raise CurationError(
            f"{job.mask}: does not fit its image {job.image}: {difference}; "
            "resample the mask onto the image's grid or give the image it was drawn on"
        )
