"""docs/flash.md as somebody new does it: from the file in dist/ to two phones that talk, on a network of its own, with and without a router.

Each function of `WALK` is a step of the document and has its title; the commands are taken from there. What the monitor shows, and the page
with the call, are written to artefacts/ and are the document's pictures.
"""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import ssl
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Error as PageError
from playwright.sync_api import Page, expect, sync_playwright

from image.build import Image
from tests.e2e.baresip import Phone
from tests.e2e.running import Credentials, wait_until
from tests.image.boots.conftest import PASSWORD, ROOT
from tests.image.lan import Lan
from tests.image.machine import DISKS, PATIENCE, Machine
from tests.web.chromium import ARGUMENTS, ARTEFACTS, CHROMIUM, shoot

DOCUMENT = (ROOT / "docs/flash.md").read_text()
STEPS = re.findall(r"^\d+\. \*\*(.+?)\.\*\*(.*?)(?=^\d+\. \*\*|^## )", DOCUMENT, re.MULTILINE | re.DOTALL)
BLANK = 16 * 10**9  # octets of the disk
NAME = "switchroom.local"
MONITOR = "VGA,edid=on,xres=640,yres=480"  # the smallest there is: 80 columns, 30 rows
LOW, HIGH = 440, 700  # hertz; what the phones say
LONG = 120.0  # seconds; an emulated box on a busy machine is slow
LINK_LOCAL = 60.0  # seconds; until the box has given up waiting for a router and has an address of its own

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]


@dataclass
class Walk:
    """What the person has in hand, from step to step."""

    work: Path
    lan: Lan
    stack: ExitStack
    name: str = ""  # of the pictures
    phones_at: tuple[str, str] = ("", "")
    disk: Path = Path()
    box: Machine = field(init=False)
    page: Page = field(init=False)
    address: str = ""
    code: str = ""
    logins: list[Credentials] = field(default_factory=list)
    host: str = ""  # what the page tells about the server
    sip_port: int = 0
    sips_port: int = 0
    authority: Path = Path()


def command(step: str, program: str) -> list[str]:
    """What the document says to type."""
    found = re.search(rf"`({program} [^`]+)`", dict(STEPS)[step])
    assert found, f"{step}: there is no {program}"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return shlex.split(found[1].replace("VERSION", version))


def unpack_the_image(walk: Walk) -> None:
    words = command("Unpack the image", "zstd")
    (walk.work / words[-1]).symlink_to(ROOT / "dist" / words[-1])
    subprocess.run([*words, "--quiet", "--force"], cwd=walk.work, check=True)  # --force: it is a link here


def write_it_onto_the_disk(walk: Walk) -> None:
    walk.disk = walk.work / "blank.img"
    with walk.disk.open("wb") as disk:
        disk.truncate(BLANK)
    words = [word.replace("/dev/DISK", str(walk.disk)) for word in command("Write it onto the disk", "dd")]
    assert f"of={walk.disk}" in words
    # a file is not to become shorter, as a disk cannot; and what is empty need not be written onto an empty one
    subprocess.run([*words, "conv=notrunc,sparse", "status=none"], cwd=walk.work, check=True)
    assert walk.disk.stat().st_size == BLANK
    next(walk.work.glob("switchroom-*.img")).unlink()


def connect_the_box_and_switch_it_on(walk: Walk) -> None:
    walk.box = walk.stack.enter_context(
        Machine(walk.work / "box", walk.disk, wire=walk.lan.wire, extra=("-device", MONITOR))
    )


def read_the_address_and_the_setup_code(walk: Walk) -> None:
    walk.address = walk.box.wait(r"Admin page +https://([0-9.]+):4021/")[1]
    walk.code = walk.box.wait(r"Setup code +([A-Z0-9]{10})")[1]
    walk.box.wait(r"State +healthy")
    held = wait_until(lambda: scanned(walk), "the QR code on the monitor", LONG)
    assert held == f"https://{walk.address}:4021/#{walk.code}"
    ARTEFACTS.mkdir(exist_ok=True)
    shutil.copy(walk.work / "monitor.png", ARTEFACTS / f"flash-console{walk.name}.png")


def scanned(walk: Walk) -> str:
    """What a camera reads off the monitor; "" when there is no code."""
    picture = walk.box.picture(walk.work / "monitor.png")
    words = ["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()


def open_the_address_in_a_browser(walk: Walk) -> None:
    assert walk.lan.find(NAME) == walk.address
    playwright = walk.stack.enter_context(sync_playwright())
    context = playwright.chromium.launch_persistent_context(
        str(walk.work / "browser"),
        executable_path=CHROMIUM,
        args=[*ARGUMENTS, f"--host-resolver-rules=MAP {NAME} {walk.address}"],  # as the answer above says
        viewport={"width": 1280, "height": 1000},
        color_scheme="light",
    )
    walk.stack.callback(context.close)
    context.set_default_timeout(LONG * 1000)
    walk.page = context.pages[0]
    scan(walk, walk.page)
    visit(walk.page, f"https://{NAME}/")
    expect(walk.page.get_by_role("heading", name="A new telephone system")).to_be_visible()
    walk.page.get_by_role("link", name="Set it up").click()
    expect(walk.page).to_have_url(f"https://{NAME}:4021/setup")


def scan(walk: Walk, page: Page) -> None:
    """The other way: what the QR code holds."""
    visit(page, scanned(walk))
    expect(page.get_by_label("Setup code")).to_have_value(walk.code)


def visit(page: Page, address: str) -> None:
    """The browser warns that it does not know who made the certificate; then go on."""
    with pytest.raises(PageError, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(address)
    page.locator("#details-button").click()
    page.locator("#proceed-link").click()


def enter_the_setup_code(walk: Walk) -> None:
    walk.page.get_by_label("Setup code").fill(walk.code)
    walk.page.get_by_role("button", name="Continue").click()


def choose_your_name_and_a_password(walk: Walk) -> None:
    page = walk.page
    page.get_by_label("Full name").fill("Anna Berger")
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password once more").fill(PASSWORD)
    page.get_by_role("button", name="Continue").click()


def choose_the_country_and_the_length_of_extension_numbers(walk: Walk) -> None:
    page = walk.page
    page.get_by_label("Country").select_option("DE")
    page.get_by_text("Three digits").click()
    page.get_by_role("button", name="Finish").click()
    expect(page.get_by_role("heading", name="Ready, Anna")).to_be_visible()
    wait_until(lambda: not scanned(walk), "the monitor to show no code any more", LONG)


def add_two_extensions(walk: Walk) -> None:
    page = walk.page
    page.get_by_role("link", name="Add the first extension").click()
    walk.logins.append(added(walk, "Anna Berger"))
    page.get_by_role("link", name="Extensions").first.click()
    page.get_by_role("link", name="Add extension").first.click()
    walk.logins.append(added(walk, "Ben Carter"))
    assert [login.number for login in walk.logins] == ["100", "101"]


def added(walk: Walk, name: str) -> Credentials:
    page = walk.page
    number = page.get_by_role("textbox", name="Number", exact=True).input_value()
    page.get_by_role("textbox", name="Name", exact=True).fill(name)
    page.get_by_role("button", name="Add extension").click()
    expect(page.get_by_text("What to enter in the phone")).to_be_visible()
    page.get_by_role("button", name="Show").click()
    password = page.locator(".secret code").first
    expect(password).to_be_visible()
    walk.host = page.locator("code#server").inner_text()
    walk.sip_port = int(page.locator("code#sip-port").inner_text())
    walk.sips_port = int(page.locator("code#tls-port").inner_text())
    username = page.get_by_role("textbox", name="SIP username").input_value()
    return Credentials(number, username, password.inner_text(), "")


def enter_them_in_the_phones_and_call(walk: Walk) -> None:
    assert (walk.host, walk.sip_port, walk.sips_port) == (walk.address, 5060, 5061)
    page = walk.page
    page.goto(f"https://{NAME}/")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the authority").click()
    walk.authority = walk.work / "authority.crt"
    download.value.save_as(walk.authority)
    for name in (walk.host, NAME):
        assert trusts(walk, name, ssl.create_default_context(cafile=str(walk.authority)))
        assert not trusts(walk, name, ssl.create_default_context())
    page.goto(f"https://{NAME}:4021/")
    with ExitStack() as stack:
        phones = [stack.enter_context(phone(walk, number, tone)) for number, tone in enumerate((LOW, HIGH))]
        for one in phones:
            one.register()
            one.wait_for("REGISTER_OK", LONG)
        talk(walk, *phones)
        phones[0].dial("*60")
        phones[0].wait_for("CALL_ESTABLISHED", LONG)
        phones[0].expect_tone(LOW, LONG)


def trusts(walk: Walk, name: str, context: ssl.SSLContext) -> bool:
    """A phone that checks certificates, which the one below does not: by address or name, on the port that phones use."""
    with socket.create_connection((walk.host, walk.sips_port), LONG) as connection:
        try:
            context.wrap_socket(connection, server_hostname=name).close()
        except ssl.SSLCertVerificationError:
            return False
    return True


def phone(walk: Walk, number: int, tone: int) -> Phone:
    """SRTP or nothing."""
    return Phone(
        walk, walk.work / f"phone{number}", walk.logins[number], transport="tls", encryption="srtp-mand", tone=tone, register=False,
        address=walk.phones_at[number],
    )  # fmt: skip


def talk(walk: Walk, caller: Phone, callee: Phone) -> None:
    page = walk.page
    caller.dial(callee.number)
    caller.wait_for("CALL_ESTABLISHED", LONG)
    caller.expect_tone(HIGH, LONG)
    callee.expect_tone(LOW, LONG)
    expect(page.locator(".live-call")).to_have_count(1)
    for leg in page.locator(".live-call .leg-how").all():
        expect(leg).to_contain_text("Encrypted: signalling and sound")
    expect(page.locator(".live-call .leg-how")).to_have_count(2)
    shoot(page, f"flash-call{walk.name}")
    caller.hang_up()
    callee.wait_for("CALL_CLOSED", LONG)
    expect(page.locator(".live-call")).to_have_count(0)


WALK: tuple[Callable[[Walk], None], ...] = (
    unpack_the_image,
    write_it_onto_the_disk,
    connect_the_box_and_switch_it_on,
    read_the_address_and_the_setup_code,
    open_the_address_in_a_browser,
    enter_the_setup_code,
    choose_your_name_and_a_password,
    choose_the_country_and_the_length_of_extension_numbers,
    add_two_extensions,
    enter_them_in_the_phones_and_call,
)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def test_the_document_has_these_ten_steps() -> None:
    titles = [re.sub(r"\W+", "_", title.lower()) for title, _ in STEPS]
    assert titles == [step.__name__ for step in WALK]
    assert len(titles) == 10


def test_from_download_to_first_call(stack: ExitStack, tmp_path: Path) -> None:
    lan = stack.enter_context(Lan("192.168.77.1/24", "192.168.77.21/24", "192.168.77.22/24"))
    stack.enter_context(lan.router(tmp_path / "router", "192.168.77.100", "192.168.77.150"))
    walk = Walk(tmp_path, lan, stack, phones_at=("192.168.77.21", "192.168.77.22"))
    for step in WALK:
        step(walk)
    assert re.fullmatch(r"192\.168\.77\.1[0-5]\d", walk.address)


def test_a_network_without_a_router(stack: ExitStack, image: Image, tmp_path: Path) -> None:
    """Nobody gives out addresses: box, computer and phones have taken one each that begins with 169.254. From step 3."""
    lan = stack.enter_context(Lan("169.254.7.1/16", "169.254.7.21/16", "169.254.7.22/16", "192.168.77.1/24"))
    walk = Walk(
        tmp_path, lan, stack, name="-without-router", phones_at=("169.254.7.21", "169.254.7.22"), disk=image.disk
    )
    connect_the_box_and_switch_it_on(walk)
    wait_until(lambda: "Number and Enter" in walk.box.text(), "the first screen", PATIENCE)
    wait_until(lambda: re.search(r"Admin page +https://169\.254\.", walk.box.text()), "an address on it", LINK_LOCAL)
    for step in WALK[3:]:
        step(walk)
    assert walk.address.startswith("169.254.")
    with lan.router(tmp_path / "router", "192.168.77.100", "192.168.77.150"):  # it comes later, as after a power cut
        walk.host = walk.box.wait(r"Admin page +https://(192\.168\.77\.1[0-5]\d):4021/")[1]
        walk.box.wait(r"State +healthy")
        wait_until(lambda: lan.find(NAME) == walk.host, "the name to lead there", LONG)
        assert trusts(walk, walk.host, ssl.create_default_context(cafile=str(walk.authority)))
        visit(walk.page, f"https://{walk.host}/")
        expect(walk.page.get_by_role("heading", name="The telephone system")).to_be_visible()
        walk.box.monitor("set_link net off")  # the cable is pulled out, and in again
        walk.box.wait("Admin page +no address yet")
        walk.box.monitor("set_link net on")
        walk.box.wait(rf"Admin page +https://{walk.host}:4021/")


@pytest.mark.parametrize("bus", DISKS)
def test_it_starts_from_what_small_computers_have(image: Image, tmp_path: Path, bus: str) -> None:
    """A USB stick or adapter, SATA, NVMe; the first start of each, in which the last partition grows to the end of the disk."""
    with Machine(tmp_path / "box", image.disk, size=str(BLANK), bus=bus) as box:
        box.wait("SWITCHROOM-INITRD media partition grown")
        box.wait(r"State +healthy")
