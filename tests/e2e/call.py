"""Sends one request from a Pod of the cluster, and prints status and body.

Arguments: METHOD URL [BODY] [NAME:VALUE of a header]...
"""

import sys
import urllib.error
import urllib.request

method, url, body, *headers = sys.argv[1:] + [""] * (4 - len(sys.argv))
request = urllib.request.Request(url, data=body.encode() if body else None, method=method)
for header in headers:
    request.add_header(*header.split(":", 1))
try:
    response = urllib.request.urlopen(request, timeout=20)
except urllib.error.HTTPError as error:
    response = error
print(response.status, response.read().decode())
