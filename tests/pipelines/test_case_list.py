"""The --cases CSV: read as spreadsheets write it, or refused in one line that names file, line, finding and remedy."""

import time

import pytest

from curation.errors import UsageError
from pipelines.case_list import read_case_list

LIVER, RIGHT_KIDNEY, LEFT_KIDNEY = 1, 2, 13


def read(tmp_path, data: bytes):
    path = tmp_path / "cases.csv"
    path.write_bytes(data)
    return read_case_list(path, "S")


def test_what_spreadsheets_write_is_read(tmp_path):
    """With the mark before UTF-8, Windows' line ends, capital names, empty lines, columns and values, quotes."""
    data = (
        '\ufeffCase , Patient,Classes,note,\r\nA,"Müller, K.",liver; kidney,"two\r\nlines ""quoted""",\r\n'
        "\r\n,,,,\r\nS/B,,,,\r\n"
    )
    facts = read(tmp_path, data.encode())
    assert list(facts) == ["A", "B"]
    assert (facts["A"].patient, facts["A"].looked_for) == ("Müller, K.", (LIVER, RIGHT_KIDNEY, LEFT_KIDNEY))
    assert facts["A"].extra == {"note": 'two\nlines "quoted"'}
    # A's value holds a line end, so that B stands in line 6.
    assert (facts["A"].line, facts["B"].line) == (2, 6)
    assert (facts["B"].patient, facts["B"].looked_for) == (None, None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"case,patient\nA,p\nB,M\xfcller\n", ", line 3: byte 0xfc is not UTF-8; save it as UTF-8"),
        ("case\nA\n".encode("utf-16"), ": is UTF-16; save it as UTF-8"),
        (b"case,patient\nA,p\x00q\n", ", line 2: holds a NUL sign"),
        (b"", ", line 1: empty, without a column 'case'; add it"),
        (b"name,patient\nA,p\n", ", line 1: no column 'case' among ['name', 'patient']; add it"),
        (b"case;patient\nA;p\n", "among ['case;patient']; separate the columns by commas"),
        (b"case,patient,Patient\nA,p,q\n", ", line 1: column 'patient' stands there twice"),
        (b"case,patient\nA,p,q\n", ", line 2: has 3 values, but the header names 2 columns"),
        (b'case,note\nA,"x\ny"\nB\n', ", line 4: has 1 values, but the header names 2 columns"),
        (b"case,\nA,x\n", ", line 2: has a value in a column without a name"),
        (b'case,note\nA,"never closed\nB,x\n', ", line 2: a quote is never closed"),
        (b'case,note\nA,"x"y\n', ", line 2: ',' expected after '\"'; write quotes within a value twice"),
        (
            b"case,note\nA," + b"x" * 200_000 + b"\n",
            ", line 2: a value has more than 131,072 characters; shorten it",
        ),
        (b"case,patient\n,p\n", ", line 2: the column 'case' is empty"),
        (b"case\nA\nS/A\n", ", line 3: case 'A' stands there twice, first in line 2; keep one"),
        (b"case\nT/A\n", ", line 2: case 'T/A' is not of source S; delete the line"),
        (b"case,role\nA,trian\n", ", line 2: role 'trian' is neither 'train' nor 'test'"),
        (
            b"case,classes\nA,liver livr\n",
            ", line 2: column 'classes': unknown class 'livr': did you mean 'liver'",
        ),
        (b"case,patient\nA," + b"p" * 601 + b"\n", ", line 2: patient has 601 characters; shorten it to 600"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_line_and_a_remedy(tmp_path, data, said):
    with pytest.raises(UsageError) as caught:
        read(tmp_path, data)
    line = str(caught.value)
    assert line.startswith(str(tmp_path / "cases.csv"))
    assert said in line
    assert "\n" not in line


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(UsageError, match="Is a directory; give the CSV with the column 'case'"):
        read_case_list(tmp_path, "S")
    with pytest.raises(UsageError, match="no such file"):
        read_case_list(tmp_path / "nope.csv", "S")


def test_50_000_lines_are_read_in_a_moment(tmp_path):
    rows = "".join(f"case_{n:06},P{n // 2},train,CC BY 4.0,liver spleen\n" for n in range(50_000))
    begin = time.process_time()
    facts = read(tmp_path, f"case,patient,role,licence,classes\n{rows}".encode())
    assert time.process_time() - begin < 3  # it takes 0.4 s
    assert (len(facts), facts["case_049999"].line, facts["case_049999"].patient) == (
        50_000,
        50_001,
        "P24999",
    )
