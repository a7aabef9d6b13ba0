#!/usr/bin/env python3
"""`./dev bench digest`: which digest should name chunks, on this processor and on those that lack its extensions.

Each program is the same source, built as the processor would run it; openssl speed stands beside it as a peer, with the
SHA extensions switched off by its own variable. One core; best of five rounds.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent / "digest"
# OPENSSL_ia32cap: leaf 7 EBX, bit 29 is SHA.
NO_SHA = ":~0x20000000"


def build(name, features=(), flags=""):
    target = HERE.parents[2] / "target" / "bench" / f"digest-{name}"
    command = ["cargo", "build", "--release", "--quiet", "--manifest-path", HERE / "Cargo.toml", "--target-dir", target]
    if features:
        command += ["--features", ",".join(features)]
    subprocess.run(command, check=True, env=dict(os.environ, RUSTFLAGS=flags))
    return target / "release" / "digest"


def rates(program):
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split("\n")
    return {name: float(rate) for name, rate in (line.split() for line in lines if line)}


def openssl(cap=None):
    environment = dict(os.environ, **({"OPENSSL_ia32cap": cap} if cap else {}))
    command = ["openssl", "speed", "-mr", "-seconds", "2", "-bytes", "65536", "-evp", "sha256"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    return float(re.search(r"^\+F:\d+:[^:]+:([\d.]+)", said, re.M).group(1))


def main():
    flags = Path("/proc/cpuinfo").read_text()
    has = sorted(word for word in ("sha_ni", "avx2", "avx512f", "ssse3") if re.search(rf"\b{word}\b", flags))
    print("processor:", re.search(r"model name\s*: (.*)", flags).group(1), "with", " ".join(has))
    full = rates(build("full"))
    plain = rates(build("plain", ["no-avx"], '--cfg sha2_backend="soft"'))
    print(f"{'64 KiB chunks, GB/s a core':28} {'this processor':>16} {'without extensions':>20}")
    for name, key in [("BLAKE3", "blake3/64KiB"), ("SHA-256 (sha2)", "sha256-sha2/64KiB")]:
        print(f"{name:28} {full[key] / 1e9:16.2f} {plain[key] / 1e9:20.2f}")
    for name in ("sha256", "sha512"):
        print(f"{name + ' (ring)':28} {full[name + '-ring/64KiB'] / 1e9:16.2f}")
    print(f"{'SHA-256 (openssl speed)':28} {openssl() / 1e9:16.2f} {openssl(NO_SHA) / 1e9:20.2f}")
    best = min(full["blake3/64KiB"] / full["sha256-sha2/64KiB"], plain["blake3/64KiB"] / plain["sha256-sha2/64KiB"])
    print(f"BLAKE3 is at least {best:.1f} times as fast as SHA-256")
    return 0


if __name__ == "__main__":
    sys.exit(main())
