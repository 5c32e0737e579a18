"""Cohorts and workspaces for the tests with real processes."""

import os

import pytest
from cohort import Cohort, Workspaces


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """60 cases: enough for worker processes and two commits; FAULTS_CASES asks for more of them."""
    return Cohort.write(tmp_path_factory.mktemp("cohort"), int(os.environ.get("FAULTS_CASES", "60")))


@pytest.fixture(scope="session")
def workspaces(tmp_path_factory: pytest.TempPathFactory, cohort: Cohort) -> Workspaces:
    """Workspaces of this cohort after every step."""
    return Workspaces(tmp_path_factory.mktemp("workspaces"), cohort)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say where the kills fell."""
    fell: dict[str, dict[str, int]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for key, value in getattr(report, "user_properties", ()):
            if report.when == "call" and key == "kill":
                stage, place = value
                counts = fell.setdefault(stage, {})
                counts[place] = counts.get(place, 0) + 1
    if fell:
        terminalreporter.section("kill -9")
        for stage, counts in fell.items():
            terminalreporter.line(
                f"{stage}: " + ", ".join(f"{n} {place}" for place, n in sorted(counts.items()))
            )
