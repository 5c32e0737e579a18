"""Names and colors of a label map's values as text files that ITK-SNAP and 3D Slicer load."""

from collections.abc import Iterable
from dataclasses import dataclass

_ITKSNAP_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


@dataclass(frozen=True)
class NamedValue:
    """One value of a label map: what it is called, and its color as ``#rrggbb``."""

    value: int
    name: str
    color: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0 to 255."""
        return int(self.color[1:3], 16), int(self.color[3:5], 16), int(self.color[5:7], 16)


def itksnap_labels(values: Iterable[NamedValue]) -> str:
    """A label description file: ITK-SNAP, Segmentation > Import Label Descriptions."""
    lines = [_row(0, (0, 0, 0), 0, "Clear Label")]
    lines += [_row(v.value, v.rgb, 1, v.name) for v in values]
    return _ITKSNAP_HEADER + "".join(lines)


def _row(value: int, rgb: tuple[int, int, int], shown: int, name: str) -> str:
    red, green, blue = rgb
    quoted = " ".join(name.replace('"', "'").split())  # a name ends at its quote and its line
    return f'{value:5} {red:5} {green:4} {blue:4} {shown:8} {shown:2} {shown:2}    "{quoted}"\n'


def slicer_colors(values: Iterable[NamedValue], title: str) -> str:
    """A color table (.ctbl) for 3D Slicer; blanks in names become underscores, as its format has it.

    Format: https://slicer.readthedocs.io/en/5.6/developer_guide/modules/colors.html
    """
    rows = ["0 Background 0 0 0 0\n"]
    for v in values:
        red, green, blue = v.rgb
        rows.append(f"{v.value} {'_'.join(v.name.split())} {red} {green} {blue} 255\n")
    return f"# Color table file {' '.join(title.split())}\n# {len(rows)} values\n" + "".join(rows)
