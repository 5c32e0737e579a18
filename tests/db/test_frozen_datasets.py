"""Frozen datasets: numbered, never changed, the same twice is the same."""

from dataclasses import replace

import pytest
from catalog_makers import add_case, add_model_prediction, drawn, version
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.status import Origin, Status
from db import queries, writes
from db.catalog import Catalog
from db.datasets import member_values
from db.freezing import candidates, frozen_members, licences
from db.models import Retraction, Split, Taint, Tombstone
from db.writes import MemberValues


def _freeze(session: Session, members: list[MemberValues], manifest: str, **more: object) -> int:
    given: dict[str, object] = {
        "origins": ["original", "corrected"], "val_share": 0.2, "seed": 7, "manifest_hash": manifest * 64,
        "author": "me", "message": "why",
    }  # fmt: skip
    return writes.freeze_dataset(session, "strong", "strong", members, **(given | more))  # type: ignore[arg-type]


@pytest.fixture
def members(catalog: Catalog) -> list[MemberValues]:
    """Three cases, frozen in no order."""
    with catalog.writing() as session:
        refs = [add_case(session, name, drawn("liver")) for name in ("c", "a", "b")]
    return [
        MemberValues(ref.case_id, ref.id, split)
        for ref, split in zip(refs, (Split.TRAIN, Split.VAL, Split.TRAIN), strict=True)
    ]


def test_a_frozen_dataset_is_read_back_as_it_was_frozen(
    catalog: Catalog, members: list[MemberValues]
) -> None:
    with catalog.writing() as session:
        assert _freeze(session, members, "a") == 1
    with catalog.reading() as session:
        row = queries.dataset_version(session, "strong@1")
        values = member_values(session, row.id)
        shown = queries.member_page(session, row.id, limit=9)
    assert (row.address, row.query, row.seed, row.author, row.message) == (
        "strong@1",
        "strong",
        7,
        "me",
        "why",
    )
    assert (row.val_share, row.folds, row.members, row.val) == (0.2, None, 3, 1)
    assert row.origins == (Origin.ORIGINAL, Origin.CORRECTED)
    assert values == sorted(members, key=lambda m: m.case_id)
    assert [(m.case, m.version, m.split, m.fold) for m in shown] == [
        ("KiTS/a", 1, "val", None), ("KiTS/b", 1, "train", None), ("KiTS/c", 1, "train", None),
    ]  # fmt: skip


def test_the_same_again_is_no_new_version_and_something_else_is(
    catalog: Catalog, members: list[MemberValues]
) -> None:
    numbers = []
    for manifest in ("a", "a", "b", "a"):
        with catalog.writing() as session:
            numbers.append(_freeze(session, members, manifest))
    # The last one equals version 1, but not the newest: going back is a step, too.
    assert numbers == [1, 1, 2, 3]
    with catalog.reading() as session:
        assert [row.address for row in queries.datasets(session)] == ["strong@1", "strong@2", "strong@3"]
        assert queries.dataset_version(session, "strong").number == 3


def test_folds_are_kept_per_member(catalog: Catalog, members: list[MemberValues]) -> None:
    folded = [MemberValues(m.case_id, m.version_id, Split.TRAIN, fold) for fold, m in enumerate(members)]
    with catalog.writing() as session:
        _freeze(session, folded, "a", val_share=None, folds=3)
    with catalog.reading() as session:
        row = queries.dataset_version(session, "strong")
        assert (row.folds, row.val_share) == (3, None)
        assert [m.fold for m in queries.member_page(session, row.id, limit=9)] == [1, 2, 0]


def test_patient_and_licence_stay_as_they_were_when_it_was_frozen(
    catalog: Catalog, members: list[MemberValues]
) -> None:
    said = [replace(m, patient=f"P{m.case_id}", licence="CC0-1.0") for m in members[:2]]
    with catalog.writing() as session:
        _freeze(session, [*said, members[2]], "a")
    with catalog.reading() as session:
        version = queries.dataset_version(session, "strong")
        values = member_values(session, version.id)
        lean = frozen_members(session, version.id)
    assert sorted(values, key=lambda m: m.case_id) == sorted([*said, members[2]], key=lambda m: m.case_id)
    assert {m.case_id: (m.patient, m.licence) for m in lean} == {
        m.case_id: (m.patient, m.licence) for m in (*said, members[2])
    }


def test_a_case_says_its_own_licence_else_its_sources_and_what_stands_of_its_classes(
    catalog: Catalog,
) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS", licence="CC BY-NC 4.0")
        case_id = writes.ensure_case(session, source, "b", licence="CC0-1.0")
        writes.add_version(session, case_id, None, version(drawn("spleen"), others=Status.ABSENT))
        prediction = add_model_prediction(session, case_id, liver={})
        pseudo = drawn("liver", Origin.PSEUDO, prediction_id=prediction)
        add_case(session, "a", pseudo, drawn("tumor"))
    with catalog.reading() as session:
        first, second = candidates(session, "")
        assert licences(session, "") == {"CC BY-NC 4.0": 1, "CC0-1.0": 1}
        assert licences(session, "has tumor") == {"CC BY-NC 4.0": 1}
    assert (first.address, first.number, first.patient, first.licence) == (
        "KiTS/a", 1, "KiTS/a", "CC BY-NC 4.0",
    )  # fmt: skip
    assert first.states.text.startswith("liver pseudo, right_kidney missing, ")
    assert first.states.text.endswith("left_kidney missing, tumor original")
    assert (second.address, second.licence) == ("KiTS/b", "CC0-1.0")
    assert second.states.text.startswith(
        "liver absent, right_kidney absent, spleen original, pancreas absent"
    )


def test_purged_members_are_counted_and_marked(catalog: Catalog, members: list[MemberValues]) -> None:
    with catalog.writing() as session:
        _freeze(session, members, "a")
        session.add(
            Tombstone(
                case_id=members[0].case_id, patient_digest="0" * 64, reason="withdrawn", person="Ada",
                files=1, bytes=1,
            )
        )  # fmt: skip
    with catalog.reading() as session:
        row = queries.dataset_version(session, "strong")
        assert (row.members, row.purged) == (3, 1)
        assert [m.case_id for m in member_values(session, row.id)] == sorted(m.case_id for m in members[1:])
        assert [m.case_id for m in frozen_members(session, row.id) if m.purged] == [members[0].case_id]


def test_a_taint_says_what_was_retracted_and_why(catalog: Catalog, members: list[MemberValues]) -> None:
    with catalog.writing() as session:
        for manifest in "ab":
            _freeze(session, members, manifest)
        retraction = Retraction(
            model_id=writes.ensure_model(session, "teacher"), include_accepted=False, reason="swapped sides",
            person="Ada",
        )  # fmt: skip
        session.add(retraction)
        session.flush()
        tainted = queries.dataset_version(session, "strong@1").id
        session.add(Taint(retraction_id=retraction.id, dataset_version_id=tainted))
    with catalog.reading() as session:
        first, second = queries.datasets(session)
    (taint,) = first.taints
    assert (taint.subject, taint.reason, taint.person) == ("model teacher", "swapped sides", "Ada")
    assert second.taints == ()


@pytest.mark.parametrize("name", ["", "a/b", "a@1"])
def test_names_that_could_not_be_addressed_are_refused(catalog: Catalog, name: str) -> None:
    with (
        pytest.raises(UsageError, match="may not be empty or contain '/' or '@'"),
        catalog.writing() as session,
    ):
        writes.freeze_dataset(session, name, "q", [], origins=[], seed=0, manifest_hash="a" * 64, author="me")


def test_an_empty_dataset_is_refused(catalog: Catalog) -> None:
    with (
        pytest.raises(UsageError, match="would be empty: no case answers 'strong'"),
        catalog.writing() as session,
    ):
        _freeze(session, [], "a")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("strnog", "unknown dataset 'strnog': did you mean 'strong'?"),
        ("everything", "unknown dataset 'everything': datasets are: strong"),
        ("strong@2", "dataset 'strong' has version 1, no version '2'"),
        ("strong@x", "dataset 'strong' has version 1, no version 'x'"),
    ],
)
def test_an_unknown_dataset_says_what_there_is(
    catalog: Catalog, members: list[MemberValues], address: str, message: str
) -> None:
    with catalog.writing() as session:
        _freeze(session, members, "a")
    with catalog.reading() as session, pytest.raises(UsageError) as caught:
        queries.dataset_version(session, address)
    assert str(caught.value) == message
