"""`calls` is killed before each of its outward effects in turn, while one call of each kind runs: nobody is left
alone, ringing or without an answer. The first run counts the effects, then each is a run of its own."""

from __future__ import annotations

import pytest

from tests.box_stage import stage
from tests.callcontrol.kill_scenes import SCENES, how
from tests.clock import run


def attempt(name: str, transport: str, at: int) -> tuple[int, str, list[str]]:
    """How many effects there were, before which one the process was killed, and what was wrong."""
    scene = SCENES[name]

    async def played() -> tuple[int, str, list[str]]:
        async with stage(scene.office, at) as found:
            await scene.play(found, how(transport))
        found.one_call(scene.outcome)
        return found.axe.count, found.axe.fell_before, found.wrong

    return run(played())


ROWS = [(name, transport) for name, scene in SCENES.items() for transport in scene.transports]


@pytest.mark.parametrize(("name", "transport"), ROWS)
def test_a_call_without_a_kill(name: str, transport: str) -> None:
    points, _, wrong = attempt(name, transport, 0)
    assert wrong == []
    assert points >= 5


@pytest.mark.parametrize(("name", "transport"), ROWS)
def test_a_kill_at_any_point_leaves_nobody_alone(name: str, transport: str) -> None:
    points, _, _ = attempt(name, transport, 0)
    failed = {}
    for at in range(1, points + 1):
        _, before, wrong = attempt(name, transport, at)
        if wrong:
            failed[at, before] = wrong
    assert failed == {}, f"{len(failed)} of {points} points"
