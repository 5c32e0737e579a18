"""Ingest: files of one source become cases, version 1 of their masks, and the facts about every class."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from curation.errors import CurationError, UsageError
from curation.mappings import LabelMapping
from curation.one_line import one_line
from db import case_files, ingest_state, purged, standing, writes
from db.models import Role, VersionKind
from db.writes import NewVersion
from pipelines.case_list import CaseFacts, read_case_list, unknown_cases
from pipelines.comparing import compare_at_the_end
from pipelines.files_of_users import case_name_problem, kept_path
from pipelines.folders import CaseFiles, book_left_out, find_cases, find_part_cases
from pipelines.images import read_images
from pipelines.incoming import IncomingCase, Measured, measure
from pipelines.remarks import Remarks
from pipelines.revise import Revision, revise
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run

# A worker's portion: so few that little is lost by a kill, so many that nothing waits for the disk one by one.
PORTION_CASES = 32
PORTION_BYTES = 256 * 1024


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


def ingest(bench: Workbench, request: IngestRequest) -> Outcome:
    """Take the masks and images of one source into the catalog.

    A file seen before is no change; a changed file or a later revision under a known name is a new version, in
    which what models and people added since is kept (see `pipelines.revise`); a file that cannot be used is
    refused with its reason while the other cases go on. Source files are only read.

    Returns:
        Counts of new cases, new versions and unchanged cases; what was refused and noted.

    Raises:
        UsageError: An absent or empty folder, or a `--cases` file that cannot be used.
    """
    _check_names(request)
    patterns = request.mapping.file_patterns
    files: list[CaseFiles] = []
    if request.labels and request.mapping.parts:
        parts = request.mapping.parts
        files = find_part_cases(request.labels, request.images, parts, patterns.get("image"))
    if not files:
        files = find_cases(request.labels, request.images, patterns.get("mask"), patterns.get("image"))
    listed = read_case_list(request.cases, request.source) if request.cases else {}
    if unknown := listed.keys() - {case.name for case in files}:
        raise UsageError(
            f"{request.cases}: no file here is of {unknown_cases(listed, unknown)}; correct the column 'case'"
        )
    parameters = {
        "source": request.source,
        "revision": request.revision,
        "labels": one_line(str(request.labels)) if request.labels else None,
        "images": one_line(str(request.images)) if request.images else None,
        "mapping": request.mapping.name,
    }
    with run(bench, "ingest", parameters, key=request.source, total=len(files)) as booking:
        book_left_out(booking, request.labels, request.images)
        taking = _Taking(bench, request, listed, booking)
        taking.remarks.see_files(files)
        bench.progress.start(f"ingest {request.source}", len(files))
        jobs = list(taking.jobs(files))
        done = len(files) - len(jobs)
        changed: list[IncomingCase] = []
        for measured in _look_at(bench, jobs):
            if measured.changed:
                changed.append(measured.job)
                continue
            taking.book(measured)
            done += 1
            bench.progress.step(done, measured.job.name)
        revisions = taking.revisions(changed)
        for measured in map_cases(bench, revise, revisions, len(revisions)):
            taking.book(measured)
            done += 1
            bench.progress.step(done, measured.job.name)
        taking.note_statuses_behind()
        for line in taking.remarks.lines(request.source, request.mapping.name):
            booking.note(request.source, line)
        booking.flush()
        bench.progress.finish()
        read_images(bench, booking, source_id=taking.source_id)
        compare_at_the_end(bench, booking)
        return booking.outcome


def _look_at(bench: Workbench, jobs: Sequence[IncomingCase]) -> Iterator[Measured]:
    """Compare what is known with its files, and measure what is new."""
    known = [job for job in jobs if job.known is not None and job.known.number]
    new = [job for job in jobs if job.known is None or not job.known.number]
    # Reading and hashing leave the interpreter free: for these, threads spare the start of processes.
    with ThreadPoolExecutor(bench.jobs) as threads:
        workers = replace(bench, executor=bench.executor or threads)
        for some in map_cases(workers, measure, _portions(known), len(known)):
            yield from some
    for some in map_cases(bench, measure, _portions(new), len(new)):
        yield from some


def _portions(jobs: Sequence[IncomingCase]) -> Iterator[list[IncomingCase]]:
    """Hand jobs to a worker by the handful where their masks are small: what they share is sent once, and
    what they keep goes to the disk together."""
    portion: list[IncomingCase] = []
    size = 0
    for job in jobs:
        weight = _size(job.mask)
        if portion and (len(portion) == PORTION_CASES or size + weight > PORTION_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(job)
        size += weight
    if portion:
        yield portion


def _size(mask: Path | None) -> int:
    try:
        return mask.stat().st_size if mask else 0
    except OSError:
        return 0  # whoever reads it says what is wrong with it


def _check_names(request: IngestRequest) -> None:
    if not request.source or any(sign in request.source for sign in "/@"):
        raise UsageError(f"source name '{request.source}' may not be empty or contain '/' or '@'; rename it")
    if one_line(request.source) != request.source:
        raise UsageError(
            f"source name '{one_line(request.source)}' may not hold control characters; rename it"
        )
    if request.labels is None and request.images is None:
        raise UsageError("nothing to ingest: give --labels DIR, --images DIR or both")
    for folder in filter(None, (request.labels, request.images)):
        try:
            kept_path(folder)
        except CurationError as error:
            raise UsageError(str(error)) from error


class _Taking:
    """One ingest under way: what is known of the source, and how each outcome is booked."""

    def __init__(
        self, bench: Workbench, request: IngestRequest, listed: dict[str, CaseFacts], booking: Booking
    ) -> None:
        self.bench = bench
        self.request = request
        self.listed = listed
        self.booking = booking
        self.looked_for_otherwise: list[str] = []
        self.remarks = Remarks()
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
            self.revision = request.revision or request.mapping.revision or request.mapping.name
            self.revision_id = writes.ensure_revision(
                session,
                self.source_id,
                self.revision,
                mapping_name=request.mapping.name,
                mapping={str(value): target for value, target in request.mapping.values.items()},
                protocol=sorted(request.mapping.protocol) if request.mapping.protocol is not None else None,
            )
            self.image_root = ingest_state.image_root(session, self.source_id)
            self.known = ingest_state.known_cases(session, self.source_id)
            self.purged_cases = purged.purged_cases(session, self.source_id)
            self.purged_patients = purged.purged_patients(session)

    def jobs(self, files: list[CaseFiles]) -> Iterator[IncomingCase]:
        """The cases that can be measured; the others are refused here, by name alone."""
        for case in files:
            if line := self._name_problem(case) or self._purged(case.name):
                self.booking.refuse(f"{self.request.source}/{case.name}", line)
                continue
            protocol = self.listed.get(case.name, CaseFacts()).looked_for
            known = self.known.get(case.name)
            if protocol is None and known is not None:
                protocol = known.looked_for
            stated = protocol is not None
            if protocol is None and self.request.mapping.protocol is not None:
                protocol = tuple(sorted(self.request.mapping.protocol))
            yield IncomingCase(
                case.name,
                case.masks[0] if case.masks else None,
                case.images[0] if case.images else self._known_image(case.name),
                self.request.mapping,
                self.revision_id,
                protocol,
                self.bench.store,
                known,
                stated,
            )

    def revisions(self, changed: Sequence[IncomingCase]) -> list[Revision]:
        """What the merge of a changed mask has to know of its case as it stands now."""
        known = [job.known for job in changed if job.known is not None]
        versions = [case.newest_version_id for case in known if case.newest_version_id is not None]
        with self.bench.catalog.reading() as session:
            stand = case_files.case_files(session, versions)
            accepted = standing.accepted_classes(session, versions)
            stale = standing.stale_classes(session, versions)
        nothing: frozenset[int] = frozenset()
        return [
            Revision(
                job,
                self.revision,
                case,
                accepted.get(case.version_id, nothing),
                stale.get(case.version_id, nothing),
            )
            for job, case in zip(changed, stand, strict=True)
        ]

    def _name_problem(self, case: CaseFiles) -> str | None:
        for what, paths in (("masks", case.masks), ("images", case.images)):
            if len(paths) > 1:
                names = ", ".join(str(path) for path in paths)
                return f"{names}: {len(paths)} {what} for one case '{case.name}'; keep the one that counts"
        if problem := case_name_problem(case.name):
            return f"{(case.masks or case.images)[0]}: {problem}; rename the file"
        return None

    def _purged(self, name: str) -> str | None:
        """Why a case does not come in again; without the file's path, which a purge has taken out of the books."""
        if name in self.purged_cases:
            return self.purged_cases[name]
        address = f"{self.request.source}/{name}"
        patient = self.listed.get(name, CaseFacts()).patient or address
        said = self.purged_patients and self.purged_patients.get(purged.patient_digest(patient))
        return f"{address}: {said}; nothing of this patient is taken in again" if said else None

    def _known_image(self, name: str) -> Path | None:
        """The image that an earlier ingest booked: a mask that comes later must fit it too."""
        known = self.known.get(name)
        if known is None or known.image_path is None or self.image_root is None:
            return None
        path = Path(self.image_root) / known.image_path
        return path if path.is_file() else None

    def book(self, measured: Measured) -> None:
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
        if measured.note:
            self.booking.note(address, measured.note)
        self.remarks.see(measured)
        if measured.unchanged and self._looked_for_otherwise(job):
            self.looked_for_otherwise.append(job.name)
        if measured.unchanged and not self._says_more(job):
            outcome.count("unchanged")
            return
        if job.known is None and measured.geometry is not None:
            self.booking.add_together(self._write_new, measured, address)
        else:
            self.booking.add(partial(self._write, measured), address)

    def _looked_for_otherwise(self, job: IncomingCase) -> bool:
        """Whether the case list now says of a known mask that other classes were looked for than before."""
        looked_for = self.listed.get(job.name, CaseFacts()).looked_for
        if looked_for is None or job.known is None:
            return False
        before = job.known.looked_for if job.known.looked_for is not None else self.request.mapping.protocol
        return before is None or set(before) != set(looked_for)

    def note_statuses_behind(self) -> None:
        """Say how the statuses of unchanged masks follow what the case list now says of them."""
        names = self.looked_for_otherwise
        if not names:
            return
        shown = ", ".join(sorted(names)[:5]) + (" …" if len(names) > 5 else "")
        self.booking.note(
            self.request.source,
            f"{self.request.cases}: other classes than before were looked for in {len(names)} cases whose masks "
            f"are unchanged: {shown}; their statuses follow with `maskledger source rederive "
            f"{self.request.source} --revision {self.revision}` (first with --dry-run)",
        )

    def _says_more(self, job: IncomingCase) -> bool:
        """Whether this ingest tells anything new of a case whose mask is unchanged."""
        return (
            job.known is None
            or job.name in self.listed
            or self.request.role is not None
            or _relative(job.image, self.image_root) != job.known.image_path
        )

    def _write_new(self, session: Session, cases: Sequence[Measured]) -> list[str]:
        """Write the rows of cases that were not known; returns what each counts as."""
        new = [
            writes.NewCase(name=case.job.name, first=self._version(case), **self._facts(case.job))
            for case in cases
        ]
        there = writes.add_cases(session, self.source_id, new)
        return [
            self._write(case, session) if case.job.name in there else "new"  # another writer was first
            for case in cases
        ]

    def _write(self, measured: Measured, session: Session) -> str:
        """Write the rows of one measured case; returns what it counts as."""
        job = measured.job
        case_id = writes.ensure_case(session, self.source_id, job.name, **self._facts(job))
        if measured.unchanged or measured.geometry is None:
            return "unchanged"
        parent_id = job.known.newest_version_id if job.known else None
        writes.add_version(session, case_id, parent_id, self._version(measured))
        return "new" if job.known is None else "new versions"

    def _facts(self, job: IncomingCase) -> dict[str, Any]:
        """What is said of a case beside its mask."""
        facts = self.listed.get(job.name, CaseFacts())
        return {
            "patient": facts.patient,
            "role": facts.role or self.request.role,
            "licence": facts.licence,
            "looked_for": list(facts.looked_for) if facts.looked_for is not None else None,
            "extra": facts.extra or None,
            "image_path": _relative(job.image, self.image_root),
        }

    def _version(self, measured: Measured) -> NewVersion:
        """The version to be written of a measured case."""
        assert measured.geometry is not None, "what is neither refused nor unchanged was measured"
        mask = measured.job.mask
        return NewVersion(
            kind=VersionKind.INGESTED,
            author=self.bench.author,
            message=self.request.message or measured.message,
            geometry=measured.geometry,
            incoming_hash=measured.incoming_hash,
            file_hash=measured.file_hash,
            voxel_hash=measured.voxel_hash,
            annotations=measured.annotations,
            reserved=measured.reserved or {},
            conflicts=measured.conflicts,
            incoming_path=kept_path(mask) if mask else None,
            findings=measured.findings,
            revision_id=self.revision_id,
            run_id=self.booking.outcome.run_id,
        )


def _folder(path: Path) -> Path:
    return Path(kept_path(path.parent if path.is_file() else path))


def _relative(image: Path | None, root: str | None) -> str | None:
    """An image's path as the catalog keeps it: relative to the image root where it lies below it."""
    if image is None:
        return None
    resolved = Path(kept_path(image))
    if root is not None and resolved.is_relative_to(root):
        return resolved.relative_to(root).as_posix()
    return str(resolved)
