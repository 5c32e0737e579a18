"""The measures of the newest versions follow every write by the database's own triggers, on both databases."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from catalog_makers import GRID, add_case, add_model_prediction, digest, drawn, version
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from curation.images import ImageLook, Intensity
from curation.status import Origin
from db import queries, writes
from db.catalog import Catalog
from db.engine import for_writing, open_engine
from db.models import Case, NewestMeasure, Role
from db.schema import migrate
from db.soundness import contradictions
from db.writes.images import SeenFile, record_image
from db.writes.purging import empty_cases

LIVER, SPLEEN = 1, 3


def _kept(catalog: Catalog, *columns: str) -> list[tuple[Any, ...]]:
    """Class and the columns asked for, in order of class and case."""
    asked = [NewestMeasure.class_id, *(getattr(NewestMeasure, column) for column in columns)]
    with catalog.reading() as session:
        assert contradictions(session) == []
        rows = session.execute(select(*asked).order_by(NewestMeasure.class_id, NewestMeasure.case_id))
        return [tuple(row) for row in rows]


def test_measures_follow_versions_roles_and_images(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver", volume_ml=0.6, voxels=100), drawn("spleen"))
        add_case(session, "b")  # nothing is drawn
    assert _kept(catalog, "case_id", "voxels", "volume_ml", "mean_hu") == [
        (LIVER, first.case_id, 100, 0.6, None), (SPLEEN, first.case_id, 100, 0.6, None),
    ]  # fmt: skip
    with catalog.writing() as session:
        larger = drawn("liver", volume_ml=0.9, voxels=150, components=2, touches_border=True)
        second = writes.add_version(session, first.case_id, first.id, version(larger))
        source = writes.ensure_source(session, "KiTS")
        writes.ensure_case(session, source, "a", role=Role.TEST, image_path="a.nii.gz")
    measured = ("voxels", "volume_ml", "components", "touches_border", "role")
    assert _kept(catalog, *measured) == [(LIVER, 150, 0.9, 2, True, Role.TEST)]
    with catalog.writing() as session:
        look = ImageLook(
            geometry=GRID, voxel_hash=digest("v"), histogram_hash=digest("h"), low=-1000.0, high=500.0, note="",
            intensities={LIVER: Intensity(mean=61.5, std=9.0)}, findings=(),
        )  # fmt: skip
        record_image(session, first.case_id, second.id, SeenFile(1, 1), look)
    assert _kept(catalog, "mean_hu") == [(LIVER, 61.5)]


def test_agreement_by_hand_is_the_newest_predictions(catalog: Catalog) -> None:
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"), drawn("spleen"))
        said = {"confidence": 0.5, "agreement": 0.75}
        old = add_model_prediction(session, first.case_id, liver=said, spleen=said)
        pseudo = drawn("spleen", Origin.PSEUDO, prediction_id=old)
        writes.add_version(session, first.case_id, first.id, version(drawn("liver"), pseudo))
    # What a person drew has no confidence.
    assert _kept(catalog, "confidence", "agreement") == [(LIVER, None, 0.75), (SPLEEN, 0.5, 0.75)]
    with catalog.writing() as session:
        add_model_prediction(session, first.case_id, liver={"confidence": 0.9, "agreement": 1.0})
    assert _kept(catalog, "confidence", "agreement") == [(LIVER, None, 1.0), (SPLEEN, 0.5, 0.75)]
    with catalog.writing() as session:
        add_model_prediction(session, first.case_id, spleen=said)  # and nothing of the liver
    assert _kept(catalog, "confidence", "agreement") == [(LIVER, None, None), (SPLEEN, 0.5, 0.75)]


def test_nothing_is_left_of_a_purged_case_and_of_an_undone_write(catalog: Catalog) -> None:
    with catalog.writing() as session:
        gone = add_case(session, "a", drawn("liver"))
        stays = add_case(session, "b", drawn("liver"))
        empty_cases(session, [gone.case_id], ["KiTS/a"], run_id=0)
    with Session(for_writing(catalog.engine)) as session:
        add_case(session, "c", drawn("liver"))
        session.rollback()
    with catalog.reading() as session:
        assert session.scalars(select(NewestMeasure.case_id)).all() == [stays.case_id]


def test_a_prediction_and_a_version_at_once_miss_nothing_of_each_other(catalog: Catalog) -> None:
    with catalog.writing() as session:
        parent = add_case(session, "a", drawn("liver"))
        writes.ensure_model(session, "teacher")

    def predict(_: int) -> None:
        for i in range(10):
            with catalog.writing() as session:
                add_model_prediction(session, parent.case_id, liver={"agreement": i / 10})

    def correct(_: int) -> None:
        newest = parent.id
        for _ in range(10):
            with catalog.writing() as session:
                newest = writes.add_version(session, parent.case_id, newest, version(drawn("liver"))).id

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda work: work(0), (predict, correct)))
    assert _kept(catalog, "agreement") == [(LIVER, 0.9)]


def test_the_migration_measures_what_was_there_and_goes_back(empty_url: str) -> None:
    migrate(empty_url)
    catalog = Catalog.open(empty_url)
    with catalog.writing() as session:
        first = add_case(session, "a", drawn("liver"), drawn("spleen"))
        prediction = add_model_prediction(session, first.case_id, spleen={"confidence": 0.25})
        pseudo = drawn("spleen", Origin.PSEUDO, prediction_id=prediction)
        writes.add_version(session, first.case_id, first.id, version(pseudo))
    catalog.close()
    migrate(empty_url, "0004")
    engine = open_engine(empty_url)
    with Session(for_writing(engine)) as session, session.begin():
        session.execute(update(Case).values(role=Role.TEST))  # while nothing keeps the measures
    engine.dispose()
    migrate(empty_url)
    catalog = Catalog.open(empty_url)
    assert _kept(catalog, "confidence", "volume_ml", "role") == [(SPLEEN, 0.25, 0.6, Role.TEST)]
    with catalog.reading() as session:
        assert queries.count(session, "confidence(spleen) < 0.5 and role = test") == 1
    catalog.close()
