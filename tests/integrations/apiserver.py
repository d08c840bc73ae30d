"""kube-apiserver with the webhook authenticator of examples/integrations/kube-apiserver."""

import json
import os
import pathlib
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import net
from proxies import EXAMPLES
from world import free_port

WEBHOOK = EXAMPLES / "kube-apiserver/token-webhook.yaml"


def first_arguments():
    """The command line of the API server that dev/cluster has started."""
    certificate = f"{os.environ['ANON_DEV_DIR']}/pki/server.crt"
    for process in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().decode().split("\0")[:-1]
        except OSError:
            continue
        if line and line[0].endswith("/kube-apiserver") and f"--tls-cert-file={certificate}" in line:
            return line
    raise RuntimeError("dev/cluster runs no API server")


class ApiServer:
    """A second API server of the same cluster, with the webhook."""

    def __init__(self, scratch):
        self.port = free_port()
        own = ("--secure-port=", "--audit-log-path=", "--audit-policy-file=")
        arguments = [argument for argument in first_arguments() if not argument.startswith(own)]
        self.log = pathlib.Path(scratch, "apiserver.log")
        self.process = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL", *arguments, f"--secure-port={self.port}",
                f"--authentication-token-webhook-config-file={WEBHOOK}",
                "--authentication-token-webhook-version=v1",
                "--authentication-token-webhook-cache-ttl=0s",
            ],
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        self.tls = ssl.create_default_context(cafile=f"{os.environ['ANON_DEV_DIR']}/pki/ca.crt")
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls)
        )

    def wait(self):
        net.wait_for_port(self.port, self.process, 60)

    def user_of(self, token):
        """The user that the API server reports for the token, or the HTTP status."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        request = urllib.request.Request(
            f"https://{net.HOST}:{self.port}/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json.dumps(review).encode(),
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        try:
            with self.opener.open(request, timeout=60) as reply:
                return json.load(reply)["status"]["userInfo"]
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self):
        self.process.kill()
        self.process.wait()


def is_ours(user):
    """Never a user or group of the system, but for the group of everyone who is authenticated."""
    groups = [group for group in user.get("groups", []) if group != "system:authenticated"]
    return user["username"].startswith("anon:") and all(group.startswith("anon:") for group in groups)


def test(server, acme, globex, invalid, subjects, check):
    server.wait()
    deadline = time.monotonic() + 30
    while not isinstance(user := server.user_of(acme.users.token()), dict) and time.monotonic() < deadline:
        time.sleep(0.1)
    check(isinstance(user, dict) and user["username"] == "anon:acme:users:user-123", "kube-apiserver: a valid token", user)
    for subject in subjects:
        user = server.user_of(acme.users.token(subject, groups=["system:masters"]))
        check(user == 401 or isinstance(user, dict) and is_ours(user), f"kube-apiserver: subject {subject!r}", user)
    for name, headers in invalid:
        # kube-apiserver reads only the first Authorization header, so it sees no second credential.
        if len(headers) == 1 and headers[0][1].startswith("Bearer ") and headers[0][1] != "Bearer ":
            user = server.user_of(headers[0][1].removeprefix("Bearer "))
            check(user == 401, f"kube-apiserver: {name}", user)
    user = server.user_of(acme.users.token(aud="shop"))
    check(user == 401, "kube-apiserver: a token for another backend", user)
    for name, credential in (("an API key", acme.api_key), ("a session", acme.session)):
        user = server.user_of(credential)
        check(user == 401, f"kube-apiserver: {name}", user)


def test_outage(server, acme, check):
    user = server.user_of(acme.users.token())
    check(user in (401, 500, 503), "kube-apiserver: the operator is stopped", user)
