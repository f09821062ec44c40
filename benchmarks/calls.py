"""Call set-up: `python -m benchmarks.calls [--rate 100] [--seconds 60]`, the whole system beside Kamailio + rtpengine.

One call is INVITE – 407 – INVITE with digest – 180 – 200 – ACK – one second – BYE, with SDP on both sides and media anchored, made and taken
by SIPp over UDP. Of ours all processes count, with the sizes of the appliance, call slots and records on and a page open; afterwards calls.db must hold
a record of every call. The peer is Debian's Kamailio, which asks for the same digest, with rtpengine for the media, one after the other in the same run.

- `cpu_ms_per_call`: CPU of all processes; `ratio_vs_kamailio_rtpengine`: ours divided by theirs;
- `refused`: calls that did not come about; `set_up_ms`: from the first INVITE to the 200, as the caller sees it, the second INVITE with it.

Throughput below 60 seconds is that of a system that does not exist: finished transactions stay for 32. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.host.entitlement import open_admin
from benchmarks.attacks import Browser, Target
from benchmarks.contenders import HOST
from benchmarks.sampled import Sampled, table
from benchmarks.sip import register
from benchmarks.system import System, free_port, wait_until

CALLER, CALLED = ("100", "secret"), "101"  # at Kamailio
CALLS = 500  # at a time, as the appliance has it
TICKS = os.sysconf("SC_CLK_TCK")
SDP = """\
v=0
o=- 1 1 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio [media_port] RTP/AVP 8 0 101
a=rtpmap:8 PCMA/8000
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
"""
UAC = """\
<?xml version="1.0" encoding="us-ascii"?>
<scenario name="caller">
<send retrans="500" start_rtd="1"><![CDATA[
INVITE sip:{to}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=[branch]
From: <sip:{user}@[remote_ip]>;tag=[pid]c[call_number]
To: <sip:{to}@[remote_ip]>
Call-ID: [call_id]
CSeq: 1 INVITE
Max-Forwards: 70
Contact: <sip:{user}@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
<recv response="100" optional="true"/>
<recv response="407" auth="true"/>
<send><![CDATA[
ACK sip:{to}@[remote_ip]:[remote_port] SIP/2.0
[last_Via:]
From: <sip:{user}@[remote_ip]>;tag=[pid]c[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
INVITE sip:{to}@[remote_ip]:[remote_port] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=[branch]
From: <sip:{user}@[remote_ip]>;tag=[pid]c[call_number]
To: <sip:{to}@[remote_ip]>
Call-ID: [call_id]
CSeq: 2 INVITE
Max-Forwards: 70
Contact: <sip:{user}@[local_ip]:[local_port]>
[authentication username={user} password={password}]
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
<recv response="100" optional="true"/>
<recv response="180" optional="true"/>
<recv response="200" rrs="true" rtd="1"/>
<send><![CDATA[
ACK [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=[branch]
From: <sip:{user}@[remote_ip]>;tag=[pid]c[call_number]
To: <sip:{to}@[remote_ip]>[peer_tag_param]
[routes]
Call-ID: [call_id]
CSeq: 2 ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
<pause milliseconds="1000"/>
<send retrans="500"><![CDATA[
BYE [next_url] SIP/2.0
Via: SIP/2.0/UDP [local_ip]:[local_port];rport;branch=[branch]
From: <sip:{user}@[remote_ip]>;tag=[pid]c[call_number]
To: <sip:{to}@[remote_ip]>[peer_tag_param]
[routes]
Call-ID: [call_id]
CSeq: 3 BYE
Max-Forwards: 70
Content-Length: 0

]]></send>
<recv response="200"/>
</scenario>
"""
UAS = """\
<?xml version="1.0" encoding="us-ascii"?>
<scenario name="called">
<recv request="INVITE"/>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=[pid]d[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:called@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_Record-Route:]
[last_From:]
[last_To:];tag=[pid]d[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:called@[local_ip]:[local_port]>
Content-Type: application/sdp
Content-Length: [len]

{sdp}]]></send>
<recv request="ACK"/>
<recv request="BYE"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>
"""
KAMAILIO = """\
debug=0
log_stderror=yes
children=1
disable_tcp=yes
auto_aliases=no
listen=udp:{host}:{port}
loadmodule "kex.so"
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "maxfwd.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "auth.so"
loadmodule "rtpengine.so"
modparam("rtpengine", "rtpengine_sock", "udp:{host}:{control}")
request_route {{
    if (!mf_process_maxfwd_header("10")) {{ sl_send_reply("483", "Too Many Hops"); exit; }}
    if (has_totag()) {{
        if (is_method("BYE")) rtpengine_delete();
        if (loose_route()) {{ t_relay(); exit; }}
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }}
    if (is_method("ACK")) exit;
    t_check_trans();
    if (!is_method("INVITE")) {{ sl_send_reply("405", "Method Not Allowed"); exit; }}
    if (!pv_proxy_authenticate("office", "{password}", "0")) {{ proxy_challenge("office", "1"); exit; }}
    consume_credentials();
    record_route();
    rtpengine_offer("replace-origin");
    $du = "sip:{host}:{called}";
    t_on_reply("answer");
    t_relay();
}}
onreply_route[answer] {{
    if (status == "200") rtpengine_answer("replace-origin");
}}
"""


def cpu_of(root: int) -> float:
    """Seconds of CPU that a process and all below it have used."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            pid = int(entry.parent.name)
            children.setdefault(int(fields[1]), []).append(pid)
            used[pid] = sum(int(field) for field in fields[11:15]) / TICKS
    total, waiting = 0.0, [root]
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


def load(
    folder: Path, name: str, port: int, ours: tuple[int, int], user: tuple[str, str], to: str, rate: float, count: int
) -> dict[str, Any]:
    """SIPp calls and takes `count` calls; what came of them. `ours`: the ports of caller and called. Files stay in `folder`."""
    calling, called = ours
    (folder / "uac.xml").write_text(UAC.format(user=user[0], password=user[1], to=to, sdp=SDP))
    (folder / "uas.xml").write_text(UAS.format(sdp=SDP))
    common = ["-i", HOST, "-nostdin", "-buff_size", str(4 << 20), "-timeout", f"{count / rate + 60:.0f}"]
    with contextlib.ExitStack() as stack:
        devnull = stack.enter_context(open(os.devnull, "w"))
        uas_command = ["sipp", "-sf", "uas.xml", "-p", str(called), "-mp", "6000", *common]
        uas = stack.enter_context(subprocess.Popen(uas_command, cwd=folder, stdout=devnull, stderr=devnull))
        stack.callback(uas.terminate)
        time.sleep(0.5)
        command = ["sipp", f"{HOST}:{port}", "-sf", "uac.xml", "-p", str(calling), "-mp", "7000"]
        command += ["-r", f"{rate:g}", "-m", str(count), "-l", str(int(10 * rate) + 100), "-recv_timeout", "20000"]
        command += ["-trace_stat", "-stf", f"{name}.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1", *common]
        begin = time.monotonic()
        uac = stack.enter_context(subprocess.Popen(command, cwd=folder, stdout=devnull, stderr=devnull))
        uac.wait()
        seconds = time.monotonic() - begin
    with (folder / f"{name}.csv").open() as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    delays = []
    for path in folder.glob(f"uac_{uac.pid}_rtt.csv"):
        with path.open() as file:
            delays = [float(row["response_time_ms"]) for row in csv.DictReader(file, delimiter=";")]
    ordered = statistics.quantiles(delays, n=100) if len(delays) > 1 else [0.0] * 99
    return {
        "calls": int(last["SuccessfulCall(C)"]),
        "refused": count - int(last["SuccessfulCall(C)"]),
        "retransmissions": int(last["Retransmissions(C)"]),
        "calls_per_second": round(count / (seconds - 1), 1),
        "set_up_ms": {"p50": round(ordered[49], 1), "p99": round(ordered[98], 1)},
    }


@contextlib.contextmanager
def page_open(system: System) -> Iterator[None]:
    """Somebody is logged in, and the page's event stream is open."""
    target = Target(system.host, system.sip_port, system.sips_port, system.admin_port, (0, 0), "", "", "owner")
    browser = Browser(target, HOST)
    if browser.log_in("owner", "seven lamps in the hall") != 303:
        raise RuntimeError("the administrator could not log in")
    over = threading.Event()
    thread = threading.Thread(target=browser.watch, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def ours(folder: Path, rate: float, count: int, profile: bool) -> dict[str, Any]:
    """Our figures; with `profile` those of `calls` by function, whose CPU is then some percent more."""
    system = System(folder / "var", calls=CALLS)
    system.start()
    assert system.process is not None
    try:
        with open_admin(system.data) as admin:
            admin.complete_setup(
                username="owner",
                full_name="Owner",
                password="seven lamps in the hall",
                first_extension="100",
                country="DE",
            )
        caller, callee = system.add_extension(), system.add_extension()
        calling, called = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        for who, here in ((caller, calling), (callee, called)):  # strangers' messages are bounded, phones' are not
            register(system, who, (HOST, here))
        time.sleep(2.0)
        sampled = Sampled(system.pid("calls"), count / rate, folder) if profile else None
        with page_open(system), sampled or contextlib.nullcontext():
            before, each = cpu_of(system.process.pid), {name: _cpu(system, name) for name in PROCESSES}
            user = (caller.username, caller.password)
            found = load(folder, "ours", system.sip_port, (calling, called), user, callee.number, rate, count)
            cpu = cpu_of(system.process.pid) - before
            parts = {name: round(1000 * (_cpu(system, name) - each[name]) / count, 3) for name in PROCESSES}
        records = wait_until(lambda: _records(system) if _records(system) >= found["calls"] else 0, "the records", 40)
    finally:
        system.stop()
    figures = {**found, "cpu_ms_per_call": round(1000 * cpu / count, 3), "cpu_ms_of": parts, "records": records}
    return figures | ({"profile": sampled.rows} if sampled is not None else {})


PROCESSES = ("supervisor", "core", "calls", "web")


def _cpu(system: System, name: str) -> float:
    assert system.process is not None
    pid = system.process.pid if name == "supervisor" else system.pid(name)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _records(system: System) -> int:
    """Records of answered calls: the challenged INVITE is none."""
    with contextlib.closing(sqlite3.connect(system.data / "calls.db")) as db:
        return int(db.execute("SELECT count(*) FROM call WHERE answered IS NOT NULL").fetchone()[0])


def kamailio(folder: Path, rate: float, count: int) -> dict[str, Any]:
    port, control, called = (free_port(socket.SOCK_DGRAM) for _ in range(3))
    (folder / "kamailio.cfg").write_text(
        KAMAILIO.format(host=HOST, port=port, control=control, called=called, password=CALLER[1])
    )
    media = ["rtpengine", "--foreground", "--table=-1", f"--interface={HOST}", f"--listen-ng={HOST}:{control}"]
    media += ["--port-min=30000", "--port-max=39999", "--log-level=1", f"--pidfile={folder}/rtpengine.pid"]
    proxy = ["kamailio", "-DD", "-E", "-f", "kamailio.cfg", "-m", "256", "-M", "16", "-Y", str(folder)]
    with contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "peer.log").open("w"))
        peers = []
        for command in (media, proxy):
            peers.append(stack.enter_context(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)))
            stack.callback(peers[-1].terminate)
            time.sleep(1.5)
        if any(peer.poll() is not None for peer in peers):
            raise RuntimeError((folder / "peer.log").read_text()[-2000:])
        before = [cpu_of(peer.pid) for peer in peers]
        found = load(folder, "kamailio", port, (free_port(socket.SOCK_DGRAM), called), CALLER, CALLED, rate, count)
        rtpengine, signalling = (
            round(1000 * (cpu_of(peer.pid) - since) / count, 3) for peer, since in zip(peers, before, strict=True)
        )
    parts = {"kamailio": signalling, "rtpengine": rtpengine}
    return {**found, "cpu_ms_per_call": round(signalling + rtpengine, 3), "cpu_ms_of": parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    parser.add_argument("--profile", action="store_true", help="where the CPU of calls goes, by function (py-spy)")
    options = parser.parse_args()
    count = int(options.rate * options.seconds)
    with tempfile.TemporaryDirectory() as folder:
        result: dict[str, Any] = {
            "rate": options.rate,
            "seconds": options.seconds,
            **ours(Path(folder), options.rate, count, options.profile),
        }
        if not options.alone:
            peer = kamailio(Path(folder), options.rate, count)
            result["kamailio_rtpengine"] = peer
            result["ratio_vs_kamailio_rtpengine"] = round(result["cpu_ms_per_call"] / peer["cpu_ms_per_call"], 2)
    if profile := result.pop("profile", None):
        print(table(profile))
    for name, value in result.items():
        print(f"{name:28} {value}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
