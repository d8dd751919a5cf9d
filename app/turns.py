"""Who may begin an inference, and with how many threads, while processes share the cores of a CPU."""

import math
from collections.abc import Callable

# One more worker is begun when so many inferences in a row began while more was asked for than can be done at
# once: a crowded moment is not worth its memory.
CROWDED_IN_A_ROW = 3


class Turns:
    """Divides the CPU's threads among the inferences of this process and those of its workers.

    Inferences with more threads in all than there are cores hold each other up: three threads on two cores
    are slower than one. So what begins while nothing else is asked for has all of them, and nothing begins
    beside it. Where more is asked for it begins with its share, and workers take theirs. One core for each of
    two inferences is less time in all than both cores for one after the other.

    For one caller at a time.
    """

    def __init__(self, most: int, threads: int, asked: Callable[[], int]) -> None:
        """Take the most inferences at once, the threads for all, and what says how many are asked for."""
        self.most = most
        self._asked = asked
        self._free_threads = self._threads = threads
        self._workers = 0
        self._expected_workers = 0
        self._here = 0
        self._crowded_in_a_row = 0

    @property
    def processes(self) -> int:
        """Those that infer when there is enough to do, this one included."""
        return 1 + self._workers

    @property
    def wants_worker(self) -> bool:
        """Whether one more would have something to do."""
        return self._crowded_in_a_row >= CROWDED_IN_A_ROW

    def expect_worker(self) -> None:
        """Somebody begins the one that is wanted."""
        self._expected_workers += 1
        self._crowded_in_a_row = 0

    def no_more_expected(self) -> None:
        """It could not be begun."""
        self._expected_workers -= 1

    def join(self) -> None:
        """It is there."""
        self._expected_workers -= 1
        self._workers += 1

    def leave(self) -> None:
        """One is not there any more."""
        self._workers -= 1
        self._crowded_in_a_row = 0

    def begin_here(self) -> int:
        """An inference begins in this process, which is free to as long as it has no other.

        Returns:
            How many threads it has.
        """
        expected = self.processes + self._expected_workers
        crowded = expected < min(self.most, self._asked())
        self._crowded_in_a_row = self._crowded_in_a_row + 1 if crowded else 0
        self._here = self._grant()
        return self._here

    def end_here(self) -> None:
        """The inference in this process is over."""
        self._free_threads += self._here
        self._here = 0

    def worker_may_begin(self) -> bool:
        """Whether a worker may begin an inference: beside one in this process that has left it threads."""
        return self._here > 0 and self._free_threads > 0

    def begin_in_worker(self) -> int:
        """An inference begins in a worker.

        Returns:
            How many threads it has.
        """
        return self._grant()

    def worker_keeps(self, threads: int) -> bool:
        """Whether a worker that has so many threads would have as many if it began anew."""
        return threads == self._share(self._free_threads + threads)

    def end_in_worker(self, threads: int) -> None:
        """A worker's inference, which had so many threads, is over."""
        self._free_threads += threads

    def _grant(self) -> int:
        granted = self._share(self._free_threads)
        self._free_threads -= granted
        return granted

    def _share(self, available: int) -> int:
        """A share of the threads, or what is available of them."""
        parts = max(1, min(self.processes, self._asked()))
        return min(math.ceil(self._threads / parts), available)
