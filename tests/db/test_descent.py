"""What descends from something bad, on a lineage made by hand, down to the last link."""

from types import SimpleNamespace

import pytest
from catalog_makers import add_case, annotations, digest, drawn, version
from sqlalchemy.orm import Session

from curation.errors import UsageError
from curation.labels import resolve_class
from curation.status import Evidence, Origin, Status
from db import queries, writes
from db.catalog import Catalog
from db.descent import descent, said_before, source_masks
from db.models import ModelKind, VersionKind
from db.retractions import model_subject, prediction_subject, revision_subject, run_subject
from db.writes import AnnotationValues, NewEvaluation, VersionRef


def predict(session: Session, case_id: int, model: str, name: str, parts=(), run_id=None) -> int:
    return writes.add_prediction(
        session,
        case_id=case_id,
        model_id=writes.ensure_model(session, model),
        file_hash=digest(f"{model} {case_id}"),
        voxel_hash=digest("v"),
        classes=[writes.PredictionClassValues(class_id=resolve_class(name).id, voxels=9, volume_ml=0.1)],
        parts=parts,
        run_id=run_id,
    )


def complemented(session: Session, parent: VersionRef, *given: AnnotationValues, **more) -> VersionRef:
    new = version(*given, kind=VersionKind.COMPLEMENTED, incoming_hash=None, **more)
    return writes.add_version(session, parent.case_id, parent.id, new)


def pseudo(name: str, prediction_id: int, drawn_in: int | None = None) -> AnnotationValues:
    return drawn(name, Origin.PSEUDO, prediction_id=prediction_id, drawn_version_id=drawn_in)


def frozen(session: Session, name: str, *members: VersionRef, origins=("original", "pseudo")) -> int:
    writes.freeze_dataset(
        session, name, "all", [writes.MemberValues(m.case_id, m.id, "train") for m in members],  # type: ignore[arg-type]
        origins=list(origins), seed=0, manifest_hash=digest(name), author="me",
    )  # fmt: skip
    return queries.dataset_version(session, name).id


def trained(session: Session, name: str, dataset_version_id: int, run_id: int | None = None) -> int:
    return writes.add_model(
        session, name, ModelKind.STUDENT, dataset_version_id=dataset_version_id, run_id=run_id
    )


def started(session: Session, stage: str) -> int:
    return writes.start_run(session, stage, None, {}, "me", "0")


def score(session: Session, model: str, prediction_id: int, reference: VersionRef, name: str) -> None:
    row = NewEvaluation(
        model_id=writes.ensure_model(session, model), case_id=reference.case_id,
        class_id=resolve_class(name).id, protocol="known", implementation="i",
        prediction_id=prediction_id, reference_version_id=reference.id, dsc=0.5, nsd=0.5,
    )  # fmt: skip
    writes.add_evaluations(session, [row])


@pytest.fixture
def lineage(catalog: Catalog) -> SimpleNamespace:
    """teacher → a@2, a@3 → student (on all@1) → b@2 → grandchild (on more@1); honest and strong stand aside.

    a: liver original; teacher draws its spleen in a@2, which a@3 carries on beside a pancreas by honest.
    b: liver original; student draws its spleen in b@2, a majority of teacher and honest its aorta in b@3.
    c: liver original; honest draws its spleen in c@2.
    """
    made = SimpleNamespace()
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        made.revision = writes.ensure_revision(
            session, source, "2019", mapping_name="k", mapping={}, protocol=None
        )
        made.ingest, made.fill, made.training = (
            started(session, stage) for stage in ("ingest", "complement", "student train")
        )
        liver = drawn("liver")
        came_in = {"revision_id": made.revision, "run_id": made.ingest}
        a, b = (add_case(session, name, liver, **came_in) for name in "ab")
        c = add_case(session, "c", liver)
        made.teacher_a = predict(session, a.case_id, "teacher", "spleen")
        teacher_b = predict(session, b.case_id, "teacher", "aorta")
        honest_a, honest_b, honest_c = (
            predict(session, ref.case_id, "honest", "spleen") for ref in (a, b, c)
        )
        spleen = pseudo("spleen", made.teacher_a)
        kept = [drawn("liver", drawn_version_id=ref.id) for ref in (a, b, c)]
        a2 = complemented(session, a, kept[0], spleen, run_id=made.fill)
        carried = pseudo("spleen", made.teacher_a, a2.id)
        a3 = complemented(session, a2, kept[0], carried, pseudo("pancreas", honest_a))
        c2 = complemented(session, c, kept[2], pseudo("spleen", honest_c))
        frozen(session, "strong", a3, c2, origins=["original"])
        trained(session, "aside", queries.dataset_version(session, "strong").id)
        trained(session, "student", frozen(session, "all", a3, c2), made.training)
        student_b = predict(session, b.case_id, "student", "spleen")
        b2 = complemented(session, b, kept[1], pseudo("spleen", student_b))
        trained(session, "grandchild", frozen(session, "more", b2))
        both = predict(session, b.case_id, "majority(honest,teacher)", "aorta", parts=(teacher_b, honest_b))
        again = predict(session, b.case_id, "majority of majorities", "aorta", parts=(both, honest_b))
        b3 = complemented(session, b2, kept[1], pseudo("spleen", student_b, b2.id), pseudo("aorta", again))
        frozen(session, "untouched", c2)
        grandchild_c = predict(session, c.case_id, "grandchild", "spleen")
        score(session, "grandchild", grandchild_c, c2, "liver")
        score(session, "honest", honest_a, a3, "spleen")  # against the teacher's spleen
        score(session, "honest", honest_c, c2, "spleen")  # against its own
    made.a2, made.a3, made.b2, made.b3, made.c2 = a2, a3, b2, b3, c2
    return made


def of(catalog: Catalog, find, *words):
    with catalog.reading() as session:
        return descent(session, find(session, *words))


def seen(versions) -> dict[str, tuple[set[str], bool]]:
    names = {resolve_class(name).id: name for name in ("liver", "spleen", "pancreas", "aorta")}
    return {f"{v.address}@{v.number}": ({names[c] for c in v.classes}, v.newest) for v in versions}


def names(rows) -> list[str]:
    return [row.name for row in rows]


@pytest.mark.usefixtures("lineage")
def test_a_teachers_labels_lead_through_datasets_and_students_to_the_last_model(catalog):
    found = of(catalog, model_subject, "teacher")
    # Two of its own; one combined from one of them, and one combined from that.
    assert found.predictions == {"teacher": 2, "majority(honest,teacher)": 1, "majority of majorities": 1}
    assert seen(found.versions) == {
        "KiTS/a@2": ({"spleen"}, False),
        "KiTS/a@3": ({"spleen"}, True),
        "KiTS/b@3": ({"aorta"}, True),
    }
    # strong@1 has a@3 as a member, but its pseudo classes do not count there; untouched@1 has c@2 alone.
    assert names(found.datasets) == ["all@1", "more@1"]
    assert names(found.models) == ["student", "grandchild"]
    assert found.later_predictions == {"student": 1, "grandchild": 1}
    assert seen(found.later_versions) == {"KiTS/b@2": ({"spleen"}, False), "KiTS/b@3": ({"spleen"}, True)}
    # grandchild's score descends by its model, honest's on a by the reference; honest's on c by nothing.
    assert [(e.model, e.case, e.classes) for e in found.evaluations] == [
        ("grandchild", "KiTS/c", 1),
        ("honest", "KiTS/a", 1),
    ]


@pytest.mark.usefixtures("lineage")
def test_one_prediction_leads_no_further_than_its_own_case(catalog):
    found = of(catalog, prediction_subject, "KiTS/b", "teacher")
    assert found.predictions == {"teacher": 1, "majority(honest,teacher)": 1, "majority of majorities": 1}
    assert seen(found.versions) == {"KiTS/b@3": ({"aorta"}, True)}
    assert (found.datasets, found.models, found.evaluations) == ((), (), ())


@pytest.mark.usefixtures("lineage")
def test_a_revision_leads_to_the_classes_that_were_drawn_with_it(catalog):
    found = of(catalog, revision_subject, "KiTS", "2019")
    assert found.predictions == {}
    # The liver of a and b in every version that carries it on, not that of c, nor what models drew.
    assert seen(found.versions) == {
        "KiTS/a@1": ({"liver"}, False), "KiTS/a@2": ({"liver"}, False), "KiTS/a@3": ({"liver"}, True),
        "KiTS/b@1": ({"liver"}, False), "KiTS/b@2": ({"liver"}, False), "KiTS/b@3": ({"liver"}, True),
    }  # fmt: skip
    assert names(found.datasets) == ["all@1", "more@1", "strong@1"]
    assert names(found.models) == ["aside", "student", "grandchild"]


def test_an_ingest_run_leads_where_its_versions_lead(catalog, lineage):
    by_run = of(catalog, run_subject, lineage.ingest)
    assert by_run == of(catalog, revision_subject, "KiTS", "2019")


def test_a_complement_run_leads_to_the_classes_drawn_in_its_versions(catalog, lineage):
    found = of(catalog, run_subject, lineage.fill)
    assert seen(found.versions) == {"KiTS/a@2": ({"spleen"}, False), "KiTS/a@3": ({"spleen"}, True)}
    assert names(found.models) == ["student", "grandchild"]


def test_a_training_run_leads_to_its_model_and_what_follows_from_it(catalog, lineage):
    found = of(catalog, run_subject, lineage.training)
    assert (found.versions, names(found.datasets)) == ((), ["more@1"])
    assert names(found.models) == ["student", "grandchild"]
    assert seen(found.later_versions) == {"KiTS/b@2": ({"spleen"}, False), "KiTS/b@3": ({"spleen"}, True)}


def test_unresolved_voxels_belong_to_the_newest_mask_that_the_source_gave(catalog):
    with catalog.writing() as session:
        source = writes.ensure_source(session, "KiTS")
        old, new = (
            writes.ensure_revision(session, source, name, mapping_name="k", mapping={}, protocol=None)
            for name in ("2019", "2023")
        )
        one = add_case(session, "a", reserved={200: 5}, revision_id=old, file_hash=digest("a1"))
        two = writes.add_version(
            session, one.case_id, one.id, version(reserved={200: 4}, revision_id=new, file_hash=digest("a2"))
        )
    with catalog.reading() as session:
        assert source_masks(session, revision_subject(session, "KiTS", "2019")) == {}
        found = source_masks(session, revision_subject(session, "KiTS", "2023"))
    assert found == {two.id: digest("a2")}


def test_what_a_person_had_said_before_a_class_was_drawn_is_known(catalog):
    gone = AnnotationValues(
        class_id=resolve_class("spleen").id, status=Status.ABSENT, evidence=Evidence.REVIEWER
    )
    with catalog.writing() as session:
        one = add_case(session, "a", gone)
        two = writes.add_version(session, one.case_id, one.id, version(*annotations(drawn("spleen"))))
        three = complemented(session, two, drawn("spleen", drawn_version_id=two.id))
    with catalog.reading() as session:
        assert said_before(session, [three.id]) == {
            three.id: {gone.class_id: (Status.ABSENT, Evidence.REVIEWER)}
        }


@pytest.mark.usefixtures("lineage")
def test_what_is_not_known_cannot_be_retracted_and_the_known_are_listed(catalog):
    for find, words, complaint in (
        (model_subject, ("x",), "unknown model 'x'; known models: teacher, honest"),
        (run_subject, (99,), "there is no run 99"),
        (prediction_subject, ("KiTS/c", "teacher"), "model 'teacher' has no prediction for KiTS/c"),
        (revision_subject, ("KiTS", "1999"), "KiTS has no revision '1999'; it has 2019"),
        (revision_subject, ("BTCV", "1"), "sources are: KiTS"),
    ):
        with pytest.raises(UsageError, match=complaint):
            of(catalog, find, *words)
