"""Servers with each certificate of a folder: HTTPS, PostgreSQL and SMTP; says their ports, and what a client that trusts everybody agrees on."""

import json
import socket
import ssl
import sys
import threading

folder = sys.argv[1]


def context(name):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(f"{folder}/{'good' if name == 'old' else name}.pem", f"{folder}/{'good' if name == 'old' else name}.key")
    if name == "old":
        old(made)
    return made


def old(context):
    # Without the lower level OpenSSL 3 refuses TLS 1.1 by itself, whoever asks.
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1


def https(secure):
    got = b""
    while b"\r\n\r\n" not in got:
        got += secure.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += secure.recv(65536)
    secure.sendall(b"HTTP/1.1 204 Nothing to say\r\nconnection: close\r\n\r\n")


def postgres(secure):
    secure.recv(4096)
    fields = b"SFATAL\0C28P01\0Mno\0\0"
    secure.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


def smtp(secure):
    secure.sendall(b"220 ready\r\n")
    while secure.recv(4096):
        secure.sendall(b"250 ok\r\n")


def serve(name, talk):
    listener = socket.create_server(("127.0.0.1", 0))
    made = context(name)

    def one(plain):
        try:
            plain.settimeout(20)
            if talk is postgres:
                plain.recv(8)
                plain.sendall(b"S")
            with made.wrap_socket(plain, server_side=True) as secure:
                talk(secure)
        except OSError:
            pass

    def run():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def agreed(name, port):
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if name == "old":
        old(client)
    with socket.create_connection(("127.0.0.1", port)) as plain, client.wrap_socket(plain) as secure:
        return secure.version()


names = sys.argv[2:]
ports = {kind.__name__: {name: serve(name, kind) for name in names} for kind in (https, postgres, smtp)}
ports["agreed"] = {name: agreed(name, port) for name, port in ports["https"].items()}
print(json.dumps(ports), flush=True)
threading.Event().wait()
