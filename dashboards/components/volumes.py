"""The voxels of a case for looking at: turned to RAS, read once and shared by all who look."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from curation.errors import CurationError
from curation.volumes import Geometry, decode_image, decode_mask
from db.queries import CasePage
from db.store import Store


@dataclass(frozen=True, eq=False)
class Scene:
    """What there is to look at; image and mask share one grid, and one of them may be None.

    Attributes:
        geometry: The grid, on the file's own axes.
        image_hu: Hounsfield units, shape `geometry.shape_ras`.
        labels: Label values, shape `geometry.shape_ras`.
        problem: Why there is no image, and what to do; None if there is one.
    """

    geometry: Geometry
    image_hu: NDArray[np.int16 | np.float32] | None
    labels: NDArray[np.uint8] | None
    problem: str | None


def load_scene(case: CasePage, store: Store) -> Scene | None:
    """Read image and mask of a case's version; None where it has neither.

    A mask without its image is still shown: it is what the catalog is about.

    Raises:
        CurationError: The stored mask cannot be read.
    """
    geometry: Geometry | None = None
    labels = image = None
    if case.detail.row.file_hash is not None:
        geometry, labels = _mask(store.path(case.detail.row.file_hash))
    problem = None
    try:
        image_geometry, image = _image_of(case)
        if geometry is not None and (difference := geometry.difference(image_geometry)):
            image = None
            problem = f"The image no longer lies on the mask's grid ({difference}); ingest the case again."
        geometry = geometry or image_geometry
    except CurationError as error:
        problem = str(error)
    if geometry is None:
        if problem:
            raise CurationError(problem)
        return None
    return Scene(geometry, image, labels, problem)


def _image_of(case: CasePage) -> tuple[Geometry, NDArray[np.int16 | np.float32]]:
    source = case.address.partition("/")[0]
    if case.image.path is None:
        raise CurationError(
            f"No image is known for {case.address}; "
            f"take it in with `maskledger ingest --source {source} --images DIR`"
        )
    path = Path(case.image.root or "") / case.image.path
    try:
        state = path.stat()
    except OSError as error:
        raise CurationError(
            f"{path}: the image is not there ({error.strerror}); bring it back, or if its folder moved: "
            f"`maskledger source move {source} NEW_ROOT`"
        ) from error
    # A file that changed since is another entry of the cache.
    return _image(path, state.st_mtime_ns, state.st_size)


# Resources, not data: cached data are copied for every reader, and a CT has 150 MB. Nobody writes to these.
@st.cache_resource(max_entries=4, show_spinner="Reading the mask …")
def _mask(path: Path) -> tuple[Geometry, NDArray[np.uint8]]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CurationError(
            f"{path}: the stored mask cannot be read ({error.strerror}); run `maskledger verify`"
        ) from error
    geometry, runs = decode_mask(data, str(path))
    labels = geometry.to_ras(runs.to_array())
    labels.flags.writeable = False
    return geometry, labels


@st.cache_resource(max_entries=2, show_spinner="Reading the image …")
def _image(path: Path, modified_ns: int, size: int) -> tuple[Geometry, NDArray[np.int16 | np.float32]]:  # noqa: ARG001 - of the cache's key
    try:
        with path.open("rb") as stream:
            geometry, voxels = decode_image(stream, str(path))
    except OSError as error:
        raise CurationError(f"{path}: the image cannot be read ({error.strerror}); check the file") from error
    image = geometry.to_ras(voxels)
    image.flags.writeable = False
    return geometry, image
