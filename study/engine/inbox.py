"""What workers elsewhere tell, until the driver takes it. Its process loads nothing else, and so begins in a second."""

from collections import Counter
from typing import Any


class Inbox:
    """An actor of Ray on the driver's machine, which also says whether workers are to stop.

    What is told is the run's name and an event that was taken apart.
    """

    def __init__(self) -> None:
        self._told: list[tuple[str, list[Any]]] = []
        self._begun = Counter[int]()
        self._is_stopping = False

    def begin(self, number: int, again: tuple[str, list[Any]]) -> None:
        """The task of that number has begun; `again` is told where it isn't the first time: it lost its worker."""
        self._begun[number] += 1
        if self._begun[number] > 1:
            self._told.append(again)

    def put(self, told: list[tuple[str, list[Any]]]) -> bool:
        """Gives whether to stop."""
        self._told += told
        return self._is_stopping

    def take(self, stop: bool) -> list[tuple[str, list[Any]]]:
        self._is_stopping = self._is_stopping or stop
        taken, self._told = self._told, []
        return taken
