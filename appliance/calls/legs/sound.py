"""The sound of a leg: what the media core is told of it, what is played to it, recorded of it and sent as digits, and what is heard.

Each play, recording and sending has a serial that the media core keeps: told again after a restart, what goes on goes on, and what has
ended tells its end once more.
"""

from __future__ import annotations

import logging

import media_core
from appliance import cti
from appliance.calls.api import Files, Sound
from appliance.calls.history.facts import Kind
from appliance.calls.legs.standing import Standing

log = logging.getLogger(__name__)

RELAYED = 1 << 31  # of a serial: a digit of the other leg, not of the script
RELAY_WAIT = 2.0
DIGITS = 64  # kept that nobody has collected
HOLD_TONE = ((425.0, 0.0, 200), (0.0, 0.0, 200), (425.0, 0.0, 200))
HOLD_TONE_EVERY = 10.0


class Sounding(Standing):
    def describe(self, *, anew: bool = True) -> None:
        """Tell the media core what was agreed, when the turn has been committed."""
        if self.stream.terms.agreed is None:
            return
        board, port = self._board, self.stream.port.id
        remote = self.stream.remote(self.endpoint.flow.remote[0])
        board.turn.later(lambda: board.media.describe(port, remote, anew=anew), self)

    def _described(self) -> None:
        self.describe()
        told = (self.stream.codec, self.stream.terms.secure)
        if told != self._told and self.stream.terms.agreed is not None:
            self._told = told
            self.tells(Kind.MEDIA, *told, self.stream.why_not_encrypted)
        self._changed()
        self._board.news.put_nowait(cti.CallsChanged())

    def play(self, sound: Sound, serial: int) -> bool:
        """`played` is the serial when it has been played; False: there is nothing to be heard."""
        found, payload_type = self._board.sounds(sound), self.stream.terms.tone_payload_type()
        if payload_type is None or (isinstance(found, Files) and not found.paths):
            return False
        media, port = self._board.media, self.stream.port.id
        if isinstance(found, Files):
            paths, loop = found.paths, found.loop
            self._board.turn.later(lambda: media.play_files(port, paths, payload_type, loop=loop, serial=serial), self)
        else:
            tones = tuple(found)
            self._board.turn.later(lambda: media.play(port, tones, payload_type, serial=serial), self)
        return True

    def stop_playing(self) -> None:
        payload_type = self.stream.terms.tone_payload_type()
        if payload_type is not None:
            media, port = self._board.media, self.stream.port.id
            self._board.turn.later(lambda: media.play(port, (), payload_type), self)

    def record(self, path: str, serial: int, *, sides: str = "both", seconds: int = 0) -> None:
        """`recorded` begins with the serial when it is complete; an empty path ends a recording."""
        media, port = self._board.media, self.stream.port.id
        self._board.turn.later(lambda: media.record(port, path, sides=sides, seconds=seconds, serial=serial), self)

    def send_digits(self, digits: str, serial: int) -> None:
        """`sent` is the serial when they have been sent."""
        media, port = self._board.media, self.stream.port.id

        def send() -> None:
            try:
                media.send_digits(port, digits, serial=serial)
            except ValueError as error:  # a far end without telephone-event, and with a codec that is none of ours
                log.warning("digits cannot be sent to %s: %s", self.party, error)

        self._board.turn.later(send, self)

    def passes_on(self, digit: str) -> None:
        """A digit of the other leg, which came as a message: to be sent to this phone, once and in order."""
        if len(self.relay) < DIGITS:
            self.relay += digit
            if len(self.relay) == 1:
                self.relay_next()
            self._changed()

    def relay_next(self) -> None:
        """The media core knows a digit that it has already by its serial."""
        if self.relay and not self.over:
            self.send_digits(self.relay[0], RELAYED | self.relayed)
            self._board.turn.alarm(self, "relay", self._board.turn.now + RELAY_WAIT)

    def _relay_sent(self) -> None:
        self.relay, self.relayed = self.relay[1:], (self.relayed + 1) % RELAYED
        self._board.turn.timers.clear(self, "relay")
        self.relay_next()

    def listen(self) -> None:
        """From now on keys are looked for in its sound, should it send no events."""
        if not self.stream.listens:
            self.stream.listens = True
            self.describe()
            self._changed()

    def hears_hold(self, held: bool) -> None:
        """The other side holds: a soft tone now and then says that the call is still there."""
        if held:
            self.timer("hold tone", self._board.turn.now)
        else:
            self._board.turn.timers.clear(self, "hold tone")

    def _pressed(self, digit: str) -> None:
        self.digits = (self.digits + digit)[-DIGITS:]
        self._changed()
        self._woken()

    def collected(self, count: int) -> str:
        """The first digits, which are then not there any more."""
        taken, self.digits = self.digits[:count], self.digits[count:]
        self._changed()
        return taken

    # ---- what the media core and the network do
    def media(self, event: media_core.Event) -> None:
        self.quality.take(event)
        match event:
            case media_core.Digit(digit=digit):
                self._pressed(digit)
            case media_core.PlayEnded(serial=serial):
                self.played = serial
                self._woken()
            case media_core.DigitsSent(serial=serial) if serial & RELAYED:
                if self.relay and serial == RELAYED | self.relayed:
                    self._relay_sent()
            case media_core.DigitsSent(serial=serial):
                self.sent = serial
                self._woken()
            case media_core.RecordEnded(milliseconds=milliseconds, failed=failed, serial=serial):
                self.recorded = (serial, milliseconds, failed)
                self._woken()
            case media_core.MediaQuality(poor=poor):
                if poor:
                    log.info("the sound from %s is poor", self.party)
                    figures = self.quality
                    self.tells(Kind.POOR, figures.poor_seconds, figures.worst_lost, figures.worst_jitter_ms)
                self._board.news.put_nowait(cti.CallsChanged())
            case media_core.MediaStarted() | media_core.MediaSilent() | media_core.AuthenticationFailed():
                self._board.news.put_nowait(cti.CallsChanged())
        self._changed()

    def timer(self, name: str, now: float) -> None:
        if name == "relay" and self.relay:  # its end was never told
            self._relay_sent()
        elif name == "hold tone" and not self.over:
            self.play(HOLD_TONE, 0)
            self._board.turn.alarm(self, "hold tone", now + HOLD_TONE_EVERY)
