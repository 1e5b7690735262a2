"""A server of what `compress` decides about. Its address is the first argument."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TEXT = "".join(f"line {n} of a page that says the same thing in other words\n" for n in range(20_000)).encode()


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, headers, body, status=200):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        text = {"content-type": "text/plain", "etag": '"a"', "accept-ranges": "bytes"}
        path = self.path.split("?")[0]
        if self.headers.get("if-none-match") in ('W/"a"', '"a"'):
            self.send_response(304)
            self.send_header("etag", '"a"')
            self.end_headers()
        elif path == "/text":
            self.answer(text, TEXT)
        elif path == "/part":
            self.answer({**text, "content-range": f"bytes 0-9/{len(TEXT)}"}, TEXT[:10], 206)
        elif path == "/kept":
            self.answer({**text, "cache-control": "no-transform"}, TEXT)
        elif path == "/encoded":
            self.answer({**text, "content-encoding": "x-own"}, TEXT)
        elif path == "/short":
            self.answer(text, TEXT[:100])
        elif path == "/image":
            self.answer({"content-type": "image/png"}, TEXT)
        elif path == "/empty":
            self.answer(text, b"")
        elif path in ("/slow", "/sums"):
            # Parts of a page; between two of `/slow` the client has to ask for the next one at `/go`.
            self.send_response(200)
            self.send_header("content-type", "text/plain")
            self.send_header("transfer-encoding", "chunked")
            self.send_header("trailer", "x-sum, content-digest")
            self.end_headers()
            for part in (b"one ", b"two ", b"three"):
                self.chunk(part)
                if path == "/slow":
                    self.server.go.acquire()
            self.wfile.write(b"0\r\nx-sum: 13\r\ncontent-digest: sha-256=:x:\r\n\r\n")
        elif path == "/go":
            self.server.go.release()
            self.answer({}, b"")
        else:
            self.answer(text, b"", 404)


host, port = sys.argv[1].split(":")
server = ThreadingHTTPServer((host, int(port)), Origin)
server.daemon_threads = True
server.go = threading.Semaphore(0)
server.serve_forever()
