"""docs/metrics.md, the dashboard, the scrape configuration and the alerts speak of metrics that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from scripts.metrics_table import metrics_table
from tests.metrics import Figures, figures, measured
from tests.s3_faults import Refuse
from tests.s3_stand_in import ACCESS_KEY, BUCKET, SECRET_KEY, StandIn
from tests.servers import PASSWORD, Server
from tests.stores import REPOSITORY, S3Store
from tests.wire import exchange

DASHBOARD = REPOSITORY / "conf/grafana/zotshelf.json"
SCRAPES = REPOSITORY / "conf/prometheus/prometheus.yml"
RULES = REPOSITORY / "conf/prometheus/zotshelf.rules.yml"
DOCUMENT = REPOSITORY / "docs/metrics.md"

_NAME = re.compile(r"\b(?:zotshelf|process)_\w+")
_SELECTOR = re.compile(r"(\w+)\{([^}]*)\}")
_OF_SCRAPES = {"job", "instance"}
_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Figures]:
    """What a server on S3 says that has served something of every kind."""
    folder = tmp_path_factory.mktemp("metrics-files")
    with (
        StandIn() as s3,
        measured(S3Store("stand-in", s3.url, ACCESS_KEY, SECRET_KEY, BUCKET), folder, quota="1MiB") as server,
    ):
        s3.fail(Refuse("GET", "u0/f.zip"))
        _use(server)
        yield figures(server)


def _use(server: Server) -> None:
    with httpx.Client(base_url=server.url, auth=("u0", PASSWORD), trust_env=False) as client:
        assert client.put("/f.zip", content=b"content").status_code == 201
        assert client.get("/f.zip").status_code == 200
    assert exchange(server, "BREW", "/").status == 400


def _expressions(found: Any) -> Iterator[str]:
    """Yield every query in a tree of JSON or YAML."""
    if isinstance(found, list):
        for one in found:
            yield from _expressions(one)
    elif isinstance(found, dict):
        for key, value in found.items():
            if key in ("expr", "definition") and isinstance(value, str):
                yield value
            else:
                yield from _expressions(value)


def _read(file: Path) -> Any:
    text = file.read_text(encoding="utf-8")
    return json.loads(text) if file.suffix == ".json" else yaml.safe_load(text)


@pytest.mark.parametrize("file", [pytest.param(DASHBOARD, id="dashboard"), pytest.param(RULES, id="rules")])
def test_every_query_is_about_metrics_and_labels_that_there_are(served: Figures, file: Path) -> None:
    expressions = list(_expressions(_read(file)))
    assert len(expressions) >= 8
    for expression in expressions:
        named = set(_NAME.findall(expression))
        assert named <= served.names, expression
        for name, labels in _SELECTOR.findall(expression):
            asked = set(re.findall(r"(\w+)\s*[=!]~?", labels)) - _OF_SCRAPES
            assert asked <= served.labels_of(name), expression
        if len(named) == 1:
            known = served.labels_of(*named) | _OF_SCRAPES
            for labels in re.findall(r"by \(([^)]*)\)", expression):
                assert set(labels.split(", ")) <= known, expression


def test_the_dashboard_shows_every_metric(served: Figures) -> None:
    shown = {name for expression in _expressions(_read(DASHBOARD)) for name in _NAME.findall(expression)}
    own = {_HISTOGRAM.sub("", name) for name in served.names if name.startswith("zotshelf_")}
    assert own == {_HISTOGRAM.sub("", name) for name in shown if name.startswith("zotshelf_")}


def test_the_dashboard_works_with_any_data_source() -> None:
    dashboard = _read(DASHBOARD)
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance"}
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in panels:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
            assert set(re.findall(r"\$([a-z]\w*)", target["expr"])) <= variables


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in _read(DASHBOARD)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_every_alert_says_what_to_do() -> None:
    for group in _read(RULES)["groups"]:
        for rule in group["rules"]:
            assert re.fullmatch(r"Zotshelf[A-Za-z]+", rule["alert"])
            assert rule["labels"]["severity"] in ("critical", "warning", "info")
            assert rule["annotations"]["summary"]
            assert rule["annotations"]["description"]


def test_the_scrape_configuration_asks_over_ipv6_and_loads_the_rules() -> None:
    found = _read(SCRAPES)
    assert found["rule_files"] == [RULES.name]
    (job,) = found["scrape_configs"]
    assert job["job_name"] == "zotshelf"
    assert job["static_configs"] == [{"targets": ["[::1]:9633"]}]


def test_the_document_has_every_metric_with_its_meaning(served: Figures) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert metrics_table() in document
    for name in served.names:
        assert f"`{_HISTOGRAM.sub('', name)}`" in document
