"""Which of several formats an Accept header wants (RFC 9110, section 12.5.1)."""

import re
from collections.abc import Mapping
from typing import TypeVar

Format = TypeVar("Format", bound=str)

_WEIGHT = re.compile(r"[01](\.[0-9]{0,3})?")


def preferred(header: str, media_types: Mapping[Format, str], default: Format) -> Format:
    """The format whose media type the header names with the largest weight; `default` where it names none of them."""
    wanted: dict[Format, float] = {}
    for item in header.lower().split(","):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        for name, own in media_types.items():
            if media_type == own:
                wanted[name] = float(weights[0]) if weights and _WEIGHT.fullmatch(weights[0]) else 1.0
    return max((name for name in wanted if wanted[name]), key=lambda name: wanted[name], default=default)
