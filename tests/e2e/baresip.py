"""A real phone: Debian's baresip 1.0, one process and one configuration directory each, driven over its control socket.

It speaks a tone from a WAV file; what it hears is written by its sndfile filter after decoding, so a tone found there went through the
whole chain: encoder, SRTP, the box, SRTP, jitter buffer, decoder. It takes no sound card.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from tests.e2e.running import Credentials, free_port, wait_until
from tests.e2e.sound import RATE, read_samples, share, write_tone

CONFIG = """\
poll_method epoll
sip_listen {address}:{sip_port}
sip_cafile {authority}
net_interface {address}
audio_source aufile,{home}/tone.wav
audio_player aubridge,{name}
audio_alert aubridge,{name}
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
audio_level no
ausrc_format s16
auplay_format s16
auenc_format s16
audec_format s16
audio_buffer 20-160
rtp_ports {rtp_first}-{rtp_last}
rtcp_mux no
jitter_buffer_delay 5-10
snd_path {home}
ctrl_tcp_listen 127.0.0.1:{control_port}
module_path /usr/lib/baresip/modules
module g711.so
module g722.so
module opus.so
module aubridge.so
module aufile.so
module srtp.so
module sndfile.so
module_tmp account.so
module_tmp uuid.so
module_app menu.so
module_app ctrl_tcp.so
"""


RATES = re.compile(r"audio=(\d+)/(\d+) \(bit/s\)")


class Server(Protocol):
    """What a phone is told about the telephone system: `System` on this machine, or a box."""

    @property
    def host(self) -> str: ...
    @property
    def sip_port(self) -> int: ...
    @property
    def sips_port(self) -> int: ...
    @property
    def authority(self) -> Path: ...


class Phone:
    """A context manager: started and registered on entry (unless `register=False`), ended on exit. `address`: its own."""

    def __init__(
        self,
        system: Server,
        home: Path,
        credentials: Credentials,
        *,
        transport: str = "udp",
        encryption: str = "",
        tone: int = 440,
        answer: str = "auto",
        register: bool = True,
        codecs: str = "pcma,pcmu",
        address: str = "127.0.0.1",
    ) -> None:
        self.home, self.number, self.tone, self.transport = home, credentials.number, tone, transport
        self._register = register
        self._host = f"{system.host}:{system.sips_port if transport == 'tls' else system.sip_port}"
        self._events: deque[dict[str, Any]] = deque()
        self._buffer = b""
        home.mkdir(parents=True)
        write_tone(home / "tone.wav", tone, 50)
        self._control_port = free_port()
        sip_port, rtp = free_port(neighbours=2), free_port(socket.SOCK_DGRAM, neighbours=42)  # SIP over TLS is on the next
        fields = {
            "home": home,
            "address": address,
            "name": home.name,
            "authority": system.authority,
            "sip_port": sip_port,
            "control_port": self._control_port,
        }
        (home / "config").write_text(CONFIG.format(**fields, rtp_first=rtp, rtp_last=rtp + 40))
        parameters = {
            "auth_user": credentials.username,
            "auth_pass": credentials.password,
            "regint": "3600",
            "answermode": answer,
            "audio_codecs": codecs,
            **({"mediaenc": encryption} if encryption else {}),
        }
        words = "".join(f";{name}={value}" for name, value in parameters.items())
        self._account = f"<sip:{credentials.username}@{self._host};transport={transport}>{words}"
        (home / "accounts").touch()
        (home / "contacts").touch()

    def __enter__(self) -> Phone:
        self._log = (self.home / "log").open("wb")
        self._process = subprocess.Popen(
            ["baresip", "-v", "-s", "-f", str(self.home)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self._control: socket.socket = wait_until(self._connect, f"baresip of {self.number} to start")
        self._control.settimeout(0.05)
        if self._register:
            try:
                self.register()
                self.wait_for("REGISTER_OK")
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    # ---- what a person does ------------------------------------------------------------------------------------------

    def register(self) -> None:
        """Take its account and register; REGISTER_OK or REGISTER_FAIL follows."""
        self._command("uanew", self._account)

    def dial(self, number: str) -> None:
        self._command("dial", f"sip:{number}@{self._host}")

    def accept(self) -> None:
        self._command("accept")

    def hold(self) -> None:
        self._command("hold")

    def resume(self) -> None:
        self._command("resume")

    def hang_up(self) -> None:
        self._command("hangup")

    # ---- what a person notices ---------------------------------------------------------------------------------------

    def wait_for(self, kind: str, seconds: float = 15.0) -> dict[str, Any]:
        """The next event of the kind; earlier ones of other kinds are passed over."""
        end = time.monotonic() + seconds
        seen = []
        while time.monotonic() < end:
            self._read()
            while self._events:
                event = self._events.popleft()
                if event["type"] == kind:
                    return event
                seen.append(f"{event['type']} {event.get('param', '')}".strip())
        raise AssertionError(f"the phone {self.number} waited {seconds:.0f} s for {kind}; it saw {seen or 'nothing'}")

    def heard(self) -> tuple[int, ...]:
        """All samples it has heard so far, in all its calls."""
        recordings = sorted(self.home.glob("dump-*-dec.wav"))
        return tuple(sample for recording in recordings for sample in read_samples(recording))

    def expect_tone(self, frequency: int, seconds: float = 10.0) -> None:
        """From now on it hears the tone: half a second of it, on its own."""
        start = len(self.heard())

        def sounds() -> bool:
            new = self.heard()[start:]
            return len(new) >= RATE and share(new[-RATE // 2 :], frequency) > 0.9

        wait_until(sounds, f"the phone {self.number} to hear {frequency} Hz", seconds)

    def rates(self) -> tuple[int, int]:
        """Bit/s of sound sent and received, measured over three seconds; from the status line that baresip writes all the time."""
        found = RATES.findall(self.log())
        return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)

    def expect_rates(self, *, sends: bool | None = None, receives: bool | None = None) -> None:
        """Within a few seconds it sends and receives sound, or does not; None: either. (Its recording ends with the first hold, so that the tone can be
        judged only before; the self-test's own phone judges it afterwards.)"""

        def as_wanted() -> bool:
            return all(
                wanted in (None, bool(rate)) for wanted, rate in zip((sends, receives), self.rates(), strict=True)
            )

        wait_until(as_wanted, f"the phone {self.number}: sends {sends}, receives {receives}", 12)

    def log(self) -> str:
        """Everything baresip wrote, with each SIP message."""
        return (self.home / "log").read_text(errors="replace")

    # ---- the control socket: JSON in netstrings ----------------------------------------------------------------------

    def _connect(self) -> socket.socket | None:
        assert self._process.poll() is None, f"baresip ended: {self.log()}"
        try:
            return socket.create_connection(("127.0.0.1", self._control_port), timeout=1)
        except OSError:
            return None

    def _command(self, command: str, parameter: str = "") -> None:
        message = json.dumps({"command": command, "params": parameter}).encode()
        self._control.sendall(b"%d:%s," % (len(message), message))

    def _read(self) -> None:
        try:
            data = self._control.recv(65536)
        except TimeoutError:
            return
        assert data, f"baresip of {self.number} ended: {self.log()[-2000:]}"
        self._buffer += data
        while b":" in self._buffer:
            length, _, rest = self._buffer.partition(b":")
            if len(rest) <= int(length):
                return
            message, self._buffer = rest[: int(length)], rest[int(length) + 1 :]
            record = json.loads(message)
            if record.get("event"):
                self._events.append(record)
