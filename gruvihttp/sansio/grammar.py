"""The grammar of RFC 9110 and RFC 9112 as patterns over bytes, each with its section.

A pattern can only accept. Why something did not match is explained elsewhere (`heads.explain_request` and friends).
No two neighbours in a pattern can eat the same byte, and every repetition is possessive, so the work is linear in
the input whatever the input is.
"""

from __future__ import annotations

import re

# RFC 9110 §5.6.2
TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TOKEN = TCHAR + rb"++"
# RFC 9110 §5.5: field-vchar, SP, HTAB, obs-text. Blanks at either end are OWS (§5.6.3); the caller strips them.
FIELD_VALUE = rb"[\t -~\x80-\xff]*+"
# What h11 lets pass besides: every other control character but NUL, LF, VT, FF and CR (RFC 9110 §5.5 wants care).
TOLERANT_FIELD_VALUE = rb"[^\x00\n\x0b\x0c\r]*+"
# RFC 9112 §3.2: a target contains no blank; what a form may contain is looked at by `target_form`
TARGET = rb"[!-~]++"
# RFC 9112 §2.3
VERSION = rb"HTTP/([0-9]\.[0-9])"
# RFC 9112 §4: three digits; the reason phrase may be missing with its blank (old servers), or hold obs-text
STATUS = rb"([1-9][0-9]{2})"
REASON = rb"([\t -~\x80-\xff]*+)"


def _section(field_line: bytes) -> bytes:
    return rb"((?:" + field_line + rb"\r\n)*+)\r\n"


# RFC 9112 §5
_FIELD_LINE = TOKEN + rb":" + FIELD_VALUE
_TOLERANT_LINE = TOKEN + rb":" + TOLERANT_FIELD_VALUE

# A whole head, RFC 9112 §2.1. Groups: method, target, version, field lines; version, status, reason, field lines
_REQUEST_LINE = rb"(" + TOKEN + rb") (" + TARGET + rb") " + VERSION + rb"\r\n"
REQUEST = re.compile(_REQUEST_LINE + _section(_FIELD_LINE))
TOLERANT_REQUEST = re.compile(_REQUEST_LINE + _section(_TOLERANT_LINE))
_STATUS_LINE = VERSION + rb" " + STATUS + rb"(?: " + REASON + rb")?+\r\n"
RESPONSE = re.compile(_STATUS_LINE + _section(_FIELD_LINE))
TOLERANT_RESPONSE = re.compile(_STATUS_LINE + _section(_TOLERANT_LINE))
# RFC 9112 §7.1.2
TRAILERS = re.compile(_section(_FIELD_LINE))
TOLERANT_TRAILERS = re.compile(_section(_TOLERANT_LINE))

METHOD_RE = re.compile(TOKEN)
FIELD_NAME_RE = re.compile(TOKEN)
TARGET_RE = re.compile(TARGET)
REASON_RE = re.compile(REASON)
# As a sender may write it: no blank at either end, and of the control characters only those that h11 lets pass
FIELD_VALUE_RE = re.compile(rb"(?:[^\x00\t-\r ]++(?:[\t ]++[^\x00\t-\r ]++)*+)?+")

# The first blank line ends a head (RFC 9112 §2.1); a bare LF ends a line for tolerant readers (§2.2)
BLANK_LINE = re.compile(rb"\n\r?\n")

# RFC 9110 §8.6. 20 digits hold 2**64 - 1; nobody seriously announces more
CONTENT_LENGTH_RE = re.compile(rb"[0-9]{1,20}+")

# RFC 9112 §7.1: chunk-size, then extensions, which are ignored; their text must be free of controls (§7.1.1).
# 16 digits hold 2**64 - 1.
CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)[ \t]*+(?:;[\t -~\x80-\xff]*+)?+\r\n")

# RFC 3986 §3.2.2 and §3.2.3, as RFC 9110 §7.2 uses them for Host: reg-name, IPv4 or IP-literal; optional port. Groups:
# host, what of it must be an IPv6 address (only its letters are looked at here), port
_REG_NAME = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*+"
_IP_LITERAL = rb"\[(?:([0-9A-Fa-f:.]++)|v[0-9A-Fa-f]++\.[A-Za-z0-9\-._~!$&'()*+,;=:]++)\]"
AUTHORITY_RE = re.compile(rb"(" + _IP_LITERAL + rb"|" + _REG_NAME + rb")(?::([0-9]{0,5}+))?+")

# RFC 9112 §3.2.2: scheme ":" hier-part; no fragment, and an authority without userinfo (RFC 9110 §4.2.4)
ABSOLUTE_FORM_RE = re.compile(rb"[A-Za-z][A-Za-z0-9+\-.]*+://([^/?#@]*+)([/?][!-\"$-~]*+)?+")
