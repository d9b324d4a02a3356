"""What a server says of itself at its port for metrics."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.servers import SERVE, Server, serving
from tests.stores import Store
from tests.waiting import wait_until

ANY_PORT = "[::1]:0"
_URL = re.compile(r"metrics are at (http://\S+)")


class Figures:
    """All samples of one moment."""

    def __init__(self, text: str) -> None:
        families = text_string_to_metric_families(text)
        self._samples = [sample for family in families for sample in family.samples]

    @property
    def names(self) -> set[str]:
        """The names of all samples, as a query has them."""
        return {sample.name for sample in self._samples}

    def labels_of(self, name: str) -> set[str]:
        """Return the names of the labels that the samples of a name have."""
        return {label for sample in self._samples if sample.name == name for label in sample.labels}

    def label_values(self, label: str) -> set[str]:
        return {sample.labels[label] for sample in self._samples if label in sample.labels}

    def get(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels, 0 if there is none."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == f"zotshelf_{name}" and labels.items() <= sample.labels.items()
        )

    def by(self, name: str, *labels: str) -> Mapping[tuple[str, ...], float]:
        """Return all samples of a metric by the values of their labels."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in self._samples
            if sample.name == f"zotshelf_{name}"
        }


def urls(server: Server) -> list[str]:
    """Return where the workers said that their metrics are."""
    return _URL.findall(server.errors.read_text())


def scrape(url: str) -> Figures:
    response = httpx.get(url, trust_env=False)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return Figures(response.text)


def figures(server: Server) -> Figures:
    """Return what a server with one worker says."""
    (url,) = urls(server)
    return scrape(url)


def settled(server: Server) -> Figures:
    """Return what a server says when it has nothing to do: an answer is there before it is counted."""
    wait_until(lambda: figures(server).get("requests_in_progress") == 0, "a request is never over")
    return figures(server)


@contextmanager
def measured(
    store: Store, folder: Path, command: tuple[str, ...] = SERVE, **settings: str
) -> Iterator[Server]:
    """Run a server that tells how it goes."""
    with serving(store, folder, command, metrics=settings.pop("metrics", ANY_PORT), **settings) as server:
        yield server
