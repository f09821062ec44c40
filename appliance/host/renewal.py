"""Certificates are renewed in time while everything runs, also when the clock is set; and the RSA key is made when there is time for it.

The supervisor looks every few seconds. Who shows certificates, the core and the pages, is told (`Resources.certify`) and takes the new ones
for the handshakes from then on; no connection ends and no process starts again.
"""

from __future__ import annotations

import logging
import subprocess

from appliance.host.process import errand
from appliance.host.resources import Resources

CALM = 30.0  # seconds after the start until the RSA key is made: phones and pages come first
AGAIN = 60.0  # seconds between two attempts

log = logging.getLogger("supervisor")


class Renewal:
    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._maker: subprocess.Popen[bytes] | None = None
        self._next_certify = 0.0  # uptimes
        self._next_key = CALM

    def look(self, now: float, uptime: float, steady: bool) -> None:
        """now: Unix time; uptime: seconds, not of a clock that is set. steady: every process runs."""
        certificate = self._resources.certificate
        if certificate is None:
            return
        if self._maker is not None and self._maker.poll() is not None:
            if self._maker.returncode:
                log.error("the key of the RSA certificate could not be made: code %d", self._maker.returncode)
            self._maker = None
            self._resources.certify()
        elif certificate.due(now) and uptime >= self._next_certify:
            self._next_certify = uptime + AGAIN
            log.warning("the certificates are renewed for the time that the clock shows now")
            self._resources.certify()
        elif not certificate.rsa_fingerprint and self._maker is None and steady and uptime >= self._next_key:
            self._next_key = uptime + AGAIN
            self._maker = errand("appliance.host.certificates", str(self._resources.options.data))

    def stop(self) -> None:
        if self._maker is not None:
            self._maker.kill()
            self._maker.wait()
