"""One system for the tests of a module; phones and extensions for one test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, System


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    running = System(tmp_path_factory.mktemp("box") / "var")
    running.start()
    try:
        yield running
    finally:
        code = running.stop()
        print(running.output.read_text())  # shown by pytest when a test failed  # noqa: T201
    assert code == 0


@pytest.fixture
def extension(system: System) -> Iterator[Callable[..., Credentials]]:
    """Makes extensions that go with the test."""
    made: list[Credentials] = []

    def make(**values: Any) -> Credentials:
        made.append(system.add_extension(**values))
        return made[-1]

    yield make
    for credentials in made:
        system.remove_extension(credentials)


@pytest.fixture
def phone(system: System, tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """Starts phones that end with the test; their logs, with every SIP message, are shown when it failed."""
    with contextlib.ExitStack() as phones:
        started: list[Phone] = []

        def start(credentials: Credentials, **options: Any) -> Phone:
            started.append(Phone(system, tmp_path / f"phone{len(started)}", credentials, **options))
            return phones.enter_context(started[-1])

        yield start
    for each in started:
        print(f"---- phone {each.number}\n{each.log()[-8000:]}")  # noqa: T201
