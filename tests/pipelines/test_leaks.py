"""Leaks of a training set to be: what stands on two sides of its split, or among the test cases, too."""

import shutil
from pathlib import Path

import pytest
from dashboard_workspace import Built, build

from app.workspace import open_workspace
from db.engine import for_writing, open_engine
from pipelines.freeze import FreezeRequest, plan
from pipelines.leaks import leaks


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """PHANTOM_TUMOR is a copy of PHANTOM_0001, PHANTOM_IMAGE_ONLY has the image of PHANTOM_0000."""
    return build(tmp_path_factory.mktemp("leaks"))


def found(root: Path, request: FreezeRequest) -> dict[str, set[str]]:
    """Kind of leak to the cases concerned."""
    with open_workspace(root) as ws:
        bench = ws.bench(jobs=1)
        kinds: dict[str, set[str]] = {}
        for leak in leaks(bench, plan(bench, request)):
            kinds.setdefault(leak.kind, set()).update(leak.cases)
    return kinds


def changed(built: Built, folder: Path, statement: str) -> Path:
    """A copy of the workspace in which somebody said otherwise of a case."""
    root = folder / "changed"
    shutil.copytree(built.root, root)
    with for_writing(open_engine(f"sqlite:///{root / 'catalog.db'}")).begin() as connection:
        connection.exec_driver_sql(statement)
    return root


TWINS = {"Phantom/PHANTOM_0001", "Phantom/PHANTOM_TUMOR"}


def test_one_image_in_two_folds_is_a_leak_and_in_one_it_is_none(built: Built) -> None:
    torn = FreezeRequest("x", "role = train", folds=5)
    assert found(built.root, torn) == {"one image on two sides": TWINS}
    # Seed 1 draws both of them for the same side.
    assert found(built.root, FreezeRequest("x", "role = train", val_share=0.5, seed=1)) == {}


def test_copies_of_one_patient_are_never_torn_apart(built: Built, tmp_path: Path) -> None:
    one_patient = """UPDATE "case" SET patient = 'P' WHERE name IN ('PHANTOM_0001', 'PHANTOM_TUMOR')"""
    root = changed(built, tmp_path, one_patient)
    assert found(root, FreezeRequest("x", "role = train", folds=5)) == {}


def test_an_image_of_the_test_cases_leaks_into_a_training_set(built: Built, tmp_path: Path) -> None:
    root = changed(built, tmp_path, """UPDATE "case" SET role = 'test' WHERE name = 'PHANTOM_IMAGE_ONLY'""")
    assert found(root, FreezeRequest("x", "role = train")) == {
        "one image on two sides": {"Phantom/PHANTOM_0000", "Phantom/PHANTOM_IMAGE_ONLY"}
    }


def test_a_patient_of_the_test_cases_leaks_into_a_training_set(built: Built, tmp_path: Path) -> None:
    together = """UPDATE "case" SET patient = 'P' WHERE name IN ('PHANTOM_0002', 'PHANTOM_T0000')"""
    root = changed(built, tmp_path, together)
    assert found(root, FreezeRequest("x", "role = train")) == {
        "one patient on two sides": {"Phantom/PHANTOM_0002", "Phantom/PHANTOM_T0000"}
    }
