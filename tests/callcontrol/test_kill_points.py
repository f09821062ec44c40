"""`calls` is killed before each of its outward effects in turn, while one call of each kind runs: nobody is left
alone, ringing or without an answer. The first run counts the effects, then each is a run of its own."""

from __future__ import annotations

import pytest

from tests.box_stage import stage
from tests.callcontrol import kill_scenes, kill_scripts
from tests.callcontrol.kill_scenes import Scene, how, only_the_refusal
from tests.clock import run

SCENES = {**kill_scenes.SCENES, **kill_scripts.SCENES}


def attempt(
    name: str, transport: str, at: int, again: int = 0, down: float = 0.3, outbox: bool = True
) -> tuple[int, str, list[str]]:
    """How many effects there were, before which one the process was killed, and what was wrong."""
    scene = SCENES.get(name, WITHOUT_OUTBOX.get(name))
    assert scene is not None

    async def played() -> tuple[int, str, list[str]]:
        async with stage(scene.office, at, again, down, outbox, services=scene.services) as found:
            await scene.play(found, how(transport))
        found.one_call(scene.outcome)
        return found.axe.count, found.axe.fell_before, found.wrong

    return run(played())


# Played also with slots that lose the messages of the last turn, as they do when those had no room: what the legs themselves repeat
# must be enough.
WITHOUT_OUTBOX = {"only the refusal": Scene(only_the_refusal)}
ROWS = [(name, transport) for name, scene in SCENES.items() for transport in scene.transports]


@pytest.mark.parametrize(("name", "transport"), ROWS)
def test_a_kill_at_any_point_leaves_nobody_alone(name: str, transport: str) -> None:
    points, _, wrong = attempt(name, transport, 0)
    assert (points > 10, wrong) == (True, []), "without a kill"
    failed = {}
    for at in range(1, points + 1):
        # once, and another time so long that phones repeat, with its successor killed in the middle of taking over
        for again, down in ((0, 0.3), (1 + at % 9, 0.8)):
            _, before, wrong = attempt(name, transport, at, again, down)
            if wrong:
                failed[at, again, before] = wrong
    assert failed == {}, f"{len(failed)} of {2 * points} runs"


@pytest.mark.parametrize("transport", ["UDP", "TLS"])
@pytest.mark.parametrize("name", WITHOUT_OUTBOX)
def test_legs_repeat_what_no_outbox_has_kept(name: str, transport: str) -> None:
    points, _, wrong = attempt(name, transport, 0, outbox=False)
    assert (points > 5, wrong) == (True, []), "without a kill"
    for at in range(1, points + 1):
        _, before, wrong = attempt(name, transport, at, outbox=False)
        assert wrong == [], f"killed before {at}, {before}"
