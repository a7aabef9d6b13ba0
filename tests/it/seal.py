#!/usr/bin/env python3
"""Encrypts disk images as macOS does (encrcdsa version 2), by the format's description and with openssl: independent of the code
that reads them.

    seal.py image PLAIN OUT PASSWORD BITS       one file, of any content: UDIF, sparseimage, raw
    seal.py sparse PLAIN OUT PASSWORD BITS      one file: a .sparseimage of a raw disk, encrypted
    seal.py bundle PLAIN OUT PASSWORD BITS BAND a .sparsebundle folder of a raw disk, with bands of BAND bytes
"""

import hashlib
import hmac
import os
import struct
import subprocess
import sys

BLOCK = 4096
ROUNDS = 1500


def openssl(cipher, key, iv, data):
    words = ["openssl", "enc", "-e", "-" + cipher, "-K", key.hex(), "-iv", iv.hex(), "-nopad"]
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout


def header(password, bits, size, secret):
    salt, iv = os.urandom(20), os.urandom(8)
    key = hashlib.pbkdf2_hmac("sha1", password.encode(), salt, ROUNDS, 24)
    wrapped = secret + b"CKIE\0"
    fill = 8 - len(wrapped) % 8
    wrapped = openssl("des-ede3-cbc", key, iv, wrapped + bytes([fill]) * fill)
    place = 4096
    blob = struct.pack(">4I", 103, 0, ROUNDS, len(salt)) + salt.ljust(32, b"\0")
    blob += struct.pack(">I", len(iv)) + iv.ljust(32, b"\0")
    blob += struct.pack(">5I", 192, 17, 7, 6, len(wrapped)) + wrapped
    head = b"encrcdsa" + struct.pack(">7I", 2, 16, 5, 0x80000001, bits, 91, 160) + os.urandom(16)
    head += struct.pack(">IQQ", BLOCK, size, 122368) + struct.pack(">I", 1)
    head += struct.pack(">IQQ", 1, place, len(blob))
    return (head.ljust(place, b"\0") + blob).ljust(122368, b"\0")


def sealed(data, bits, secret):
    """The blocks of one file, counted from its first."""
    key, mac = secret[: bits // 8], secret[bits // 8 :]
    out = b""
    for number in range(0, -(-len(data) // BLOCK)):
        block = data[number * BLOCK : (number + 1) * BLOCK].ljust(BLOCK, b"\0")
        iv = hmac.new(mac, struct.pack(">I", number), "sha1").digest()[:16]
        out += openssl(f"aes-{bits}-cbc", key, iv, block)
    return out


def sparse(data, sectors=128):
    """A sparse image: what is not zero, the last band first."""
    band = sectors * 512
    used = [n for n in range(0, -(-len(data) // band)) if data[n * band : (n + 1) * band].strip(b"\0")]
    used.reverse()
    node = b"sprs" + struct.pack(">4IQ", 3, sectors, 1, len(data) // 512, 0) + struct.pack(">Q", len(data) // 512)
    node = node.ljust(64, b"\0") + b"".join(struct.pack(">I", n + 1) for n in used)
    return node.ljust(4096, b"\0") + b"".join(data[n * band : (n + 1) * band].ljust(band, b"\0") for n in used)


def main(kind, plain, out, password, bits, band=None):
    data, bits = open(plain, "rb").read(), int(bits)
    secret = os.urandom(bits // 8 + 20)
    data = sparse(data) if kind == "sparse" else data
    if kind != "bundle":
        with open(out, "wb") as file:
            file.write(header(password, bits, len(data), secret) + sealed(data, bits, secret))
        return
    os.makedirs(f"{out}/bands")
    band = int(band)
    for number in range(0, -(-len(data) // band)):
        piece = data[number * band : (number + 1) * band]
        if piece.strip(b"\0"):
            with open(f"{out}/bands/{number:x}", "wb") as file:
                file.write(sealed(piece, bits, secret))
    with open(f"{out}/token", "wb") as file:
        file.write(header(password, bits, 0, secret))
    with open(f"{out}/Info.plist", "w") as file:
        file.write(
            '<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>'
            f"<key>band-size</key><integer>{band}</integer><key>size</key><integer>{len(data)}</integer></dict></plist>"
        )


main(*sys.argv[1:])
