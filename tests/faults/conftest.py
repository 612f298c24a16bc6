"""What was tried is said at the end: the seed of the random inputs, and their number."""

from collections.abc import Generator

import pytest

from tests.faults.random_input import SEED, tried


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note in a test's report how many random inputs it was given: reports reach the process that prints the summary."""
    report = yield
    if report.when == "call" and item.name in tried:
        report.user_properties.append(("random inputs", tried[item.name]))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many inputs the tests that ran were given."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    ran = {report.head_line: count for report in reports for key, count in report.user_properties if key == "random inputs"}
    if ran:
        terminalreporter.write_line(f"{sum(ran.values())} random inputs, FAULTS_SEED={SEED}: {ran}")
