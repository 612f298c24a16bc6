"""What was tried is said at the end: the seed of the random inputs, and their number."""

import pytest

from tests.faults.random_input import SEED, tried


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many inputs the tests that ran were given."""
    reports = terminalreporter.stats.get("passed", []) + terminalreporter.stats.get("failed", [])
    ran = {name: tried[name] for report in reports if (name := report.head_line) in tried}
    if ran:
        terminalreporter.write_line(f"{sum(ran.values())} random inputs, FAULTS_SEED={SEED}: {ran}")
