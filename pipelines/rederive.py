"""Rederive: a revision's mapping or protocol changed; its cases are read anew from the bytes that came in for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sqlalchemy.orm import Session

from curation.errors import CurationError, UsageError
from curation.labels import BY_ID, CLASS_IDS, value_name
from curation.mappings import LabelMapping
from curation.protocol import OUTSIDE_PROTOCOL
from curation.status import Evidence, Origin, Status
from db import case_files, ingest_state, purged, standing, writes
from db.batches import batches
from db.ingest_state import REDERIVE, KnownCase, KnownRevision
from db.models import VersionKind
from db.store import StoreUnwritableError
from db.writes import AnnotationValues, NewVersion
from pipelines.case_list import CaseFacts, read_case_list, unknown_cases
from pipelines.comparing import compare_at_the_end
from pipelines.images import read_images
from pipelines.incoming import IncomingCase, Measured
from pipelines.remarks import Remarks
from pipelines.revise import Revision, kept, merge_again
from pipelines.runs import Booking, Outcome, Workbench, map_cases, run

# Cases read from the catalog at a time: with all their classes 100,000 would take gigabytes.
BATCH = 500


@dataclass(frozen=True)
class RederiveRequest:
    """What the user asks for. `mapping` None: the one that the revision has, e.g. after `cases` changed."""

    source: str
    revision: str | None = None
    mapping: LabelMapping | None = None
    cases: Path | None = None


@dataclass(frozen=True)
class ClassChange:
    """What becomes of one class of one case: status, origin and evidence before and after, and voxels.

    Of a value that is no class (a pair without a side, ignore) only voxels are told. `outside`: whether it is drawn
    outside the protocol now, where that is another answer than before; else None.
    """

    before: tuple[Status, Origin | None, Evidence] | None
    after: tuple[Status, Origin | None, Evidence] | None
    gained: int = 0
    lost: int = 0
    outside: bool | None = None


@dataclass(frozen=True)
class CaseChange:
    """One case that changes; `classes`: name to change."""

    address: str
    classes: Mapping[str, ClassChange]


@dataclass(frozen=True)
class Plan:
    """What a re-derivation would do.

    Attributes:
        cases: How many cases stand on the revision.
        later: How many others came in under it, too, but stand on a later revision.
        purged: How many cases of the source are purged, of which nothing is left to be derived.
        changes: Those that would get a new version, by address.
        refused: Those that could not be derived, a line each.
    """

    source: str
    revision: str
    mapping: str
    cases: int
    later: int
    purged: int = 0
    changes: list[CaseChange] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One case. `keep` False: nothing is written, not even to the store.

    `outside`: class ids that its newest version is said to draw outside the protocol.
    """

    revision: Revision
    outside: frozenset[int]
    keep: bool


@dataclass(frozen=True)
class _Derived:
    """What a worker made of one case; `found` is None where nothing changes or the case is refused."""

    job: _Job
    refused: str | None = None
    found: Measured | None = None
    classes: Mapping[str, ClassChange] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.job.revision.case.address


def plan(bench: Workbench, request: RederiveRequest) -> Plan:
    """Derive every case of a revision anew and tell what would change. Writes nothing.

    Raises:
        UsageError: As `rederive`.
    """
    work = _Work(bench, request)
    found = Plan(
        request.source,
        work.revision.name,
        work.mapping.name,
        len(work.cases),
        work.later,
        work.purged,
        refused=list(work.gone.values()),
    )
    bench.progress.start(f"dry run {request.source}", len(work.cases))
    for done, derived in enumerate(map_cases(bench, _derive, work.jobs(keep=False), len(work.cases)), 1):
        if derived.refused:
            found.refused.append(derived.refused)
        elif derived.found is not None:
            found.changes.append(CaseChange(derived.address, derived.classes))
        bench.progress.step(done, derived.address)
    bench.progress.finish()
    found.changes.sort(key=lambda change: change.address)
    found.refused.sort()
    return found


def rederive(bench: Workbench, request: RederiveRequest) -> Outcome:
    """Derive every case of a revision anew from the bytes that came in for it, by another mapping or protocol.

    A case gets a new version where voxels, a status, its evidence or what is outside the protocol change. What
    models and people did since is merged with it as with a later revision (see `pipelines.revise`). Only when every
    case is through does the revision itself have the new mapping: until then, e.g. after a kill, the same command
    does what is left.

    Returns:
        Counts of new versions, unchanged and purged cases, and what was refused: cases whose bytes are gone, or
        that the mapping does not fit. For the latter the revision keeps its mapping.

    Raises:
        UsageError: No such source or revision, a retracted one, or a `--cases` file that cannot be used.
    """
    work = _Work(bench, request)
    values, protocol = _as_kept(work.mapping)
    parameters = {
        "source": request.source,
        "revision": work.revision.name,
        "mapping": work.mapping.name,
        "values": values,
        "protocol": protocol,
        "cases": str(request.cases) if request.cases else None,
        "before": {
            "mapping": work.revision.mapping_name,
            "values": dict(work.revision.mapping),
            "protocol": work.revision.protocol,
        },
    }
    key = f"{request.source}/{work.revision.name}"
    with run(bench, REDERIVE, parameters, key=key, total=len(work.cases)) as booking:
        outcome = booking.outcome
        for address, line in work.gone.items():
            booking.refuse(address, line)
        remarks = Remarks()
        bench.progress.start(f"rederive {request.source}", len(work.cases))
        for done, derived in enumerate(map_cases(bench, _derive, work.jobs(keep=True), len(work.cases)), 1):
            if derived.refused:
                booking.refuse(derived.address, derived.refused)
            else:
                if derived.found is not None:
                    remarks.see(derived.found)
                booking.add(partial(_write, work, derived, outcome.run_id), derived.address)
            bench.progress.step(done, derived.address)
        for line in remarks.lines(request.source, work.mapping.name):
            booking.note(request.source, line)
        booking.flush()
        bench.progress.finish()
        if work.later:
            outcome.count("on a later revision", work.later)
        if work.purged:
            outcome.count("purged", work.purged)
        _change_revision(work, booking, values, protocol)
        read_images(bench, booking, source_id=work.revision.source_id)
        compare_at_the_end(bench, booking)
        return outcome


def _as_kept(mapping: LabelMapping) -> tuple[dict[str, int], list[int] | None]:
    """Values and protocol as the catalog's row of a revision has them."""
    values = {str(value): target for value, target in mapping.values.items()}
    return values, sorted(mapping.protocol) if mapping.protocol is not None else None


def _change_revision(
    work: "_Work", booking: Booking, values: dict[str, int], protocol: list[int] | None
) -> None:
    """Give the revision its new mapping and protocol, unless a case is left that can still be derived by them."""
    revision, left = work.revision, len(booking.outcome.refused) - len(work.gone)
    before = list(revision.protocol) if revision.protocol is not None else None
    if (dict(revision.mapping), before) == (values, protocol) and revision.mapping_name == work.mapping.name:
        return
    if left:
        booking.note(
            work.request.source,
            f"{work.request.source}: revision {revision.name} keeps the mapping '{revision.mapping_name}' while "
            f"{left} of its cases cannot be read by '{work.mapping.name}'; put that right and run this again",
        )
        return

    def attempt() -> None:
        with work.bench.catalog.writing() as session:
            writes.change_revision(
                session, revision.id, mapping_name=work.mapping.name, mapping=values, protocol=protocol
            )

    work.bench.catalog.insist(attempt)


class _Work:
    """What there is to do: the revision, what it is to be read by, and its cases.

    `gone`: address of a case that cannot be derived by any mapping to why; `later`: how many cases stand on a later
    revision, which this one changes no more; `purged`: how many cases of the source are gone for good.
    """

    def __init__(self, bench: Workbench, request: RederiveRequest) -> None:
        self.bench, self.request = bench, request
        self.listed = read_case_list(request.cases, request.source) if request.cases else {}
        with bench.catalog.reading() as session:
            self.revision = _find_revision(session, request)
            known = ingest_state.known_cases(session, self.revision.source_id)
            purged_cases = purged.purged_cases(session, self.revision.source_id)
        self.mapping = request.mapping or _own_mapping(self.revision)
        of_it = {name: case for name, case in known.items() if self.revision.id in case.seen}
        on_it = {name: case for name, case in sorted(of_it.items()) if case.revision_id == self.revision.id}
        self.later = len(of_it) - len(on_it)
        if unknown := self.listed.keys() - on_it.keys() - purged_cases.keys():
            raise UsageError(
                f"{request.cases}: no mask stands on revision '{self.revision.name}' of {request.source} for "
                f"{unknown_cases(self.listed, unknown)}; correct the column 'case'"
            )
        # A purge also takes out of the books what came in and under which revision: these are all of the source's.
        self.purged = len(purged_cases)
        self.gone: dict[str, str] = {}
        self.cases: dict[str, KnownCase] = {}
        for name, case in on_it.items():
            if name in purged_cases:
                continue
            if line := self._gone(case):
                address = f"{request.source}/{name}"
                self.gone[address] = f"{address}: {line}"
            else:
                self.cases[name] = case

    def _gone(self, case: KnownCase) -> str | None:
        """Why a case cannot be derived from what came in, if so."""
        if case.retracted:
            return "the mask that came in for it was retracted; take a good one in with `maskledger ingest`"
        assert case.incoming_hash is not None, "it was seen with a hash"
        if case.incoming_hash in self.bench.store:
            return None
        return (
            f"the file that came in for it is no longer in the store ({case.incoming_hash[:12]}…); take it back "
            "with `maskledger verify --repair`, or from a backup"
        )

    def jobs(self, *, keep: bool) -> Iterator[_Job]:
        """What the workers have to know of each case as it stands now."""
        names = list(self.cases)
        nothing: frozenset[int] = frozenset()
        for batch in batches(names, BATCH):
            versions = [v for name in batch if (v := self.cases[name].newest_version_id) is not None]
            with self.bench.catalog.reading() as session:
                stand = case_files.case_files(session, versions)
                accepted = standing.accepted_classes(session, versions)
                stale = standing.stale_classes(session, versions)
                outside = standing.outside_protocol(session, versions)
            for name, case in zip(batch, stand, strict=True):
                revision = Revision(
                    self._incoming(name),
                    f"{self.revision.name} by {self.mapping.name}",
                    case,
                    accepted.get(case.version_id, nothing),
                    stale.get(case.version_id, nothing),
                )
                yield _Job(revision, outside.get(case.version_id, nothing), keep)

    def _incoming(self, name: str) -> IncomingCase:
        known = self.cases[name]
        protocol = self.listed.get(name, CaseFacts()).looked_for
        if protocol is None:
            protocol = known.looked_for
        stated = protocol is not None
        if protocol is None and self.mapping.protocol is not None:
            protocol = tuple(sorted(self.mapping.protocol))
        return IncomingCase(
            name,
            None,
            None,
            self.mapping,
            self.revision.id,
            protocol,
            self.bench.store,
            replace(known, revision=f"{known.revision} by {known.mapping_name}"),
            stated,
        )


def _find_revision(session: Session, request: RederiveRequest) -> KnownRevision:
    revisions = ingest_state.known_revisions(session, request.source)
    names = ", ".join(revision.name for revision in revisions)
    if not revisions:
        raise UsageError(
            f"nothing has come in for a source '{request.source}'; `maskledger source list` shows those there are"
        )
    if request.revision is None and len(revisions) > 1:
        raise UsageError(f"{request.source} has the revisions {names}; name one of them with --revision")
    found = [r for r in revisions if request.revision in (None, r.name)]
    if not found:
        raise UsageError(
            f"{request.source} has no revision '{request.revision}', but {names}; name one of these"
        )
    if found[0].retracted:
        raise UsageError(
            f"revision {found[0].name} of {request.source} was retracted; what it gave is not taken in again: "
            "ingest a good one under another name"
        )
    return found[0]


def _own_mapping(revision: KnownRevision) -> LabelMapping:
    """The mapping that a revision has."""
    values = {int(value): int(target) for value, target in revision.mapping.items()}
    protocol = frozenset(revision.protocol) if revision.protocol is not None else None
    return LabelMapping(revision.mapping_name, values, protocol)


def _derive(job: _Job) -> _Derived:
    """Derive one case anew and merge it. Touches no database, so it runs in any worker."""
    case, incoming = job.revision.case, job.revision.incoming
    assert incoming.known is not None, "only known cases are derived anew"
    assert incoming.known.incoming_hash is not None, "only from bytes that came in"
    try:
        merged = merge_again(job.revision, incoming.store.get(incoming.known.incoming_hash))
        after = {row.class_id: row for row in merged.found.annotations}
        outside = {f.class_id for f in merged.found.findings if f.check == OUTSIDE_PROTOCOL}
        classes = {}
        for value, change in merged.changes.items():
            before = _said(case.annotations[value]) if value in CLASS_IDS else None
            now = _said(after[value]) if value in CLASS_IDS else None
            said = value in outside if (value in outside) != (value in job.outside) else None
            if change.changed or before != now or said is not None:
                name = BY_ID[value].name if value in CLASS_IDS else value_name(value)
                classes[name] = ClassChange(before, now, change.gained, change.lost, said)
        if not classes:
            return _Derived(job)
        if not job.keep:
            return _Derived(job, found=merged.found, classes=classes)
        return _Derived(job, found=kept(merged, incoming.store), classes=classes)
    except StoreUnwritableError:
        raise  # no case's fault, and the same for the next one
    except CurationError as error:
        line = str(error)
        return _Derived(job, refused=line if case.address in line else f"{case.address}: {line}")
    except OSError as error:
        return _Derived(job, refused=f"{case.address}: {error}; run `maskledger verify`")


def _said(row: AnnotationValues) -> tuple[Status, Origin | None, Evidence]:
    return row.status, row.origin, row.evidence


def _write(work: _Work, derived: _Derived, run_id: int, session: Session) -> str:
    """Write what is said of one case and, where it changed, its new version; returns what it counts as."""
    incoming, case, found = derived.job.revision.incoming, derived.job.revision.case, derived.found
    if facts := work.listed.get(incoming.name):
        writes.ensure_case(
            session,
            work.revision.source_id,
            incoming.name,
            patient=facts.patient,
            role=facts.role,
            licence=facts.licence,
            extra=facts.extra or None,
            looked_for=list(facts.looked_for) if facts.looked_for is not None else None,
        )
    if found is None:
        return "unchanged"
    assert found.geometry is not None, "a merged mask lies on a grid"
    new = NewVersion(
        kind=VersionKind.INGESTED,
        author=work.bench.author,
        message=found.message,
        geometry=found.geometry,
        incoming_hash=found.incoming_hash,
        file_hash=found.file_hash,
        voxel_hash=found.voxel_hash,
        annotations=found.annotations,
        reserved=found.reserved or {},
        conflicts=found.conflicts,
        findings=found.findings,
        revision_id=work.revision.id,
        run_id=run_id,
    )
    writes.add_version(session, case.case_id, case.version_id, new)
    return "new versions"
