"""Moving: a catalog to another database, and images to another disk."""

from dataclasses import dataclass
from pathlib import Path

from curation.errors import UsageError
from db import copying, queries, writes
from db.engine import database_url
from pipelines.files_of_users import kept_path
from pipelines.runs import Workbench

# How many absent images an error names.
_SHOWN = 3
# Tables of fewer rows are copied faster than their line is read.
_WORTH_A_LINE = 10_000


@dataclass(frozen=True)
class SourceMove:
    """How many of a source's images are where they should be now; `absent` are some that are not."""

    root: Path
    found: int
    images: int
    absent: tuple[str, ...] = ()


def add_source(
    bench: Workbench,
    name: str,
    *,
    licence: str | None = None,
    citation: str | None = None,
    image_root: Path | None = None,
) -> None:
    """Make a source known, or complete what is known of it."""
    said = {
        "licence": licence,
        "citation": citation,
        "image_root": kept_path(image_root) if image_root else None,
    }
    with bench.catalog.writing() as session:
        writes.ensure_source(session, name, **said)
        writes.add_event(
            session, author=bench.author, action="source add", subject=name,
            parameters={key: value for key, value in said.items() if value is not None},
            program_version=bench.program_version,
        )  # fmt: skip


def move_source(bench: Workbench, name: str, root: Path, *, force: bool = False) -> SourceMove:
    """Say where a source's images lie now. Nothing is copied.

    Args:
        bench: The workspace.
        name: A known source.
        root: The folder that takes the place of the old image root.
        force: Also where none of the images is there (yet).

    Raises:
        UsageError: No such folder or source, or none of its images is there.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder; give the folder that holds the images now")
    root = Path(kept_path(root))
    with bench.catalog.reading() as session:
        known = {source.name: source for source in queries.sources(session)}
        # Images outside the old root are booked with their whole path, and stay where they are.
        paths = [path for path in queries.image_paths(session, name) if not Path(path).is_absolute()]
    absent = [path for path in paths if not (root / path).is_file()]
    moved = SourceMove(root, len(paths) - len(absent), len(paths), tuple(absent[:_SHOWN]))
    if paths and not moved.found and not force:
        raise UsageError(
            f"{root}: none of the {len(paths)} images of {name} is there (e.g. {absent[0]}); give the folder "
            "that takes the place of the old one, or --force if they are still to come"
        )
    with bench.catalog.writing() as session:
        writes.move_source(session, name, str(root))
        before = known[name].image_root
        writes.add_event(
            session, author=bench.author, action="source move", subject=name,
            parameters={"from": before, "to": str(root), "found": moved.found, "images": moved.images},
            program_version=bench.program_version,
        )  # fmt: skip
    return moved


def copy_catalog(bench: Workbench, url: str) -> dict[str, int]:
    """Copy the catalog into another database, compared row by row; see `db.copying.copy_catalog`.

    It is booked before it begins, so that the copy tells it, too.

    Returns:
        Table to number of rows.
    """
    where = database_url(url).render_as_string(hide_password=True)
    with bench.catalog.writing() as session:
        writes.add_event(
            session, author=bench.author, action="catalog copy", subject=where,
            program_version=bench.program_version,
        )  # fmt: skip
    title = ""

    def step(what: str, done: int, total: int) -> None:
        nonlocal title
        if total < _WORTH_A_LINE:
            return
        if what != title:
            if title:
                bench.progress.finish()
            title = what
            bench.progress.start(what, total)
        bench.progress.step(done)

    rows = copying.copy_catalog(bench.catalog, url, step)
    bench.progress.finish()
    return rows
