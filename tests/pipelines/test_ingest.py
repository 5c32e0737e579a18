"""Ingest: what becomes a case, a version, no change, or a refusal with its reason."""

import gzip
import os
import shutil
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from sqlalchemy import func, select
from volume_files import AFFINE, SHAPE, boxes, write_image, write_volume

from curation.errors import UsageError
from curation.mappings import LabelMapping, load_builtin, parse_mapping
from curation.status import Evidence, Origin, Status
from db import case_files, queries
from db.models import Event, Role, Run, Source
from pipelines.ingest import IngestRequest, ingest
from pipelines.rederive import RederiveRequest, rederive

FLARE = load_builtin("flare23")
LIVER, SPLEEN, TUMOR = 1, 3, 14


def take(bench, labels: Path | None = None, images: Path | None = None, **options):
    mapping = options.pop("mapping", FLARE)
    return ingest(bench, IngestRequest(source="S", mapping=mapping, labels=labels, images=images, **options))


def newest(bench, address: str):
    with bench.catalog.reading() as session:
        return case_files.case_file(session, address)


def versions(bench, address: str):
    with bench.catalog.reading() as session:
        return queries.history(session, queries.resolve(session, address).case_id)


def statuses(case) -> dict[int, str]:
    return {class_id: str(row.status) for class_id, row in case.annotations.items()}


def test_drawn_classes_are_original_and_the_others_missing(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5, TUMOR: 2}))
    assert take(bench, tmp_path / "l").counts == {"new": 1}
    case = newest(bench, "S/A")
    assert case.annotated == {LIVER, TUMOR}
    assert len(case.missing) == 12
    liver = case.annotations[LIVER]
    assert (liver.origin, liver.voxels, liver.volume_ml) == (Origin.ORIGINAL, 5, pytest.approx(0.05))


def test_the_stored_mask_reads_the_same_in_nibabel_on_the_same_grid(bench, tmp_path):
    mask = boxes({LIVER: 5, SPLEEN: 3})
    write_volume(tmp_path / "l" / "A.nii.gz", mask)
    take(bench, tmp_path / "l")
    stored = nib.load(bench.store.path(newest(bench, "S/A").file_hash))
    assert np.array_equal(np.asarray(stored.dataobj), mask)
    assert np.allclose(stored.affine, AFFINE)


def test_what_came_in_is_kept_byte_for_byte(bench, tmp_path):
    path = write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    take(bench, tmp_path / "l")
    assert bench.store.get(versions(bench, "S/A")[0].incoming_hash) == path.read_bytes()


def test_a_second_ingest_of_the_same_folder_changes_nothing(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    take(bench, tmp_path / "l")
    assert take(bench, tmp_path / "l").counts == {"unchanged": 1}
    assert len(versions(bench, "S/A")) == 1


def test_another_gzip_of_the_same_mask_is_no_change(bench, tmp_path):
    path = write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    take(bench, tmp_path / "l")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=2))
    assert take(bench, tmp_path / "l").counts == {"unchanged": 1}


def test_a_changed_file_under_a_known_name_is_a_new_version_with_its_parent(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    take(bench, tmp_path / "l")
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 6}))
    assert take(bench, tmp_path / "l").counts == {"new versions": 1}
    assert [(v.number, v.parent) for v in versions(bench, "S/A")] == [(1, None), (2, 1)]
    assert newest(bench, "S/A").annotations[LIVER].voxels == 6


def test_sources_are_never_written(bench, tmp_path):
    path = write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    before = path.stat().st_mtime_ns, path.read_bytes()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        take(bench, tmp_path / "l")
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before
        assert [p.name for p in path.parent.iterdir()] == ["A.nii.gz"]
    finally:
        path.parent.chmod(0o755)


def test_kits_kidneys_are_unresolved_and_their_sides_stay_missing(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5, 2: 2}))
    take(bench, tmp_path / "l", mapping=load_builtin("kits19"))
    case = newest(bench, "S/A")
    stored = np.asarray(nib.load(bench.store.path(case.file_hash)).dataobj)
    assert {
        int(v): int(n) for v, n in zip(*np.unique(stored[stored > 0], return_counts=True), strict=True)
    } == {
        200: 5,
        14: 2,
    }
    for kidney in (2, 13):
        assert case.annotations[kidney].status is Status.MISSING
        assert case.annotations[kidney].evidence is Evidence.UNRESOLVED_SIDE
    with bench.catalog.reading() as session:
        reserved = queries.version_detail(session, case.version_id).reserved
    assert [(r.value, r.voxels) for r in reserved] == [(200, 5)]


def test_a_class_inside_the_protocol_without_voxels_is_absent(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5}))
    take(bench, tmp_path / "l", mapping=load_builtin("kits19"))  # its annotators looked for tumors
    tumor = newest(bench, "S/A").annotations[TUMOR]
    assert (tumor.status, tumor.evidence) == (Status.ABSENT, Evidence.PROTOCOL)


def test_a_case_list_gives_patient_role_licence_protocol_and_metadata(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    cases = tmp_path / "cases.csv"
    cases.write_text("case,patient,role,licence,classes,scanner\nA,P7,test,CC BY 4.0,liver spleen,B64\n")
    take(bench, tmp_path / "l", cases=cases)
    case = newest(bench, "S/A")
    assert (case.patient, case.role) == ("P7", Role.TEST)
    assert statuses(case)[SPLEEN] == "absent"
    assert statuses(case)[TUMOR] == "missing"
    with bench.catalog.reading() as session:
        assert queries.count(session, 'licence = "CC BY 4.0" and patient = "P7" and role = test') == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name\nA\n", "line 1: no column 'case'"),
        ("case,role\nA,holdout\n", "line 2: role 'holdout' is neither 'train' nor 'test'"),
        ("case\nA\nA\n", "line 3: case 'A' stands there twice"),
        ("case,classes\nA,liver pancraes\n", "line 2: column 'classes': unknown class 'pancraes'"),
        (
            'case,note\nA,"two\nlines"\nB,x\n',
            "no file here is of 1 case: B (line 4); correct the column 'case'",
        ),
    ],
)
def test_a_case_list_that_cannot_be_used_is_refused_by_line_and_nothing_is_written(
    bench, tmp_path, text, complaint
):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    cases = tmp_path / "cases.csv"
    cases.write_text(text)
    with pytest.raises(UsageError) as error:
        take(bench, tmp_path / "l", cases=cases)
    assert complaint in str(error.value)
    with bench.catalog.reading() as session:
        assert [
            session.scalar(select(func.count()).select_from(table)) for table in (Source, Run, Event)
        ] == [0, 0, 0]


def test_a_mapping_that_fits_no_mask_books_no_case_and_is_put_right_by_rederive(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    wrong, right = (
        IngestRequest("S", LabelMapping("ours", {value: LIVER}), labels=tmp_path / "l") for value in (7, 1)
    )
    outcome = ingest(bench, wrong)
    assert outcome.counts == {}
    assert (
        "A.nii.gz: label values 1 (5 voxels) are not in mapping 'ours' (7); not one value"
        in outcome.refused[0]
    )
    with pytest.raises(UsageError, match=r"is known with another mapping.*source rederive"):
        ingest(bench, right)
    assert rederive(bench, RederiveRequest("S", mapping=right.mapping)).refused == []
    assert ingest(bench, right).counts == {"new": 1}


def test_an_image_without_a_mask_is_version_one_with_everything_missing(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    assert take(bench, images=tmp_path / "i").counts == {"new": 1}
    case = newest(bench, "S/A")
    assert (case.number, case.file_hash, len(case.missing)) == (1, None, 14)
    assert case.image == (tmp_path / "i" / "A_0000.nii.gz").resolve()
    assert case.geometry.shape == SHAPE


def test_a_mask_that_comes_after_its_image_is_version_two_and_must_fit_it(bench, tmp_path):
    write_image(tmp_path / "i" / "A_0000.nii.gz")
    take(bench, images=tmp_path / "i")
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}, (12, 10, 9)))
    assert "shape (12, 10, 9) against (12, 10, 8)" in take(bench, tmp_path / "l").refused[0]
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    assert take(bench, tmp_path / "l").counts == {"new versions": 1}
    assert [v.number for v in versions(bench, "S/A")] == [1, 2]


def test_a_mask_whose_image_is_not_there_is_noted_and_taken(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 4}))
    write_volume(tmp_path / "l" / "B.nii.gz", boxes({LIVER: 5}))
    write_image(tmp_path / "i" / "B_0000.nii.gz")
    outcome = take(bench, tmp_path / "l", tmp_path / "i")
    assert outcome.counts == {"new": 2}
    assert not outcome.refused
    assert len(outcome.noted) == 1
    assert "A.nii.gz: no image named A" in outcome.noted[0]


@pytest.mark.parametrize(
    ("shape", "affine", "difference"),
    [
        ((12, 10, 9), AFFINE, "shape (12, 10, 8) against (12, 10, 9)"),
        (SHAPE, np.diag([2.0, 2.0, 3.0, 1.0]), "spacing (2, 2, 2.5) against (2, 2, 3) mm"),
    ],
)
def test_a_mask_that_does_not_lie_on_its_images_grid_is_refused(bench, tmp_path, shape, affine, difference):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    write_image(tmp_path / "i" / "A_0000.nii.gz", shape, affine)
    outcome = take(bench, tmp_path / "l", tmp_path / "i")
    assert outcome.counts == {}
    assert difference in outcome.refused[0]
    assert "resample" in outcome.refused[0]


def bad_truncated(path: Path) -> None:
    write_volume(path, np.random.default_rng(0).integers(0, 15, (40, 40, 40), np.uint8))
    path.write_bytes(path.read_bytes()[:-2000])


def bad_text(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\n")


def bad_4d(path: Path) -> None:
    write_volume(path, np.ones((4, 4, 4, 3), np.uint8))


def bad_rgb(path: Path) -> None:
    write_volume(path, np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


def bad_complex(path: Path) -> None:
    write_volume(path, np.ones((4, 4, 4), np.complex64))


def bad_value(path: Path) -> None:
    write_volume(path, boxes({LIVER: 2, 15: 3}))


def bad_fraction(path: Path) -> None:
    write_volume(path, boxes({LIVER: 2}).astype(np.float32) * 0.5)


@pytest.mark.parametrize(
    "make",
    [bad_truncated, bad_text, bad_4d, bad_rgb, bad_complex, bad_value, bad_fraction],
    ids=lambda f: f.__name__,
)
def test_a_bad_file_is_refused_in_one_line_while_the_others_go_on(bench, tmp_path, make):
    write_volume(tmp_path / "l" / "good.nii.gz", boxes({LIVER: 5}))
    make(tmp_path / "l" / "bad.nii.gz")
    outcome = take(bench, tmp_path / "l")
    assert outcome.counts == {"new": 1}
    (line,) = outcome.refused
    assert line.startswith(str(tmp_path / "l" / "bad.nii.gz"))
    assert "; " in line, "reason; remedy"
    assert "\n" not in line
    with bench.catalog.reading() as session:
        assert queries.count(session, "") == 1


def test_labels_that_scl_slope_leaves_near_an_integer_are_rounded(bench, tmp_path):
    path = write_volume(tmp_path / "l" / "A.nii", boxes({LIVER: 5, SPLEEN: 2}).astype(np.int16) * 3)
    data = bytearray(path.read_bytes())
    data[112:116] = struct.pack("<f", 0.3333)  # scl_slope: 3 reads as 0.9999, 9 as 2.9997
    path.write_bytes(data)
    take(bench, tmp_path / "l")
    case = newest(bench, "S/A")
    assert {c: case.annotations[c].voxels for c in case.annotated} == {LIVER: 5, SPLEEN: 2}


def test_two_files_for_one_case_are_refused_by_name(bench, tmp_path):
    write_volume(tmp_path / "l" / "a" / "X.nii.gz", boxes({LIVER: 5}))
    write_volume(tmp_path / "l" / "b" / "X.nii.gz", boxes({LIVER: 6}))
    write_volume(tmp_path / "l" / "b" / "Y.nii.gz", boxes({LIVER: 6}))
    outcome = take(bench, tmp_path / "l")
    assert outcome.counts == {"new": 1}
    assert "2 masks for one case 'X'" in outcome.refused[0]


def test_an_unreadable_file_is_refused_and_named(bench, tmp_path):
    path = write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    path.unlink()
    path.symlink_to(tmp_path / "nowhere.nii.gz")
    assert "A.nii.gz: No such file" in take(bench, tmp_path / "l").refused[0]


@pytest.mark.parametrize("source", ["", "a/b", "a@1"])
def test_a_source_name_that_no_address_can_carry_is_wrong_usage(bench, tmp_path, source):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    with pytest.raises(UsageError, match="may not be empty or contain"):
        ingest(bench, IngestRequest(source=source, mapping=FLARE, labels=tmp_path / "l"))


def test_a_case_name_with_an_at_sign_is_refused(bench, tmp_path):
    write_volume(tmp_path / "l" / "A@1.nii.gz", boxes({LIVER: 5}))
    assert "may not contain" in take(bench, tmp_path / "l").refused[0]


def test_another_mapping_under_the_same_revision_is_wrong_usage(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    take(bench, tmp_path / "l", revision="1")
    other = parse_mapping('name = "other"\n[values]\n1 = "spleen"\n', "other.toml")
    with pytest.raises(UsageError, match="--revision"):
        take(bench, tmp_path / "l", revision="1", mapping=other)


def test_another_mapping_as_a_new_revision_reads_the_same_file_anew(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({1: 5}))
    take(bench, tmp_path / "l")
    other = parse_mapping('name = "other"\n[values]\n1 = "spleen"\n', "other.toml")
    assert take(bench, tmp_path / "l", mapping=other).counts == {"new versions": 1}
    assert newest(bench, "S/A").annotated == {SPLEEN}


def test_worker_processes_give_the_same_rows_as_one_process(bench, tmp_path):
    for number in range(14):
        write_volume(tmp_path / "l" / f"C{number:02}.nii.gz", boxes({1 + number % 14: 1 + number % 9}))
    many = type(bench)(**{**vars(bench), "jobs": 2})
    assert take(many, tmp_path / "l").counts == {"new": 14}
    with bench.catalog.reading() as session:
        found = {row.address: row.labels for row in queries.cases(session, "")}
    assert found == {f"S/C{number:02}": 1 for number in range(14)}


def test_images_are_kept_relative_to_the_root_that_a_source_move_changes(bench, tmp_path):
    from db import writes

    write_image(tmp_path / "i" / "A_0000.nii.gz")
    take(bench, images=tmp_path / "i")
    shutil.move(tmp_path / "i", tmp_path / "elsewhere")
    with bench.catalog.writing() as session:
        writes.move_source(session, "S", str(tmp_path / "elsewhere"))
    assert newest(bench, "S/A").image == tmp_path / "elsewhere" / "A_0000.nii.gz"


def test_the_run_and_the_event_say_who_did_what(bench, tmp_path):
    write_volume(tmp_path / "l" / "A.nii.gz", boxes({LIVER: 5}))
    bad_text(tmp_path / "l" / "bad.nii.gz")
    take(bench, tmp_path / "l")
    with bench.catalog.reading() as session:
        (run,) = queries.runs(session)
        (event,) = queries.events(session)
    assert (run.stage, str(run.state), run.message) == ("ingest", "done", "1 new, 1 refused")
    assert (event.action, event.author, event.parameters["source"]) == ("ingest", "Ada Tester", "S")
    assert os.path.basename(event.parameters["labels"]) == "l"  # noqa: PTH119 - a string in JSON
