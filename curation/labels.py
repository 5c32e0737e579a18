"""The label table: the 13 organs and the tumor, and the reserved voxel values of a stored mask."""

import difflib
from dataclasses import dataclass, field

from curation.errors import UsageError

BACKGROUND = 0
IGNORE = 255
UNRESOLVED_RANGE = range(200, 240)


@dataclass(frozen=True)
class LabelClass:
    """One class of the FLARE23 label table.

    `tolerance_mm` is the NSD tolerance of the FLARE23 evaluator. `snomed` is the SNOMED CT concept
    of the structure. `color` is the one sRGB color of the class in plots, viewer and exports.
    """

    id: int
    name: str
    title: str
    tolerance_mm: float
    color: str
    snomed: str
    aliases: tuple[str, ...] = ()
    groups: tuple[str, ...] = field(default=("organ", "class"))


@dataclass(frozen=True)
class UnresolvedPair:
    """A drawn structure whose side is not known yet, e.g. the kidneys of KiTS (one value for both)."""

    value: int
    name: str
    sides: tuple[int, int]
    color: str


# Order of label_tolerance in FLARE23_DSC_NSD_Eval.py, JunMa11/FLARE; colors: a qualitative set that stays
# distinguishable for color-blind readers by lightness as well as hue; codes: SNOMED CT body structures.
# fmt: off
CLASSES: tuple[LabelClass, ...] = (
    LabelClass(1, "liver", "Liver", 5.0, "#b5482e", "10200004", ("li",)),
    LabelClass(
        2, "right_kidney", "Right kidney", 3.0, "#1f77b4", "9846003", ("rk", "kidney_right"),
        ("organ", "kidney", "class"),
    ),
    LabelClass(3, "spleen", "Spleen", 3.0, "#7e57c2", "78961009", ("sp",)),
    LabelClass(4, "pancreas", "Pancreas", 5.0, "#e0b400", "15776009", ("pan",)),
    LabelClass(5, "aorta", "Aorta", 2.0, "#e53935", "15825003", ("ao",), ("organ", "vessel", "class")),
    LabelClass(
        6, "inferior_vena_cava", "Inferior vena cava", 2.0, "#3949ab", "64131007",
        ("ivc", "postcava"), ("organ", "vessel", "class"),
    ),
    LabelClass(
        7, "right_adrenal_gland", "Right adrenal gland", 2.0, "#00897b", "29392005",
        ("rag", "right_adrenal", "adrenal_gland_right"), ("organ", "adrenal", "class"),
    ),
    LabelClass(
        8, "left_adrenal_gland", "Left adrenal gland", 2.0, "#80cbc4", "36625000",
        ("lag", "left_adrenal", "adrenal_gland_left"), ("organ", "adrenal", "class"),
    ),
    LabelClass(9, "gallbladder", "Gallbladder", 2.0, "#43a047", "28231008", ("gb", "gall_bladder")),
    LabelClass(10, "esophagus", "Esophagus", 3.0, "#8d6e63", "32849002", ("eso", "oesophagus")),
    LabelClass(11, "stomach", "Stomach", 5.0, "#f48fb1", "69695003", ("sto",)),
    LabelClass(12, "duodenum", "Duodenum", 7.0, "#fb8c00", "38848004", ("duo",)),
    LabelClass(
        13, "left_kidney", "Left kidney", 3.0, "#64b5f6", "18639004", ("lk", "kidney_left"),
        ("organ", "kidney", "class"),
    ),
    LabelClass(14, "tumor", "Tumor", 2.0, "#d500f9", "108369006", ("tumour", "lesion"), ("class",)),
)
# fmt: on
CLASS_IDS: tuple[int, ...] = tuple(c.id for c in CLASSES)
ORGAN_IDS: tuple[int, ...] = tuple(c.id for c in CLASSES if "organ" in c.groups)
TUMOR_ID = 14
CLASS_NAMES: tuple[str, ...] = tuple(c.name for c in CLASSES)
BY_ID: dict[int, LabelClass] = {c.id: c for c in CLASSES}
BY_NAME: dict[str, LabelClass] = {c.name: c for c in CLASSES}

UNRESOLVED: tuple[UnresolvedPair, ...] = (
    UnresolvedPair(200, "kidney", (2, 13), "#90a4ae"),
    UnresolvedPair(201, "adrenal", (7, 8), "#b0bec5"),
)
UNRESOLVED_BY_NAME: dict[str, UnresolvedPair] = {p.name: p for p in UNRESOLVED}
UNRESOLVED_BY_VALUE: dict[int, UnresolvedPair] = {p.value: p for p in UNRESOLVED}

# (right, left): what an x flip in RAS has to swap.
SIDED_PAIRS: tuple[tuple[int, int], ...] = tuple(p.sides for p in UNRESOLVED)

GROUPS: dict[str, tuple[int, ...]] = {
    group: tuple(c.id for c in CLASSES if group in c.groups)
    for group in ("organ", "kidney", "adrenal", "vessel", "class")
}

_BY_WORD: dict[str, LabelClass] = {
    word: c for c in CLASSES for word in (c.name, c.name.replace("_", " "), c.title.lower(), *c.aliases)
}


class UnknownClassError(UsageError):
    """A word names no class of the label table."""


def find_class(word: str) -> LabelClass | None:
    """Look a class up by name, title or alias, whatever the case, blanks or underscores; None if unknown."""
    key = word.strip().lower()
    return _BY_WORD.get(key) or _BY_WORD.get(key.replace(" ", "_").replace("-", "_"))


def resolve_class(word: str) -> LabelClass:
    """Look a class up by name, title or alias.

    Raises:
        UnknownClassError: No such class; the message offers the nearest word.
    """
    found = find_class(word)
    if found is None:
        near = difflib.get_close_matches(word.lower(), _BY_WORD, n=1)
        hint = f": did you mean '{near[0]}'?" if near else f"; classes are {', '.join(CLASS_NAMES)}"
        raise UnknownClassError(f"unknown class '{word}'{hint}")
    return found


def is_reserved(value: int) -> bool:
    """True for voxel values that no pipeline may write on: unresolved pairs and ignore."""
    return value == IGNORE or value in UNRESOLVED_RANGE


def value_name(value: int) -> str:
    """A stored voxel value in words."""
    if value in BY_ID:
        return BY_ID[value].name
    if value in UNRESOLVED_BY_VALUE:
        return f"{UNRESOLVED_BY_VALUE[value].name} without side"
    return {BACKGROUND: "background", IGNORE: "ignore"}.get(value, str(value))


def value_color(value: int) -> str:
    """The one sRGB color of a stored voxel value, ``#rrggbb``."""
    if value in BY_ID:
        return BY_ID[value].color
    return UNRESOLVED_BY_VALUE[value].color if value in UNRESOLVED_BY_VALUE else "#9e9e9e"
