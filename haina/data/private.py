"""redact(text): personal data replaced by placeholders: addresses of mail, mobiles, resident IDs, bank cards, IPs.

Numbers are ordinary until they prove otherwise: a mobile by its allocated prefix, an ID by region, date and check
character (GB 11643, ISO 7064 MOD 11-2), a card by its issuer's prefix and Luhn's sum (ISO/IEC 7812), an IP address by
being public (RFC 6890). What stands inside a longer number or word is never touched. Landlines, names and
postal addresses are not known here, nor IDs of 15 digits, which have no check and ended in 2013.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from ipaddress import ip_address

PLACEHOLDERS = {"email": "<EMAIL>", "phone": "<PHONE>", "id": "<ID>", "card": "<CARD>", "ip": "<IP>"}

_DOMAIN = re.compile(r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})\.){1,8}([A-Za-z]{2,24})(?![A-Za-z0-9])")
_LOCAL = re.compile(r"[A-Za-z0-9._%+-]{1,64}\Z")
_FILES = frozenset("png jpg jpeg gif webp svg ico js css ts mp4 pdf zip gz so py".split())  # logo@2x.png

_LONG_NUMBER = re.compile(r"[0-9](?:[ -]?[0-9]){10}")  # nothing shorter is looked at
_NUMBER = re.compile(
    r"""(?<![0-9A-Za-z_.])(?<![0-9][-+*/=])(?:
    (?P<id>[1-8][0-9]{5}(?:19|20)[0-9]{9}[0-9Xx])
    |(?P<card>[2-69][0-9]{3}(?:[0-9]{9,15}
        |([ -])[0-9]{4}\3[0-9]{4}\3[0-9]{1,4}(?:\3[0-9]{1,3})?|([ -])[0-9]{6}\4[0-9]{5}))
    |(?P<phone>(?:(?:\+|00)?86[ -]?)?1(?:3[0-9]|4[5-9]|5[0-35-9]|6[2567]|7[0-8]|8[0-9]|9[0-35-9])
        (?:[0-9]{8}|([ -])[0-9]{4}\6[0-9]{4}))
    )(?![0-9A-Za-z_]|[.-][0-9])""",
    re.VERBOSE,
)
_REGIONS = frozenset("11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65"
                     " 71 81 82 83".split())  # fmt: skip
# Issuers by prefix: UnionPay and ICBC's old cards, Visa, Mastercard, JCB, American Express, Diners, Discover.
_ISSUER = re.compile(r"(?:62|9558)[0-9]{14,17}|4[0-9]{12}(?:[0-9]{3}){0,2}|5[1-5][0-9]{14}|2[2-7][0-9]{14}"
                     r"|35[0-9]{14}|3[47][0-9]{13}|3[068][0-9]{12}|6(?:011|5[0-9]{2})[0-9]{12}")  # fmt: skip

_IPV4 = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_IPV6 = re.compile(r"[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}")
_IP_DIGITS = 7  # 3.2.1.1 is a chapter
_JOINED = re.compile(r"[0-9A-Za-z_.:/-]")  # before it or
_GOES_ON = re.compile(r"[0-9A-Za-z_:]|[.-][0-9]")  # behind it: an address is part of something else
_VERSION = re.compile(r"(?:版本|版|version|ver|rev|第)[号为是:： ]{0,3}\Z", re.IGNORECASE)


def redact(text: str) -> tuple[str, Counter[str]]:
    """The text with PLACEHOLDERS for what is personal, and how many of each kind there were."""
    found: Counter[str] = Counter()
    if "@" in text:
        text = _emails(text, found)
    if _LONG_NUMBER.search(text):
        text = _NUMBER.sub(lambda number: _number(number, found), text)
    for addresses in (_IPV4, _IPV6):
        text = addresses.sub(lambda address: _address(address, found), text)
    return text, found


def _emails(text: str, found: Counter[str]) -> str:
    """Found from the @ on and then to the left: a search from the left would read every word."""
    pieces, end = [], 0
    for domain in _DOMAIN.finditer(text):
        local = _LOCAL.search(text, max(end, domain.start() - 64), domain.start())
        if local and domain[1].lower() not in _FILES and local[0] != "git":
            pieces += [text[end : local.start()], PLACEHOLDERS["email"]]
            end = domain.end()
            found["email"] += 1
    return "".join([*pieces, text[end:]])


def _number(match: re.Match[str], found: Counter[str]) -> str:
    kind = match.lastgroup
    assert kind
    if not _CHECKS[kind](match[0]):
        return match[0]
    found[kind] += 1
    return PLACEHOLDERS[kind]


def is_resident_id(number: str) -> bool:
    """GB 11643-1999: a region, a date of birth, a serial number, a check character."""
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    total = sum(int(digit) * pow(2, 17 - i, 11) for i, digit in enumerate(number[:17]))
    right = "10X98765432"[total % 11] == number[17].upper()
    return right and number[:2] in _REGIONS and date(1900, 1, 1) <= born <= date(2099, 12, 31)


def is_card(number: str) -> bool:
    """A known issuer's prefix and length, and Luhn's sum."""
    digits = re.sub("[ -]", "", number)
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
    return bool(_ISSUER.fullmatch(digits)) and sum(n // 10 + n % 10 for n in doubled) % 10 == 0


_CHECKS: dict[str, Callable[[str], bool]] = {"id": is_resident_id, "card": is_card, "phone": lambda _: True}


def _address(match: re.Match[str], found: Counter[str]) -> str:
    text, start, end = match.string, match.start(), match.end()
    joined = (start and _JOINED.match(text, start - 1)) or _GOES_ON.match(text, end)
    if joined or _VERSION.search(text, max(0, start - 12), start) or not is_public(match[0]):
        return match[0]
    found["ip"] += 1
    return PLACEHOLDERS["ip"]


def is_public(address: str) -> bool:
    """Whether it is the address of one machine on the internet, and too long for the number of a chapter."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_global and not parsed.is_multicast and sum(c.isalnum() for c in address) >= _IP_DIGITS
