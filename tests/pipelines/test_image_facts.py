"""An image is read once, again when its file changes, and tells the mean HU of what is drawn on it."""

import os

import numpy as np
import pytest
from sqlalchemy import func, select
from volume_files import SHAPE, boxes, write_volume

from curation.mappings import load_builtin
from db.models import Annotation, Case, Image
from pipelines.ingest import IngestRequest, ingest
from pipelines.purge import purge
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
