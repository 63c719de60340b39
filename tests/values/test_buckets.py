"""Token buckets: a pace, and once more than that."""

from flowd.values.buckets import REMEMBERED_MAX, Bucket, Buckets


def test_a_burst_is_allowed_and_then_the_pace() -> None:
    bucket = Bucket.full(2.0, 5.0, 100.0)

    burst = [bucket.take(100.0) for _ in range(6)]
    later = [bucket.take(101.0) for _ in range(3)]

    assert burst == [True] * 5 + [False]
    assert later == [True, True, False]


def test_looking_takes_nothing() -> None:
    bucket = Bucket.full(0.0, 1.0, 0.0)

    assert bucket.holds(0.0)
    assert bucket.take(0.0)
    assert not bucket.holds(0.0)


def test_each_key_has_a_bucket_of_its_own() -> None:
    buckets = Buckets(1.0, 1.0)

    assert buckets.take("a", 0.0)
    assert not buckets.take("a", 0.0)
    assert not buckets.holds("a", 0.0)
    assert buckets.take("b", 0.0)
    assert buckets.holds("c", 0.0)


def test_only_so_many_keys_are_remembered() -> None:
    buckets = Buckets(0.0, 1.0)

    for key in range(REMEMBERED_MAX + 1):
        assert buckets.take(key, 0.0)

    assert not buckets.take(REMEMBERED_MAX, 0.0)
    assert buckets.take(0, 0.0)
