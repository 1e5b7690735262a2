"""Asks for URLs with libcurl, which decodes, and prints what came back: one object for each argument."""

import hashlib
import json
import sys
from io import BytesIO

from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt

VERSIONS = {1: CurlHttpVersion.V1_1, 2: CurlHttpVersion.V2TLS, 3: CurlHttpVersion.V3ONLY}


def ask(url, version, coding, headers):
    curl, body, head = Curl(), BytesIO(), BytesIO()
    curl.setopt(CurlOpt.URL, url.encode())
    curl.setopt(CurlOpt.WRITEDATA, body)
    curl.setopt(CurlOpt.HEADERDATA, head)
    curl.setopt(CurlOpt.SSL_VERIFYPEER, 0)
    curl.setopt(CurlOpt.SSL_VERIFYHOST, 0)
    curl.setopt(CurlOpt.TIMEOUT, 60)
    port = url.split(":")[2].split("/")[0].encode()
    curl.setopt(CurlOpt.RESOLVE, [b"localhost:" + port + b":127.0.0.1"])
    curl.setopt(CurlOpt.HTTP_VERSION, VERSIONS[version])
    curl.setopt(CurlOpt.ACCEPT_ENCODING, coding.encode())
    curl.setopt(CurlOpt.HTTPHEADER, [line.encode() for line in headers])
    curl.perform()
    got = {30: 3, 31: 3, 3: 2, 2: 1}.get(curl.getinfo(CurlInfo.HTTP_VERSION))
    status, size = curl.getinfo(CurlInfo.RESPONSE_CODE), curl.getinfo(CurlInfo.SIZE_DOWNLOAD_T)
    curl.close()
    lines = [line.split(": ", 1) for line in head.getvalue().decode().split("\r\n") if ": " in line]
    octets = body.getvalue()
    return {
        "version": got,
        "status": status,
        "headers": {name.lower(): value for name, value in lines},
        "length": len(octets),
        "sent": size,
        "sum": hashlib.sha256(octets).hexdigest(),
    }


print(json.dumps([ask(*json.loads(one)) for one in sys.argv[1:]]))
