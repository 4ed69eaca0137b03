"""Numbers that stand where a token id is not one."""

NULL = -1
"""No token: a position behind the text, or a class without an allowed token."""
UNDECIDED = -2
"""A token still to be found."""
