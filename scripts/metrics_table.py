"""Print the table of metrics that stands in docs/metrics.md."""

from __future__ import annotations

import sys
from typing import cast

from prometheus_client.core import Metric

from app.connections import Connections
from app.counts import Traffic
from app.metrics.families import Families
from app.metrics.sources import Sources
from app.storage.base import Storages
from app.storage.s3.operations import Operations
from app.storage.upload_memory import UploadMemory


class _Bucket:
    """What the metrics read of storages, with something counted of every kind."""

    def __init__(self) -> None:
        self.operations = Operations()
        self.operations.end("GetObject", "ok", 0)
        self.operations.repeated["GetObject"] += 1
        self.upload_memory = UploadMemory(1)


def metrics_table() -> str:
    """Return every metric with its type, labels and meaning as a table in Markdown."""
    traffic = Traffic(())
    traffic.ended("", 200, 0)
    connections = Connections(1, 1)
    connections.refusals[400] += 1
    sources = Sources(traffic, {"failed": 1}, connections, cast(Storages, _Bucket()), None)
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    lines += map(_row, Families(sources).collect())
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    labels = dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le")
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {metric.type} | {shown} | {metric.documentation} |"


if __name__ == "__main__":
    sys.stdout.write(metrics_table())
