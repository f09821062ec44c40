"""The messages of RFC 4475, each with what our layers must make of it.

`parse` is "ok" or the status `message.parse` refuses it with; `stack` is what a stack does with it when it comes in: the
name of the event, the status it answers by itself, or "dropped". `why` tells where policy is another than the RFC's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Torture:
    name: str
    section: str
    data: bytes
    parse: str | int
    stack: str | int
    why: str = ""


def message(text: str, body: str = "") -> bytes:
    lines = text.strip("\n").split("\n")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + body.replace("\n", "\r\n").encode()


SDP = """v=0
o=mhandley 29739 7272939 IN IP4 192.0.2.3
s=-
c=IN IP4 192.0.2.4
t=0 0
m=audio 49217 RTP/AVP 0 12
m=video 3227 RTP/AVP 31
a=rtpmap:31 LPC
"""


MULTIPART = """--7a9cbec02ceef655
Content-Type: text/plain
Content-Transfer-Encoding: binary

Hello
--7a9cbec02ceef655
Content-Type: application/octet-stream
Content-Transfer-Encoding: binary

\x00\x01--7a9cbec02cee\x7f
--7a9cbec02ceef655--
"""


def request(
    start: str,
    *,
    number: str = "1",
    method: str = "",
    to: str = "sip:user@example.com",
    from_: str = "sip:caller@example.net;tag=323",
    via: str = "SIP/2.0/UDP host5.example.net;branch=z9hG4bKkdju43234",
    extra: str = "",
    call_id: str = "torture.example.net",
    forwards: str = "70",
    contact: str = "<sip:caller@host5.example.net>",
    body: str = "",
    length: str = "",
) -> bytes:
    method = method or start.split(" ")[0]
    lines = [start, f"Via: {via}", f"To: {to}", f"From: {from_}", f"Call-ID: {call_id}", f"CSeq: {number} {method}"]
    lines += [
        f"Max-Forwards: {forwards}",
        *([f"Contact: {contact}"] if contact else []),
        *extra.strip("\n").split("\n"),
    ]
    if body and "Content-Type" not in extra:
        lines += ["Content-Type: application/sdp"]
    size = len(body.replace("\n", "\r\n").encode())
    lines.append(f"Content-Length: {length or size}")
    return message("\n".join(line for line in lines if line), body)


LONG = "very" * 20 + "long"

MESSAGES = [
    Torture(
        "wsinv", "3.1.1.1",
        message(
            r"""INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0
TO :
 sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n
from   : "J Rosenberg \\\""       <sip:jdrosen@example.com>
  ;
  tag = 98asjd8
MaX-fOrWaRdS: 0068
Call-ID: wsinv.ndaksdj@192.0.2.1
Content-Length   : 150
cseq: 0009
  INVITE
Via  : SIP  /   2.0
 /UDP
    192.0.2.2;branch=390skdjuw
s :
NewFangledHeader:   newfangled value
 continued newfangled value
UnknownHeaderWithUnusualValue: ;;,,;;,;
Content-Type: application/sdp
v:  SIP  / 2.0  / TCP     spindle.example.com   ;
  branch  =   z9hG4bK9ikj8  ,
 SIP  /    2.0   / UDP  192.168.255.111   ; branch=
 z9hG4bK30239
m:"Quoted string \"\"" <sip:jdrosen@example.com> ; newparam =
      newvalue ;
  secondparam ; q = 0.33""",
            SDP,
        ),
        "ok", 481, "it has a To tag and no dialog",
    ),
    Torture(
        "intmeth", "3.1.1.2",
        message(
            "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:"
            "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n"
            "Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n"
            'To: "BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)@example.com>\n'
            "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"x\";tag=_token~1'+`*%!-.\n"
            "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\n"
            "CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\n"
            "Max-Forwards: 255\nContent-Length: 0"
        ),
        400, 400, "NUL in the head is never taken, quoted or not",
    ),
    Torture(
        "intmeth without NUL", "3.1.1.2",
        message(
            "!interesting-Method0123456789_*+`.%indeed'~ sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:"
            "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n"
            "Via: SIP/2.0/TCP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n"
            'To: "BEL:\\\x07 DEL:\\\x7f" <sip:1_unusual.URI~(to-be!sure)@example.com>\n'
            "From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"x\";tag=_token~1'+`*%!-.\n"
            "Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{\n"
            "CSeq: 139122385 !interesting-Method0123456789_*+`.%indeed'~\n"
            "Max-Forwards: 255\nContent-Length: 0"
        ),
        "ok", 405,
    ),
    Torture("esc01", "3.1.1.3", request("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0", body=SDP), "ok", "Invited"),
    Torture(
        "escnull", "3.1.1.4",
        request("REGISTER sip:example.com SIP/2.0", to="sip:null-%00-null@example.com", contact="<sip:%00@host5.example.com>"),
        400, 400, "an escaped NUL is refused like a plain one",
    ),
    Torture(
        "esc02", "3.1.1.5",
        request("RE%47IST%45R sip:registrar.example.com SIP/2.0", to='"%Z%45" <sip:resource@example.com>'), "ok", 405,
    ),
    Torture(
        "lwsdisp", "3.1.1.6",
        request("OPTIONS sip:user@example.com SIP/2.0", from_="caller<sip:caller@example.com>;tag=323"), "ok", 200,
    ),
    Torture(
        "longreq", "3.1.1.7",
        request(
            "INVITE sip:user@example.com SIP/2.0",
            to=f'"I have a user name of {LONG} proportions" <sip:user@example.com:6000;unknownparam1={LONG};longparam{"n" * 80}=x>',
            from_=f"sip:{'a' * 130}@example.net;tag=12{'9' * 200}424",
            via=f"SIP/2.0/TCP sip33.example.com;branch=z9hG4bK{'x' * 150}",
            call_id=f"longreq.one{'really' * 20}longcallid",
            extra="\n".join([f"Unknown-{'Long' * 20}-Name: {LONG}-value", *(f"Via: SIP/2.0/TCP sip{n}.example.com" for n in range(33))]),
            body=SDP,
        ),
        "ok", "Invited",
    ),
    Torture(
        "dblreq", "3.1.1.8",
        request("REGISTER sip:example.com SIP/2.0", to="sip:j.user@example.com") + b"INVITE sip:joe@example.com SIP/2.0\r\n\r\n",
        "ok", "Requested", "what follows in the datagram is discarded",
    ),
    Torture("semiuri", "3.1.1.9", request("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0"), "ok", 200),
    Torture(
        "transports", "3.1.1.10",
        request(
            "OPTIONS sip:user@example.com SIP/2.0",
            extra="Via: SIP/2.0/SCTP t2.example.com;branch=z9hG4bKklasjdhf\nVia: SIP/2.0/TLS t3.example.com;branch=z9hG4bK2980\n"
            "Via: SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en\nVia: SIP/2.0/TCP t5.example.com;branch=z9hG4bK0a9idfnee",
        ),
        "ok", 200,
    ),
    Torture(
        "mpart01", "3.1.1.11",
        request("MESSAGE sip:kumiko@example.org SIP/2.0", extra="Content-Type: multipart/mixed;boundary=7a9cbec02ceef655", body=MULTIPART),
        "ok", "Requested",
    ),
    Torture(
        "unreason", "3.1.1.12",
        message(
            "SIP/2.0 200 = 2**3 * 5**2 но сто девяносто девять - простое\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\n"
            "Call-ID: unreason.1234ksdfak3j2erwedfsASdf\nCSeq: 35 INVITE\nFrom: sip:user@example.com;tag=11141343\n"
            "To: sip:user@example.edu;tag=2229\nContent-Length: 0\nContact: <sip:user@host198.example.com>"
        ),
        "ok", "dropped", "no request of ours",
    ),
    Torture(
        "noreason", "3.1.1.13",
        message(
            "SIP/2.0 100 \nVia: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe\nCall-ID: noreason.asndj203insdf99223ndf\n"
            "CSeq: 35 INVITE\nFrom: <sip:user@example.com>;tag=39ansfi3\nTo: <sip:user@example.edu>;tag=902jndnke3\nContent-Length: 0"
        ),
        "ok", "dropped", "no request of ours",
    ),
    # ---- invalid
    Torture(
        "badinv01", "3.1.2.1",
        request(
            "INVITE sip:user@example.com SIP/2.0", to="sip:j.user@example.com", via="SIP/2.0/UDP 192.0.2.15;;,;,,",
            contact='"Joe" <sip:joe@example.org>;;;;',
        ),
        400, 400,
    ),
    Torture("clerr", "3.1.2.2", request("INVITE sip:user@example.com SIP/2.0", body=SDP, length="9999"), 400, 400),
    Torture("ncl", "3.1.2.3", request("INVITE sip:user@example.com SIP/2.0", body=SDP, length="-999"), 400, 400),
    Torture(
        "scalar02", "3.1.2.4",
        request("REGISTER sip:example.com SIP/2.0", number="36893488147419103232", forwards="300", extra="Expires: 1" + "0" * 40),
        400, 400, "CSeq is echoed as it came",
    ),
    Torture(
        "scalarlg", "3.1.2.5",
        message(
            "SIP/2.0 503 Service Unavailable\nVia: SIP/2.0/TCP host129.example.com;branch=z9hG4bKzzxdiwo34sw;received=192.0.2.129\n"
            "To: <sip:user@example.com>\nFrom: <sip:other@example.net>;tag=2easdjfejw\nCSeq: 9292394834772304023312 OPTIONS\n"
            "Call-ID: scalarlg.noase0of0234hn2qofoaf0232aewf2394r\nRetry-After: 949302838503028349304023988\nContent-Length: 0"
        ),
        400, "dropped",
    ),
    Torture(
        "quotbal", "3.1.2.6",
        request("INVITE sip:user@example.com SIP/2.0", to='"Mr. J. User <sip:j.user@example.com>', body=SDP), "ok", "Invited",
        "the display name is not used, and only one URI can be meant",
    ),
    Torture("ltgtruri", "3.1.2.7", request("INVITE <sip:user@example.com> SIP/2.0", body=SDP), 400, 400),
    Torture("lwsruri", "3.1.2.8", request("INVITE sip:user@example.com; lr SIP/2.0", body=SDP), 400, 400),
    Torture("lwsstart", "3.1.2.9", request("INVITE  sip:user@example.com  SIP/2.0", method="INVITE", body=SDP), 400, 400),
    Torture("trws", "3.1.2.10", request("OPTIONS sip:remote-target@example.com SIP/2.0  "), 400, 400),
    Torture("escruri", "3.1.2.11", request("INVITE sip:user@example.com?Route=%3Csip:example.com%3E SIP/2.0", body=SDP), "ok", "Invited",
            "headers of a URI are never used"),
    Torture(
        "baddate", "3.1.2.12",
        request("INVITE sip:user@example.com SIP/2.0", extra="Date: Fri, 01 Jan 2010 16:00:00 EST", body=SDP), "ok", "Invited",
        "nobody reads Date",
    ),
    Torture(
        "regbadct", "3.1.2.13",
        request("REGISTER sip:example.com SIP/2.0", contact="sip:user@example.com?Route=%3Csip:sip.example.com%3E"),
        "ok", "Requested", "the registrar gets a PeerError when it reads the Contact",
    ),
    Torture("badaspec", "3.1.2.14", request("OPTIONS sip:user@example.org SIP/2.0", to='"Watson, Thomas" < sip:t.watson@example.org >'),
            "ok", 200, "blanks around a URI in brackets part nothing"),
    Torture("baddn", "3.1.2.15", request("OPTIONS sip:t.watson@example.org SIP/2.0", from_="Bell, Alexander <sip:a.g.bell@example.com>;tag=43"),
            "ok", 200, "who calls is known by digest, the display name is not used"),
    Torture("badvers", "3.1.2.16", request("OPTIONS sip:t.watson@example.org SIP/7.0"), 505, 505),
    Torture("mismatch01", "3.1.2.17", request("OPTIONS sip:user@example.com SIP/2.0", method="INVITE"), 400, 400),
    Torture("mismatch02", "3.1.2.18", request("NEWMETHOD sip:user@example.com SIP/2.0", method="INVITE"), 400, 400),
    Torture(
        "bigcode", "3.1.2.19",
        message(
            "SIP/2.0 4294967301 better not break the receiver\nVia: SIP/2.0/UDP 192.0.2.105;branch=z9hG4bK2398ndaoe\n"
            "Call-ID: bigcode.asdof3uj203asdnf3429uasdhfas3ehjasdfas9i\nCSeq: 353494 INVITE\nFrom: <sip:user@example.com>;tag=39ansfi3\n"
            "To: <sip:user@example.edu>;tag=902jndnke3\nContent-Length: 0\nContact: <sip:user@host105.example.com>"
        ),
        400, "dropped",
    ),
    # ---- transaction layer
    Torture("badbranch", "3.2.1", request("OPTIONS sip:user@example.com SIP/2.0", via="SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK"),
            "ok", 200),
    # ---- application layer
    Torture(
        "insuf", "3.3.1",
        message("INVITE sip:user@example.com SIP/2.0\nCSeq: 193942 INVITE\nVia: SIP/2.0/UDP 192.0.2.95;branch=z9hG4bKkdj.insuf\n"
                 "Content-Type: application/sdp\nContent-Length: 0"),
        400, 400, "what is there is echoed",
    ),
    Torture("unkscm", "3.3.2", request("OPTIONS nobodyKnowsThisScheme:totallyopaquecontent SIP/2.0"), 416, 416),
    Torture("novelsc", "3.3.3", request("OPTIONS soap.beep://192.0.2.103:3002 SIP/2.0"), 416, 416),
    Torture(
        "unksm2", "3.3.4",
        request("REGISTER sip:example.com SIP/2.0", to="isbn:2983792873", from_="<http://www.example.com>;tag=3234233"), 416, 416,
    ),
    Torture("bext01", "3.3.5", request("OPTIONS sip:user@example.com SIP/2.0", extra="Require: nothingSupportsThis\nRequire: nothingSupportsThisEither"),
            "ok", 420),
    Torture(
        "invut", "3.3.6",
        message(
            "INVITE sip:user@example.com SIP/2.0\nVia: SIP/2.0/UDP h;branch=z9hG4bKkdj.invut\nTo: sip:user@example.com\n"
            "From: sip:j.user@example.net;tag=2234923\nCall-ID: invut\nCSeq: 235448 INVITE\nMax-Forwards: 70\nContact: <sip:caller@h>\n"
            "Content-Type: application/unknownformat\nContent-Length: 40", "<audio>\n <pcmu port=\"443\"/>\n</audio>\n123",
        ),
        "ok", 415,
    ),
    Torture("regaut01", "3.3.7", request("REGISTER sip:example.com SIP/2.0", extra="Authorization: NoOneKnowsThisScheme opaque-data=here"),
            "ok", "Requested"),
    Torture(
        "multi01", "3.3.8",
        request("INVITE sip:user@company.com SIP/2.0", extra="CSeq: 59 INVITE\nCall-ID: multi01.98asdh\nTo: sip:other@example.net\nFrom: sip:x@example.com;tag=1",
                 body=SDP),
        400, 400, "the first of each is echoed",
    ),
    Torture("mcl01", "3.3.9", request("OPTIONS sip:user@example.com SIP/2.0", extra="Content-Length: 13"), 400, 400),
    Torture(
        "bcast", "3.3.10",
        message(
            "SIP/2.0 200 OK\nVia: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\nVia: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK1saber23\n"
            "Call-ID: bcast.0384840201234ksdfak3j2erwedfsASdf\nCSeq: 35 INVITE\nFrom: sip:user@example.com;tag=11141343\n"
            "To: sip:user@example.edu;tag=2229\nContent-Length: 0\nContact: <sip:user@host28.example.com>"
        ),
        "ok", "dropped",
    ),
    Torture("zeromf", "3.3.11", request("OPTIONS sip:user@example.com SIP/2.0", forwards="0"), "ok", 200, "it is for us"),
    Torture("zeromf INVITE", "3.3.11", request("INVITE sip:user@example.com SIP/2.0", forwards="0", body=SDP), "ok", 483),
    Torture("cparam01", "3.3.12", request("REGISTER sip:example.com SIP/2.0", contact="sip:+19725552222@gw1.example.net;unknownparam"),
            "ok", "Requested"),
    Torture("cparam02", "3.3.13", request("REGISTER sip:example.com SIP/2.0", contact="<sip:+19725552222@gw1.example.net;unknownparam>"),
            "ok", "Requested"),
    Torture("regescrt", "3.3.14", request("REGISTER sip:example.com SIP/2.0", contact="<sip:user@example.com?Route=%3Csip:sip.example.com%3E>"),
            "ok", "Requested"),
    Torture("sdp01", "3.3.15", request("INVITE sip:user@example.com SIP/2.0", extra="Accept: text/nobodyKnowsThis", body=SDP), "ok", "Invited"),
    Torture(
        "inv2543", "3.4.1",
        message(
            "INVITE sip:UserB@example.com SIP/2.0\nVia: SIP/2.0/UDP iftgw.example.com\nFrom: <sip:+13035551111@ift.client.example.net;user=phone>\n"
            "Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>\nTo: sip:+16505552222@ss1.example.net;user=phone\n"
            "Call-ID: inv2543.1717@ift.client.example.com\nCSeq: 56 INVITE\nContact: <sip:+1303@iftgw.example.com>\nContent-Type: application/sdp",
            SDP,
        ),
        "ok", "Invited",
    ),
]  # fmt: skip
