"""What each format takes and refuses; the official suite's cases are in tests/conformance."""

import pytest
from slowness import within

from smoldiff.schema.formats import FORMATS, conforms

GOOD = {
    "date": ["2024-02-29", "2000-02-29", "0000-02-29", "9999-12-31"],
    "time": ["23:59:60Z", "00:29:60+00:30", "18:59:60-05:00", "12:00:00.5z", "00:00:00-00:00"],
    "date-time": ["1998-12-31T23:59:60Z", "2024-02-29t10:00:00+23:59"],
    "duration": ["P1Y2M3D", "PT1H2M3S", "P3W", "P1YT2S", "PT36H", "P0D"],
    "email": ['"a b\\""@example.org', "a@[IPv6:::1]", "a@[127.0.0.1]", "!#$@b", "a@b-c.d"],
    "idn-email": ["δοκιμή@παράδειγμα.δοκιμή", '"é é"@example.org'],
    "hostname": ["a", "1.2.3.4", "XN--NXASMQ6B", "a" * 63, ".".join(["a" * 62] * 4) + ".b"],
    "idn-hostname": ["例え。テスト", "Example.org", "xn--nxasmq6b"],
    "ipv4": ["0.0.0.0", "255.255.255.255"],
    "ipv6": ["::", "::ffff:1.2.3.4", "1:2:3:4:5:6:7:8"],
    "uri": ["a:", "http://u:p@[::1]:80/a?b#c", "urn:a:b", "file:///a%20b"],
    "uri-reference": ["", "#a", "//h", "a/b:c", "?q", "/"],
    "iri": ["http://é/ü?ö#ä", "http://[v1.a:b]"],
    "iri-reference": ["é", "//é"],
    "uri-template": ["{+a,b:3,c*}{?d.e}", "a%20b"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "ABCDEFAB-cdef-9999-9999-999999999999"],
    "json-pointer": ["", "/", "/a~0b~1c//d"],
    "relative-json-pointer": ["0", "1#", "12/a"],
    "regex": ["^a$", r"\p{L}\u{1F600}\k<n>(?<n>)", "[^]", "(?<!a{2,3})b", r"\-{"],
}
BAD = {
    "date": ["2023-02-29", "1900-02-29", "2024-13-01", "2024-1-01", "٢٠٢٤-01-01", "2024-01-01\n"],
    "time": ["23:59:60+01:00", "24:00:00Z", "12:00:00", "12:00:00+24:00", "12:00:00.Z", "12:00:61Z"],
    "date-time": ["2024-02-30T10:00:00Z", "2024-02-29 10:00:00Z", "2024-02-29"],
    "duration": ["P", "PT", "P1YT", "P1Y2D", "PT1H2S", "P1W1D", "1D", "P1.5D", "P1D\n", "P٣D"],
    "email": ["a@b@c", "a..b@c", '"a"b@c', "a@", "@b", "a@b_c", "a@[::1]", "a" * 65 + "@b", "é@b"],
    "idn-email": ["@é", "é" * 33 + "@b", "a b@é"],
    "hostname": ["", "a.", "-a", "a" * 64, "a_b", "é", "xn--x", "a\n", ".".join(["a" * 63] * 4)],
    "idn-hostname": ["", "é.", "a\u0301\u0301é", "-é", "ab--é", "0a.א"],
    "ipv4": ["01.2.3.4", "1.2.3", "256.1.1.1", "1.2.3.4\n", "٣.2.3.4"],
    "ipv6": ["1:2", ":::", "::1%eth0", "12345::", "::01.2.3.4"],
    "uri": ["", "a", "1a:b", "http://[::1", "http://a b", "http://a/%zz", "http://é", "a:\n"],
    "uri-reference": [":a", "1:2", "\\", "http://[1.2.3.4]"],
    "iri": ["é", "http://\ud800", "http://\ue000"],
    "iri-reference": ["<é>"],
    "uri-template": ["{", "}", "{a", "{}", "{a,}", "{a:0}", "{a:10000}", "{é}", "a b"],
    "uuid": ["00000000000000000000000000000000", "{00000000-0000-0000-0000-000000000000}"],
    "json-pointer": ["a", "/~", "/~2"],
    "relative-json-pointer": ["", "01", "-1", "1a", "/a", "٣"],
    "regex": ["(", ")", "[", "a**", "*", r"\a", "(?P<n>a)", "(?i)a", "[b-a]", r"\1", "a{2,1}", "(?"],
}  # fmt: skip


def test_every_format_has_examples():
    assert FORMATS.keys() == GOOD.keys() == BAD.keys()


@pytest.mark.parametrize(("name", "text"), [(n, t) for n in GOOD for t in GOOD[n]])
def test_what_its_specification_allows_conforms(name, text):
    assert conforms(text, name)


@pytest.mark.parametrize(("name", "text"), [(n, t) for n in BAD for t in BAD[n]])
def test_what_its_specification_forbids_does_not(name, text):
    assert not conforms(text, name)


@pytest.mark.parametrize("name", ["color", "", "Date", None, 7])
def test_an_unknown_name_constrains_nothing(name):
    assert conforms("anything", name)


REPEATED = ["1", "a", "/a", "{a}", "{", "a.", "a@", '"', "%41", "1:", "é", "\\", "(", "א", "\ud800"]
FRONTS = {"duration": "P", "uri": "http://", "iri": "http://", "time": "00:00:00."}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_long_text_is_judged_quickly(name):
    for part in REPEATED:
        text = FRONTS.get(name, "") + part * (100_000 // len(part))
        within(2, lambda text=text: conforms(text, name), part)
