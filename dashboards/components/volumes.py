"""The voxels of a case as slices show them: turned to RAS, read once and shared by all who look."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from curation.errors import CurationError
from curation.volumes import Geometry
from dashboards.volume_files import read_image, read_mask, require_one_grid
from db.queries import CasePage
from db.queries.volumes import CaseImage
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


def no_image(address: str) -> str:
    """What to say of a case whose image nobody named."""
    source = address.partition("/")[0]
    return (
        f"No image is known for {address}; take it in with `maskledger ingest --source {source} --images DIR`"
    )


def load_scene(case: CasePage, image: CaseImage | None, store: Store) -> Scene | None:
    """Read image and mask of a case's version; None where it has neither.

    A mask without its image is still shown: it is what the catalog is about.

    Raises:
        CurationError: The stored mask cannot be read.
    """
    geometry: Geometry | None = None
    labels = voxels = None
    with st.spinner("Reading image and mask …"):
        if case.detail.row.file_hash is not None:
            geometry, labels = _labels(store, case.detail.row.file_hash)
        problem = None
        try:
            if image is None:
                raise CurationError(no_image(case.address))
            image_geometry, file_voxels = read_image(image)
            if geometry is not None:
                require_one_grid(geometry, image_geometry)
            voxels = image_geometry.to_ras(file_voxels)
            geometry = geometry or image_geometry
        except CurationError as error:
            problem = str(error)
    if geometry is None:
        if problem:
            raise CurationError(problem)
        return None
    return Scene(geometry, voxels, labels, problem)


# A resource, not data: cached data are copied for every reader. Nobody writes to it.
@st.cache_resource(max_entries=4, show_spinner=False, hash_funcs={Store: lambda store: str(store.root)})
def _labels(store: Store, file_hash: str) -> tuple[Geometry, NDArray[np.uint8]]:
    geometry, runs = read_mask(store, file_hash)
    labels = geometry.to_ras(runs.to_array())
    labels.flags.writeable = False
    return geometry, labels
