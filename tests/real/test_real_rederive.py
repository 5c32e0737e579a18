"""KiTS cases read anew after a mapping that took tumor for kidney: as if the right one had been there at once."""

from dataclasses import replace

from curation.mappings import LabelMapping, load_builtin
from db import case_files
from pipelines.ingest import IngestRequest, ingest
from pipelines.rederive import RederiveRequest, rederive

# The sides of case_00040 are in doubt.
CASES = ("case_00015", "case_00040")
WRONG = LabelMapping("wrong", {1: 200, 2: 200}, frozenset({2, 13}))


def test_cases_read_anew_are_what_they_would_be_had_the_mapping_been_right_at_once(bench, shared, tmp_path):
    for name in CASES:
        (tmp_path / "masks" / name).mkdir(parents=True)
        file = shared / "data" / "kits19" / name / "segmentation.nii.gz"
        (tmp_path / "masks" / name / file.name).symlink_to(file)
    right = load_builtin("kits19")
    asked = IngestRequest(source="late", mapping=WRONG, labels=tmp_path / "masks", revision="2019")
    ingest(bench, asked)
    ingest(bench, replace(asked, source="at once", mapping=right))
    assert rederive(bench, RederiveRequest("late", mapping=right)).counts == {"new versions": len(CASES)}
    with bench.catalog.reading() as session:
        for name in CASES:
            late, at_once = (
                case_files.case_file(session, f"{source}/{name}") for source in ("late", "at once")
            )
            assert (late.number, at_once.number) == (2, 1)
            assert late.voxel_hash == at_once.voxel_hash
            for class_id, row in at_once.annotations.items():
                same_place = replace(late.annotations[class_id], drawn_version_id=row.drawn_version_id)
                assert same_place == row
