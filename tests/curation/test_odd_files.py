"""docs/files.md says of every odd file whether it is read, with which note, or refused with which words."""

import gzip
import re
import time
import tracemalloc
import warnings
from pathlib import Path

import nibabel
import numpy as np
import odd_files
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib
from nibabel.cmdline import convert

from curation.errors import CurationError, LabelValueError, MaskFileError
from curation.formats import DICOM, DICOM_SEG, NRRD, PAIR, foreign_files, format_of_content, format_of_name
from curation.volumes import decode_image, decode_mask

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "files.md"


def table(heading: str) -> dict[str, str]:
    """First and second column of the table below a heading."""
    section = DOCUMENT.read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return {row[0]: row[1] for row in rows[1:]}


def read(what: str, data: bytes):
    return decode_mask(data, odd_files.NAMES.get(what, "m.nii.gz"))


@pytest.mark.parametrize("what", odd_files.READ)
def test_a_file_that_the_document_calls_read_is_read_without_a_note(what):
    geometry, runs = read(what, odd_files.READ[what])
    assert np.array_equal(runs.to_array(), odd_files.mask())
    assert np.allclose(geometry.affine, odd_files.AFFINE, atol=1e-4)
    assert geometry.note is None


@pytest.mark.parametrize("what", odd_files.NOTED)
def test_a_file_that_the_document_calls_noted_is_read_with_that_note(what):
    geometry, runs = read(what, odd_files.NOTED[what])
    assert np.array_equal(runs.to_array(), odd_files.mask())
    assert geometry.spacing_mm == pytest.approx((0.8, 0.8, 2.5))
    assert geometry.note == table("Read, with a note")[what]


@pytest.mark.parametrize("what", odd_files.REFUSED)
def test_a_file_that_the_document_calls_refused_is_refused_with_those_words(what):
    with pytest.raises((MaskFileError, LabelValueError)) as caught:
        read(what, odd_files.REFUSED[what])
    name, _, said = str(caught.value).partition(": ")
    assert name == odd_files.NAMES.get(what, "m.nii.gz")
    assert said == table("Refused")[what]
    assert re.fullmatch(r"[^;]+; [^;]+", said), "reason; remedy"


def test_the_document_and_the_files_of_these_tests_are_the_same():
    assert list(table("Read")) == list(odd_files.READ)
    assert list(table("Read, with a note")) == list(odd_files.NOTED)
    assert list(table("Refused")) == list(odd_files.REFUSED)


@settings(deadline=None)  # The first example loads nibabel.
@given(st.data(), st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
def test_whatever_a_damaged_header_says_is_read_or_refused_and_nothing_else(data, kind):
    size = 348 if kind is nibabel.Nifti1Image else 540
    bent = bytearray(odd_files.nifti(odd_files.mask(), kind=kind))
    number = st.sampled_from([0.0, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-40])
    damage = st.binary(min_size=1, max_size=8) | number.map(lambda n: np.array([n], "<f4").tobytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at, new = data.draw(st.integers(0, size - 8)) // 4 * 4, data.draw(damage)
        bent[at : at + len(new)] = new
    for decode in (decode_mask, decode_image):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                geometry, _ = decode(bytes(bent), "m.nii")
            except CurationError as error:
                complaint = str(error)
            else:
                assert np.isfinite(geometry.affine).all()
                assert np.linalg.det(geometry.affine) != 0
                continue
        assert complaint.startswith("m.nii: ")
        assert "; " in complaint


@pytest.mark.parametrize(
    ("bend", "begin", "said"),
    [
        (odd_files.dims(32767, 32767, 32767), 0, "bytes cannot hold the 35181150961663 voxels"),
        (odd_files.dims(2**62, 2**62, 2**62), 0, f"bytes cannot hold the {2**186} voxels"),
        (odd_files.dims(2**32, 2**32, 1), 0, f"bytes cannot hold the {2**64} voxels"),  # 0 in 64 bits
        (odd_files.dims(4000, 4000, 4000), 2**26, "bytes cannot hold the 64000000000 voxels"),
        (odd_files.fields(vox_offset=2**26 + 544), 2**26, None),
        (odd_files.fields(vox_offset=2**26 + 10**4), 2**26, "the file ends after 0 of 120 voxels"),
        (odd_files.fields(vox_offset=2**27), 2**26, "bytes cannot hold the 120 voxels"),
        (odd_files.fields(vox_offset=2**40), 0, "voxels are said to begin at byte 1.09951e+12"),
        (None, -(2**26), "the file goes on after the 120 voxels"),
    ],
    ids=["axes", "2^186", "2^64", "64 GB", "far", "too far", "farther", "nowhere", "bomb"],
)
@pytest.mark.parametrize("decode", [decode_mask, decode_image])
def test_no_header_costs_time_or_memory(bend, begin, said, decode):
    data = odd_files.nifti(odd_files.mask(), bend, kind=nibabel.Nifti2Image)
    zeros = bytes(abs(begin))
    data = data[:544] + zeros + data[544:] if begin > 0 else data + zeros
    packed = isal_zlib.compress(data, 1, wbits=31)
    tracemalloc.start()
    began = time.thread_time()
    try:
        decode(packed, "m.nii.gz")
        complaint = None
    except MaskFileError as error:
        complaint = str(error)
    seconds, peak = time.thread_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (said in complaint) if said else complaint is None
    assert seconds < 1
    assert peak < 8 * 2**20


def test_a_label_that_fits_no_signed_integer_is_left_to_the_mapping():
    array = odd_files.mask().astype(np.uint64)
    array[0, 0, 0] = 2**63 + 5
    assert decode_mask(odd_files.nifti(array), "m.nii")[1].voxels() == {1: 12, 14: 1, 2**63 + 5: 1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("A.NRRD", ("A", NRRD)),
        ("IM001.dcm", ("IM001", DICOM)),
        ("A.hdr.gz", ("A", PAIR)),
        ("A.nii.gz", None),
        (".nrrd", None),
        ("readme.txt", None),
    ],
)
def test_a_foreign_volume_is_known_by_its_name(name, expected):
    assert format_of_name(name) == expected


def test_a_dicom_file_says_itself_that_it_is_a_segmentation():
    assert format_of_content(odd_files.REFUSED["DICOM-SEG"]) is DICOM_SEG
    assert format_of_content(odd_files.dicom("1.2.840.10008.5.1.4.1.1.66.7")) is DICOM_SEG
    assert format_of_content(b"\x5c\x01\x00\x00" + bytes(540)) is None


def test_foreign_volumes_are_named_once_per_folder_and_format():
    series = [f"IM{n:03}.dcm" for n in range(200)]
    others = ["mask.img", "mask.hdr", "readme.txt", "A.nii.gz", "notes.json"]
    assert [found.line for found in foreign_files(Path("c"), [*reversed(series), *others])] == [
        f"c: 200 files like IM000.dcm, each {DICOM.what}; {DICOM.remedy}",
        f"c/mask.hdr: {PAIR.what}; {PAIR.remedy}",
    ]


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def test_the_documents_remedy_for_a_mask_without_orientation_makes_it_readable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fixed").mkdir()
    Path("case_01_0000.nii.gz").write_bytes(gzip.compress(odd_files.nifti(odd_files.mask().astype(np.int16))))
    Path("case_01.nii.gz").write_bytes(gzip.compress(odd_files.REFUSED["no orientation"]))
    exec(snippets("python")[0], {})
    geometry, runs = decode_mask(Path("fixed/case_01.nii.gz").read_bytes(), "case_01.nii.gz")
    assert np.array_equal(runs.to_array(), odd_files.mask())
    assert np.allclose(geometry.affine, odd_files.AFFINE, atol=1e-4)


def test_the_documents_remedy_for_sheared_volumes_puts_both_on_one_straight_grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fixed").mkdir()
    box = np.zeros((30, 30, 20), np.uint8)
    box[5:25, 5:25, 3:17] = 1
    sheared = odd_files.both_forms(odd_files.changed(1, 2, 0.9))
    Path("case_01_0000.nii.gz").write_bytes(gzip.compress(odd_files.nifti(box * np.int16(100), sheared)))
    Path("case_01.nii.gz").write_bytes(gzip.compress(odd_files.nifti(box, sheared)))
    exec(snippets("python")[1], {})
    grid, image = decode_image(Path("fixed/case_01_0000.nii.gz").read_bytes(), "case_01_0000.nii.gz")
    geometry, runs = decode_mask(Path("fixed/case_01.nii.gz").read_bytes(), "case_01.nii.gz")
    assert geometry.difference(grid) is None
    # Shearing keeps volumes: 20 * 20 * 14 voxels of 0.8 * 0.8 * 2.5 mm, but for the edges.
    assert runs.voxels()[1] * geometry.voxel_ml == pytest.approx(8.96, rel=0.1)
    assert (image[runs.to_array() == 1] > 50).mean() > 0.9


def test_nib_convert_joins_a_pair(tmp_path):
    image = nibabel.Nifti1Pair(odd_files.mask(), odd_files.AFFINE)
    nibabel.save(image, tmp_path / "case_01.hdr")
    convert.main([str(tmp_path / "case_01.hdr"), str(tmp_path / "case_01.nii.gz")])
    geometry, runs = decode_mask((tmp_path / "case_01.nii.gz").read_bytes(), "case_01.nii.gz")
    assert np.array_equal(runs.to_array(), odd_files.mask())
    assert np.allclose(geometry.affine, odd_files.AFFINE, atol=1e-4)
