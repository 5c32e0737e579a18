"""Label descriptions as ITK-SNAP and 3D Slicer write them themselves."""

from curation.label_files import NamedValue, itksnap_labels, slicer_colors

VALUES = [NamedValue(1, "liver", "#ff8000"), NamedValue(12, 'the "other"\nhand', "#00000a")]


def test_an_itksnap_label_description_has_index_color_visibility_and_a_quoted_name():
    lines = itksnap_labels(VALUES).splitlines()
    assert lines[1] == "# ITK-SnAP Label Description File"
    rows = [line.split(maxsplit=7) for line in lines if not line.startswith("#")]
    assert rows == [
        ["0", "0", "0", "0", "0", "0", "0", '"Clear Label"'],
        ["1", "255", "128", "0", "1", "1", "1", '"liver"'],
        ["12", "0", "0", "10", "1", "1", "1", "\"the 'other' hand\""],
    ]


def test_a_slicer_color_table_has_no_blanks_in_its_names():
    assert slicer_colors(VALUES, "S/A@1").splitlines() == [
        "# Color table file S/A@1",
        "# 3 values",
        "0 Background 0 0 0 0",
        "1 liver 255 128 0 255",
        '12 the_"other"_hand 0 0 10 255',
    ]
