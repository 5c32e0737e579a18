"""Names from outside stay on their line."""

import os

import pytest

from curation.one_line import one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("l/A.nii.gz: no such file", "l/A.nii.gz: no such file"),
        ("ünï \u200dب 肝", "ünï \u200dب 肝"),  # joiners and blanks of other scripts are part of a name
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),  # would color a terminal
        ("a\u2028b\x85c", r"a\u2028b\x85c"),  # lines end there, too, for str.splitlines
        ("\u202egz.iin", r"\u202egz.iin"),  # would be shown as nii.zg
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),  # Latin-1 on a disk
        ("\ud800", r"\ud800"),
    ],
)
def test_what_breaks_a_line_or_is_no_text_is_escaped(text, shown):
    assert one_line(text) == shown
    assert len(one_line(text).encode().splitlines()) == 1
