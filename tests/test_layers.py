"""Who may import whom: the wings stand on the core and do not know each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WINGS = ("envs", "agents", "robots")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_no_other(wing):
    files = sorted((ROOT / wing).rglob("*.py"))
    assert len(files) > 10
    others = tuple(f"dynrl.{other}" for other in WINGS if other != wing)
    found = [(str(file.relative_to(ROOT)), name) for file in files for name in imported(file)]
    assert [each for each in found if each[1].startswith(others)] == []
