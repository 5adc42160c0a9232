"""Servers with each certificate of a folder: HTTPS, PostgreSQL and SMTP; says their ports, and what a client that trusts everybody agrees on.

Mail servers write down in `heard-SERVER` what they are entrusted with: whatever is neither a greeting nor the beginning of TLS.
"""

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


def https(secure, _):
    got = b""
    while b"\r\n\r\n" not in got:
        got += secure.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += secure.recv(65536)
    secure.sendall(b"HTTP/1.1 204 Nothing to say\r\nconnection: close\r\n\r\n")


def postgres(secure, _):
    secure.recv(4096)
    fields = b"SFATAL\0C28P01\0Mno\0\0"
    secure.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


def smtp(secure, name):
    secure.sendall(b"220 ready\r\n")
    mail(secure, f"smtp-{name}")


def starttls(secure, name):
    mail(secure, f"starttls-{name}")


def mail(stream, name, offers=(b"AUTH PLAIN",)):
    """Takes mail; ends where TLS is asked for, or the client goes."""
    # Line by line: what follows may be TLS.
    lines = stream.makefile("rb", 0)
    while line := lines.readline():
        verb = line.split()[0].upper()
        if verb == b"EHLO":
            stream.sendall(b"250-localhost\r\n" + b"".join(b"250-%s\r\n" % offer for offer in offers) + b"250 HELP\r\n")
        elif verb == b"QUIT":
            stream.sendall(b"221 bye\r\n")
        elif verb == b"STARTTLS":
            return
        else:
            with open(f"{folder}/heard-{name}", "ab") as heard:
                heard.write(line)
                if verb == b"DATA":
                    stream.sendall(b"354 go on\r\n")
                    while (line := lines.readline()) not in (b"", b".\r\n"):
                        heard.write(line)
            stream.sendall(b"235 known\r\n" if verb == b"AUTH" else b"250 ok\r\n")


def stripped(plain):
    """Somebody between took STARTTLS out of what the server offers."""
    mail(plain, "stripped")


def refused(plain):
    """Offers STARTTLS, and then does not want it."""
    mail(plain, "refused", (b"STARTTLS", b"AUTH PLAIN"))
    plain.sendall(b"454 TLS not available\r\n")
    mail(plain, "refused")


def listen(talk):
    """Has each connection talked to on its own; says the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(plain):
        try:
            plain.settimeout(20)
            talk(plain)
        except (OSError, IndexError):
            pass

    def run():
        while True:
            threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def without(talk):
    """A mail server without TLS."""

    def greets(plain):
        plain.sendall(b"220 ready\r\n")
        talk(plain)

    return listen(greets)


def serve(name, talk):
    made = context(name)

    def secures(plain):
        if talk is postgres:
            plain.recv(8)
            plain.sendall(b"S")
        if talk is starttls:
            plain.sendall(b"220 ready\r\n")
            mail(plain, f"before-{name}", (b"STARTTLS", b"AUTH PLAIN"))
            plain.sendall(b"220 begin\r\n")
        with made.wrap_socket(plain, server_side=True) as secure:
            talk(secure, name)

    return listen(secures)


def agreed(name, port):
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    if name == "old":
        old(client)
    with socket.create_connection(("127.0.0.1", port)) as plain, client.wrap_socket(plain) as secure:
        return secure.version()


names = sys.argv[2:]
ports = {kind.__name__: {name: serve(name, kind) for name in names} for kind in (https, postgres, smtp, starttls)}
ports["without"] = {talk.__name__: without(talk) for talk in (stripped, refused)}
ports["agreed"] = {name: agreed(name, port) for name, port in ports["https"].items()}
print(json.dumps(ports), flush=True)
threading.Event().wait()
