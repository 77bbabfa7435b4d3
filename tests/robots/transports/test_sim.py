"""The simulated transport: lock-step, delays, matching by the rules of DDS."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynrl.robots.clocks import MonotonicClock, VirtualClock
from dynrl.robots.description import Robot
from dynrl.robots.messages import Malformed, MessageTypes, message_types
from dynrl.robots.transports import (
    Endpoint,
    Endpoints,
    Qos,
    SimNetwork,
    SimTransport,
    TransportError,
    TransportOptions,
    deployer_endpoints,
    twin_endpoints,
)

OPTIONS = TransportOptions()
STRING = "std_msgs/msg/String"


def writer_and_reader(
    network: SimNetwork, offered: Qos, asked: Qos, types: tuple[str, str] = (STRING, STRING)
) -> tuple[SimTransport, SimTransport]:
    writer = network.join(Endpoints("/w", (), (Endpoint("x", "/x", types[0], offered),)))
    reader = network.join(Endpoints("/r", (Endpoint("x", "/x", types[1], asked),), ()))
    return writer, reader


def play(robot: Robot, seed: int, delay_ns: int) -> list[tuple[str, int, bytes]]:
    """A conversation in virtual time: the twin publishes by a random agenda, the deployer polls every 10 ms."""
    clock, types, rng = VirtualClock(), message_types(), np.random.default_rng(seed)
    deployer, twin = SimTransport.pair(
        deployer_endpoints(robot, OPTIONS), twin_endpoints(robot, OPTIONS), clock, types, delay_ns
    )
    deployer.open()
    twin.open()

    def step() -> None:
        message = types.new("sensor_msgs/JointState", name=["a"], position=[rng.normal()])
        twin.publish("joint_states", message)
        clock.at(clock.now_ns() + int(rng.integers(3, 6)) * 1_000_000, step)

    clock.at(clock.now_ns(), step)
    heard = []
    for tick in range(1, 101):
        clock.wait_until(1_000_000_000 + tick * 10_000_000)
        heard += [(m.source, m.receive_ns, m.raw) for m in deployer.poll()]
    return heard


def test_lock_step_is_reproducible_to_the_bit(robot: Robot) -> None:
    heard = play(robot, 3, 0)
    assert len(heard) > 200
    assert heard == play(robot, 3, 0)
    assert heard != play(robot, 4, 0)


def test_delay_shifts_every_arrival_and_nothing_else(robot: Robot) -> None:
    prompt, late = play(robot, 3, 0), play(robot, 3, 7_000_000)
    assert [(source, when + 7_000_000, raw) for source, when, raw in prompt][: len(late)] == late
    assert 0 < len(prompt) - len(late) <= 7


def test_real_time_cannot_be_delayed() -> None:
    with pytest.raises(TransportError, match="only a simulation in virtual time can delay"):
        SimNetwork(MonotonicClock(), delay_ns=1)


@pytest.mark.parametrize("offered", ["reliable", "best_effort"])
@pytest.mark.parametrize("asked", ["reliable", "best_effort"])
def test_silent_mismatch_is_not_silent(offered: str, asked: str, types: MessageTypes) -> None:
    network = SimNetwork(VirtualClock(), types)
    writer, reader = writer_and_reader(network, Qos(offered), Qos(asked))  # type: ignore[arg-type]
    writer.open()
    reader.open()
    writer.publish("x", types.new(STRING, data="hello"))
    matches = not (offered == "best_effort" and asked == "reliable")
    assert len(reader.poll()) == matches
    for side, peer in ((writer, "/r"), (reader, "/w")):
        lines = side.matched().incompatible
        assert len(lines) == (not matches)
        if lines:
            assert lines[0].startswith("/x: reliability: the reader asks for reliable")
            assert lines[0].endswith(f"the peer is {peer}")


def test_other_type_on_our_topic_is_named(types: MessageTypes) -> None:
    network = SimNetwork(VirtualClock(), types)
    writer, reader = writer_and_reader(network, Qos(), Qos(), ("std_msgs/msg/Bool", STRING))
    writer.open()
    reader.open()
    writer.publish("x", types.new("std_msgs/msg/Bool"))
    assert reader.poll() == []
    (line,) = reader.matched().incompatible
    assert "the writer's type is std_msgs/msg/Bool, the reader's is std_msgs/msg/String" in line


def test_only_the_last_messages_are_kept(types: MessageTypes) -> None:
    network = SimNetwork(VirtualClock(), types)
    writer, reader = writer_and_reader(network, Qos(), Qos(depth=3))
    writer.open()
    reader.open()
    for number in range(10):
        writer.publish("x", types.new(STRING, data=str(number)))
    assert [received.message.data for received in reader.poll()] == ["7", "8", "9"]
    assert reader.poll() == []


def test_two_readers_of_a_channel_hear_a_reliable_writer_twice_and_the_other_once(
    robot: Robot, types: MessageTypes
) -> None:
    for reliability, copies in (("reliable", 2), ("best_effort", 1)):
        network = SimNetwork(VirtualClock(), types)
        deployer = network.join(deployer_endpoints(robot, OPTIONS))
        stop = Endpoint("stop", "/emergency_stop", "std_msgs/msg/Bool", Qos(reliability))  # type: ignore[arg-type]
        button = network.join(Endpoints("/button", (), (stop,)))
        deployer.open()
        button.open()
        button.publish("stop", types.new("std_msgs/Bool", data=True))
        assert [received.source for received in deployer.poll()] == ["estop"] * copies
        assert deployer.matched().incompatible == ()
        assert deployer.matched().publishers["estop"] == 1


def test_two_who_may_reset_the_emergency_stop_are_named(robot: Robot, types: MessageTypes) -> None:
    network = SimNetwork(VirtualClock(), types)
    deployer = network.join(deployer_endpoints(robot, OPTIONS))
    deployer.open()
    reset = Endpoint("reset", "/emergency_stop_reset", "std_msgs/msg/Empty", Qos())
    network.join(Endpoints("/one", (), (reset,))).open()
    assert deployer.matched().other_resetters == ()
    network.join(Endpoints("/two", (), (reset,))).open()
    assert deployer.matched().other_resetters == ("/one", "/two")


def test_damaged_bytes_arrive_as_malformed(types: MessageTypes) -> None:
    network = SimNetwork(VirtualClock(), types)
    writer, reader = writer_and_reader(network, Qos(), Qos())
    writer.open()
    reader.open()
    writer.publish_raw("x", b"\x00\x01\x00\x00\xff\xff\xff\x7f")
    (received,) = reader.poll()
    assert isinstance(received.message, Malformed)
    assert received.raw == b"\x00\x01\x00\x00\xff\xff\xff\x7f"


def test_a_message_in_flight_is_lost_with_its_receiver(types: MessageTypes) -> None:
    clock = VirtualClock()
    writer, reader = writer_and_reader(SimNetwork(clock, types, delay_ns=1000), Qos(), Qos())
    writer.open()
    reader.open()
    writer.publish("x", types.new(STRING, data="hello"))
    reader.close()
    clock.advance(2000)
    reader.open()
    assert reader.poll() == []


def test_opening_twice_is_an_error(robot: Robot, types: MessageTypes) -> None:
    side = SimNetwork(VirtualClock(), types).join(deployer_endpoints(robot, replace(OPTIONS, node="a")))
    side.open()
    with pytest.raises(TransportError, match="open already"):
        side.open()


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(0, 60))
def test_the_agenda_runs_in_order_and_up_to_the_deadline(times: list[int], deadline: int) -> None:
    clock = VirtualClock(0)
    ran: list[tuple[int, int, int]] = []
    for index, when in enumerate(times):
        clock.at(when, lambda when=when, index=index: ran.append((clock.now_ns(), when, index)))
    clock.wait_until(deadline)
    due = sorted((when, index) for index, when in enumerate(times) if when <= deadline)
    assert [(when, index) for _, when, index in ran] == due
    assert all(now == when for now, when, _ in ran)
    assert clock.now_ns() == deadline
    clock.wait_until(deadline - 1)
    assert clock.now_ns() == deadline
    with pytest.raises(ValueError, match="lies in the past"):
        clock.at(deadline - 1, lambda: None)
