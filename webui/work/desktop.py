"""Work that takes longer than a page: done in a thread, one at a time, and looked at by pages that are opened meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from appliance.words import Explained, Said

log = logging.getLogger(__name__)
FRESH = 60.0  # seconds a result is shown
Tell = Callable[[str, int, int], None]  # what, done, of


@dataclass(slots=True)
class Work:
    """How far it is. `result` and `problem` are sentences for the page; `file` what came out of it."""

    kind: str
    what: str = ""
    done: int = 0
    total: int = 0
    finished: bool = False
    problem: Said | None = None
    result: Said | None = None
    ended: float = 0.0  # on the monotonic clock
    fetched: bool = False  # a page has been told to fetch its file by itself

    def tell(self, what: str, done: int, total: int) -> None:
        self.what, self.done, self.total = what, done, total

    @property
    def fresh(self) -> bool:
        """Its result is still worth a line on the page, also on one that is loaded twice."""
        return self.finished and time.monotonic() - self.ended < FRESH

    @property
    def percent(self) -> int:
        return min(100, 100 * self.done // self.total) if self.total else 0


class Busy(Explained):
    """Something else is being done."""


class Desktop:
    """What is being done now, or was done last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.work: Work | None = None

    def begin(self, kind: str, do: Callable[[Tell], Said], expected: tuple[type[Exception], ...]) -> Work:
        """Do it in a thread; it returns a sentence, or raises one of the expected exceptions with one."""
        with self._lock:
            if self.work is not None and not self.work.finished:
                raise Busy(Said("work.busy"))
            work = self.work = Work(kind)
        threading.Thread(target=self._run, args=(work, do, expected), name=kind, daemon=True).start()
        return work

    def of(self, kind: str) -> Work | None:
        return self.work if self.work is not None and self.work.kind == kind else None

    def _run(self, work: Work, do: Callable[[Tell], Said], expected: tuple[type[Exception], ...]) -> None:
        try:
            work.result = do(work.tell)
        except expected as error:
            work.problem = error.said if isinstance(error, Explained) else Said.of("work.failed", error=str(error))
        except Exception:
            log.exception("%s failed", work.kind)
            work.problem = Said("work.fault")
        finally:
            work.ended = time.monotonic()
            work.finished = True
