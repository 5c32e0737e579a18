"""Freezing: what a training set fixes, whom it leaves out, and what its query says afterwards."""

from collections import defaultdict

import pytest
from frozen_cohort import FLARE, LIVER, STRONG, TUMOR
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import boxes, write_image, write_volume

from curation.class_states import ClassStates
from curation.errors import CurationError, UsageError
from curation.labels import CLASS_IDS
from curation.query import QueryError
from curation.status import Origin, Status
from db import datasets, queries, writes
from db.freezing import Candidate
from db.models import Role, Split, Tombstone
from pipelines.freeze import FreezeRequest, freeze, frozen_members, licensed, split
from pipelines.ingest import IngestRequest, ingest


def splits(bench, address):
    _, members = frozen_members(bench, address)
    return {case.address: (str(member.split), member.fold) for case, member in members}


def test_the_validation_share_is_drawn_from_strong_and_weak_alike(cohort):
    frozen = freeze(cohort, FreezeRequest("d", "", val_share=0.5, seed=3))
    assert (frozen.members, frozen.train, frozen.val) == (10, 5, 5)
    found = splits(cohort, "d@1")
    strong_in_val = [a for a, (side, _) in found.items() if side == "val" and int(a[-1]) < 4]
    assert len(strong_in_val) == 2  # half of four strong, three of six weak


def test_the_same_request_on_an_unchanged_catalog_is_the_same_version(cohort):
    request = FreezeRequest("d", "strong", val_share=0.25, seed=1)
    assert freeze(cohort, request) == freeze(cohort, request)
    other = freeze(cohort, FreezeRequest("d", "strong", val_share=0.25, seed=2))
    assert other.address == "d@2"


def test_folds_differ_by_one_case_at_most(cohort):
    freeze(cohort, FreezeRequest("d", "", folds=3))
    folds = [fold for _, fold in splits(cohort, "d").values()]
    assert sorted(folds.count(k) for k in range(3)) == [3, 3, 4]


def candidate(number: int, source: str, patient: str, strong: bool) -> Candidate:
    state = Origin.ORIGINAL if strong else Status.MISSING
    states = ClassStates((Origin.ORIGINAL, *(state for _ in CLASS_IDS[1:])))
    return Candidate(number, number, source, f"c{number}", 1, Role.TRAIN, patient, None, "0" * 64, states)


COHORTS = st.lists(
    st.tuples(st.sampled_from(["AMOS", "KiTS"]), st.integers(0, 15), st.booleans()), min_size=8, max_size=60
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(COHORTS, st.one_of(st.floats(0.05, 0.95), st.integers(2, 3)), st.integers(0, 99))
def test_no_patient_stands_on_two_sides_or_in_two_folds(rows, how, seed):
    cases = [candidate(n, source, f"P{patient}", strong) for n, (source, patient, strong) in enumerate(rows)]
    if len({case.patient for case in cases}) < 3:
        return
    given_how = {"folds": how} if isinstance(how, int) else {"val_share": how}
    members = split(cases, FreezeRequest("d", "", seed=seed, **given_how))
    sides = defaultdict(set)
    for case, member in zip(cases, members, strict=True):
        sides[case.patient].add((member.split, member.fold))
        # Fold k validates on its own members; the one split of a share is the first fold's.
        assert member.fold is None or (member.split is Split.VAL) == (member.fold == 0)
    assert all(len(side) == 1 for side in sides.values())
    assert len({member.split for member in members}) == 2
    assert members == split(cases, FreezeRequest("d", "", seed=seed, **given_how))


def test_cases_of_one_patient_stay_on_one_side(bench, tmp_path):
    for number in range(12):
        write_volume(tmp_path / "l" / f"C{number}.nii.gz", boxes({LIVER: 3}))
    rows = "".join(f"C{n},P{n // 3}\n" for n in range(12))
    (tmp_path / "cases.csv").write_text("case,patient\n" + rows)
    ingest(
        bench, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l", cases=tmp_path / "cases.csv")
    )
    freeze(bench, FreezeRequest("d", "", val_share=0.5))
    _, members = frozen_members(bench, "d")
    sides = defaultdict(set)
    for _, member in members:
        sides[member.patient].add(member.split)
    assert {patient: len(side) for patient, side in sides.items()} == {"P0": 1, "P1": 1, "P2": 1, "P3": 1}
    assert len({member.split for _, member in members}) == 2


def test_test_cases_and_cases_without_labels_are_left_out_and_counted(cohort, tmp_path):
    write_volume(tmp_path / "lt" / "T.nii.gz", STRONG)
    ingest(cohort, IngestRequest(source="T", mapping=FLARE, labels=tmp_path / "lt", role=Role.TEST))
    write_image(tmp_path / "iu" / "U_0000.nii.gz")
    ingest(cohort, IngestRequest(source="U", mapping=FLARE, images=tmp_path / "iu"))
    frozen = freeze(cohort, FreezeRequest("d", ""))
    assert frozen.members == 10
    assert frozen.left_out == {"test cases": 1, "cases with no annotated class": 1}
    assert freeze(cohort, FreezeRequest("e", "", include_test=True)).members == 11


def test_a_frozen_dataset_keeps_the_version_that_it_was_frozen_with(cohort, tmp_path):
    freeze(cohort, FreezeRequest("d", 'case = "S/C5"'))
    write_volume(tmp_path / "l" / "C5.nii.gz", boxes({TUMOR: 5}))
    ingest(cohort, IngestRequest(source="S", mapping=FLARE, labels=tmp_path / "l"))
    _, ((case, _),) = frozen_members(cohort, "d@1")
    assert (case.number, case.annotations[TUMOR].voxels) == (1, 3)


@pytest.fixture
def licensed_cohort(bench, tmp_path):
    """Six cases: A and B by their source's CC BY 4.0, C and D by their own NC licence, E and F by none."""
    for name in "ABCDEF":
        source = "Open" if name < "E" else "Unknown"
        write_volume(tmp_path / source / f"{name}.nii.gz", boxes({LIVER: 3}))
    with bench.catalog.writing() as session:
        writes.ensure_source(session, "Open", licence="CC BY 4.0")
    (tmp_path / "cases.csv").write_text("case,licence\nC,CC BY-NC 4.0\nD,CC BY-NC 4.0\n")
    for source, cases in (("Open", tmp_path / "cases.csv"), ("Unknown", None)):
        ingest(bench, IngestRequest(source=source, mapping=FLARE, labels=tmp_path / source, cases=cases))
    return bench


def names(bench, address):
    _, members = frozen_members(bench, address)
    return "".join(case.address[-1] for case, _ in members)


def test_patient_and_licence_are_frozen_with_the_member(licensed_cohort):
    freeze(licensed_cohort, FreezeRequest("d", ""))
    with licensed_cohort.catalog.writing() as session:
        writes.ensure_source(session, "Open", licence="CC0-1.0")
    _, members = frozen_members(licensed_cohort, "d")
    assert [(member.patient, member.licence) for _, member in members] == [
        ("Open/A", "CC BY 4.0"), ("Open/B", "CC BY 4.0"), ("Open/C", "CC BY-NC 4.0"),
        ("Open/D", "CC BY-NC 4.0"), ("Unknown/E", None), ("Unknown/F", None),
    ]  # fmt: skip
    # Under another licence it is another training set.
    assert freeze(licensed_cohort, FreezeRequest("d", "")).address == "d@2"


@pytest.mark.parametrize(
    ("request_", "query", "members", "left_out"),
    [
        (
            FreezeRequest("d", "has liver or strong", licences=("CC BY 4.0",)),
            '(has liver or strong) and licence = "CC BY 4.0"',
            "AB",
            {"cases of no known licence": 2, "cases of licence 'CC BY-NC 4.0'": 2},
        ),
        (
            FreezeRequest("d", "", licences=("CC0*", "CC BY*"), without_licences=("*NC*",)),
            '(licence = "CC0*" or licence = "CC BY*") and licence != "*NC*"',
            "AB",
            {"cases of no known licence": 2, "cases of licence 'CC BY-NC 4.0'": 2},
        ),
        # What nobody stated is not known to be NC: left in by --exclude-licence, left out by --licence.
        (
            FreezeRequest("d", "has liver", without_licences=("*NC*",)),
            '(has liver) and licence != "*NC*"',
            "ABEF",
            {"cases of licence 'CC BY-NC 4.0'": 2},
        ),
        (
            FreezeRequest("d", "", licences=("",)),
            'licence = ""',
            "EF",
            {"cases of licence 'CC BY 4.0'": 2, "cases of licence 'CC BY-NC 4.0'": 2},
        ),
        (
            FreezeRequest("d", "has liver", licences=("*",)),
            '(has liver) and licence != ""',
            "ABCD",
            {"cases of no known licence": 2},
        ),
    ],
)
def test_licences_become_part_of_the_frozen_query(licensed_cohort, request_, query, members, left_out):
    frozen = freeze(licensed_cohort, request_)
    assert (frozen.query, frozen.left_out) == (query, left_out)
    assert names(licensed_cohort, "d") == members
    # The query alone says it all: frozen again by its text, it is the same dataset.
    assert freeze(licensed_cohort, FreezeRequest("d", query)).manifest_hash == frozen.manifest_hash


def test_a_quote_in_a_licence_does_not_end_the_text():
    assert licensed(FreezeRequest("d", "", licences=('The "free" one',))) == 'licence = "The \\"free\\" one"'


def test_an_error_in_the_query_points_into_the_text_as_it_was_typed(bench):
    with pytest.raises(QueryError, match="'pancraes' at column 9"):
        freeze(bench, FreezeRequest("d", "missing pancraes", licences=("CC*",)))


def test_a_case_purged_while_it_is_frozen_ends_the_freeze(cohort):
    frozen = freeze(cohort, FreezeRequest("d", ""))
    purge(cohort, "S/C3")
    with cohort.catalog.reading() as session:
        version = datasets.dataset_version(session, frozen.address)
        (member, *_) = datasets.member_values(session, version.id)
        gone = writes.MemberValues(queries.resolve(session, "S/C3").case_id, member.version_id, member.split)
    with (
        pytest.raises(CurationError, match="was purged while dataset 'e' was being frozen; freeze it again"),
        cohort.catalog.writing() as session,
    ):
        writes.freeze_dataset(
            session, "e", "", [gone], origins=["original"], seed=0, manifest_hash="a" * 64, author="me"
        )


def purge(bench, address):
    """Leave a tombstone, as a purge does."""
    with bench.catalog.writing() as session:
        session.add(
            Tombstone(
                case_id=queries.resolve(session, address).case_id, patient_digest="0" * 64,
                reason="consent withdrawn", person="Ada", files=1, bytes=1,
            )
        )  # fmt: skip


def test_purged_members_are_no_longer_given_to_a_training(cohort):
    freeze(cohort, FreezeRequest("d", ""))
    purge(cohort, "S/C3")
    version, members = frozen_members(cohort, "d")
    assert (version.members, version.purged, len(members)) == (10, 1, 9)
    assert "S/C3" not in {case.address for case, _ in members}


@pytest.mark.parametrize(
    ("request_", "complaint"),
    [
        (FreezeRequest("d", "missing liver and strong"), "finds 0 cases and none to freeze"),
        (
            FreezeRequest("d", "", licences=("MIT",)),
            "finds 0 cases .*; 10 cases of no known licence left out",
        ),
        (FreezeRequest("d", "", val_share=0.2, folds=5), "--val and --folds exclude each other"),
        (FreezeRequest("d", "", val_share=1.0), "at least 0 and below 1"),
        (FreezeRequest("d", "", folds=1), "at least 2 folds"),
        (FreezeRequest("d", "", folds=11), "only 10 patients"),
        (FreezeRequest("a@b", ""), "may not be empty or contain"),
    ],
)
def test_what_cannot_be_frozen_is_wrong_usage(cohort, request_, complaint):
    with pytest.raises(UsageError, match=complaint):
        freeze(cohort, request_)
