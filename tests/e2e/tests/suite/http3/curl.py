"""Asks for a URL with libcurl, and prints what came back."""

import json
import sys
from io import BytesIO

from curl_cffi import Curl, CurlError, CurlHttpVersion, CurlInfo, CurlOpt

VERSIONS = {"any": 0, "2": CurlHttpVersion.V2TLS, "3": CurlHttpVersion.V3, "3only": CurlHttpVersion.V3ONLY}

url, options = sys.argv[1], json.loads(sys.argv[2])
curl, body, head = Curl(), BytesIO(), BytesIO()
curl.setopt(CurlOpt.URL, url.encode())
curl.setopt(CurlOpt.WRITEDATA, body)
curl.setopt(CurlOpt.HEADERDATA, head)
curl.setopt(CurlOpt.SSL_VERIFYPEER, 0)
curl.setopt(CurlOpt.SSL_VERIFYHOST, 0)
curl.setopt(CurlOpt.TIMEOUT, options.get("seconds", 30))
curl.setopt(CurlOpt.RESOLVE, [b"localhost:" + url.split(":")[2].split("/")[0].encode() + b":127.0.0.1"])
curl.setopt(CurlOpt.HTTP_VERSION, VERSIONS[options.get("version", "2")])
if "cache" in options:
    # HTTP/1, HTTP/2 and HTTP/3.
    curl.setopt(CurlOpt.ALTSVC_CTRL, 1 << 3 | 1 << 4 | 1 << 5)
    curl.setopt(CurlOpt.ALTSVC, options["cache"].encode())
if "interface" in options:
    curl.setopt(CurlOpt.INTERFACE, options["interface"].encode())
if "headers" in options:
    lines = [f"{name}: {value}".encode() for name, value in options["headers"].items()]
    curl.setopt(CurlOpt.HTTPHEADER, lines)
sent = b""
if "file" in options:
    sent = open(options["file"], "rb").read()
    curl.setopt(CurlOpt.POST, 1)
    curl.setopt(CurlOpt.POSTFIELDS, sent)
    curl.setopt(CurlOpt.POSTFIELDSIZE, len(sent))
error = None
try:
    curl.perform()
except CurlError as failed:
    error = str(failed)
version = {30: 3, 31: 3, 3: 2, 2: 1}.get(curl.getinfo(CurlInfo.HTTP_VERSION))
status = curl.getinfo(CurlInfo.RESPONSE_CODE)
# The cache is written when it ends.
curl.close()
lines = [line.split(": ", 1) for line in head.getvalue().decode().split("\r\n") if ": " in line]
got = body.getvalue()
print(json.dumps({
    "version": None if error else version,
    "status": status,
    "headers": {name.lower(): value for name, value in lines},
    "body": got.decode() if len(got) < 1000 else None,
    "length": len(got),
    "sum": "equal" if got == sent else "other",
    "error": error,
}))
