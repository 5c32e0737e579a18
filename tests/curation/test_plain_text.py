"""Text files of users are UTF-8, with or without a mark, or are refused with the line."""

import pytest

from curation.errors import UsageError
from curation.plain_text import plain_text


def test_utf_8_is_read_with_a_mark_or_without_and_line_ends_become_one_kind():
    assert plain_text(b"\xef\xbb\xbfa\r\nb\rc\n", "f") == "a\nb\nc\n"
    assert plain_text("ü".encode(), "f") == "ü"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a = 1\n".encode("utf-16"), "f.toml: is UTF-16; save it as UTF-8"),
        (b"a\nM\xfcller\n", "f.toml, line 2: byte 0xfc is not UTF-8; save it as UTF-8"),
        (b"a\n\nb\0", "f.toml, line 3: holds a NUL sign, so it is no text file"),
    ],
)
def test_what_is_no_utf_8_is_refused_with_its_line(data, said):
    with pytest.raises(UsageError) as caught:
        plain_text(data, "f.toml")
    assert str(caught.value).startswith(said)
