"""The targets of the fuzzing, a module for each kind of parser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from scripts.fuzz.target import Target
from scripts.fuzz.targets.addresses import Addresses
from scripts.fuzz.targets.conditions import Dates, EntityTags
from scripts.fuzz.targets.credentials import Credentials
from scripts.fuzz.targets.destinations import Destinations
from scripts.fuzz.targets.if_headers import IfHeaders
from scripts.fuzz.targets.lengths import Lengths, Words
from scripts.fuzz.targets.paths import Paths
from scripts.fuzz.targets.ranges import Ranges
from scripts.fuzz.targets.streams import Streams
from scripts.fuzz.targets.xml_bodies import XmlBodies

TARGETS: Final[Mapping[str, type[Target]]] = {
    target.name: target
    for target in (
        *(Paths, IfHeaders, Ranges, Destinations, XmlBodies, Credentials),
        *(Dates, EntityTags, Lengths, Words, Addresses, Streams),
    )
}
