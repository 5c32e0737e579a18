"""Cohorts and workspaces for the tests with real processes."""

import pytest
from cohort import Cohort, Workspaces


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """60 cases: enough for worker processes and two commits, few enough for many kills."""
    return Cohort.write(tmp_path_factory.mktemp("cohort"), 60)


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
