"""Review: what a person says of a class, and what follows: accepted, rejected, absent, a finding dismissed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.labels import BY_ID, resolve_class
from curation.status import Evidence, Status
from curation.volumes import encode_and_hash
from db import queries, reviewing, standing, writes
from db.case_files import CaseFile
from db.models import FindingState, Verdict, VersionKind
from db.queries import StoredFinding
from db.reviewing import Drawing
from db.writes import NewVersion
from pipelines.annotate import examine, rederived
from pipelines.by_hand import Seen, erased, lock_as_seen, looked_at, require_as_seen, require_reason
from pipelines.case_masks import stored_mask
from pipelines.runs import Workbench


@dataclass(frozen=True)
class Reviewed:
    """What a review changed.

    Attributes:
        address: ``SOURCE/NAME``.
        before: Number of the version that was reviewed.
        after: Number of the new version; the same where only a decision was booked.
        decided: Names of the classes that something was booked of.
        already: Names of those of which the same was known before; nothing is booked of them.
        voxels: Voxels taken out, by class name.
    """

    address: str
    before: int
    after: int
    decided: tuple[str, ...]
    already: tuple[str, ...] = ()
    voxels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AcceptedMany:
    """What accepting over a query did, or would do: how many drawings of how many cases, and how many not."""

    cases: int
    accepted: int
    already: int
    not_drawn: int


def accept(
    bench: Workbench, address: str, class_words: Sequence[str], reason: str = "", *, seen: Seen | None = None
) -> Reviewed:
    """Accept classes as they are drawn now: from here on people alone change them.

    Args:
        bench: Catalog and person.
        address: ``SOURCE/NAME[@N]``; N is the version that the person looked at.
        class_words: Names or aliases.
        reason: May be empty.
        seen: What else they had before their eyes, where somebody keeps account of it.

    Raises:
        UsageError: Unknown case or class, or a class that is not drawn.
        StaleParentError: A class changed since version N, or the case is not as it was seen.
    """
    class_ids = _class_ids(class_words)
    with bench.catalog.writing() as session:
        lock_as_seen(session, address, class_ids, seen)
        case = looked_at(session, address, class_ids)
        drawn = {d.class_id: d for d in reviewing.drawings(session, [case.version_id], class_ids)}
        for class_id in sorted(class_ids - drawn.keys()):
            raise UsageError(
                f"{case.address}@{case.number}: {BY_ID[class_id].name} is {case.annotations[class_id].status}, "
                "so there is nothing drawn to accept; if it is not in the image, say `review absent`"
            )
        known = standing.accepted_classes(session, [case.version_id]).get(case.version_id, frozenset())
        new = sorted(class_ids - known)
        for class_id in new:
            _decide(session, bench, drawn[class_id], Verdict.ACCEPTED, reason)
        if new:
            _book(session, bench, "accept", case.address, new, reason, version=case.number)
    return Reviewed(case.address, case.number, case.number, _names(new), _names(sorted(class_ids - set(new))))


def accept_many(
    bench: Workbench, query: str, class_words: Sequence[str], reason: str, *, dry_run: bool = False
) -> AcceptedMany:
    """Accept classes in all cases that a query finds, where they are drawn; all of them or none.

    Raises:
        UsageError: Unknown class, no reason, or a query that cannot be read.
    """
    class_ids = _class_ids(class_words)
    require_reason(reason)
    with bench.catalog.writing() as session:
        # The log keeps what was asked, whatever @NAME stands for later.
        query = queries.spelled_out(session, query)
        versions = [ref.version_id for ref in queries.case_refs(session, query)]
        drawn = reviewing.drawings(session, versions, class_ids)
        known = standing.accepted_classes(session, versions)
        new = [d for d in drawn if d.class_id not in known.get(d.version_id, frozenset())]
        if new and not dry_run:
            for drawing in new:
                _decide(session, bench, drawing, Verdict.ACCEPTED, reason)
            _book(session, bench, "accept", query, sorted(class_ids), reason, query=query, accepted=len(new))
    return AcceptedMany(
        cases=len({d.case_id for d in new}),
        accepted=len(new),
        already=len(drawn) - len(new),
        not_drawn=len(versions) * len(class_ids) - len(drawn),
    )


def reject(
    bench: Workbench, address: str, class_words: Sequence[str], reason: str, *, seen: Seen | None = None
) -> Reviewed:
    """Take classes out again: they are missing in a new version, and the model that drew them does not refill them.

    A class that no model drew may be filled by any model from now on.

    Args:
        bench: Catalog, store and person.
        address: ``SOURCE/NAME[@N]``; N is the version that the person looked at.
        class_words: Names or aliases of drawn classes.
        reason: Why.
        seen: What else they had before their eyes, where somebody keeps account of it.

    Raises:
        UsageError: Unknown case or class, a class that is not drawn, or no reason.
        StaleParentError: A class changed since version N, or the case while this was done, or since it was seen.
    """
    class_ids = _class_ids(class_words)
    require_reason(reason)
    with bench.catalog.reading() as session:
        require_as_seen(session, address, class_ids, seen)
        case = looked_at(session, address, class_ids)
        drawn = {d.class_id: d for d in reviewing.drawings(session, [case.version_id], class_ids)}
    for class_id in sorted(class_ids - drawn.keys()):
        raise UsageError(
            f"{case.address}@{case.number}: {BY_ID[class_id].name} is {case.annotations[class_id].status}, so "
            "there is nothing to reject; `show` lists what is drawn"
        )
    names = _names(sorted(class_ids))
    new, taken_out = _without(bench, case, class_ids, None, f"rejected {', '.join(names)}: {reason}")
    with bench.catalog.writing() as session:
        lock_as_seen(session, case.address, class_ids, seen)
        version = writes.add_version(session, case.case_id, case.version_id, new)
        for drawing in drawn.values():
            _decide(session, bench, drawing, Verdict.REJECTED, reason)
        _book(session, bench, "reject", case.address, sorted(class_ids), reason, version=version.number)
    return Reviewed(case.address, case.number, version.number, names, (), taken_out)


def absent(
    bench: Workbench,
    address: str,
    class_words: Sequence[str],
    reason: str,
    *,
    out_of_field: bool = False,
    seen: Seen | None = None,
) -> Reviewed:
    """Say that classes are not in the patient, or not in the scan; what was drawn of them is taken out.

    Args:
        bench: Catalog, store and person.
        address: ``SOURCE/NAME[@N]``; N is the version that the person looked at.
        class_words: Names or aliases.
        reason: Why, e.g. "cholecystectomy".
        out_of_field: The scan does not reach it, so nobody can know.
        seen: What else they had before their eyes, where somebody keeps account of it.

    Raises:
        UsageError: Unknown case or class, or no reason.
        StaleParentError: A class changed since version N, or the case while this was done, or since it was seen.
    """
    class_ids = _class_ids(class_words)
    require_reason(reason)
    said = (Status.OUT_OF_FIELD if out_of_field else Status.ABSENT, Evidence.REVIEWER)
    with bench.catalog.reading() as session:
        require_as_seen(session, address, class_ids, seen)
        case = looked_at(session, address, class_ids)
        drawn = {d.class_id: d for d in reviewing.drawings(session, [case.version_id], class_ids)}
    told = {c for c in class_ids if (case.annotations[c].status, case.annotations[c].evidence) != said}
    already = _names(sorted(class_ids - told))
    if not told:
        return Reviewed(case.address, case.number, case.number, (), already)
    names = _names(sorted(told))
    what = "out of field" if out_of_field else "absent"
    new, taken_out = _without(bench, case, told, said, f"{what}: {', '.join(names)}: {reason}")
    with bench.catalog.writing() as session:
        lock_as_seen(session, case.address, class_ids, seen)
        version = writes.add_version(session, case.case_id, case.version_id, new)
        for class_id in sorted(told):
            if class_id in drawn:
                _decide(session, bench, drawn[class_id], Verdict.ABSENT, reason)
            else:
                writes.add_decision(
                    session, case.case_id, class_id, None, Verdict.ABSENT, reason=reason, person=bench.author
                )
        _book(
            session, bench, "absent", case.address, sorted(told), reason, version=version.number, said=said[0]
        )
    return Reviewed(case.address, case.number, version.number, names, already, taken_out)


def dismiss(
    bench: Workbench,
    address: str,
    reason: str,
    *,
    check: str | None = None,
    class_word: str | None = None,
    finding_id: int | None = None,
    seen: Seen | None = None,
) -> tuple[StoredFinding, bool]:
    """Say that an open finding of a case's newest version is no problem.

    It stays dismissed in later versions while the class that it is about is unchanged.

    Args:
        bench: Catalog and person.
        address: ``SOURCE/NAME[@N]``; N is the version that the person looked at.
        reason: Why it is none.
        check: Name of the check; needs `class_word` where several classes have such a finding.
        class_word: The class that it is about.
        finding_id: The finding by its number instead.
        seen: What else they had before their eyes, where somebody keeps account of it.

    Returns:
        The finding, and whether it was open; one that was not is left as it is, and nothing is booked.

    Raises:
        UsageError: No such finding, several of them, or no reason.
        StaleParentError: The class changed since version N, or there is a newer version than was seen.
    """
    require_reason(reason)
    class_id = resolve_class(class_word).id if class_word else None
    with bench.catalog.writing() as session:
        # A decision about the class takes nothing from what is said of its finding.
        lock_as_seen(session, address, [], seen)
        ref = queries.resolve(session, address)
        case = looked_at(session, address, [class_id] if class_id else [])
        found = [
            f
            for f in queries.findings(session, [case.version_id])[case.version_id]
            if (finding_id is None or f.id == finding_id)
            and (check is None or f.check == check)
            and (class_id is None or f.class_name == BY_ID[class_id].name)
        ]
        opened = [f for f in found if f.state is FindingState.OPEN]
        where = f"{case.address}@{case.number}"
        if not found:
            asked = f"finding {finding_id}" if finding_id else f"finding '{check}'"
            asked += f" of {BY_ID[class_id].name}" if class_id else ""
            raise UsageError(
                f"{where}: has no {asked}; `maskledger show {ref.address}` lists those there are"
            )
        if not opened:
            return found[0], False
        if len(opened) > 1:
            names = ", ".join(f"{f.class_name or 'the whole mask'} (--id {f.id})" for f in opened)
            raise UsageError(f"{where}: {len(opened)} open findings '{check}': {names}; say which")
        (one,) = opened
        if ref.version_id != case.version_id and one.class_name:
            looked_at(session, address, [resolve_class(one.class_name).id])
        writes.decide_finding(session, one.id, FindingState.DISMISSED, person=bench.author, reason=reason)
        writes.add_event(
            session, author=bench.author, action="dismiss", subject=case.address,
            parameters={"check": one.check, "class": one.class_name, "version": case.number, "reason": reason},
            program_version=bench.program_version,
        )  # fmt: skip
    return one, True


def _without(
    bench: Workbench,
    case: CaseFile,
    class_ids: Collection[int],
    said: tuple[Status, Evidence] | None,
    message: str,
) -> tuple[NewVersion, dict[str, int]]:
    """A case's newest mask without some classes, to be written; and the voxels taken out, by class name.

    `said` is what the person says of the classes; None: they are rejected.
    """
    before = stored_mask(bench.store, case)
    after = before.without(class_ids)
    facts = examine(after, case.geometry)
    file_hash, voxel_hash = case.file_hash, case.voxel_hash
    if not after.same_as(before):
        data, voxel_hash = encode_and_hash(after, case.geometry)
        file_hash = bench.store.put(data)
    new = NewVersion(
        kind=VersionKind.REVIEWED,
        author=bench.author,
        message=message,
        geometry=case.geometry,
        file_hash=file_hash,
        voxel_hash=voxel_hash,
        annotations=rederived(
            case.annotations, facts, {}, dict.fromkeys(class_ids, said) if said else erased(class_ids, facts)
        ),
        reserved=facts.reserved,
        findings=facts.findings,
    )
    voxels = before.voxels()
    return new, {BY_ID[c].name: voxels[c] for c in sorted(class_ids) if c in voxels}


def _decide(session: Session, bench: Workbench, drawing: Drawing, verdict: Verdict, reason: str) -> None:
    writes.add_decision(
        session,
        drawing.case_id,
        drawing.class_id,
        drawing.class_hash,
        verdict,
        reason=reason,
        person=bench.author,
        model_id=drawing.model_id,
    )


def _book(
    session: Session,
    bench: Workbench,
    action: str,
    subject: str,
    class_ids: Sequence[int],
    reason: str,
    **more: object,
) -> None:
    writes.add_event(
        session,
        author=bench.author,
        action=action,
        subject=subject,
        parameters={"classes": list(_names(class_ids)), "reason": reason, **more},
        program_version=bench.program_version,
    )


def _class_ids(words: Sequence[str]) -> frozenset[int]:
    if not words:
        raise UsageError("say which class, e.g. liver")
    return frozenset(resolve_class(word).id for word in words)


def _names(class_ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(BY_ID[class_id].name for class_id in class_ids)
