"""JSON objects with slots: made once from a dict, filled for many lines by one `%`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

# "@=x@" is a value of any type, @x@ is a text or a part of one, and a member whose value is "@?x@"
# is a slot with its key and comma, so that a line may go without it.
_SLOT = re.compile(rb'(?:,"\w+":"@\?(\w+)@"|"@=(\w+)@"|@(\w+)@)')


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON object, keys sorted, no spaces, with slots in the order of `slots`.

    Args:
        text: For `text % values`, values as bytes of JSON.
        slots: Name of each value; a name may come more than once.
    """

    text: bytes
    slots: tuple[str, ...]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Template:
        """From an object whose texts hold slots: "@=value@", "a @part@", "@?member@"."""
        text = orjson.dumps(fields, option=orjson.OPT_SORT_KEYS).replace(b"%", b"%%")
        slots = tuple(match[match.lastindex or 0].decode() for match in _SLOT.finditer(text))
        return cls(_SLOT.sub(b"%b", text), slots)
