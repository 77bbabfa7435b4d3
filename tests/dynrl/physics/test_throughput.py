"""What `dynrl bench physics` says of speeds."""

from dynrl.bench import physics_throughput


def test_a_peer_that_is_not_installed_is_a_bar_missed_and_says_how_to_install_it(monkeypatch):
    rates = {"dynrl": [300.0, 500.0], "SyncVectorEnv": [100.0, 200.0]}
    monkeypatch.setattr(physics_throughput, "throughput", lambda *arguments: rates)
    monkeypatch.setattr(physics_throughput, "ALL_ROBOTS", ("Reacher",))
    equal, *rows = physics_throughput.figures(quick=True)
    assert equal.passed
    assert [row.passed for row in rows] == [False, True] * 3
    assert all("make bench-peers" in row.measured for row in rows[::2])
    assert rows[1].measured.startswith("2.75 ("), "the median of pairs"
