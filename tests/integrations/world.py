"""Two organizations with their credentials, and processes of the operator."""

import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.request
import uuid

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

import net

PASSWORD = "correct horse"
# kube-apiserver accepts only tokens that have it as an audience, too.
AUDIENCES = ["shop", "https://kubernetes.default.svc"]
NAMESPACE_OF_IDS = uuid.UUID(int=0x85E7FDA7BE0A43C5B5B4B68A762C019E)
# The users whose tokens are revoked in every organization.
REVOKED_USER, REVOKED_TOKEN = "revoked-user", "revoked-token"


def derived_id(namespace, kind=None, name=None):
    """The id that the operator derives from a name."""
    path = f"{namespace}/{kind}/{name}" if kind else namespace
    return str(uuid.uuid5(NAMESPACE_OF_IDS, path))


def kubectl(*arguments, manifest=None):
    done = subprocess.run(["kubectl", *arguments], check=False, input=manifest, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"kubectl {arguments}: {done.stderr}")
    return done.stdout


class Issuer:
    """The identity provider of one pool, with a key of its own."""

    def __init__(self, name):
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())

    def jwks(self):
        jwk = jwt.get_algorithm_by_name("ES256").to_jwk(self.key.public_key(), as_dict=True)
        return json.dumps({"keys": [jwk | {"kid": "key", "alg": "ES256", "use": "sig"}]})

    def token(self, subject="user-123", key=None, algorithm="ES256", **claims):
        now = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCES, "iss": self.name, "iat": now, "exp": now + 3600} | claims
        return jwt.encode(claims, key or self.key, algorithm, headers={"kid": "key"})


class Organization:
    """A namespace with two pools, a client for each, an API key and a session."""

    def __init__(self, namespace):
        self.namespace = namespace
        self.id = derived_id(namespace)
        # Equal issuer names, audiences and key ids everywhere: only the keys tell the pools apart.
        self.users, self.staff = Issuer("https://id.example"), Issuer("https://id.example")
        self.client = derived_id(namespace, "SdkClient", "web")
        self.pool = derived_id(namespace, "UserPool", "users")
        self._apply()
        self.api_key = self._secret("backend-anon", "apiKey")
        self.session = self._log_in()

    def _apply(self):
        kubectl("create", "namespace", self.namespace)
        kubectl("create", "secret", "generic", "admin", f"--namespace={self.namespace}", f"--from-literal=password={PASSWORD}")
        kubectl("label", "secret", "admin", f"--namespace={self.namespace}", "anon.dev/use=password")
        objects = [
            self._object("Member", "admin", {
                "email": f"admin@{self.namespace}.example",
                "role": "Admin",
                "passwordSecretRef": {"name": "admin", "key": "password"},
            }),
            self._object("SdkClient", "backend", {
                "service": {"role": "Member", "apiKey": {"delivery": {"secretName": "backend-anon"}}},
            }),
        ]
        for pool, client, issuer in (("users", "web", self.users), ("staff", "intranet", self.staff)):
            objects += [
                self._object("UserPool", pool, {
                    "inline": {"jwks": issuer.jwks()},
                    "audiences": AUDIENCES,
                    "issuers": [issuer.name],
                }),
                self._object("SdkClient", client, {"webapp": {"userPoolRef": {"name": pool}}}),
            ]
        objects.append(self._object("Revocation", "revoked", {
            "userPool": {"name": "users", "subjects": [REVOKED_USER], "tokenIds": [REVOKED_TOKEN]},
        }))
        kubectl("apply", "-f", "-", manifest=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        kubectl("wait", f"--namespace={self.namespace}", "--for=condition=Ready", "--timeout=60s", "anon", "--all")

    def _object(self, kind, name, spec):
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "anon.dev/v1beta1", "kind": kind, "metadata": metadata, "spec": spec}

    def _secret(self, name, entry):
        secret = json.loads(kubectl("get", "secret", name, f"--namespace={self.namespace}", "--output=json"))
        return base64.b64decode(secret["data"][entry]).decode()

    def _log_in(self):
        body = json.dumps({"email": f"admin@{self.namespace}.example", "password": PASSWORD}).encode()
        with urllib.request.urlopen(os.environ["ANON_API_URL"] + "/org/login", body) as reply:
            return json.load(reply)["token"]


class Operator:
    """A process of the operator in place of a Pod of the chart, which only validates."""

    def __init__(self, scratch, name, *flags, kubeconfig=None, grpc=None):
        self.port, admin = free_port(), free_port()
        pods = os.environ["ANON_OPERATOR_PODS"].split(":")
        kubeconfigs = os.environ["ANON_OPERATOR_KUBECONFIGS"].split(":")
        environment = os.environ | {
            "KUBECONFIG": kubeconfig or kubeconfigs[1],
            "POD_NAME": pods[1],
            "POD_NAMESPACE": os.environ["ANON_OPERATOR_ACCOUNT"].split(":")[0],
        }
        self.log = pathlib.Path(scratch, f"operator-{name}.log")
        self.ready_url = f"http://{net.HOST}:{admin}/readyz"
        self.process = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL", shutil.which("anon-operator"), "run", "--roles=validator",
                f"--listen={net.HOST}:{self.port}", f"--admin-listen={net.HOST}:{admin}",
                f"--public-url={os.environ['ANON_API_URL']}", *flags,
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def wait_until_ready(self):
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the operator is not ready:\n{self.log.read_text()}")
            time.sleep(0.05)

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.ready_url, timeout=5) as reply:
                return reply.status == 200
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.create_server((net.HOST, 0)) as server:
        return server.getsockname()[1]


def unreachable_kubeconfig(scratch):
    """A kubeconfig of an API server that does not exist."""
    file = pathlib.Path(scratch, "unreachable.kubeconfig")
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:9"}}],
        "users": [{"name": "none", "user": {}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    }))
    return str(file)
