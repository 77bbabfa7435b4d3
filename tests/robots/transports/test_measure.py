"""The measurement of round trips measures round trips; how long they take is for `dynrl bench deploy` to say."""

import pytest

from dynrl.robots.transports import measure


@pytest.mark.parametrize("kind", ["bare", "dynrl"])
def test_every_message_of_a_batch_comes_back(kind: str, domain: int) -> None:
    with measure.conversation(kind, domain) as talk:
        assert len(talk(7)) == 7
        seconds = talk(11)
    assert len(seconds) == 11
    assert all(0 < second < measure.PATIENCE for second in seconds)


def test_an_answer_that_stays_out_is_an_error(domain: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynrl.errors import RunError

    monkeypatch.setattr(measure, "PATIENCE", 5.0)
    with measure.conversation("dynrl", domain) as talk:
        assert len(talk(2)) == 2
        monkeypatch.setattr(measure, "PATIENCE", 0.2)
        monkeypatch.setattr(measure.DynrlEnd, "send", lambda self, number: None)
        with pytest.raises(RunError, match=r"message 0 of 3 was not answered within 0\.2 s"):
            talk(3)
