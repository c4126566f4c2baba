"""Whether a machine was too busy for its times to be trusted."""

from ablation.bench.busy import reason_busy


def test_equal_steps_of_a_thread_that_ran_all_the_time_are_trusted() -> None:
    assert reason_busy([0.1, 0.11, 0.1, 0.12], running=0.42) is None
    assert reason_busy([0.1]) is None


def test_thread_that_others_interrupted_is_not_trusted() -> None:
    assert reason_busy([0.1, 0.1], running=0.12) == "other programs took 40% of the time of the unprofiled steps"


def test_equal_steps_of_very_different_times_are_not_trusted() -> None:
    reason = reason_busy([0.1, 0.1, 0.2, 0.2])
    assert reason == "half of the equal unprofiled steps took about 100 ms, the other half about 200 ms"
    assert reason_busy([*[0.1] * 7, 0.9]) is None, "one that was held up is left out anyway"
