"""Text that came from outside, such as a file's name, as text that stays on its line and can be written as UTF-8."""

import unicodedata

# Control characters, line and paragraph separators, and what stands for bytes of a name that are not UTF-8.
_CATEGORIES = frozenset({"Cc", "Zl", "Zp", "Cs"})
# These make a terminal show what follows in another order than it stands.
_REORDER = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def one_line(text: str) -> str:
    """Escape what would break a line, mislead a terminal or cannot be encoded: ``a\\nb``, ``caf\\xe9``."""
    if text.isprintable():
        return text
    return "".join(_escaped(sign) if _is_unfit(sign) else sign for sign in text)


def _is_unfit(sign: str) -> bool:
    return sign in _REORDER or unicodedata.category(sign) in _CATEGORIES


def _escaped(sign: str) -> str:
    # Python puts a byte that is not UTF-8 at U+DC00 plus its value.
    byte = ord(sign) - 0xDC00
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else sign.encode("unicode_escape").decode()
