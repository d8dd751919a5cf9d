"""Whose turn it is while processes share the threads of a CPU."""

import pytest

from app.turns import CROWDED_IN_A_ROW, Turns


class Asked:
    """How many inferences are asked for, as the test says."""

    number = 1

    def __call__(self) -> int:
        return self.number


@pytest.fixture
def asked() -> Asked:
    return Asked()


def turns_of(processes: int, threads: int, asked: Asked) -> Turns:
    """With all workers being there."""
    turns = Turns(processes, threads, asked)
    for _ in range(1, processes):
        turns.expect_worker()
        turns.join()
    return turns


def test_what_is_alone_has_all_threads_and_no_company(asked: Asked):
    """Even when more comes while it is under way: three threads on two cores would be slower."""
    turns = turns_of(2, 2, asked)
    assert turns.begin_here() == 2
    asked.number = 2
    assert not turns.worker_may_begin()


def test_in_a_crowd_each_has_its_share(asked: Asked):
    turns = turns_of(2, 2, asked)
    asked.number = 8
    assert turns.begin_here() == 1
    assert turns.worker_may_begin()
    assert turns.begin_in_worker() == 1
    assert not turns.worker_may_begin(), "both threads have work"
    turns.end_here()
    asked.number = 1
    assert turns.begin_here() == 1, "the worker still has the other thread"
    turns.end_here()
    turns.end_in_worker(1)
    assert turns.begin_here() == 2


def test_a_worker_leaves_what_this_process_can_do(asked: Asked):
    """As long as it has nothing to do itself, it is the one to begin."""
    turns = turns_of(2, 2, asked)
    asked.number = 2
    assert not turns.worker_may_begin()
    turns.begin_here()
    turns.end_here()
    assert not turns.worker_may_begin()


@pytest.mark.parametrize(
    ("processes", "threads", "asked_for", "shares"),
    [
        (8, 16, 1, [16]),
        (8, 16, 2, [8, 8]),
        (8, 16, 3, [6, 6, 4]),
        (8, 16, 99, [2] * 8),
        (2, 3, 2, [2, 1]),
        (16, 16, 16, [1] * 16),
    ],
)
def test_threads_are_shared_by_those_who_are_there_and_asked_for(
    processes: int, threads: int, asked_for: int, shares: list[int], asked: Asked
):
    """All threads have work, and none has two."""
    turns = turns_of(processes, threads, asked)
    asked.number = asked_for
    granted = [turns.begin_here()]
    while turns.worker_may_begin():
        granted.append(turns.begin_in_worker())
    assert granted == shares
    assert sum(granted) == threads


def test_threads_are_never_granted_twice_while_the_number_of_processes_changes(asked: Asked):
    turns = turns_of(2, 16, asked)
    asked.number = 4
    first = turns.begin_here()
    second = turns.begin_in_worker()
    turns.expect_worker()
    turns.join()
    turns.end_here()
    first = turns.begin_here()
    assert turns.worker_may_begin()
    third = turns.begin_in_worker()
    assert (first, second, third) == (6, 8, 2)
    turns.leave()
    turns.end_in_worker(third)
    turns.end_in_worker(second)
    turns.end_here()
    asked.number = 1
    assert turns.begin_here() == 16


def infer(turns: Turns, times: int) -> None:
    for _ in range(times):
        turns.begin_here()
        turns.end_here()


def test_a_worker_is_wanted_when_it_stays_crowded(asked: Asked):
    """Not for a single crowded moment; and not at once again after one that had nothing to do has left."""
    turns = Turns(2, 2, asked)
    asked.number = 2
    infer(turns, CROWDED_IN_A_ROW - 1)
    assert not turns.wants_worker
    asked.number = 1
    infer(turns, 1)
    asked.number = 2
    infer(turns, CROWDED_IN_A_ROW - 1)
    assert not turns.wants_worker
    infer(turns, 1)
    assert turns.wants_worker
    assert turns.processes == 1
    turns.expect_worker()
    infer(turns, CROWDED_IN_A_ROW)
    assert not turns.wants_worker, "it is being begun"
    turns.join()
    assert turns.processes == 2
    infer(turns, CROWDED_IN_A_ROW)
    assert not turns.wants_worker, "two are the most"
    turns.leave()
    assert not turns.wants_worker
    infer(turns, CROWDED_IN_A_ROW)
    assert turns.wants_worker


def test_no_more_workers_are_wanted_than_there_is_work_for(asked: Asked):
    turns = Turns(16, 16, asked)
    asked.number = 3
    for processes in (2, 3):
        infer(turns, CROWDED_IN_A_ROW)
        assert turns.wants_worker
        turns.expect_worker()
        turns.join()
        assert turns.processes == processes
    infer(turns, CROWDED_IN_A_ROW)
    assert not turns.wants_worker


def test_a_worker_that_could_not_be_begun_is_wanted_again(asked: Asked):
    turns = Turns(2, 2, asked)
    asked.number = 2
    infer(turns, CROWDED_IN_A_ROW)
    turns.expect_worker()
    turns.no_more_expected()
    assert not turns.wants_worker
    infer(turns, CROWDED_IN_A_ROW)
    assert turns.wants_worker


def test_a_worker_keeps_its_threads_as_long_as_they_are_its_share(asked: Asked):
    """Or else what it began with would be its share for as long as it has work."""
    turns = turns_of(3, 8, asked)
    asked.number = 2
    assert turns.begin_here() == 4
    assert turns.begin_in_worker() == 4
    assert turns.worker_keeps(4)
    asked.number = 8
    assert not turns.worker_keeps(4)
    turns.end_in_worker(4)
    assert turns.begin_in_worker() == 3
    assert turns.worker_keeps(3)
