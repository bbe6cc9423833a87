"""A bucket of requests that fills again with time."""

from lib.service.door import TokenBucket


def test_a_bucket_gives_as_many_as_it_holds_and_fills_again():
    now = [100.0]
    bucket = TokenBucket(6, clock=lambda: now[0])  # one in ten seconds
    assert [bucket.take() for _ in range(7)] == [0] * 6 + [10]
    now[0] += 4
    assert bucket.take() == 6
    now[0] += 6
    assert [bucket.take(), bucket.take()] == [0, 10]
    now[0] += 3600
    assert [bucket.take() for _ in range(7)] == [0] * 6 + [10]  # never more than it holds
