"""Starts the proxies with the unchanged configurations of examples/integrations."""

import os
import pathlib
import subprocess
import time

import net

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples/integrations"


class Proxy:
    """A proxy: its name, its port, and the command that starts it in a directory of EXAMPLES."""

    def __init__(self, name, port, directory, *command):
        self.name = name
        self.port = port
        self.directory = EXAMPLES / directory
        self.command = command
        self.process = None

    def start(self, scratch):
        scratch = pathlib.Path(scratch, self.name)
        # The workers of nginx have another user, if root starts it.
        scratch.mkdir(mode=0o755)
        command = [part.format(scratch=scratch, directory=self.directory) for part in self.command]
        environment = os.environ | {"HOME": str(scratch), "XDG_DATA_HOME": str(scratch), "XDG_CONFIG_HOME": str(scratch)}
        self.log = scratch / "log"
        # If this program is killed, so is the proxy.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def wait(self):
        try:
            net.wait_for_port(self.port, self.process)
            # Traefik listens before it has routes.
            deadline = time.monotonic() + 30
            while net.send(self.port, "GET", "/").status == 404 and time.monotonic() < deadline:
                time.sleep(0.05)
        except Exception as error:
            raise RuntimeError(f"{self.name} did not start: {error}\n{self.log.read_text()}") from error

    def stop(self):
        if self.process:
            # Not killed: the workers of nginx would survive it.
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def all_proxies():
    """Every integration that is a proxy."""
    envoy = ("envoy", "--log-level", "warn", "--disable-hot-restart", "--concurrency", "1", "-c")
    return [
        Proxy("nginx", 18101, "nginx", "nginx", "-p", "{scratch}", "-c", "{directory}/nginx.conf"),
        Proxy("caddy", 18102, "caddy", "caddy", "run", "--config", "Caddyfile"),
        Proxy("haproxy", 18103, "haproxy", "haproxy", "-db", "-f", "haproxy.cfg"),
        Proxy("traefik", 18104, "traefik", "traefik", "--configFile=traefik.yaml"),
        Proxy("envoy-http", 18105, "envoy", *envoy, "http.yaml"),
        Proxy("envoy-grpc", 18106, "envoy", *envoy, "grpc.yaml"),
    ]
