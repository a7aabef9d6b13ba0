"""What a foreign DNS-SD client sees of a service type: a JSON line for each that comes or goes, until so many were seen.

usage: dnssd.py TYPE OWN-ADDRESS COUNT
"""

import json
import sys
import threading

from zeroconf import IPVersion, ServiceBrowser, ServiceStateChange, Zeroconf

kind, address, until = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = threading.Semaphore(0)
network = Zeroconf(interfaces=[address], ip_version=IPVersion.V4Only)


def changed(zeroconf, service_type, name, state_change):
    line = {"name": name, "state": state_change.name}
    if state_change is ServiceStateChange.Added:
        info = zeroconf.get_service_info(service_type, name, timeout=5000)
        if info is None:
            return
        line |= {
            "addresses": sorted(info.parsed_addresses()),
            "host": info.server,
            "port": info.port,
            "txt": {key.decode(): value.decode() for key, value in info.properties.items()},
        }
    print(json.dumps(line), flush=True)
    seen.release()


browser = ServiceBrowser(network, kind, handlers=[changed])
good = all(seen.acquire(timeout=30) for _ in range(until))
network.close()
sys.exit(0 if good else 1)
