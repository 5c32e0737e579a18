"""Cases are compared with each other after every stage that changes masks, and what is found follows what changes."""

import itertools

import nibabel as nib
import numpy as np
import pytest
from volume_files import AFFINE, SHAPE, boxes, write_image, write_volume

from curation.later_checks import LATER_CHECKS
from curation.mappings import load_builtin
from curation.status import Severity
from db import queries, writes
from db.models import FindingState, Role
from pipelines.comparing import COMPARING, compare
from pipelines.complement import complement
from pipelines.freeze import FreezeRequest, freeze
from pipelines.ingest import IngestRequest, ingest
from pipelines.predictions import import_predictions
from pipelines.purge import purge

FLARE = load_builtin("flare23")


def take_in(bench, folder, source="S", *, images=False, cases=None, role=None):
    return ingest(
        bench,
        IngestRequest(
            source,
            FLARE,
            labels=folder / "l",
            images=folder / "i" if images else None,
            cases=cases,
            role=role,
        ),
    )


def found(bench, check=None, state=FindingState.OPEN):
    """Address to the findings of the comparing checks in its newest version."""
    with bench.catalog.reading() as session:
        refs = queries.case_refs(session)
        rows = queries.findings(session, [ref.version_id for ref in refs])
    by_address = {
        ref.address: [
            f for f in rows[ref.version_id]
            if f.check in COMPARING and f.check in (check or f.check) and f.state is state
        ]
        for ref in refs
    }  # fmt: skip
    return {address: findings for address, findings in by_address.items() if findings}


def blob(seed: int) -> np.ndarray:
    """A liver and a spleen with no symmetry."""
    rng = np.random.default_rng(seed)
    return (rng.random(SHAPE) < 0.3).astype(np.uint8) * rng.choice([1, 3], SHAPE).astype(np.uint8)


def in_orientation(array: np.ndarray, order, flips) -> nib.Nifti1Image:
    """The same volume with its axes in another order and direction."""
    start = nib.orientations.io_orientation(AFFINE)
    wanted = np.array([(axis, flip) for axis, flip in zip(order, flips, strict=True)], float)
    return nib.Nifti1Image(array, AFFINE).as_reoriented(nib.orientations.ornt_transform(start, wanted))


def test_one_mask_in_all_48_orientations_is_48_copies_and_a_mirrored_one_is_none(bench, tmp_path):
    (tmp_path / "l").mkdir()
    turns = itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
    for number, (order, flips) in enumerate(turns):
        nib.save(in_orientation(blob(0), order, flips), tmp_path / "l" / f"turned_{number:02d}.nii.gz")
    write_volume(tmp_path / "l" / "mirrored.nii.gz", blob(0)[::-1])  # as many voxels of each class
    write_volume(tmp_path / "l" / "other.nii.gz", blob(1))
    outcome = take_in(bench, tmp_path)
    assert outcome.noted == [
        "cases compared with each other: 48 duplicate_mask; list them with `maskledger quality`"
    ]
    copies = found(bench)
    assert sorted(copies) == [f"S/turned_{number:02d}" for number in range(48)]
    assert {f.value for findings in copies.values() for f in findings} == {47.0}
    assert "along other axes" in copies["S/turned_05"][0].message


def test_images_are_known_again_in_another_source_another_type_and_other_axes(bench, tmp_path):
    image = np.random.default_rng(3).integers(-1000, 1000, SHAPE).astype(np.int16)
    for source, name, seed in (("a", "A", 1), ("b", "B", 2), ("b", "C", 4)):
        write_volume(tmp_path / source / "l" / f"{name}.nii.gz", blob(seed))
    write_volume(tmp_path / "a" / "i" / "A_0000.nii.gz", image)
    (tmp_path / "b" / "i").mkdir()
    turned = in_orientation(image.astype(np.float32), (2, 0, 1), (1, -1, 1))
    nib.save(turned, tmp_path / "b" / "i" / "B_0000.nii.gz")
    mask = nib.Nifti1Image(blob(2), AFFINE)
    nib.save(
        mask.as_reoriented(
            nib.orientations.ornt_transform(
                nib.orientations.io_orientation(AFFINE), nib.orientations.io_orientation(turned.affine)
            )
        ),
        tmp_path / "b" / "l" / "B.nii.gz",
    )
    write_volume(tmp_path / "b" / "i" / "C_0000.nii.gz", image + 1)
    take_in(bench, tmp_path / "a", "A", images=True)
    take_in(bench, tmp_path / "b", "B", images=True, role=Role.TEST)
    twins = found(bench)
    assert {address: [f.check for f in findings] for address, findings in twins.items()} == {
        "A/A": ["image_in_two_sources"],
        "B/B": ["image_in_two_sources"],
    }
    assert twins["A/A"][0].severity is Severity.ERROR  # one is to be tested on
    assert twins["A/A"][0].message.startswith(
        "The image is that of B/B along other axes; one is for training"
    )


def test_images_of_one_value_or_without_hu_are_not_taken_for_each_other(bench, tmp_path):
    rng = np.random.default_rng(3)
    flat, grey = np.zeros(SHAPE, np.int16), np.array([0, 255] * (np.prod(SHAPE) // 2), np.int16)
    images = {"A": flat, "B": flat, "C": rng.permutation(grey), "D": rng.permutation(grey), "E": None}
    images["E"] = images["D"]
    for seed, (name, image) in enumerate(images.items()):
        write_volume(tmp_path / "l" / f"{name}.nii.gz", blob(seed))
        write_volume(tmp_path / "i" / f"{name}_0000.nii.gz", image.reshape(SHAPE))
    take_in(bench, tmp_path, images=True)
    assert {a: [f.message.split(";")[0] for f in fs] for a, fs in found(bench).items()} == {
        "S/D": ["The image is that of S/E"],
        "S/E": ["The image is that of S/D"],
    }


@pytest.fixture
def twins(bench, tmp_path):
    """S/A and S/B have one mask and one image, S/C its own; none of them has a pancreas."""
    for name, seed in (("A", 0), ("B", 0), ("C", 1)):
        write_volume(tmp_path / "l" / f"{name}.nii.gz", blob(seed))
        write_image(tmp_path / "i" / f"{name}_0000.nii.gz")
    write_volume(
        tmp_path / "i" / "C_0000.nii.gz", np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) - 500
    )
    take_in(bench, tmp_path, images=True)
    return bench


def test_comparing_again_changes_nothing(twins, tmp_path):
    before = found(twins)
    assert {a: [f.check for f in fs] for a, fs in before.items()} == {
        "S/A": ["duplicate_mask", "duplicate_image"],
        "S/B": ["duplicate_mask", "duplicate_image"],
    }
    assert compare(twins).noted == []
    assert take_in(twins, tmp_path, images=True).noted == []
    assert found(twins) == before


def test_a_patient_that_is_named_turns_the_warning_into_an_info(twins, tmp_path):
    listed = tmp_path / "cases.csv"
    listed.write_text("case,patient\nA,P1\nB,P1\n")
    take_in(twins, tmp_path, images=True, cases=listed)
    assert {f.severity for findings in found(twins).values() for f in findings} == {Severity.INFO}


def test_what_was_dismissed_stays_so_after_a_complement_and_another_comparison(twins, tmp_path):
    with twins.catalog.writing() as session:
        for finding in itertools.chain(*found(twins).values()):
            writes.decide_finding(session, finding.id, FindingState.DISMISSED, person="ana", reason="known")
    pancreas = np.where(blob(0) | blob(1), 0, 4).astype(np.uint8)
    for name in "ABC":
        write_volume(tmp_path / "M" / f"{name}.nii.gz", pancreas)
    import_predictions(twins, tmp_path / "M", "M", FLARE)
    complement(twins, "", "M")
    # The image is the same; the mask is another one, and its likeness is told anew.
    kept = found(twins, state=FindingState.DISMISSED)
    assert {a: [(f.check, f.person) for f in fs] for a, fs in kept.items()} == {
        "S/A": [("duplicate_image", "ana")],
        "S/B": [("duplicate_image", "ana")],
    }
    assert {a: [f.check for f in fs] for a, fs in found(twins).items()} == {
        "S/A": ["duplicate_mask"],
        "S/B": ["duplicate_mask"],
    }


def test_a_purged_copy_is_forgotten_and_no_finding_names_it(twins):
    purge(twins, "S/A", "consent withdrawn")
    assert found(twins) == {}
    assert compare(twins).noted == []


def test_one_patient_to_train_and_to_test_on_is_an_error_until_the_role_is_put_right(bench, tmp_path):
    for seed, name in enumerate("ABC"):
        write_volume(tmp_path / "l" / f"{name}.nii.gz", blob(seed))
    listed = tmp_path / "cases.csv"
    listed.write_text("case,patient,role\nA,P1,train\nB,P1,test\nC,P2,test\n")
    take_in(bench, tmp_path, cases=listed)
    torn = found(bench)
    assert {a: [(f.check, f.severity) for f in fs] for a, fs in torn.items()} == {
        "S/A": [("patient_in_two_splits", Severity.ERROR)],
        "S/B": [("patient_in_two_splits", Severity.ERROR)],
    }
    listed.write_text("case,patient,role\nA,P1,test\nB,P1,test\nC,P2,test\n")
    take_in(bench, tmp_path, cases=listed)
    assert found(bench) == {}


def test_a_dataset_frozen_before_its_patients_were_known_is_told(bench, tmp_path):
    for seed in range(10):
        write_volume(tmp_path / "l" / f"{seed}.nii.gz", blob(seed))
    take_in(bench, tmp_path)
    freeze(bench, FreezeRequest("all", "", val_share=0.5, seed=1))
    assert found(bench) == {}
    listed = tmp_path / "cases.csv"
    listed.write_text("case,patient\n" + "".join(f"{seed},P\n" for seed in range(10)))
    take_in(bench, tmp_path, cases=listed)
    torn = found(bench)
    assert len(torn) == 10
    assert "in all@1 it is in '" in torn["S/0"][0].message
    freeze(bench, FreezeRequest("all", "", val_share=0.5, seed=1))  # keeps the patient together
    compare(bench)
    assert found(bench) == {}


def test_volumes_are_judged_by_the_cohort_and_by_people_alone(bench, tmp_path):
    for n in range(22):
        write_volume(tmp_path / "l" / f"{n:02d}.nii.gz", boxes({1: 8, 3: 1 + n % 10}))
    write_volume(tmp_path / "l" / "odd.nii.gz", boxes({1: 2, 3: 5}))
    take_in(bench, tmp_path)
    (finding,) = found(bench, "unusual_volume")["S/odd"]
    # Livers of 8 voxels of 0.01 ml but one; least spread 0.05: 0.08 * exp(-0.175) = 0.0672 ml.
    assert (finding.class_name, finding.value) == ("liver", pytest.approx(0.02))
    assert finding.limit == pytest.approx(0.0672, abs=1e-4)


def test_an_empty_catalog_has_nothing_to_compare(bench):
    assert compare(bench).noted == []


def test_every_comparing_check_is_known_as_one_that_is_filed_later():
    assert set(COMPARING) < set(LATER_CHECKS)
