"""The lines of a TOML file's keys, also of one that tomllib cannot read."""

import pytest

from curation.toml_places import TomlPlaces

TEXT = '''\
name = "a" # not [a] table
protocol = [
  "liver",
  'spleen', # "tumor" = 1
]
"note" = """
1 = "no key"
"""
[values]
1 = "liver"
"2" = "a # b"
1 = "spleen"
'''


def test_keys_are_found_in_their_tables():
    places = TomlPlaces(TEXT)
    assert [(place.line, place.table, place.key) for place in places.keys] == [
        (1, "", "name"),
        (2, "", "protocol"),
        (6, "", "note"),
        (10, "values", "1"),
        (11, "values", "2"),
        (12, "values", "1"),
    ]
    assert places.lines_of("1", "values") == (10, 12)
    assert places.lines_of("1") == ()
    assert places.line_of_table("values") == 9
    assert places.line_of_table("files") is None


@pytest.mark.parametrize(("word", "line"), [("liver", 3), ("spleen", 4), ("aorta", 2)])
def test_a_word_of_a_list_is_found_below_its_key(word, line):
    assert TomlPlaces(TEXT).line_of_word(word, "protocol") == line


def test_a_word_of_a_key_that_is_not_there_has_no_line():
    assert TomlPlaces(TEXT).line_of_word("liver", "files") is None


@pytest.mark.parametrize("text", ['a = "never closed\nb = 1', "a = 'it\nb = 1", 'a = "x \\" y"\nb = 1'])
def test_a_text_that_ends_with_its_line_hides_no_key_below(text):
    assert TomlPlaces(text).lines_of("b") == (2,)


def test_a_key_named_twice_is_told_but_the_parts_of_a_dotted_key_are_not():
    first, second = TomlPlaces(TEXT).twice() or (None, None)
    assert (first.line, second.line, second.key) == (10, 12, "1")
    assert TomlPlaces('files.mask = "a"\nfiles.image = "b"').twice() is None
    assert TomlPlaces('1 = "a"\n1.5 = "b"').twice() is not None
    assert TomlPlaces("a = 1\n[t]\na = 1").twice() is None
