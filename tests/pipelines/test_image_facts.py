"""An image is read once, again when its file changes, and tells the mean HU of what is drawn on it."""

import os

import numpy as np
import pytest
from reviewed_case import detail
from sqlalchemy import func, select
from volume_files import SHAPE, boxes, write_volume

from curation.later_checks import TUMOR_OUTSIDE_BODY
from curation.mappings import load_builtin
from db import queries
from db.models import Annotation, Case, FindingState, Image
from db.queries.versions import StoredFinding
from pipelines.correct import correct
from pipelines.ingest import IngestRequest, ingest
from pipelines.purge import purge
from pipelines.revert import revert
from pipelines.review import dismiss
from pipelines.runs import Workbench


def take_in(bench: Workbench, folder, images: bool = True):
    request = IngestRequest(
        "S", load_builtin("flare23"), labels=folder / "labels", images=folder / "images" if images else None
    )
    return ingest(bench, request)


def one_case(folder, values: dict[int, int], image: np.ndarray):
    write_volume(folder / "labels" / "A.nii.gz", boxes(values))
    return write_volume(folder / "images" / "A_0000.nii.gz", image)


def hu(bench: Workbench) -> dict[int, tuple[float, float]]:
    """Class to mean and deviation in the newest version of the only case."""
    query = (
        select(Annotation.class_id, Annotation.mean_hu, Annotation.std_hu)
        .join(Case, Case.newest_version_id == Annotation.version_id)
        .where(Annotation.mean_hu.is_not(None))
    )
    with bench.catalog.reading() as session:
        return {class_id: (mean, std) for class_id, mean, std in session.execute(query)}


def seen(bench: Workbench) -> Image:
    with bench.catalog.reading() as session:
        return session.scalars(select(Image)).one()


def ct() -> np.ndarray:
    return np.random.default_rng(1).integers(-1000, 1000, SHAPE).astype(np.int16)


def test_ingest_reads_the_image_and_measures_what_is_drawn_on_it(bench, tmp_path):
    image, mask = ct(), boxes({1: 9, 3: 4})
    one_case(tmp_path, {1: 9, 3: 4}, image)
    assert take_in(bench, tmp_path).noted == []
    row = seen(bench)
    assert (row.low, row.high, row.is_hu, row.note) == (image.min(), image.max(), True, "")
    assert (row.shape_x, row.spacing_z, row.orientation) == (12, 2.5, "RAS")
    for class_id, (mean, std) in hu(bench).items():
        assert mean == pytest.approx(image[mask == class_id].mean())
        assert std == pytest.approx(image[mask == class_id].std())
    assert sorted(hu(bench)) == [1, 3]


def test_an_image_that_comes_later_or_changes_is_read_and_an_unchanged_one_is_not(bench, tmp_path):
    path = one_case(tmp_path, {1: 9}, ct())
    take_in(bench, tmp_path, images=False)
    assert hu(bench) == {}
    take_in(bench, tmp_path)
    before, first = hu(bench), seen(bench)
    take_in(bench, tmp_path)
    assert seen(bench).created_at == first.created_at
    write_volume(path, ct() + 10)
    os.utime(path, ns=(0, 0))
    take_in(bench, tmp_path)
    assert hu(bench)[1][0] == pytest.approx(before[1][0] + 10)
    assert seen(bench).voxel_hash != first.voxel_hash


def test_a_class_that_a_revision_redrew_is_measured_again_and_the_others_keep_their_values(bench, tmp_path):
    image = ct()
    one_case(tmp_path, {1: 9, 3: 4}, image)
    take_in(bench, tmp_path)
    before = hu(bench)
    one_case(tmp_path, {1: 9, 3: 6}, image)
    take_in(bench, tmp_path)
    after, mask = hu(bench), boxes({1: 9, 3: 6})
    assert after[1] == before[1]
    assert after[3][0] == pytest.approx(image[mask == 3].mean())


def test_grey_levels_are_no_hu_and_have_no_mean_and_a_broken_image_is_noted(bench, tmp_path):
    path = one_case(tmp_path, {1: 9}, (ct() % 256).astype(np.int16))
    take_in(bench, tmp_path)
    assert hu(bench) == {}
    assert "grey levels of a window" in seen(bench).note
    path.write_bytes(path.read_bytes()[:-40])
    (note,) = take_in(bench, tmp_path).noted
    assert "A_0000.nii.gz: " in note
    assert "no facts of this image are known" in note


def test_a_purge_takes_the_image_facts_along(bench, tmp_path):
    one_case(tmp_path, {1: 9}, ct())
    take_in(bench, tmp_path)
    purge(bench, "S/A", "asked for it")
    with bench.catalog.reading() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 0


def outside_body(bench: Workbench) -> list[StoredFinding]:
    """What the newest version of S/A says of tumors outside the body."""
    return [f for f in detail(bench).findings if f.check == TUMOR_OUTSIDE_BODY]


def test_a_tumor_outside_the_body_is_found_dismissed_for_good_and_gone_once_it_is_corrected(bench, tmp_path):
    # A trunk of 24 × 16 voxels of 2 × 2 × 2.5 mm; of the tumor 2 × 3 × 4 voxels (0.24 ml) lie in the air.
    ct = np.full((40, 30, 6), -1000, np.int16)
    ct[8:32, 7:23] = 40
    astray = np.zeros(ct.shape, np.uint8)
    astray[12:20, 10:20, 1:5] = 1
    astray[14:16, 12:14, 2:4] = 14
    inside = astray.copy()
    astray[0:2, 0:3, 1:5] = 14
    write_volume(tmp_path / "labels" / "A.nii.gz", astray)
    path = write_volume(tmp_path / "images" / "A_0000.nii.gz", ct)
    take_in(bench, tmp_path, images=False)
    assert outside_body(bench) == []
    take_in(bench, tmp_path)
    (found,) = outside_body(bench)
    assert (found.value, found.state) == (pytest.approx(0.24), FindingState.OPEN)
    with bench.catalog.reading() as session:
        query = f'finding = "{TUMOR_OUTSIDE_BODY}"'
        assert [ref.case_id for ref in queries.case_refs(session, query)] == [1]

    dismiss(bench, "S/A", "it grows there", check=TUMOR_OUTSIDE_BODY)
    os.utime(path, ns=(0, 0))
    take_in(bench, tmp_path)
    (again,) = outside_body(bench)
    assert (again.id, again.state) == (found.id, FindingState.DISMISSED)

    correct(bench, "S/A", write_volume(tmp_path / "mine.nii.gz", inside), "astray")
    assert outside_body(bench) == []
    revert(bench, "S/A@1", "it was right")
    assert [(f.value, f.state) for f in outside_body(bench)] == [(found.value, FindingState.DISMISSED)]

    # The same tumor on an image in other units: nobody can say.
    write_volume(tmp_path / "images" / "A_0000.nii.gz", ct + np.int16(1024))
    correct(bench, "S/A", write_volume(tmp_path / "mine.nii.gz", astray[:, ::-1].copy()), "other side")
    assert outside_body(bench) == []
