"""Sources, cases and versions: what is made, what is kept, and who comes second is told."""

import numpy as np
import pytest
from catalog_makers import add_case, add_model_prediction, annotations, digest, drawn, version
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from curation.errors import UsageError
from curation.labels import CLASS_NAMES
from curation.status import Evidence, Finding, Origin, Severity, Status
from curation.volumes import Geometry
from db import queries, writes
from db.catalog import Catalog
from db.ingest_state import known_cases
from db.models import (
    Annotation,
    Base,
    Case,
    Conflict,
    FindingRow,
    MaskVersion,
    ReservedVoxels,
    Role,
    Source,
    VersionKind,
)
from db.writes import AnnotationValues, ConflictValues, StaleParentError


def test_a_case_gets_versions_numbered_from_one_each_with_its_parent(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "case_00000", drawn("liver"))
        second = writes.add_version(
            session, first.case_id, first.id, version(drawn("liver"), drawn("spleen"))
        )
    with catalog.writing() as session:
        third = writes.add_version(
            session, first.case_id, second.id, version(kind=VersionKind.RETRACTED, message="wrong patient")
        )
    with catalog.reading() as session:
        rows = queries.history(session, first.case_id)
        newest = queries.resolve(session, "KiTS/case_00000")
    assert [(r.number, r.parent, r.labels) for r in rows] == [(1, None, 1), (2, 1, 2), (3, 2, 0)]
    assert (rows[2].kind, rows[2].author, rows[2].message) == ("retracted", "curator", "wrong patient")
    assert newest.version_id == third.id


def test_who_comes_second_is_told_and_nothing_of_it_is_kept(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "case_00000")
        writes.add_version(session, first.case_id, first.id, version(drawn("liver")))
    with (
        pytest.raises(
            StaleParentError, match="KiTS/case_00000: made from version 1, but by now the newest is version 2"
        ),
        catalog.writing() as session,
    ):
        writes.add_version(session, first.case_id, first.id, version(drawn("spleen")))
    with catalog.reading() as session:
        assert len(queries.history(session, first.case_id)) == 2


def test_a_first_version_of_a_case_that_has_one_is_refused(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "case_00000")
    with (
        pytest.raises(StaleParentError, match="made from no version, but by now the newest is version 1"),
        catalog.writing() as session,
    ):
        writes.add_version(session, first.case_id, None, version())


def test_a_version_of_another_case_is_no_parent(catalog: Catalog) -> None:
    with catalog.writing() as session:
        add_case(session, "case_00000")
        other = add_case(session, "case_00001")
        empty = writes.ensure_case(session, writes.ensure_source(session, "KiTS"), "case_00002")
    with (
        pytest.raises(
            StaleParentError, match="case_00002: made from version 1, but by now the newest is none"
        ),
        catalog.writing() as session,
    ):
        writes.add_version(session, empty, other.id, version())


def test_a_version_needs_one_annotation_of_each_class(catalog: Catalog) -> None:
    with (
        pytest.raises(ValueError, match="one annotation per class"),
        catalog.writing() as session,
    ):
        add_case(session, "case_00000", annotations=annotations()[:13])


def test_a_batch_that_fails_leaves_nothing(catalog: Catalog) -> None:
    def write_two() -> None:
        with catalog.writing() as session:
            add_case(session, "case_00000", drawn("liver"))
            add_case(session, "case_00001", drawn("liver", voxels=0))

    with pytest.raises(IntegrityError):
        write_two()
    with catalog.reading() as session:
        assert queries.sources(session) == []
        assert queries.count(session) == 0


def test_everything_given_with_a_version_is_read_back(catalog: Catalog) -> None:
    finding = Finding("organ_in_pieces", Severity.WARNING, 1, 3.0, 1.0, "liver lies in 3 pieces")
    with catalog.writing() as session:
        case_id = writes.ensure_case(session, writes.ensure_source(session, "KiTS"), "case_00000")
        prediction = add_model_prediction(session, case_id, "teacher", spleen={"confidence": 0.75})
        ref = writes.add_version(
            session,
            case_id,
            None,
            version(
                drawn(
                    "liver", components=3, largest_share=0.9, touches_border=True, mean_hu=55.5, std_hu=12.0
                ),
                drawn("spleen", Origin.PSEUDO, prediction_id=prediction),
                drawn("pancreas", Origin.CORRECTED),
                AnnotationValues(class_id=9, status=Status.ABSENT, evidence=Evidence.REVIEWER),
                reserved={200: 50, 255: 2},
                conflicts=[ConflictValues(14, 2, 7, 0.042)],
                findings=[finding],
            ),
        )
    with catalog.reading() as session:
        detail = queries.version_detail(session, ref.id)
    liver, spleen, pancreas, gallbladder = (detail.annotations[i] for i in (0, 2, 3, 8))
    assert [a.class_name for a in detail.annotations] == list(CLASS_NAMES)
    assert (liver.voxels, liver.volume_ml, liver.components, liver.largest_share) == (100, 0.6, 3, 0.9)
    assert (liver.touches_border, liver.mean_hu, liver.std_hu) == (True, 55.5, 12.0)
    assert (liver.bbox, liver.centroid) == ([0, 0, 0, 4, 5, 5], [1.5, 4.0, 6.0])
    assert (spleen.origin, spleen.model, spleen.confidence) == (Origin.PSEUDO, "teacher", 0.75)
    assert (pancreas.origin, pancreas.author) == (Origin.CORRECTED, "reader")
    assert (gallbladder.status, gallbladder.evidence) == (Status.ABSENT, Evidence.REVIEWER)
    # 50 and 2 voxels of 1 x 2 x 3 mm = 0.006 ml
    assert [(r.value, r.voxels, r.volume_ml) for r in detail.reserved] == [
        (200, 50, pytest.approx(0.3)),
        (255, 2, pytest.approx(0.012)),
    ]
    assert [(c.kept, c.offered, c.voxels, c.ml) for c in detail.conflicts] == [(14, 2, 7, 0.042)]
    (found,) = detail.findings
    assert (found.check, found.severity, found.class_name, found.state) == (
        "organ_in_pieces", Severity.WARNING, "liver", "open",
    )  # fmt: skip


def test_shape_and_spacing_are_those_of_the_patients_axes(catalog: Catalog) -> None:
    # A file that stores slices first (KiTS): 60 slices of 5 mm from top to bottom, then rows, then columns.
    affine = np.array([[0, 0, -0.8, 0], [0, -0.7, 0, 0], [-5.0, 0, 0, 0], [0, 0, 0, 1.0]])
    with catalog.writing() as session:
        ref = add_case(session, "case_00000", geometry=Geometry((60, 500, 400), affine))
    with catalog.reading() as session:
        detail = queries.version_detail(session, ref.id)
    assert detail.shape == (400, 500, 60)
    assert detail.spacing_mm == pytest.approx((0.8, 0.7, 5.0))
    assert detail.orientation == "IPL"
    assert detail.affine == affine.ravel().tolist()


def test_what_is_given_again_of_a_case_replaces_what_was_known_and_the_rest_stays(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS", licence="CC BY-NC-SA 4.0")
        case = writes.ensure_case(
            session, source, "a", role=Role.TEST, extra={"age": "61"}, looked_for=[13, 2]
        )
        writes.add_version(session, case, None, version())
        assert writes.ensure_source(session, "KiTS", citation="Heller et al.") == source
        assert writes.ensure_case(session, source, "a", licence="CC0", image_path="a.nii.gz") == case
    with catalog.reading() as session:
        page = queries.case_page(session, "KiTS/a")
        (row,) = queries.sources(session)
    assert (page.role, page.patient, page.licence) == (Role.TEST, "KiTS/a", "CC0")
    assert (page.extra, page.looked_for, page.image.path) == ({"age": "61"}, [2, 13], "a.nii.gz")
    assert (row.licence, row.citation, row.cases) == ("CC BY-NC-SA 4.0", "Heller et al.", 1)


def test_an_image_root_changes_only_when_the_source_is_moved(catalog: Catalog) -> None:
    with catalog.writing() as session:
        writes.ensure_source(session, "KiTS", image_root="/data/kits")
        writes.ensure_source(session, "KiTS", image_root="/elsewhere")
    with catalog.reading() as session:
        assert queries.sources(session)[0].image_root == "/data/kits"
    with catalog.writing() as session:
        writes.move_source(session, "KiTS", "/new/kits")
    with catalog.reading() as session:
        assert queries.sources(session)[0].image_root == "/new/kits"
    with (
        pytest.raises(UsageError, match="unknown source 'kits'; sources are: KiTS"),
        catalog.writing() as session,
    ):
        writes.move_source(session, "kits", "/x")


@pytest.mark.parametrize("name", ["", "a/b", "a@2"])
def test_names_that_could_not_be_addressed_are_refused(catalog: Catalog, name: str) -> None:
    with (
        pytest.raises(UsageError, match="may not be empty or contain '/' or '@'"),
        catalog.writing() as session,
    ):
        writes.ensure_source(session, name)
    with (
        pytest.raises(UsageError, match="may not be empty or contain '/' or '@'"),
        catalog.writing() as session,
    ):
        writes.ensure_case(session, writes.ensure_source(session, "KiTS"), name)


def test_a_revision_keeps_its_mapping_and_protocol(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        revision = writes.ensure_revision(
            session, source, "2019", mapping_name="kits19", mapping={"1": 200, "2": 14}, protocol=[14, 2]
        )
        again = writes.ensure_revision(
            session, source, "2019", mapping_name="kits19", mapping={"1": 200, "2": 14}, protocol=[2, 14]
        )
    assert revision == again
    for change, word in (({"mapping": {"1": 2}}, "mapping"), ({"protocol": None}, "protocol")):
        given = {"mapping": {"1": 200, "2": 14}, "protocol": [2, 14]} | change
        with (
            pytest.raises(UsageError, match=f"is known with another {word}.*--revision"),
            catalog.writing() as session,
        ):
            writes.ensure_revision(session, source, "2019", mapping_name="kits19", **given)  # type: ignore[arg-type]


def test_an_ingest_sees_the_file_that_a_complemented_case_came_from(catalog: Catalog) -> None:
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        revision = writes.ensure_revision(
            session, source, "2019", mapping_name="kits19", mapping={"1": 200}, protocol=None
        )
        first = add_case(session, "a", incoming_hash=digest("came in"), revision_id=revision)
        second = writes.add_version(
            session, first.case_id, first.id,
            version(drawn("liver"), kind=VersionKind.COMPLEMENTED, incoming_hash=None, voxel_hash=digest("more")),
        )  # fmt: skip
        writes.ensure_case(session, source, "b")
    with catalog.reading() as session:
        known = known_cases(session, source)
    assert known["a"].newest_version_id == second.id
    assert (known["a"].number, known["a"].incoming_hash) == (2, digest("came in"))
    assert (known["a"].revision, known["a"].mapping) == ("2019", {"1": 200})
    assert known["a"].seen == {revision: digest("came in")}
    assert (known["b"].newest_version_id, known["b"].number, known["b"].incoming_hash) == (None, 0, None)


def test_many_new_cases_at_once_leave_the_same_rows_as_one_by_one(catalog: Catalog) -> None:
    liver = version(
        drawn("liver"),
        reserved={200: 5},
        conflicts=[ConflictValues(kept=1, offered=3, voxels=4, ml=0.024)],
        findings=[Finding("border", Severity.WARNING, 1, 1.0, 0.5, "cut")],
    )
    firsts = {"a": liver, "b": version(drawn("spleen")), "c": None}
    with catalog.writing() as session:
        one, many = (writes.ensure_source(session, name) for name in ("one", "many"))
        for name, first in firsts.items():
            case_id = writes.ensure_case(session, one, name, licence="CC0-1.0", looked_for=[3, 1])
            if first is not None:
                writes.add_version(session, case_id, None, first)
        new = [
            writes.NewCase(name=name, first=first, licence="CC0-1.0", looked_for=[3, 1])
            for name, first in firsts.items()
        ]
        assert writes.add_cases(session, many, new) == set()
        # What is there is told, and nothing is written for it.
        again = writes.NewCase(name="a", first=liver, licence="other")
        assert writes.add_cases(session, many, [again, writes.NewCase(name="d")]) == {"a"}
    assert _rows_of(catalog, "many") == {**_rows_of(catalog, "one"), "d": _rows_of(catalog, "many")["d"]}


def _rows_of(catalog: Catalog, source: str) -> dict[str, list[dict[str, object]]]:
    """Every row of every case of a source, without ids, moments and the source's name."""
    found: dict[str, list[dict[str, object]]] = {}
    with catalog.reading() as session:
        for case in session.scalars(select(Case).join(Source).where(Source.name == source)):
            rows = found.setdefault(case.name, [_plain(case)])
            for made in session.scalars(select(MaskVersion).where(MaskVersion.case_id == case.id)):
                assert case.newest_version_id == made.id
                rows.append(_plain(made))
                for table in (Annotation, ReservedVoxels, Conflict, FindingRow):
                    rows += [
                        _plain(row) for row in session.scalars(select(table).filter_by(version_id=made.id))
                    ]
    return found


def _plain(row: Base) -> dict[str, object]:
    ids = {"id", "source_id", "case_id", "version_id", "newest_version_id", "drawn_version_id"}
    hidden = ids | {"created_at", "patient"}
    return {
        column.key: getattr(row, column.key) for column in row.__table__.columns if column.key not in hidden
    }
