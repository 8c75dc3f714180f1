import threading

import numpy as np

from app.engines.masks import AllowedMasks

ROWS = np.array([7, 3, 9, 3])


def test_a_mask_says_which_rows_hold_an_allowed_id() -> None:
    reach = AllowedMasks().reach(np.array([3, 8]), ROWS, change=0)
    assert reach.mask.tolist() == [False, True, False, True]
    assert reach.rows.tolist() == [1, 3]
    assert reach.count == 2


def test_the_same_array_finds_the_same_reach_until_the_rows_change() -> None:
    masks, allowed = AllowedMasks(), np.array([3])
    first = masks.reach(allowed, ROWS, change=0)
    assert masks.reach(allowed, ROWS, change=0) is first
    assert masks.reach(allowed, ROWS[:2], change=1).mask.tolist() == [False, True]


def test_arrays_that_come_and_go_are_not_taken_for_one_another() -> None:
    masks = AllowedMasks(most=2)
    for entry in [7, 3, 9] * 20:
        assert (
            masks.reach(np.array([entry]), ROWS, change=0).mask.tolist()
            == np.equal(ROWS, entry).tolist()
        )


def test_only_the_last_few_are_remembered() -> None:
    masks, filters = AllowedMasks(most=2), [np.array([entry]) for entry in (7, 3, 9)]
    first, second = (masks.reach(allowed, ROWS, change=0) for allowed in filters[:2])
    assert masks.reach(filters[0], ROWS, change=0) is first
    masks.reach(filters[2], ROWS, change=0)
    assert masks.reach(filters[0], ROWS, change=0) is first
    assert masks.reach(filters[1], ROWS, change=0) is not second


def test_many_threads_may_use_it() -> None:
    masks, filters = AllowedMasks(most=2), [np.array([entry]) for entry in (7, 3, 9)]
    wrong: list[int] = []

    def look(change: int) -> None:
        for number in range(300):
            allowed = filters[number % 3]
            reach = masks.reach(allowed, ROWS, change=(number + change) // 50)
            if reach.mask.tolist() != np.equal(ROWS, allowed[0]).tolist():
                wrong.append(number)

    threads = [threading.Thread(target=look, args=(change,)) for change in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
