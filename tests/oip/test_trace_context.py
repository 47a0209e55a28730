"""What W3C Trace Context calls valid goes through; nothing else does."""

from __future__ import annotations

import pytest

from botshard.oip.trace_context import is_traceparent, is_tracestate

_TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
_PARENT = b"00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-01", True, id="sampled"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-00", True, id="not sampled"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-ff", True, id="flags of the future"),
        pytest.param(b"cc-" + _TRACE + b"-" + _PARENT + b"-01", True, id="later version"),
        pytest.param(b"cc-" + _TRACE + b"-" + _PARENT + b"-01-more", True, id="later version with more"),
        pytest.param(b"cc-" + _TRACE + b"-" + _PARENT + b"-01.more", False, id="later version, run on"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-01-more", False, id="this version with more"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-01-", False, id="a dash at the end"),
        pytest.param(b"ff-" + _TRACE + b"-" + _PARENT + b"-01", False, id="no version"),
        pytest.param(b"0-" + _TRACE + b"-" + _PARENT + b"-01", False, id="short version"),
        pytest.param(b"00-" + b"0" * 32 + b"-" + _PARENT + b"-01", False, id="no trace"),
        pytest.param(b"00-" + _TRACE + b"-" + b"0" * 16 + b"-01", False, id="no parent"),
        pytest.param(b"00-" + _TRACE.upper() + b"-" + _PARENT + b"-01", False, id="upper case"),
        pytest.param(b"00-" + _TRACE[1:] + b"-" + _PARENT + b"-01", False, id="short trace"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT[1:] + b"-01", False, id="short parent"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-1", False, id="short flags"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT, False, id="no flags"),
        pytest.param(b"00-" + _TRACE + b"-" + _PARENT + b"-01\n", False, id="a line end"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_a_traceparent_has_one_form(value: bytes, *, valid: bool) -> None:
    """Four fields in hexadecimal, none of them nothing; versions to come may say more."""
    assert is_traceparent(value) is valid


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        pytest.param(b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", True, id="two"),
        pytest.param(b"tenant1@vendor=a b c", True, id="a tenant, and spaces inside"),
        pytest.param(b"a=1 , b=2,\tc=3", True, id="white space between"),
        pytest.param(b"a=1,,b=2,", True, id="empty members"),
        pytest.param(b"", True, id="empty"),
        pytest.param(b",".join(b"k%d=v" % index for index in range(32)), True, id="as many as there may be"),
        pytest.param(b",".join(b"k%d=v" % index for index in range(33)), False, id="one more"),
        pytest.param(b"a" * 256 + b"=1", True, id="a long key"),
        pytest.param(b"a" * 257 + b"=1", False, id="too long a key"),
        pytest.param(b"a=" + b"v" * 256, True, id="a long value"),
        pytest.param(b"a=" + b"v" * 257, False, id="too long a value"),
        pytest.param(b"a=1,a=2", False, id="a key twice"),
        pytest.param(b"A=1", False, id="upper case"),
        pytest.param(b"a", False, id="no value"),
        pytest.param(b"a=", False, id="empty value"),
        pytest.param(b"=1", False, id="no key"),
        pytest.param(b"a=b=c", False, id="equals in a value"),
        pytest.param(b"a=\x01", False, id="control"),
        pytest.param(b"a=\xe9", False, id="not ASCII"),
        pytest.param(b"a@b@c=1", False, id="two tenants"),
    ],
)
def test_a_tracestate_is_a_list_of_keys_and_values(value: bytes, *, valid: bool) -> None:
    """Of 32 members at most, each key once."""
    assert is_tracestate(value) is valid
