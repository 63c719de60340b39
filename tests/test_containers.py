"""The image and the composition of containers, as far as that can be seen without Docker: that what
they name is there, and that flowd takes the settings that they give.
"""

import fnmatch
import ipaddress
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flowd.setup import checks, registry
from flowd.setup.config import Settings

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples/compose"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return found


def instructions() -> Iterator[tuple[str, str]]:
    """Of the Dockerfile, each in one line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.partition(" ")
            yield word, " ".join(rest.split())


def copied() -> set[str]:
    """What is copied from the checkout into the stage that builds."""
    found: set[str] = set()
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from"):
            found.update(rest.split()[:-1])
    return found


def compose_variables(text: str, **values: str) -> str:
    """`${NAME:-default}` and `${NAME:?words}` as Compose fills them in."""
    return re.sub(r"\$\{(\w+):([-?])([^}]*)\}", lambda m: values.get(m[1], m[3]), text)


# -- the image


def test_what_the_image_is_built_from_is_there_and_is_not_ignored() -> None:
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    let_in = {line[1:] for line in ignored if line.startswith("!")}

    assert ignored[0] == "*"
    assert copied() == let_in
    for name in copied():
        assert (ROOT / name).exists(), name
        assert not any(
            fnmatch.fnmatch(name, pattern) for pattern in ignored[1:] if pattern[0] != "!"
        )


def test_the_build_has_all_that_the_project_names() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]

    needed = {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    needed |= {*wheel["only-include"], *wheel["force-include"], "hatch_build.py", "pyproject.toml"}

    assert needed == copied()


def test_the_image_runs_flowd_as_nobody_who_may_do_much() -> None:
    last = {word: rest for word, rest in instructions()}
    known = {line[0] for line in instructions()}

    assert last["USER"] == "flowd"
    assert {"HEALTHCHECK", "STOPSIGNAL", "VOLUME"} <= known
    assert last["ENTRYPOINT"] == '["flowd"]'
    assert last["CMD"].startswith('["run", "-c", "/etc/flowd/')
    listen = re.search(r"FLOWD__LISTEN=\S+:(\d+)", last["ENV"])
    assert listen is not None
    assert listen[1] == last["EXPOSE"] == Settings().listen.rpartition(":")[2]  # type: ignore[union-attr]
    named = set(re.findall(r"STATE_DIRECTORY=(\S+)", last["ENV"]))
    assert named == {last["VOLUME"]} == {last["WORKDIR"]}


# -- the composition


def flowds(composed: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in composed["services"].items() if "build" in one}


def test_every_file_that_is_mounted_is_there(composed: dict[str, Any]) -> None:
    for name, service in composed["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), (name, source)
            else:
                assert source in composed["volumes"], (name, source)


def test_services_name_each_other_and_have_addresses_of_their_own(composed: dict[str, Any]) -> None:
    services = composed["services"]
    (pool,) = composed["networks"]["inside"]["ipam"]["config"]
    fixed = [
        one["networks"]["inside"]["ipv4_address"]
        for one in services.values()
        if isinstance(one["networks"], dict)
    ]

    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        if isinstance(service.get("depends_on"), dict):
            for other, how in service["depends_on"].items():
                image_checks = "build" in services[other] and "HEALTHCHECK" in DOCKERFILE
                assert how == {"condition": "service_healthy"}
                assert "healthcheck" in services[other] or image_checks
    assert len(fixed) == len(set(fixed)) == 5
    network = ipaddress.ip_network(pool["subnet"])
    assert all(ipaddress.ip_address(one) in network for one in fixed)


def test_the_proxy_has_all_edges_behind_it_and_they_believe_it(composed: dict[str, Any]) -> None:
    edges = {name for name in flowds(composed) if name.startswith("edge")}
    text = (FOLDER / "nginx.conf").read_text("utf-8")
    nginx = composed["services"]["nginx"]

    assert set(re.findall(r"server (\S+):4200 ", text)) == edges == {"edge-1", "edge-2", "edge-3"}
    (port,) = re.findall(r"listen (\d+);", text)
    assert nginx["ports"] == [f"127.0.0.1:8080:{port}"]
    address = nginx["networks"]["inside"]["ipv4_address"]
    for name in edges:
        trusted = flowds(composed)[name]["environment"]["FLOWD__TRUSTED_PROXIES"]
        assert trusted == f'["{address}"]'


def test_the_proxy_is_the_example_but_for_addresses_and_tls() -> None:
    def lines(path: str) -> set[str]:
        text = (ROOT / "examples" / path).read_text("utf-8")
        return {line.strip() for line in text.splitlines() if line.strip()[:1] not in ("#", "")}

    example, here = lines("nginx.conf"), lines("compose/nginx.conf")

    differs = {line.split()[0] for line in example ^ here}
    assert differs == {
        *("server", "listen", "server_name", "access_log"),
        *("ssl_certificate", "ssl_certificate_key"),
    }


def test_prometheus_asks_every_daemon_and_knows_what_it_is(composed: dict[str, Any]) -> None:
    config = yaml.safe_load((ROOT / "examples/prometheus/prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]

    asked = {
        target: group["labels"]["role"]
        for group in job["static_configs"]
        for target in group["targets"]
    }

    assert asked == {f"{name}:4200": name.partition("-")[0] for name in flowds(composed)}
    for file in config["rule_files"]:
        assert (ROOT / "examples/prometheus" / file).exists()


@pytest.mark.parametrize("name", ["ingest", "edge-1", "edge-2", "edge-3"])
def test_flowd_takes_what_each_container_says(
    name: str, composed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = flowds(composed)[name]
    values = {"POSTGRES_PASSWORD": "sesame"}
    for variable, value in service["environment"].items():
        monkeypatch.setenv(variable, compose_variables(value, **values))
    (mounted,) = [one for one in service["volumes"] if one.endswith("/etc/flowd/flowd.toml:ro")]
    kinds = registry.load(None)

    found = checks.look((FOLDER / mounted.split(":")[0]).resolve(), kinds)

    assert found.mistakes == []
    assert "sesame" not in repr(found)
    assert found.config.settings.addresses == ["0.0.0.0:4200"]
    assert set(found.config.given) >= {"flowd.listen"}


def test_the_image_has_the_extras_that_its_daemons_need(composed: dict[str, Any]) -> None:
    for service in flowds(composed).values():
        extras = set(service["build"]["args"]["EXTRAS"].split(","))

        assert service["build"]["context"] == "../.."
        assert extras <= set(PROJECT["project"]["optional-dependencies"])
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
