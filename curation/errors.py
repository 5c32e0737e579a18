"""The errors a user can cause, each carrying what was found and what to do about it."""


class CurationError(Exception):
    """Something in the data or the request is wrong; the message says what, where and what to do.

    Everything that is not a defect of our own code derives from this, so a stage can turn
    one bad case into one line on stderr and go on with the others.
    """


class UsageError(CurationError):
    """The request itself is wrong (an unknown class, mapping, query word, an absent folder): exit code 2."""


class MaskFileError(CurationError):
    """A file cannot be read as what it should be: truncated, not NIfTI, 4D, RGB, complex, not integer."""


class LabelValueError(CurationError):
    """A mask carries label values that its mapping does not name."""


class GridError(CurationError):
    """Two volumes that must share one voxel grid do not."""


def first_line(error: BaseException) -> str:
    """What an error of a library or a database says, in one line, or is called.

    Of weights that do not fit torch lists every one, a line each.
    """
    return str(error).strip().partition("\n")[0].rstrip(":") or type(error).__name__


def kind_and_first_line(error: BaseException) -> str:
    """The same with the error's kind before it, for libraries that raise whatever a damaged file leads them to."""
    said, kind = first_line(error), type(error).__name__
    return kind if said == kind else f"{kind}: {said}"
