"""The last tick once more, with nobody listening, so that the next one finds its code and its data in the caches.

At 50 Hz a tick runs after 20 ms in which others had the processor, and takes two to four times as long as one that
follows at once: nearly all of that time is waiting for memory. Doing the same work a millisecond before moves this
waiting to where it costs nothing.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from dynrl.policy import Contract, PolicySession
from dynrl.robots.controller import Controller, TickInput, TickOutput
from dynrl.robots.description import Robot
from dynrl.robots.encoding import CommandEncoder
from dynrl.robots.messages import MessageTypes
from dynrl.robots.settings import DeploymentConfig
from dynrl.robots.states import Event

AT_ONCE, BEHIND = 2, 100
"""Ticks that one call repeats at most, and by how many the second controller may be behind."""


class DryRun:
    """A second controller, one tick behind the first, whose commands go nowhere.

    It replays what the first did, so both go through the same states. The network is run and its output put aside.
    Where there is hardly ever time for it, it falls too far behind and is over: nothing depends on it.

    Args:
        contract, robot, session, config: of the first.
        types: message types.
        now_ns: when watching begins.
    """

    def __init__(
        self,
        contract: Contract,
        robot: Robot,
        session: PolicySession,
        config: DeploymentConfig,
        types: MessageTypes,
        now_ns: int,
    ) -> None:
        self._session, self._types = session, types
        self._controller = Controller(contract, robot, self._policy, _nothing, config, now_ns)
        self._controller.handle(Event.CONFIGURE, now_ns)
        self._encoder = CommandEncoder(contract, robot, types, contract.control.period_ns)
        self._ticks: deque[tuple[TickInput, np.ndarray | None]] = deque()
        self._over = False
        self._action: np.ndarray | None = None

    def follow(self, given: TickInput, out: TickOutput) -> None:
        """Takes in a tick of the first."""
        if self._over:
            return
        self._ticks.append((given, None if out.action is None else out.action.copy()))
        if len(self._ticks) > BEHIND:
            self._over = True
            self._ticks.clear()

    def __call__(self) -> None:
        """Repeats the last tick; two where there was no time for an earlier one."""
        for _ in range(min(len(self._ticks), AT_ONCE)):
            given, self._action = self._ticks.popleft()
            out = self._controller.tick(given)
            if out.command is not None:
                self._types.serialize(self._encoder(out.command, given.deadline_ns))

    def _policy(self, observation: np.ndarray) -> np.ndarray:
        self._session.rehearse()
        if self._action is None:
            raise RuntimeError("the policy failed in the tick that is repeated")
        return self._action


def _nothing() -> None:
    """A second controller has no recurrent state to reset."""
