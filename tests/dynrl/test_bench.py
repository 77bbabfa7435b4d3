"""The benchmark report: rows, JSON, exit status."""

import json
from collections.abc import Iterator

import pytest

from dynrl import registry
from dynrl.bench import Figure, report
from dynrl.cli import main

MET = Figure("speed", "<= 2 s", "1 s", True, peer="9 s")
MISSED = Figure("memory", "<= 1 GB", "3 GB", False)


def one_met(quick: bool) -> Iterator[Figure]:
    yield MET


def one_missed(quick: bool) -> Iterator[Figure]:
    yield MET
    if not quick:
        yield MISSED


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load", lambda entry: {"met": one_met, "missed": one_missed}[entry.target])
    for name in ("met", "missed"):
        monkeypatch.setitem(registry.BENCHMARKS, name, registry.Entry(name, name, ""))


def test_rows_on_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([MET, MISSED])
    assert capsys.readouterr().out.splitlines() == [
        "figure | bar | measured | peer | ok",
        "speed | <= 2 s | 1 s | 9 s | yes",
        "memory | <= 1 GB | 3 GB | - | NO",
    ]


def test_exit_status_tells_whether_every_bar_was_met() -> None:
    assert main(["bench", "met"]) == 0
    assert main(["bench", "missed"]) == 1
    assert main(["bench", "missed", "--quick"]) == 0


def test_json_holds_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "missed", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [Figure(**row) for row in rows] == [MET, MISSED]


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert not report([MET, MISSED])
    printed = capsys.readouterr().out
    assert "memory" in printed
    assert "3 GB" in printed
