"""The organization of the examples, their processes, and the calls of a client."""

import base64
import json
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

import yaml

NAMESPACE = "shop"
WEBAPP, IDP = "http://127.0.0.1:18200", "http://127.0.0.1:18201"
PORTS = {"python": 18211, "node": 18212, "go": 18213, "rust": 18214, "java": 18215}
# These verify tokens with the public keys of the pool; the others ask the validator.
LOCAL = ("node", "java")
BACKENDS = {name: f"http://127.0.0.1:{port}" for name, port in PORTS.items()}


def kubectl(*arguments, manifest=None):
    command = ["kubectl", f"--namespace={NAMESPACE}", *arguments]
    done = subprocess.run(command, check=False, input=manifest, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"kubectl {arguments}: {done.stderr}")
    return done.stdout


def apply(*objects):
    kubectl("apply", "--filename=-", manifest=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    wait_until_ready()


def wait_until_ready():
    kubectl("wait", "--for=condition=Ready", "--timeout=60s", "anon", "--all")


def custom_resource(kind, name, **spec):
    return {"apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def status_of(kind, name):
    return json.loads(kubectl("get", kind, name, "--output=json"))["status"]


def eventually(check, seconds=120):
    """Repeats the check until its result is true, and returns that."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {check}")
        time.sleep(0.1)
    return result


class Reply:
    """The response to a request."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:200]!r}"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


_opener = urllib.request.build_opener(NoRedirect, urllib.request.ProxyHandler({}))


def send(method, url, bearer=None, headers=None, body=None):
    headers = dict(headers or {}) | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
    data = None if body is None else json.dumps(body).encode()
    try:
        reply = _opener.open(urllib.request.Request(url, data, headers, method=method), timeout=30)
    except urllib.error.HTTPError as error:
        reply = error
    with reply:
        return Reply(reply.status, reply.headers, reply.read())


class Mount:
    """A directory in place of the volume of a Secret."""

    def __init__(self, scratch, secret):
        self.secret = secret
        self.file = pathlib.Path(scratch, secret, "apiKey")
        self.file.parent.mkdir()
        self.update()

    def update(self):
        """Does what the kubelet does about once a minute. Returns the API key."""
        data = json.loads(kubectl("get", "secret", self.secret, "--output=json"))["data"]
        self.write(base64.b64decode(data["apiKey"]).decode())
        return self.file.read_text()

    def write(self, api_key):
        new = self.file.with_suffix(".new")
        new.write_text(api_key)
        new.replace(self.file)


class Processes:
    """Runs each example with the environment of its Deployment, but local addresses."""

    def __init__(self, examples, built, scratch):
        self.examples, self.scratch = pathlib.Path(examples), pathlib.Path(scratch)
        self.commands = {
            "backend-python": ["waitress-serve", f"--listen=127.0.0.1:{PORTS['python']}", "app:app"],
            "backend-node": ["node", f"{built}/node/server.mjs"],
            "backend-go": [f"{built}/backend-go"],
            "backend-rust": [f"{built}/rust/debug/backend"],
            "backend-java": ["java", "-cp", f"{built}/java/nimbus-jose-jwt.jar:{built}/java", "Backend"],
            "webapp": ["node", f"{built}/webapp/server.mjs"],
            "idp": ["node", f"{built}/webapp/idp.mjs"],
        }
        self.running = []

    def deployment(self, name):
        return yaml.safe_load((self.examples / name / "deployment.yaml").read_text())

    def start(self, name, **settings):
        environment = {}
        if name != "idp":
            container = self.deployment(name)["spec"]["template"]["spec"]["containers"][0]
            environment = {entry["name"]: entry["value"] for entry in container["env"]}
        settings |= {"HOST": "127.0.0.1"}
        environment |= {key: value for key, value in settings.items() if key in environment or name == "idp"}
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "JAVA_HOME", "PYTHONDONTWRITEBYTECODE") if key in os.environ}
        log = (self.scratch / f"{name}.log").open("wb")
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *self.commands[name]],
            cwd=self.examples / name if name == "backend-python" else self.scratch,
            env=inherited | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )
        self.running.append(process)
        return process

    def stop(self):
        for process in self.running:
            process.kill()
            process.wait()

    def show_logs(self):
        for log in sorted(self.scratch.glob("*.log")):
            if log.name == "chromedriver.log":
                continue  # too long
            print(f"-- {log.name}\n{log.read_text(errors='replace')[-2000:]}", flush=True)
