"""A server that speaks STARTTLS by OpenSSL, well or badly.

Usage: tls_sink.py CASES.json

CASES.json is a list of objects, one for each socket to listen on:
  address, port where
  posture       ok, not_offered, refused, inject, cut, garbage, stall
  certificate, key   PEM files
  minimum, maximum   TLSv1_2 or TLSv1_3
  ciphers       OpenSSL's list for TLS 1.2, or null
  client_ca     PEM file: clients must show a certificate that it issued; or null

Prints "ready" once it listens. Every message is accepted and forgotten.
"""

import json
import socket
import ssl
import sys
import threading


def context(case):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion[case["minimum"]]
    made.maximum_version = ssl.TLSVersion[case["maximum"]]
    if case["ciphers"]:
        made.set_ciphers(case["ciphers"])
    made.load_cert_chain(case["certificate"], case["key"])
    if case["client_ca"]:
        made.load_verify_locations(case["client_ca"])
        made.verify_mode = ssl.CERT_REQUIRED
    return made


def lines(stream):
    """Lines without their ends, as long as the stream lasts."""
    buffer = b""
    while True:
        end = buffer.find(b"\r\n")
        if end < 0:
            more = stream[0].recv(65536)
            if not more:
                return
            buffer += more
            continue
        line, buffer = buffer[:end], buffer[end + 2 :]
        yield line


def serve(connection, case):
    # In a list, because STARTTLS puts another in its place.
    stream = [connection]
    secured = False
    in_body = False
    say = lambda text: stream[0].sendall(text + b"\r\n")
    say(b"220 sink.example ESMTP")
    for line in lines(stream):
        verb = line.upper().split(b" ")[0]
        if in_body:
            in_body = line != b"."
            if not in_body:
                say(b"250 2.0.0 Ok")
        elif verb == b"EHLO":
            offered = case["posture"] != "not_offered" and not secured
            say(b"250-sink.example\r\n250 STARTTLS" if offered else b"250 sink.example")
        elif verb == b"STARTTLS" and case["posture"] == "refused":
            say(b"454 4.7.0 TLS not available")
        elif verb == b"STARTTLS":
            say(b"220 Go ahead" + (b"\r\n250 Injected" if case["posture"] == "inject" else b""))
            if case["posture"] in ("cut", "garbage", "stall"):
                connection.recv(65536)
                if case["posture"] == "garbage":
                    say(b"500 What is this?")
                if case["posture"] != "cut":
                    connection.recv(65536)
                break
            stream[0] = context(case).wrap_socket(connection, server_side=True)
            secured = True
        elif verb == b"DATA":
            in_body = True
            say(b"354 Go ahead")
        elif verb == b"QUIT":
            say(b"221 Bye")
            break
        else:
            say(b"250 Ok")
    stream[0].close()


def handle(connection, case):
    try:
        serve(connection, case)
    except OSError as error:
        # A client that does not like us may go at any time.
        print(case["address"], error, file=sys.stderr)
    finally:
        connection.close()


def listen(case):
    listener = socket.create_server((case["address"], case["port"]))

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=handle, args=(connection, case), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main():
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for case in cases:
        listen(case)
    print("ready", flush=True)
    # The other end of our standard input is a test; we end with it.
    sys.stdin.read()


main()
