"""Lets a Prometheus scrape the operator, and evaluates the chart's alerts and its dashboard there.

Every expression must be valid, and every panel must show something, unless what it shows does not
occur in this run. No alert may fire while the operator is healthy.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

API_URL = os.environ["ANON_API_URL"]
METRICS = urllib.parse.urlsplit(os.environ["ANON_METRICS_URL"])
FILES = pathlib.Path(__file__).parents[2] / "charts/anon-operator/files"
DEADLINE = 60

# What the dashboard selects with its variables and its period.
VARIABLES = {"$namespace": ".*", "$endpoint": "validate", "$__rate_interval": "30s"}

# Panels that may be empty here: neither the webhook nor TLS is in use, no pool has a remote key set,
# and no rate limit is exceeded.
MAY_BE_EMPTY = {"Admission reviews", "TLS certificates", "Fetches of key sets", "Rate limits"}


def configuration(directory):
    """Labels the metrics as Prometheus does in a cluster."""
    target = {
        "targets": [METRICS.netloc],
        "labels": {"namespace": "anon-system", "pod": "anon-operator-0"},
    }
    scrape = {
        "job_name": "anon-operator",
        "metrics_path": METRICS.path,
        "static_configs": [target],
    }
    path = directory / "prometheus.yml"
    document = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(FILES / "rules.yaml")],
        "scrape_configs": [scrape],
    }
    path.write_text(json.dumps(document))  # JSON is YAML.
    return path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Prometheus:
    def __init__(self, directory):
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}/api/v1"
        self.log = directory / "prometheus.log"
        arguments = [
            "prometheus",
            f"--config.file={configuration(directory)}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
        ]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(arguments, stdout=log, stderr=log)

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}/{path}?{query}", timeout=10) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            return sys.exit(f"{path} {parameters}: {error.read().decode()}")

    def query(self, expression):
        return self.get("query", query=expression)["result"]

    def stop(self):
        self.process.terminate()
        self.process.wait()


def until(what, condition):
    """Waits for a condition; returns what it returns."""
    start = time.monotonic()
    while True:
        try:
            if found := condition():
                return found
        except (urllib.error.URLError, ConnectionError):
            pass  # Prometheus does not listen yet.
        if time.monotonic() - start > DEADLINE:
            sys.exit(f"{what}: not within {DEADLINE} s")
        time.sleep(0.5)


def reject_a_token():
    """Makes an entry in the metrics of validation."""
    headers = {"Authorization": "Bearer a.b.c"}
    request = urllib.request.Request(f"{API_URL}/v1/validate", b"", headers, method="POST")
    try:
        urllib.request.urlopen(request, timeout=10)
    except urllib.error.HTTPError as error:
        assert error.code == 401, error


def scraped(prometheus):
    """Whether rates can be calculated. There is traffic meanwhile."""
    reject_a_token()
    rates = 'sum(rate(anon_requests_total{endpoint="validate"}[30s])) > 0'
    return prometheus.query("up == 1") and prometheus.query(rates)


def expressions():
    """The title of each panel, with an expression of it."""
    dashboard = json.loads((FILES / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            yield panel["title"], expression


def check_dashboard(prometheus):
    shown = {}
    for title, expression in expressions():
        found = bool(prometheus.query(expression))
        shown[title] = shown.get(title, False) or found
    empty = {title for title, found in shown.items() if not found} - MAY_BE_EMPTY
    assert not empty, f"these panels show nothing: {empty}"
    return len(shown)


def check_rules(prometheus):
    def evaluated():
        groups = prometheus.get("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    rules = until("all rules are evaluated", evaluated)
    broken = {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"}
    assert not broken, broken
    firing = [rule["name"] for rule in rules if rule.get("state") == "firing"]
    assert not firing, f"the operator is healthy, but these alerts fire: {firing}"
    return len(rules)


def main():
    directory = pathlib.Path.cwd() / "prometheus"
    directory.mkdir()
    subprocess.run(["promtool", "check", "rules", FILES / "rules.yaml"], check=True)
    prometheus = Prometheus(directory)
    try:
        until("Prometheus has scraped the operator twice", lambda: scraped(prometheus))
        panels = check_dashboard(prometheus)
        rules = check_rules(prometheus)
    finally:
        prometheus.stop()
    print(f"{panels} panels show something or may be empty, and {rules} rules are evaluated")


main()
