"""What the formats' automata generate, judged by jsonschema's checkers."""

import pytest
from jsonschema import Draft202012Validator

from smoldiff.automata.formats import FORMATS, format_language

CHECKER = Draft202012Validator.FORMAT_CHECKER


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_sample_passes_the_format_checker(name, sample):
    assert name in CHECKER.checkers
    dfa = format_language(name)
    for max_bytes in (0, 8, 30, 60, 300):
        for _ in range(50):
            text = sample(dfa, max_bytes).decode()
            assert CHECKER.conforms(text, name), text


@pytest.mark.parametrize(
    ("name", "accepted", "refused"),
    [
        ("date", ["2024-02-29", "2000-02-29", "2023-12-31"], ["2023-02-29", "1900-02-29", "2023-04-31", "0000-01-01"]),
        ("time", ["23:59:59.5Z", "00:00:00-23:59"], ["23:59:60Z", "24:00:00Z", "12:00:00"]),
        ("date-time", ["2024-02-29T12:00:00+01:00"], ["2024-02-29 12:00:00Z", "2024-02-30T12:00:00Z"]),
        ("duration", ["P1Y2M3D", "PT5M", "P2W", "P1DT12H"], ["P", "PT", "P1Y2D", "P1W2D"]),
        ("uuid", ["2EB8AA08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08aa9811eab4aa73b441d16380"]),
        ("ipv4", ["127.0.0.1", "255.255.255.255"], ["256.0.0.1", "01.2.3.4", "1.2.3"]),
        ("ipv6", ["::", "::1", "1::", "2001:db8::8a2e:370:7334", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8"], ["1:2:3", "1::2::3", "1:2:3:4:5:6:7:8::", "12345::"]),
        ("email", ["joe.bloggs@example.com", "a+b@x.org"], ["a.@x.org", "@x.org", "a@", "a" * 65 + "@x.org"]),
        ("hostname", ["example.com", "localhost", "a" * 63, "a-b.c"], ["a" * 64, "-a", "a-", "a..b", ""]),
        ("uri", ["https://example.com:80/a/b?c=d#e", "urn:isbn:0451450523", "mailto:a@b.org"], ["//x", "a b:c", ""]),
        ("uri-reference", ["/a", "a/b", "", "#x", "?q", "http://x.org"], ["a b", "\\"]),
        ("iri", ["https://exämple.com/straße"], ["/straße"]),
        ("uri-template", ["/users/{id}{?q*,lang:3}"], ["/users/{id", "{}"]),
        ("json-pointer", ["", "/a/~0~1/0"], ["a", "/~2"]),
        ("relative-json-pointer", ["0", "1/a", "2#"], ["/a", "01", "-1"]),
    ],
)  # fmt: skip
def test_examples(name, accepted, refused):
    dfa = format_language(name)
    assert [text for text in accepted if not dfa.matches(text.encode())] == []
    assert [text for text in refused if dfa.matches(text.encode())] == []


def test_an_unknown_format_constrains_nothing():
    assert format_language("color") is None
