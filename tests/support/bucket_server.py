"""An object store on this machine that TensorFlow takes for Google's: python -m tests.support.bucket_server FOLDER.

TensorFlow's `gs://` knows one address, over TLS. So the emulator is made its HTTPS proxy: it answers CONNECT with a
certificate of its own authority, and goes on as the server that was asked for. Prints the environment that leads there,
as one line of JSON. The bucket is called `bucket`, and lives as long as the process.
"""

import datetime
import json
import ssl
import sys
import threading
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gcp_storage_emulator import server
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

TOKEN = "token"
HOSTS = ("www.googleapis.com", "storage.googleapis.com")


def certificate(folder):
    """Paths of a certificate, its own authority, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bucket of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *private))
    return paths


class Handler(RequestHandler):
    """The emulator's, behind CONNECT, over TLS, one request at a time and each on an open connection."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a reply in one piece
    context: ssl.SSLContext
    lock = threading.Lock()

    def do_CONNECT(self):  # noqa: N802 - as http.server calls it
        self.send_response(200, "Connection established")
        self.end_headers()
        self.wfile.flush()
        self.request = self.context.wrap_socket(self.connection, server_side=True)
        self.setup()
        self.close_connection = False

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True  # the client was killed

    def parse_request(self):
        parsed = super().parse_request()
        if parsed and self.headers["Transfer-Encoding"]:
            del self.headers["Content-Length"]  # of two, the emulator believes the wrong one
        elif parsed and self.command in ("PUT", "POST", "PATCH") and self.headers["Content-Length"] is None:
            self.headers["Content-Length"] = "0"
        return parsed

    def send_header(self, keyword, value):
        super().send_header(keyword, value.replace("http://", "https://") if keyword == "Location" else value)

    def handle_expect_100(self):
        proceed = super().handle_expect_100()
        self.wfile.flush()  # curl waits for it a second
        return proceed


def one_at_a_time(method):
    """A method of the emulator, whose storage is not made for threads."""

    def answer(handler):
        if handler.headers["Authorization"] != f"Bearer {TOKEN}":
            handler.close_connection = True  # without having read what was sent
            handler.send_error(401)
            return
        with Handler.lock:
            method(handler)

    return answer


def read_data(handler, query, read=server._read_data):
    """What was sent; the emulator takes an empty object, as of a folder, for none."""
    data = read(handler, query)
    return b"" if data is None and query.get("uploadType") == ["media"] else data


server._read_data = read_data
for name in ("GET", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{name}", one_at_a_time(getattr(RequestHandler, f"do_{name}")))


def main():
    folder = Path(sys.argv[1])
    public, private = certificate(folder)
    Handler.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    Handler.context.load_cert_chain(public, private)
    storage = Storage(use_memory_fs=True)
    create_bucket("bucket", storage)
    listening = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, storage))
    environment = {
        "https_proxy": f"http://127.0.0.1:{listening.server_port}",
        "CURL_CA_BUNDLE": str(public),
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": TOKEN,
        "NO_GCE_CHECK": "true",
    }
    print(json.dumps(environment), flush=True)
    listening.serve_forever()


if __name__ == "__main__":
    main()
