"""The table of all metrics: names, labels, meanings, and where the numbers come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app import __version__
from app.counts import BOUNDS, Times
from app.metrics.sources import AsksS3, Sources
from app.storage.s3.operations import Operations
from app.storage.upload_memory import UploadMemory

_LIMITS: Final = [*map(floatToGoString, BOUNDS), "+Inf"]


class Families(Collector):
    """Reads the numbers whenever they are asked for."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterable[Metric]:
        sources = self._sources
        yield _labelled(
            GaugeMetricFamily,
            "zotshelf_info",
            "Always 1; the version is in the label.",
            ("version",),
            {(__version__,): 1},
        )
        yield from self._traffic()
        yield from self._connections()
        yield _labelled(
            CounterMetricFamily,
            "zotshelf_refused_sign_ins",
            "Sign-ins refused: for a wrong password (failed, 401), for too many of those (blocked, 429), or"
            " because too many waited to be checked (busy, 503).",
            ("reason",),
            {(reason,): number for reason, number in sources.sign_ins.items()},
        )
        yield CounterMetricFamily(
            "zotshelf_quota_refusals",
            "Requests refused because the user's quota was used up (507).",
            sources.quotas.refusals if sources.quotas else 0,
        )
        if isinstance(sources.storages, AsksS3):
            yield from _upload_memory(sources.storages.upload_memory)
            yield from _operations(sources.storages.operations)

    def _traffic(self) -> Iterable[Metric]:
        traffic = self._sources.traffic
        yield _labelled(
            CounterMetricFamily,
            "zotshelf_requests",
            "Requests that have ended, by method and status; 499 is a client that left before its answer was"
            " whole, 0 one that the server stopped on.",
            ("method", "status"),
            {(method, str(status)): number for (method, status), number in traffic.requests.copy().items()},
        )
        yield _times(
            "zotshelf_request_duration_seconds",
            "From a request's head to the end of its answer, the client's own slowness included.",
            "method",
            traffic.times,
        )
        yield CounterMetricFamily(
            "zotshelf_received_bytes", "Bytes of requests' bodies that have come.", traffic.received
        )
        yield CounterMetricFamily(
            "zotshelf_sent_bytes", "Bytes of answers' bodies that were sent.", traffic.sent
        )
        yield CounterMetricFamily(
            "zotshelf_cut_answers",
            "Answers broken off because they could not be finished truthfully; the access log says why.",
            traffic.cut,
        )
        yield GaugeMetricFamily(
            "zotshelf_requests_in_progress", "Requests that are being answered.", traffic.under_way
        )
        yield _labelled(
            GaugeMetricFamily,
            "zotshelf_open_streams",
            "Bodies on their way: of requests (upload) and of answers (download).",
            ("direction",),
            {("upload",): traffic.uploads, ("download",): traffic.downloads},
        )

    def _connections(self) -> Iterable[Metric]:
        connections = self._sources.connections
        yield _labelled(
            GaugeMetricFamily,
            "zotshelf_connections",
            "Connections of clients: with a request (busy), or waiting for one (idle).",
            ("state",),
            {("busy",): connections.all - connections.waiting, ("idle",): connections.waiting},
        )
        yield _labelled(
            CounterMetricFamily,
            "zotshelf_turned_away",
            "Requests refused before they were read, and not in the access log: malformed (400, 431, 501,"
            " 505), late (408), or on one connection too many (503).",
            ("status",),
            {(str(status),): number for status, number in connections.refusals.copy().items()},
        )


def _upload_memory(memory: UploadMemory) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "zotshelf_upload_memory_bytes", "Memory that uploads to S3 have reserved.", memory.taken
    )
    yield GaugeMetricFamily(
        "zotshelf_upload_memory_limit_bytes", "What they may reserve together.", memory.ceiling
    )
    yield GaugeMetricFamily(
        "zotshelf_upload_memory_waiting", "Bodies and parts that wait for memory.", memory.waiting
    )


def _operations(operations: Operations) -> Iterable[Metric]:
    yield _labelled(
        CounterMetricFamily,
        "zotshelf_s3_requests",
        "Requests to S3, repetitions included, by operation and outcome: ok, negative (a 404 or 412 that was"
        " reckoned with), busy (SlowDown and its like), failed (a fault of the store's), denied, refused (any"
        " other error), unreachable (no answer), cancelled (nobody waited any longer).",
        ("operation", "outcome"),
        {(operation, outcome): number for (operation, outcome), number in operations.ended.copy().items()},
    )
    yield _times(
        "zotshelf_s3_request_duration_seconds",
        "From the beginning of a request to S3 to the end of its answer; of a download to the answer's head.",
        "operation",
        operations.times,
    )
    yield _labelled(
        CounterMetricFamily,
        "zotshelf_s3_retries",
        "Requests to S3 that were repetitions of one that had failed.",
        ("operation",),
        {(operation,): number for operation, number in operations.repeated.copy().items()},
    )


def _labelled(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    meaning: str,
    labels: tuple[str, ...],
    values: Mapping[tuple[str, ...], float],
) -> Metric:
    family = kind(name, meaning, labels=labels)
    for label_values, value in values.items():
        family.add_metric(label_values, value)
    return family


def _times(name: str, meaning: str, label: str, times: Mapping[str, Times]) -> Metric:
    family = HistogramMetricFamily(name, meaning, labels=(label,))
    for value, found in list(times.items()):
        counts = [
            (limit, float(count)) for limit, count in zip(_LIMITS, accumulate(found.counts), strict=True)
        ]
        family.add_metric((value,), counts, found.sum)
    return family
