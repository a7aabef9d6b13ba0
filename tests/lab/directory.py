"""A directory (OpenLDAP's slapd) in the appliance's namespace: its people log in at the Macs.

Bound only by TLS, with a certificate of its own CA. Needs slapd and openssl.
"""

import socket
import subprocess
import time
from pathlib import Path

from process import LabError, Process, run

SLAPD = ("/usr/sbin/slapd", "/usr/lib/ldap/slapd")
BIND_PASSWORD = "lab bind"
# A technician, and one who is in no group.
PEOPLE = """\
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: cn=rootstock,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: rootstock
userPassword: {bind}

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: uid=ben,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: ben
cn: Ben
sn: Ben
userPassword: {password}

dn: cn=techs,dc=example,dc=org
objectClass: groupOfNames
cn: techs
member: uid=ben,ou=people,dc=example,dc=org
"""
CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {home}/pid
TLSCertificateFile {home}/server.pem
TLSCertificateKeyFile {home}/server.key
security simple_bind=128
database mdb
suffix "dc=example,dc=org"
directory {home}/db
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="cn=rootstock,dc=example,dc=org" read by * none
"""
SETTINGS = """\
[ldap]
url = 'ldaps://127.0.0.1:636'
domain = 'EXAMPLE'
ca = '{home}/ca.pem'
base = 'ou=people,dc=example,dc=org'
bind-dn = 'cn=rootstock,dc=example,dc=org'
[[ldap.group]]
dn = 'cn=techs,dc=example,dc=org'
role = 'technician'
"""


class Directory:
    """ben is a technician, with the password that is given."""

    def __init__(self, folder: Path, network, password: str):
        program = next((path for path in SLAPD if Path(path).exists()), None)
        if not program:
            raise LabError("slapd is missing: install the package slapd")
        self.home = folder / "slapd"
        (self.home / "db").mkdir(parents=True, exist_ok=True)
        self._certificates()
        config, people = self.home / "slapd.conf", self.home / "people.ldif"
        config.write_text(CONFIG.format(home=self.home))
        people.write_text(PEOPLE.format(bind=BIND_PASSWORD, password=password))
        run("/usr/sbin/slapadd", "-f", config, "-l", people)
        words = network.command("box", program, "-d", "0", "-h", "ldaps://127.0.0.1:636", "-f", config)
        self.process = Process(words, folder / "slapd.log")
        self.settings = SETTINGS.format(home=self.home)

    def _certificates(self):
        """A CA, and a certificate of it for 127.0.0.1."""
        openssl = lambda *words: subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=self.home)  # noqa: E731
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        openssl(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Directory CA")
        openssl(
            *new, "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=127.0.0.1", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
        )

    def stop(self):
        self.process.stop()
