"""Which draft a schema is read in."""

import jsonschema
import pytest

from smoldiff.errors import UnsupportedSchema
from smoldiff.schema.dialect import MAX_NESTING, check_nesting, validator_class


@pytest.mark.parametrize(
    ("schema", "draft"),
    [
        ({"type": "object"}, jsonschema.Draft202012Validator),
        ({"items": [{}]}, jsonschema.Draft7Validator),
        ({"minimum": 1, "exclusiveMinimum": True}, jsonschema.Draft4Validator),
        ({"$schema": "http://json-schema.org/draft-06/schema#"}, jsonschema.Draft6Validator),
        ({"$schema": "https://example.com/own"}, jsonschema.Draft202012Validator),
        (True, jsonschema.Draft202012Validator),
    ],
    ids=str,
)
def test_the_draft_is_the_one_named_or_the_newest_that_fits(schema, draft):
    assert validator_class(schema) is draft


def test_nesting_is_limited_exactly():
    schema: dict = {}
    for _ in range(MAX_NESTING - 1):
        schema = {"not": schema}
    check_nesting(schema, "")
    with pytest.raises(UnsupportedSchema):
        check_nesting({"not": schema}, "")
