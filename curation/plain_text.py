"""Text of a user's file: UTF-8, or an error that says in which line it is not."""

import codecs

from curation.errors import UsageError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def plain_text(data: bytes, filename: str) -> str:
    """A file's bytes as text, without the mark that some programs put before UTF-8, line ends as ``\\n``.

    Raises:
        UsageError: Another encoding, or NUL signs as only files of other kinds have them.
    """
    remedy = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
    if data.startswith(_UTF_16):
        raise UsageError(f"{filename}: is UTF-16; {remedy}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} is not UTF-8"
        raise UsageError(f"{filename}, line {line}: {found}; {remedy}") from error
    if (nul := text.find("\0")) >= 0:
        line = text.count("\n", 0, nul) + 1
        raise UsageError(f"{filename}, line {line}: holds a NUL sign, so it is no text file; {remedy}")
    return text.replace("\r\n", "\n").replace("\r", "\n")
