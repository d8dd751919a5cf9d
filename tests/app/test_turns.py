"""Whose turn it is while processes share the cores of a CPU."""

import pytest

from app.turns import CROWDED_IN_A_ROW, Turns


class Crowd:
    """Whether more is asked for, as the test says."""

    is_there = False

    def __call__(self) -> bool:
        return self.is_there


@pytest.fixture
def crowd() -> Crowd:
    return Crowd()


@pytest.fixture
def turns(crowd: Crowd) -> Turns:
    """Two processes on two cores, the worker being there."""
    turns = Turns(most=2, threads=2, is_crowded=crowd)
    turns.join()
    return turns


def test_what_is_alone_has_all_cores_and_no_company(turns: Turns, crowd: Crowd):
    """Even when more comes while it is under way: three threads on two cores would be slower."""
    assert turns.begin_here() == 2
    crowd.is_there = True
    assert not turns.worker_may_begin()
    assert turns.parts == 1


def test_in_a_crowd_each_has_its_share(turns: Turns, crowd: Crowd):
    """The worker joins the inference here, and this process the worker's, until all rest."""
    crowd.is_there = True
    assert turns.begin_here() == 1
    assert turns.worker_may_begin()
    assert turns.parts == 2
    assert turns.begin_in_worker() == 1
    turns.end_here()
    crowd.is_there = False
    assert turns.begin_here() == 1, "the worker still has its core"
    turns.end_in_worker()
    turns.end_here()
    assert turns.begin_here() == 2


def test_a_worker_leaves_what_this_process_can_do(turns: Turns, crowd: Crowd):
    """As long as it has nothing to do itself, it is the one to begin."""
    crowd.is_there = True
    assert not turns.worker_may_begin()
    turns.begin_here()
    turns.end_here()
    assert not turns.worker_may_begin()


def test_more_cores_than_processes(crowd: Crowd):
    turns = Turns(most=3, threads=16, is_crowded=crowd)
    crowd.is_there = True
    assert turns.begin_here() == 16, "no worker is there yet"
    turns.end_here()
    turns.join()
    assert turns.begin_here() == 8
    turns.end_here()
    turns.join()
    assert turns.begin_here() == 5


def test_a_worker_is_wanted_when_it_stays_crowded(crowd: Crowd):
    """Not for a single crowded moment; and not at once again after one that had nothing to do has left."""
    turns = Turns(most=2, threads=2, is_crowded=crowd)

    def infer(times: int) -> None:
        for _ in range(times):
            turns.begin_here()
            turns.end_here()

    crowd.is_there = True
    infer(CROWDED_IN_A_ROW - 1)
    assert not turns.wants_worker
    crowd.is_there = False
    infer(1)
    crowd.is_there = True
    infer(CROWDED_IN_A_ROW - 1)
    assert not turns.wants_worker
    infer(1)
    assert turns.wants_worker
    assert turns.processes == 1
    turns.join()
    assert turns.processes == 2
    assert not turns.wants_worker, "two are the most"
    turns.leave()
    assert not turns.wants_worker
    infer(CROWDED_IN_A_ROW)
    assert turns.wants_worker
