"""Checkout: a version's mask as a file, or with its image as a folder that an annotation tool opens."""

import dataclasses
import io
import re
import shlex
import tempfile
import zipfile
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from curation.errors import CurationError, GridError, UsageError
from curation.label_files import NamedValue, itksnap_labels, slicer_colors
from curation.labels import CLASSES, IGNORE, UNRESOLVED, value_color, value_name
from curation.volumes import decode_image, encode_image, encode_mask
from db import case_files
from db.case_files import CaseFile
from pipelines.case_masks import stored_mask
from pipelines.runs import Workbench
from pipelines.whole_files import write_whole
from pipelines.whole_folders import new_folder


class Tool(StrEnum):
    """An annotation tool that a folder can be made for."""

    ITKSNAP = "itksnap"
    SLICER = "slicer"


@dataclass(frozen=True)
class ToolFolder:
    """What was written for an annotation tool.

    Attributes:
        address: The version, ``SOURCE/NAME@N``.
        tool: Whose label description it is.
        image: None where the case's image is not there; `note` says why.
        mask: On the same grid as the image.
        labels: Names and colors of the mask's values.
        note: See `image`.
    """

    address: str
    tool: Tool
    image: Path | None
    mask: Path
    labels: Path
    note: str | None

    @property
    def open_with(self) -> str:
        """The command that opens all of it."""
        main = self.image or self.mask
        if self.tool is Tool.ITKSNAP:
            return shlex.join(["itksnap", "-g", str(main), "-s", str(self.mask), "-l", str(self.labels)])
        load = [f"colors = slicer.util.loadColorTable({str(self.labels)!r})"]
        load += [f"slicer.util.loadVolume({str(self.image)!r})"] if self.image else []
        load += [
            f"slicer.util.loadVolume({str(self.mask)!r}, {{'labelmap': True, 'colorNodeID': colors.GetID()}})"
        ]
        return shlex.join(["Slicer", "--python-code", "; ".join(load)])

    @property
    def take_back(self) -> str:
        """The command that takes the corrected mask back; the reason is to be filled in."""
        return shlex.join(["maskledger", "correct", self.address, str(self.mask)]) + ' --reason "…"'


def checkout(bench: Workbench, address: str, file: Path, *, replace: bool = False) -> str:
    """Write the stored bytes of one version to `file`.

    Returns:
        The full address of what was written, ``SOURCE/NAME@N``.

    Raises:
        UsageError: Unknown case or version, a name that is not .nii.gz, or the file exists.
        CurationError: The version has no mask (an image alone was ingested).
    """
    if not file.name.endswith(".nii.gz"):
        raise UsageError(f"{file}: masks are written as .nii.gz; choose a name that ends so")
    if file.exists() and not replace:
        raise UsageError(f"{file}: exists already; choose another name or use --force")
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent}: no such folder; make it first")
    with bench.catalog.reading() as session:
        case = case_files.case_file(session, address)
    if case.file_hash is None:
        raise CurationError(f"{case.address}@{case.number}: has an image but no mask; complement it first")
    write_whole(file, bench.store.get(case.file_hash))
    return f"{case.address}@{case.number}"


def checkout_for(
    bench: Workbench, address: str, folder: Path, tool: Tool, *, with_image: bool = True
) -> ToolFolder:
    """Write one version for an annotation tool: image and mask on exactly the same grid, names and colors of labels.

    An image without a mask yet is given one of background alone, to draw in.

    Args:
        bench: Catalog and store.
        address: ``SOURCE/NAME[@N]``.
        folder: A new folder in one that is there.
        tool: Which tool's label description.
        with_image: Whether to write the image, too.

    Raises:
        UsageError: Unknown case or version, or the folder exists.
        GridError: The image does not lie on the mask's grid.
        StoredFileError: The mask is not in the store.
    """
    with bench.catalog.reading() as session:
        case = case_files.case_file(session, address)
    name = case.address.rpartition("/")[2]
    labels = f"{name}_labels.{'txt' if tool is Tool.ITKSNAP else 'ctbl'}"
    mask = encode_mask(stored_mask(bench.store, case), case.geometry)
    with new_folder(folder) as building:
        note: str | None = "the image was not asked for"
        if with_image:
            note = _write_image(case, building / f"{name}_ct.nii.gz")
        write_whole(building / f"{name}_mask.nii.gz", mask)
        write_whole(building / labels, _label_description(tool).encode())
    return ToolFolder(
        address=f"{case.address}@{case.number}",
        tool=tool,
        image=folder / f"{name}_ct.nii.gz" if note is None else None,
        mask=folder / f"{name}_mask.nii.gz",
        labels=folder / labels,
        note=note,
    )


def packed_name(address: str, tool: Tool) -> str:
    """What `packed_for` of a version is called on somebody's disk: of signs that mean nothing to any system."""
    return re.sub(r"[^\w.-]+", "_", f"{address.rpartition('/')[2]}_{tool}", flags=re.ASCII) + ".zip"


def packed_for(bench: Workbench, address: str, tool: Tool, *, with_image: bool = True) -> bytes:
    """What `checkout_for` writes as one ZIP file, for a browser, with a text that says how to go on.

    An image that does not lie on the mask's grid is left out, and the text says so.

    Raises:
        UsageError: Unknown case or version.
        StoredFileError: The mask is not in the store.
    """
    with tempfile.TemporaryDirectory() as work:
        folder, left_out = Path(work) / "folder", ""
        try:
            written = checkout_for(bench, address, folder, tool, with_image=with_image)
        except GridError as error:
            written, left_out = checkout_for(bench, address, folder, tool, with_image=False), str(error)
        # As they lie beside each other wherever the file is unpacked.
        unpacked = dataclasses.replace(
            written,
            image=Path(written.image.name) if written.image else None,
            mask=Path(written.mask.name),
            labels=Path(written.labels.name),
        )
        text = [
            written.address, "", "Open it in this folder:", f"    {unpacked.open_with}",
            "Bring the corrected mask back on the case's page, or:", f"    {unpacked.take_back}",
        ]  # fmt: skip
        if with_image and (why := left_out or written.note):
            text += ["", f"Without the image. {why}"]
        packed = io.BytesIO()
        # The volumes are packed already.
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
            for file in (written.image, written.mask, written.labels):
                if file is not None:
                    archive.write(file, file.name)
            archive.writestr("README.txt", "\n".join(text) + "\n")
        return packed.getvalue()


def _write_image(case: CaseFile, file: Path) -> str | None:
    """Write the image anew, with the mask's own header; returns why there is none, or None."""
    if case.image is None:
        return f"{case.address}: has no image; the mask is alone"
    try:
        data = case.image.read_bytes()
    except OSError as error:
        return f"{case.image}: {error.strerror}; the mask is alone (`maskledger source move` says where images are)"
    geometry, voxels = decode_image(data, str(case.image))
    if difference := geometry.difference(case.geometry):
        raise GridError(
            f"{case.image}: does not lie on the grid of {case.address}@{case.number}: {difference}; "
            f"`maskledger checkout {case.address}@{case.number} FILE.nii.gz` writes the mask alone"
        )
    # Tools compare the two headers bit by bit; within its tolerance the image's own may differ from the mask's.
    write_whole(file, encode_image(voxels, case.geometry))
    return None


def _label_description(tool: Tool) -> str:
    """Every value that a stored mask may hold."""
    reserved = [*(pair.value for pair in UNRESOLVED), IGNORE]
    values = [NamedValue(c.id, c.title, c.color) for c in CLASSES]
    values += [NamedValue(value, value_name(value).capitalize(), value_color(value)) for value in reserved]
    return itksnap_labels(values) if tool is Tool.ITKSNAP else slicer_colors(values, "maskledger")
