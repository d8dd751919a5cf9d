"""Who may begin an inference while this process and its workers share the cores of the CPU."""

from collections.abc import Callable

# A worker is begun when so many inferences in a row began while more was asked for than they: one crowded
# moment is not worth its memory.
CROWDED_IN_A_ROW = 3


class Turns:
    """Says who may begin, and with how many threads. For one caller at a time.

    Inferences with more threads in all than there are cores hold each other up: three threads on two cores
    are slower than one. So what begins while nothing else is asked for has all cores, and nothing begins
    beside it. Where more is asked for it begins with its share of them, and others join it until all rest.
    One core for each of two inferences is less time in all than both cores for one after the other.
    """

    def __init__(self, most: int, threads: int, is_crowded: Callable[[], bool]) -> None:
        """Take the most inferences at once, the threads for all of them, and what says if more is asked for
        than the one that begins.
        """
        self.most = most
        self._threads = threads
        self._is_crowded = is_crowded
        self._workers = 0
        self._busy_workers = 0
        self._busy_here = False
        self._shared = False
        self._crowded_in_a_row = 0

    @property
    def processes(self) -> int:
        """Those that infer when it is crowded, this one included."""
        return 1 + self._workers

    @property
    def parts(self) -> int:
        """Among how many that which waits is divided now."""
        return self.processes if self._shared else 1

    @property
    def wants_worker(self) -> bool:
        """Whether one more would have something to do."""
        return self.processes < self.most and self._crowded_in_a_row >= CROWDED_IN_A_ROW

    def join(self) -> None:
        """One more worker is there."""
        self._workers += 1

    def leave(self) -> None:
        """One is not there any more."""
        self._workers -= 1
        self._crowded_in_a_row = 0

    def begin_here(self) -> int:
        """An inference begins in this process, as it may whenever none is under way here.

        Returns:
            How many threads it has.
        """
        crowded = self._is_crowded()
        self._crowded_in_a_row = self._crowded_in_a_row + 1 if crowded else 0
        self._busy_here = True
        if not self._busy_workers:
            self._shared = crowded and self._workers > 0
        return self._threads // self.parts

    def end_here(self) -> None:
        """The inference in this process is over."""
        self._busy_here = False

    def worker_may_begin(self) -> bool:
        """Whether a worker may begin an inference beside the one in this process."""
        return self._shared and self._busy_here

    def begin_in_worker(self) -> int:
        """An inference begins in a worker.

        Returns:
            How many threads it has.
        """
        self._busy_workers += 1
        return self._threads // self.parts

    def end_in_worker(self) -> None:
        """A worker's inference is over."""
        self._busy_workers -= 1
