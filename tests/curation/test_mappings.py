"""What a source's values mean, read from TOML, and what is said where a mapping does not fit."""

import time

import numpy as np
import pytest

from curation.errors import LabelValueError, UsageError
from curation.mappings import apply_mapping, class_phrase, drawn_classes, load_builtin, parse_mapping
from curation.rle import RunLengths


def row(*values: int) -> RunLengths:
    return RunLengths.from_array(np.array(values, np.int16).reshape(-1, 1, 1))


def test_kits_files_lie_in_a_folder_per_case():
    assert load_builtin("kits19").file_patterns == {
        "mask": "{case}/segmentation.nii.gz",
        "image": "{case}/imaging.nii.gz",
    }


def test_an_unknown_mapping_is_wrong_usage_and_the_nearest_is_offered():
    with pytest.raises(UsageError) as caught:
        load_builtin("amos")
    assert str(caught.value) == (
        "unknown mapping 'amos': did you mean 'amos22'? There are abdomenatlas, abdomenct1k, amos22, btcv, "
        "chaos_ct, flare22, flare23, kits19, kits21, kits23, lits, msd_colon, msd_hepatic_vessel, msd_liver, "
        "msd_pancreas, msd_spleen, pants, totalsegmentator, word; or give a FILE.toml of your own"
    )


def test_a_mapping_file_of_ones_own():
    mapping = parse_mapping(
        """
        name = "ward7"
        licence = "internal"
        protocol = ["adrenal", "Liver", "vessel"]
        notes = ["drawn on a tablet"]
        [files]
        mask = "masks/{case}.nii.gz"
        [values]
        0 = "background"
        1 = "IVC"
        2 = "adrenal"
        3 = "ignore"
        "5-8" = "background"
        7 = "left kidney"
        """,
        "ward7.toml",
    )
    assert mapping.values == {1: 6, 2: 201, 3: 255, 5: 0, 6: 0, 7: 13, 8: 0}
    assert mapping.protocol == {7, 8, 1, 5, 6}  # both adrenals, liver, aorta, inferior vena cava
    assert mapping.licence == "internal"
    assert mapping.notes == ("drawn on a tablet",)
    assert mapping.file_patterns == {"mask": "masks/{case}.nii.gz"}


def test_the_name_of_a_mapping_file_is_the_mappings_name_unless_it_says_otherwise():
    mapping = parse_mapping('[values]\n1 = "liver"', "studies/mine.toml")
    assert mapping.name == "mine"
    assert mapping.protocol is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[values]\n1 = "livr"', "my.toml, line 2: unknown class 'livr': did you mean 'liver'?"),
        (
            '[values]\n1 = "liver"\n2 = "backgrund"',
            "my.toml, line 3: unknown class 'backgrund': did you mean 'background'?",
        ),
        ("[values]\n1 = 3", 'my.toml, line 2: 1 = 3 is not a class name in quotes, e.g. 1 = "liver"'),
        (
            '[values]\nliver = "1"',
            "my.toml, line 2: 'liver' is not a label value; write a whole number or a range like 14-20",
        ),
        (
            '[values]\n0 = "liver"',
            "my.toml, line 2: 0 is background and cannot mean 'liver'; save the mask with background 0",
        ),
        (
            '[values]\n9-5 = "liver"',
            "my.toml, line 2: '9-5' is not a range from low to high of at most 65535 values",
        ),
        (
            'protocl = []\n[values]\n1 = "liver"',
            "my.toml, line 1: unknown key 'protocl': did you mean 'protocol'?",
        ),
        (
            'protocol = "liver"\n[values]\n1 = "liver"',
            'my.toml, line 1: protocol = \'liver\' is not a list, e.g. ["kidney", "tumor"]',
        ),
        (
            'protocol = ["lver"]\n[values]\n1 = "liver"',
            "my.toml, line 1: unknown class 'lver': did you mean 'liver'?",
        ),
        (
            'protocol = ["ignore"]\n[values]\n1 = "liver"',
            "my.toml, line 1: 'ignore' is not a class that one can look for",
        ),
        ('name = "x"', 'my.toml: [values] is missing or empty; below it write lines like 1 = "liver"'),
        ('name = 7\n[values]\n1 = "liver"', "my.toml, line 1: name = 7 is not a text; put it in quotes"),
        (
            '[files]\nmask = "seg.nii"\n[values]\n1 = "liver"',
            "my.toml, line 2: mask = 'seg.nii' needs {case} once, where the case's name stands",
        ),
        (
            '[files]\nmsk = "{case}"\n[values]\n1 = "liver"',
            "my.toml, line 2: unknown key 'msk' in [files]: did you mean 'mask'?",
        ),
        (
            '[values]\n1 = "liver"\n2 = "spleen"\n1 = "tumor"',
            "my.toml, line 4: '1' stands twice in [values], first in line 2; keep one of the two",
        ),
        (
            '[values]\n1 = "liver"\n"1" = "tumor"\n',
            "my.toml, line 3: '1' stands twice in [values], first in line 2; keep one of the two",
        ),
        (
            'title = "A"\ntitle = "B"\n[values]\n1 = "liver"',
            "my.toml, line 2: 'title' stands twice, first in line 1; keep one of the two",
        ),
        (
            '[values]\n1 = "liver"\n"01" = "tumor"',
            "my.toml, line 3: value 1 stands twice, here as '01'; keep one of the two",
        ),
        (
            '[values]\n5-8 = "liver"\n7-10 = "liver"',
            "my.toml, line 3: the ranges '5-8' and '7-10' both name 7; a single value may override a range, "
            "but ranges may not overlap",
        ),
        (
            '[values]\n1 = "liver"\n1.5 = "tumor"',
            "my.toml, line 3: '1' stands twice in [values], first in line 2; keep one of the two",
        ),
        (
            '[values]\n1.5 = "tumor"',
            "my.toml, line 2: '1.5' is not a label value; write a whole number or a range like 14-20",
        ),
        (
            '[values]\n-1 = "tumor"',
            "my.toml, line 2: '-1' is not a label value; write a whole number or a range like 14-20",
        ),
        (
            "[values]\n1 = liver",
            'my.toml, line 2: Invalid value; a mapping file is TOML, e.g. 1 = "liver"',
        ),
        (
            '[values]\n0 = "background"',
            'my.toml, line 1: [values] names no value but 0, the background; below it write lines like 1 = "liver"',
        ),
        (
            "values = 3",
            'my.toml, line 1: [values] is missing or empty; below it write lines like 1 = "liver"',
        ),
        (
            'files = 3\n[values]\n1 = "liver"',
            'my.toml, line 1: files = 3 is not a table; write [files] and below it mask = "{case}.nii.gz"',
        ),
        (
            'notes = "none"\n[values]\n1 = "liver"',
            'my.toml, line 1: notes is not a list of texts, e.g. ["drawn on a tablet"]',
        ),
        (
            'source = " "\n[values]\n1 = "liver"',
            "my.toml, line 1: source is empty; write it, or leave the key out",
        ),
        (
            'protocol = ["liver", 3]\n[values]\n1 = "liver"',
            "my.toml, line 1: protocol names 3, which is no class name in quotes; "
            'it is a list, e.g. ["kidney", "tumor"]',
        ),
        (
            'protocol = [\n  "liver",\n  "splen",\n]\n[values]\n1 = "liver"',
            "my.toml, line 3: unknown class 'splen': did you mean 'spleen'?",
        ),
        (
            f'revision = "{"2" * 101}"\n[values]\n1 = "liver"',
            "my.toml, line 1: revision has 101 characters; shorten it to 100 at most",
        ),
        (
            '[values]\n0-65535 = "background"\n70000-70001 = "liver"',
            "my.toml, line 3: with '70000-70001' the ranges name more than 65536 values; name what the masks hold",
        ),
        (
            f'[values]\n{"9" * 5000} = "liver"',
            f"my.toml, line 2: '{'9' * 5000}' is not a label value; write a whole number or a range like 14-20",
        ),
        (f"notes = {'[' * 20000}", "my.toml: too many lists within lists; a mapping file has none"),
        (
            # Neither the note's lines nor the table of files may be taken for the line of the value.
            'notes = ["""\n1 = "x"\n"""]\n[files]\nmask = "1{case}"\n[values]\n1 = "livr"',
            "my.toml, line 7: unknown class 'livr': did you mean 'liver'?",
        ),
        (
            "[values",
            "my.toml: Expected ']' at the end of a table declaration (at end of document); "
            'a mapping file is TOML, e.g. 1 = "liver"',
        ),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_line_and_remedy(text, said):
    with pytest.raises(UsageError) as caught:
        parse_mapping(text, "my.toml")
    assert str(caught.value) == said


def test_values_are_mapped_and_both_sides_join_under_one_value():
    mapped = apply_mapping(row(1, 1, 2, 3, 0, 1), load_builtin("kits23"), "case_00000")
    assert mapped.value.dtype == np.uint8
    assert mapped.to_array().ravel().tolist() == [200, 200, 14, 0, 0, 200]


def test_values_outside_the_mapping_are_listed_with_their_voxels():
    with pytest.raises(LabelValueError) as caught:
        apply_mapping(row(1, 3, 3, -1, 0, 2), load_builtin("kits19"), "case_00000/segmentation.nii.gz")
    assert str(caught.value) == (
        "case_00000/segmentation.nii.gz: label values -1 (1 voxels), 3 (2 voxels) are not in mapping 'kits19' "
        "(1-2); use the mapping of this source, or a mapping file that names them"
    )


def test_a_long_list_of_values_is_cut_short():
    with pytest.raises(
        LabelValueError, match=r"27 \(1 voxels\) and 2 more are not in mapping 'flare23' \(1-14\)"
    ):
        apply_mapping(row(*range(20, 30)), load_builtin("flare23"), "m.nii.gz")


def test_a_mask_of_another_source_is_told_from_one_with_a_stray_value():
    with pytest.raises(
        LabelValueError, match=r"not one value of this mask is, so it comes from another source"
    ):
        apply_mapping(row(0, 63, 126), load_builtin("lits"), "m.nii.gz")
    with pytest.raises(LabelValueError) as caught:
        apply_mapping(row(0, 1, 63), load_builtin("lits"), "m.nii.gz")
    assert "not one value" not in str(caught.value)


def test_a_class_that_was_looked_for_needs_no_value_of_its_own():
    mapping = parse_mapping('protocol = ["liver", "tumor"]\n[values]\n1 = "liver"', "healthy.toml")
    assert mapping.protocol == {1, 14}  # so a tumor is known to be absent in every case
    assert mapping.values == {1: 1}


def test_a_file_with_very_many_values_is_read_at_once():
    lines = "\n".join(f'{value} = "liver"' for value in range(1, 20_001))
    started = time.process_time()
    assert len(parse_mapping(f"[values]\n{lines}", "many.toml").values) == 20_000
    assert time.process_time() - started < 5  # a look through all lines for each of them would take minutes


def test_a_file_written_on_windows_reads_the_same():
    assert parse_mapping('\ufeff[values]\r\n1 = "liver"\r\n', "w.toml").values == {1: 1}


@pytest.mark.parametrize(
    ("ids", "phrase"),
    [
        (range(1, 14), "organ"),
        (range(1, 15), "organ; tumor"),
        (set(range(1, 15)) - {12}, "organ but duodenum; tumor"),
        (set(range(1, 14)) - {7, 8, 12}, "organ but adrenal, duodenum"),
        ((14, 2, 13), "kidney, tumor"),
        ((2, 7, 8), "right_kidney, adrenal"),
    ],
)
def test_classes_are_told_in_few_words(ids, phrase):
    assert class_phrase(set(ids)) == phrase


def test_a_value_for_both_sides_can_draw_either():
    assert drawn_classes(load_builtin("kits23")) == {2, 13, 14}  # value 3, the cyst, draws nothing
    assert drawn_classes(load_builtin("btcv")) == set(range(1, 14)) - {12}
