"""The routes beside the pages: which volumes they give, and to whom they refuse them."""

import os
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.workspace import open_workspace
from curation.geometry import Geometry
from dashboards import niivue, routes, signing
from dashboards.volume_files import halved, image_name
from db import queries
from db.models import Source
from db.queries.volumes import case_image, holds_mask
from pipelines.blame import trace
from pipelines.purge import purge


@pytest.fixture
def client():
    return TestClient(Starlette(routes=routes.ROUTES))


@pytest.fixture
def case(built, monkeypatch):
    """PHANTOM_0001 at its newest version, and its image."""
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(built.root))
    return looked_up(built.root, "PHANTOM_0001")


def looked_up(root, address):
    with open_workspace(root) as ws, ws.catalog.reading() as session:
        found = queries.case_page(session, address)
        return found, case_image(session, found.case_id)


def nifti(answer, tmp_path):
    assert answer.status_code == 200, answer.text
    file = tmp_path / f"{len([*tmp_path.iterdir()])}.nii"
    file.write_bytes(answer.content)
    return nib.load(file)


def stored(root, file_hash):
    with open_workspace(root) as ws:
        return nib.load(ws.store.path(file_hash))


def test_a_mask_is_given_as_it_is_stored(client, built, case, tmp_path):
    page, _ = case
    file_hash = page.detail.row.file_hash
    given = nifti(client.get(routes.mask_address(page.case_id, file_hash, half=False)), tmp_path)
    kept = stored(built.root, file_hash)
    assert np.array_equal(np.asarray(given.dataobj), np.asarray(kept.dataobj))
    assert np.array_equal(given.affine, kept.affine)


def test_a_masks_preview_is_every_second_voxel_where_it_lies(client, built, case, tmp_path):
    page, _ = case
    file_hash = page.detail.row.file_hash
    given = nifti(client.get(routes.mask_address(page.case_id, file_hash, half=True)), tmp_path)
    kept = stored(built.root, file_hash)
    assert np.array_equal(np.asarray(given.dataobj), np.asarray(kept.dataobj)[::2, ::2, ::2])
    # Voxel (3, 2, 1) of the preview is voxel (6, 4, 2) of the mask.
    assert given.affine @ [3, 2, 1, 1] == pytest.approx(kept.affine @ [6, 4, 2, 1], abs=1e-3)


def test_an_image_is_given_whole_on_the_grid_of_its_mask(client, built, case, tmp_path):
    page, image = case
    address = routes.image_address(page.case_id, image_name(image), page.detail.row.file_hash, None)
    given = nifti(client.get(address), tmp_path)
    file = nib.load(image.path)
    assert np.array_equal(np.asarray(given.dataobj), np.asarray(file.dataobj))
    assert np.array_equal(given.affine, stored(built.root, page.detail.row.file_hash).affine)


def test_an_images_preview_is_a_windows_gray_levels(client, case, tmp_path):
    page, image = case
    name, grid = image_name(image), page.detail.row.file_hash
    given = nifti(client.get(routes.image_address(page.case_id, name, grid, "Abdomen")), tmp_path)
    hu = np.asarray(nib.load(image.path).dataobj)[::2, ::2, ::2].astype(float)
    # W 400 L 40: -160 to 240 HU in 255 steps of 400 / 255 HU; the header makes HU of them again, to half a step.
    assert given.get_data_dtype() == np.uint8
    assert np.asarray(given.dataobj) == pytest.approx(np.clip(hu, -160, 240), abs=400 / 255 / 2 + 1e-3)


def test_the_origin_volume_numbers_the_hands(client, built, case, tmp_path):
    page, _ = case
    address = f"{page.address}@{page.detail.row.number}"
    given = nifti(
        client.get(routes.origin_address(page.case_id, address, page.detail.row.file_hash, half=False)),
        tmp_path,
    )
    with open_workspace(built.root) as ws:
        hands = trace(ws.bench(jobs=1), address).hands
    counted = {h.value: h.voxels for h in hands}
    values, voxels = np.unique(np.asarray(given.dataobj), return_counts=True)
    assert dict(zip(values.tolist(), voxels.tolist(), strict=True)).items() >= counted.items()
    assert len(counted) == 2  # the publisher in version 1, the teacher in version 2
    half = nifti(
        client.get(routes.origin_address(page.case_id, address, page.detail.row.file_hash, half=True)),
        tmp_path,
    )
    assert np.array_equal(np.asarray(half.dataobj), np.asarray(given.dataobj)[::2, ::2, ::2])


def test_a_browser_may_keep_a_volume_but_no_cache_that_others_share(client, case):
    page, _ = case
    answer = client.get(routes.mask_address(page.case_id, page.detail.row.file_hash, half=False))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["content-length"]) < len(answer.content)  # it travelled packed


def test_what_is_not_signed_is_refused_whatever_it_names(client, case):
    page, _ = case
    address = routes.mask_address(page.case_id, page.detail.row.file_hash, half=False)
    for tried in (
        address.partition("?")[0],
        address.replace("&half=0", "&half=1"),
        f"/volumes/mask/{'0' * 64}?{address.partition('?')[2]}",
        "/volumes/mask/catalog.db",
        "/volumes/nothing/of-the-kind",
    ):
        answer = client.get(tried)
        assert answer.status_code == 403, tried
        assert answer.headers["cache-control"] == "no-store"
        assert "open the case's page again" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/volumes/mask/../../maskledger.toml",
        "/volumes/mask/..%2F..%2Fmaskledger.toml",
        "/volumes/mask/%2Fetc%2Fpasswd",
        "/volumes/",
        "/volumes/mask/a/b",
        "/viewer/x",
        "/viewer/niivue-..%2F..%2Fpackage.json",
    ],
)
def test_no_other_path_is_a_route(client, path):
    assert client.get(path).status_code == 404


def test_an_address_that_ran_out_says_what_to_do(client, case):
    page, _ = case
    about = {"case": str(page.case_id), "half": "0"}
    address = signing.signed(f"/volumes/mask/{page.detail.row.file_hash}", about, time.time() - 1300)
    answer = client.get(address)
    assert answer.status_code == 403
    assert "load the case's page again" in answer.text


def test_only_a_cases_own_masks_are_given(client, built, case):
    page, _ = case
    other, _ = looked_up(built.root, "PHANTOM_0002")
    for file_hash in (other.detail.row.file_hash, "0" * 64):
        answer = client.get(routes.mask_address(page.case_id, file_hash, half=False))
        assert answer.status_code == 404
        assert "no longer holds this mask" in answer.text


def test_a_predictions_mask_is_the_cases_too(built, case):
    page, _ = case
    with open_workspace(built.root) as ws, ws.catalog.reading() as session:
        assert holds_mask(session, page.case_id, page.predictions[0].file_hash)
        assert not holds_mask(session, page.case_id + 1, page.predictions[0].file_hash)


def test_a_purged_cases_addresses_give_nothing(client, built, tmp_path, monkeypatch):
    root = tmp_path / "purged"
    shutil.copytree(built.root, root)
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(root))
    page, image = looked_up(root, "PHANTOM_0002")
    file_hash = page.detail.row.file_hash
    addresses = [
        routes.mask_address(page.case_id, file_hash, half=False),
        routes.mask_address(page.case_id, file_hash, half=True),
        routes.image_address(page.case_id, image_name(image), file_hash, None),
        routes.origin_address(page.case_id, page.address, file_hash, half=False),
    ]
    assert [client.get(a).status_code for a in addresses] == [200] * 4
    with open_workspace(root) as ws:
        purge(ws.bench(jobs=1), page.patient, "consent withdrawn")
    answers = [client.get(a) for a in addresses]
    assert [a.status_code for a in answers] == [404] * 4
    assert all("load its page again" in a.text for a in answers)


def exchanged(built, tmp_path, monkeypatch):
    """A copy of the workspace whose PHANTOM_0001 has an image of its own that a test may spoil."""
    root, cohort = tmp_path / "workspace", tmp_path / "cohort"
    shutil.copytree(built.root, root)
    shutil.copytree(built.cohort, cohort)
    with open_workspace(root) as ws, ws.catalog.writing() as session:
        for source in session.query(Source):
            source.image_root = str(cohort)
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(root))
    return looked_up(root, "PHANTOM_0001")


def test_an_image_that_was_exchanged_is_not_given_and_one_that_was_touched_is(
    client, built, tmp_path, monkeypatch
):
    page, image = exchanged(built, tmp_path, monkeypatch)
    address = routes.image_address(page.case_id, image_name(image), None, "Abdomen")
    os.utime(image.path, (1, 1))
    assert client.get(address).status_code == 200
    volume = nib.load(image.path)
    nib.save(nib.Nifti1Image(np.asarray(volume.dataobj)[::-1].copy(), volume.affine), image.path)
    answer = client.get(address)
    assert answer.status_code == 404
    assert "another image lies there" in answer.text
    assert "maskledger ingest --source Phantom" in answer.text


def test_an_image_that_is_gone_is_said_to_be(client, built, monkeypatch):
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(built.root))
    page, image = looked_up(built.root, "PHANTOM_0005")
    answer = client.get(routes.image_address(page.case_id, image_name(image), None, None))
    assert answer.status_code == 404
    assert "the image is not there" in answer.text
    assert "maskledger source move Phantom" in answer.text


def test_a_halved_grid_rounds_up():
    assert halved(Geometry((5, 4, 1), np.eye(4))).shape == (3, 2, 1)


def test_the_engine_is_given_in_the_installed_version_alone(client):
    engine = niivue.installed()
    if engine is None:
        pytest.skip(f"NiiVue is not installed: run {niivue.INSTALL}")
    answer = client.get(engine.address)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.content == engine.file.read_bytes()
    assert "immutable" in answer.headers["cache-control"]
    wrong = client.get("/viewer/niivue-0.0.1.js")
    assert wrong.status_code == 404
    assert niivue.INSTALL in wrong.text


@pytest.mark.parametrize("half", [False, True])
def test_a_stored_mask_that_cannot_be_read_is_told_with_what_to_do(
    client, built, tmp_path, monkeypatch, half
):
    root = tmp_path / "workspace"
    shutil.copytree(built.root, root)
    monkeypatch.setenv("MASKLEDGER_WORKSPACE", str(root))
    page, _ = looked_up(root, "PHANTOM_0001")
    with open_workspace(root) as ws:
        file = ws.store.path(page.detail.row.file_hash)
    file.unlink()
    file.mkdir()  # what no disk reads, whoever asks
    answer = client.get(routes.mask_address(page.case_id, page.detail.row.file_hash, half=half))
    assert answer.status_code == 404
    assert "cannot be read (Is a directory); restore it from a backup" in answer.text
