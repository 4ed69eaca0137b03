"""JSON values compared as JSON, where Python would take true for 1."""


def same_kind(one: object, other: object) -> bool:
    """Whether both are booleans, or neither is."""
    return isinstance(one, bool) == isinstance(other, bool)


def json_equal(one: object, other: object) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, true and 1 are not; the order of keys does not matter."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(json_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    return same_kind(one, other) and one == other
