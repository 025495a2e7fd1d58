"""SLE against the `sle` package (LibreCube): its users against our provider over real sockets, its
ASN.1 declarations (pyasn1) against our BER, and a provider made of them against our adapters.

The package pins a pyasn1 of 2019, so that it stands in a directory of its own and runs in processes
of its own; `make test` installs it there.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.adapters.clock import ScaledClock
from ground.adapters.radio.adapter import Adapter, Policy, State, Unsendable
from ground.adapters.radio.registry import open_adapter
from ground.adapters.radio.sle_peer import ProviderServer
from protocols.sle import pdus, provider
from protocols.sle.ber import Type
from protocols.sle.cltu_service import CltuService
from protocols.sle.common import ServiceType
from protocols.sle.credentials import Hash, Level, Security
from protocols.sle.frame_service import FrameService
from protocols.sle.frames import Lock, Quality
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.sle_pdus import to_provider, to_user

PACKAGE = Path(sys.prefix) / "peers" / "sle"
PATIENCE_S = 20.0
HEARTBEAT = bytes([3, 0, 0, 0, 0, 0, 0, 0])
INSTANCES = {
    ServiceType.RAF: "sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1",
    ServiceType.RCF: "sagr=1.spack=PASS-7.rsl-fg=1.rcf=onlc1",
    ServiceType.CLTU: "sagr=1.spack=PASS-7.fsl-fg=1.cltu=cltu1",
}
#: A TM frame of spacecraft 0x123, virtual channel 5.
FRAME = bytes.fromhex("123b") + bytes(range(200))


@pytest.fixture(scope="session")
def package() -> dict[str, str]:
    """The environment of a process that has it."""
    if not (PACKAGE / "sle").is_dir():
        if os.environ.get("CI"):
            pytest.fail("package sle is missing; `make test` installs it", pytrace=False)
        pytest.skip("program sle 0.3.0 (python package) is missing")
    return {**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "ignore"}


class Process:
    """A script that is told lines and answers in lines of JSON."""

    def __init__(self, script: str, environment: dict[str, str], *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", script, *arguments],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self, timeout_s: float = PATIENCE_S) -> Any:
        """queue.Empty: it says nothing."""
        return json.loads(self._lines.get(timeout=timeout_s))

    def ask(self, line: str) -> Any:
        self.tell(line)
        return self.hear()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


# ---------------------------------------------------------------- BER

#: Decodes with the package's declarations and encodes again; tells what it saw.
CODEC = """
import json, sys
from pyasn1.codec.ber.encoder import encode
from pyasn1.codec.der.decoder import decode
from sle.datatypes import raf_pdu, rcf_pdu, cltu_pdu
specs = {
    (kind, way): getattr(module, f"{kind.capitalize()}{name}Pdu")()
    for kind, module in (("raf", raf_pdu), ("rcf", rcf_pdu), ("cltu", cltu_pdu))
    for way, name in (("up", "UserToProvider"), ("down", "ProviderToUser"))
}
for line in sys.stdin:
    kind, way, octets = line.split()
    try:
        pdu, rest = decode(bytes.fromhex(octets), asn1Spec=specs[kind, way])
        other = encode(pdu, defMode=False)
        print(
            json.dumps([pdu.getName(), encode(pdu).hex(), rest.hex(), other.hex()]), flush=True
        )
    except Exception as error:
        print(json.dumps([repr(error)]), flush=True)
"""


@pytest.fixture(scope="module")
def codec(package: dict[str, str]) -> Iterator[Process]:
    process = Process(CODEC, package)
    yield process
    process.close()


def agreed(codec: Process, service: ServiceType, way: str, of: Type, pdu: Any) -> None:
    """Also what it encodes with indefinite lengths is the same to us."""
    octets = of.build(pdu)
    told = codec.ask(f"{service.name.lower()} {way} {octets.hex()}")
    assert len(told) == 4, (told, octets.hex())
    assert (bytes.fromhex(told[1]), told[2]) == (octets, "")
    assert of.parse(bytes.fromhex(told[3])) == pdu


@settings(max_examples=60)
@given(st.data(), st.sampled_from(ServiceType))
def test_pyasn1_reads_what_our_users_say(codec: Process, data, service: ServiceType) -> None:
    pdu = data.draw(to_provider(service))
    agreed(codec, service, "up", pdus.to_provider(service), pdu)


@settings(max_examples=100)
@given(st.data(), st.sampled_from(ServiceType))
def test_pyasn1_reads_what_our_provider_says(codec: Process, data, service: ServiceType) -> None:
    pdu = data.draw(to_user(service, 5))
    agreed(codec, service, "down", pdus.to_user(service, 5), pdu)


# ---------------------------------------------------------------- its users, our provider

#: A user that does what it is told.  Its clock never stands at a whole millisecond: there the
#: package's credentials say 1000 µs, and do not know their own again.
USER = """
import datetime, json, sys, types
import sle, sle.proxy.authentication as authentication
class Clock(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return datetime.datetime.utcnow().replace(microsecond=123456)
authentication.dt = types.SimpleNamespace(datetime=Clock, timedelta=datetime.timedelta)
given = json.loads(sys.argv[1])
user = getattr(sle, given.pop("kind"))(**given)
def say(**what):
    print(json.dumps(what), flush=True)
def frame(pdu):
    ert = pdu["earthReceiveTime"]
    say(frame=pdu["data"].asOctets().hex(), continuity=int(pdu["dataLinkContinuity"]),
        ert=ert.getComponent().asOctets().hex(), form=ert.getName())
user.frame_indication = frame
user.status_report_indication = lambda pdu: say(report={str(k): str(v) for k, v in pdu.items()})
user.parameter_indication = lambda pdu: say(parameter=pdu.getName(),
    value=str(pdu.getComponent()["parameterValue"]))
handlers = user._handlers
for name in ("CltuTransferDataReturn", "CltuThrowEventReturn"):
    def told(pdu, name=name):
        one = pdu.getComponent()
        say(answer=name, result=one["result"].getName())
    if name in handlers:
        handlers[name] = told
if "CltuAsyncNotifyInvocation" in handlers:
    handlers["CltuAsyncNotifyInvocation"] = lambda pdu: say(
        notified=pdu.getComponent()["cltuNotification"].getName(),
        last=pdu.getComponent()["cltuLastOk"].getName())
for line in sys.stdin:
    name, wanted, arguments = json.loads(line)
    getattr(user, name)(*arguments)
    if wanted:
        user.wait_for_state(wanted, 10, 0.01)
        say(state=user.state)
"""


def octets_of(text: str) -> bytes:
    return bytes.fromhex(text)


class LibreCube:
    def __init__(
        self,
        environment: dict[str, str],
        service: provider.Service,
        *,
        level: Level,
        version: int = 5,
        algorithm: Hash = Hash.SHA_256,
    ) -> None:
        self.service = service
        self.told: list[Any] = []
        security = Security(
            "STATION",
            b"theirs",
            "LIBRE",
            b"ours",
            level=level,
            algorithm=algorithm,
            entropy=lambda: 5,
        )
        wall = ScaledClock.wall().now_ns
        self.server = ProviderServer(
            [service],
            {"LIBRE": security},
            identifier="STATION",
            port_name="SLE",
            told=self.told.append,
            now_ns=lambda: wall() // 10**6 * 10**6 + 456_000,
        )
        host, port = self.server.address
        names = {ServiceType.RAF: "Raf", ServiceType.RCF: "Rcf", ServiceType.CLTU: "Cltu"}
        given = {
            "kind": f"{names[service.service]}ServiceUser",
            "service_instance_identifier": service.identifier,
            "responder_host": host,
            "responder_port": port,
            "responder_port_identifier": "SLE",
            "auth_level": level,
            "local_identifier": "LIBRE",
            "peer_identifier": "STATION",
            "local_password": b"ours".hex(),
            "peer_password": b"theirs".hex(),
            "version_number": version,
            "hash_algorithm": algorithm.upper(),
        }
        self.user = Process(USER, environment, json.dumps(given))

    def do(self, name: str, *arguments: Any, state: str = "") -> None:
        self.user.tell(json.dumps([name, state, arguments]))
        if state:
            assert self.hear() == {"state": state}, self.server.refused

    def hear(self) -> Any:
        """It looks at one message each time that something comes, also where two came together:
        heartbeats make it look at those behind."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with suppress(queue.Empty):
                return self.user.hear(0.1)
            self.server.raw(HEARTBEAT)
        raise AssertionError("it says nothing")

    def close(self) -> None:
        self.user.close()
        self.server.close()


@pytest.fixture
def librecube(package: dict[str, str]) -> Iterator[Any]:
    made: list[LibreCube] = []

    def make(service: provider.Service, **more: Any) -> LibreCube:
        made.append(LibreCube(package, service, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize(
    ("level", "version", "algorithm"),
    [
        (Level.ALL, 5, Hash.SHA_256),
        (Level.BIND, 4, Hash.SHA_1),
        (Level.NONE, 2, Hash.SHA_256),
    ],
)
def test_its_raf_user_receives_from_us(librecube, level, version, algorithm) -> None:
    service = FrameService(ServiceType.RAF, INSTANCES[ServiceType.RAF], buffer_size=9)
    pair = librecube(service, level=level, version=version, algorithm=algorithm)
    pair.do("bind", state="READY")
    pair.do("get_parameter", "bufferSize")
    assert pair.hear() == {"parameter": "parBufferSize", "value": "9"}
    pair.do("start", state="ACTIVE")
    ert_ns = pair.server.call(
        lambda now: [
            service.deliver(now, FRAME, now, continuity=-1),
            service.deliver(now, FRAME[::-1], now + 1_000, quality=Quality.ERRED, continuity=4),
            service.flush(now),
            now,
        ][-1]
    )
    first, second = pair.hear(), pair.hear()
    assert (octets_of(first["frame"]), octets_of(second["frame"])) == (FRAME, FRAME[::-1])
    assert (first["continuity"], second["continuity"]) == (-1, 4)
    assert first["form"] == "ccsdsFormat"
    # Days, milliseconds and microseconds of UTC, which the simulated now ends in 456.
    assert octets_of(first["ert"])[-2:] == (456).to_bytes(2)
    assert int(octets_of(second["ert"])[-2:].hex(), 16) == 457
    assert ert_ns % 10**6 == 456_000
    service.locks["carrier"] = Lock.OUT_OF_LOCK
    pair.do("schedule_status_report")
    report = pair.hear()["report"]
    assert (report["errorFreeFrameNumber"], report["deliveredFrameNumber"]) == ("1", "2")
    assert report["carrierLockStatus"] == "outOfLock"
    pair.do("stop", state="READY")
    pair.do("unbind", state="UNBOUND")
    assert pair.server.refused == [] or "closed" in pair.server.refused[0]


def test_its_rcf_user_receives_its_channel_from_us(librecube) -> None:
    service = FrameService(ServiceType.RCF, INSTANCES[ServiceType.RCF])
    pair = librecube(service, level=Level.ALL)
    pair.do("bind", state="READY")
    pair.do("start", [0x123, 0, 5], state="ACTIVE")
    other = bytes.fromhex("1239") + FRAME[2:]  # virtual channel 4
    assert pair.server.call(
        lambda now: (
            service.deliver(now, other, now),
            service.deliver(now, FRAME, now + 1),
            service.flush(now),
        )
    )[:2] == (False, True)
    found = pair.hear()
    assert octets_of(found["frame"]) == FRAME
    # Not a whole microsecond: ten octets, picoseconds.
    assert found["form"] == "ccsdsPicoFormat"
    pair.do("get_parameter", "requestedGvcid")
    assert pair.hear()["parameter"] == "parReqGvcId"
    pair.do("stop", state="READY")
    pair.do("unbind", state="UNBOUND")


def test_its_cltu_user_commands_through_us(librecube) -> None:
    service = CltuService(INSTANCES[ServiceType.CLTU], events=(3,))
    pair = librecube(service, level=Level.ALL)
    pair.do("bind", state="READY")
    pair.do("start", state="ACTIVE")
    sent = [bytes([number]) * 30 for number in range(3)]
    for data in sent:
        pair.user.tell(json.dumps(["transfer_data", "", [list(data), None, None, 0, True]]))
        assert pair.hear() == {"answer": "CltuTransferDataReturn", "result": "positiveResult"}
    assert [bytes(one.data) for one in service.waiting.values()] == sent
    for number in range(3):
        pair.server.call(lambda now, number=number: service.radiated(now, number, now, now))
        assert pair.hear() == {"notified": "cltuRadiated", "last": "cltuOk"}
    assert pair.hear() == {"notified": "bufferEmpty", "last": "cltuOk"}
    pair.do("throw_event", 3, "now")
    assert pair.hear()["answer"] == "CltuThrowEventReturn"
    pair.do("stop", state="READY")
    pair.do("unbind", state="UNBOUND")


def test_its_user_with_another_password_is_sent_away(librecube) -> None:
    service = FrameService(ServiceType.RAF, INSTANCES[ServiceType.RAF])
    pair = librecube(service, level=Level.ALL)
    pair.server._users["LIBRE"] = Security(
        "STATION", b"theirs", "LIBRE", b"other", level=Level.ALL, entropy=lambda: 5
    )
    pair.do("bind")
    deadline = time.monotonic() + PATIENCE_S
    while not pair.server.refused and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "not those of its password" in pair.server.refused[0]
    assert service.state is provider.State.UNBOUND


# ---------------------------------------------------------------- a provider of its declarations

#: A provider with none of our code: sockets, struct, and the package's ASN.1 and credentials.
PROVIDER = """
import datetime, json, socket, struct, sys
from pyasn1.codec.ber.encoder import encode
from pyasn1.codec.der.decoder import decode
from sle.datatypes import raf_pdu, rcf_pdu, cltu_pdu
from sle.proxy.authentication import AuthenticationLayer
kind = sys.argv[1]
module = {"raf": raf_pdu, "rcf": rcf_pdu, "cltu": cltu_pdu}[kind]
cap = kind.capitalize()
Up, Down = (getattr(module, f"{cap}{way}Pdu") for way in ("UserToProvider", "ProviderToUser"))
prefix = cap if kind == "rcf" else kind
auth = AuthenticationLayer(None, "SHA-256", "STATION", "L4RG", "7468656972730a", "6f7572730a", 180)
def credentials():
    now = datetime.datetime.utcnow().replace(microsecond=123456)
    return auth._generate_encoded_credentials(now, 77, "STATION", "7468656972730a")
def say(**what):
    print(json.dumps(what), flush=True)
listener = socket.create_server(("127.0.0.1", 0))
say(port=listener.getsockname()[1])
def whole(own, size):
    octets = b""
    while len(octets) < size:
        more = own.recv(size - len(octets))
        if not more:
            raise ConnectionResetError
        octets += more
    return octets
def receive(own):
    while True:
        head, length = struct.unpack("!II", whole(own, 8))
        content = whole(own, length)
        if head == 0x02000000:
            say(context=list(struct.unpack("!4sIHH", content)[1:]))
        if head == 0x01000000:
            return decode(content, asn1Spec=Up())[0]
def send(own, name, fill):
    pdu = Down()
    one = pdu[prefix + name]
    for key in one:
        if key.lower().endswith("credentials"):
            one[key]["used"] = credentials()
    fill(one)
    octets = encode(pdu)
    own.sendall(struct.pack("!II", 0x01000000, len(octets)) + octets)
time_now = struct.pack("!HIH", 25163, 75600123, 456)
def frame(buffer, at, data, continuity):
    one = buffer[at]["annotatedFrame"]
    one["invokerCredentials"]["used"] = credentials()
    one["earthReceiveTime"]["ccsdsFormat"] = time_now
    one["antennaId"]["localForm"] = b"DSS-99"
    one["dataLinkContinuity"] = continuity
    if kind == "raf":
        one["deliveredFrameQuality"] = "good"
    one["privateAnnotation"]["notNull"] = b"noted"
    one["data"] = data
def notify(buffer, at, name, value):
    one = buffer[at]["syncNotification"]
    one["invokerCredentials"]["used"] = credentials()
    if name == "lossFrameSync":
        report = one["notification"][name]
        report["time"]["ccsdsFormat"] = time_now
        report["carrierLockStatus"], report["subcarrierLockStatus"] = "inLock", "notInUse"
        report["symbolSyncLockStatus"] = "outOfLock"
    else:
        one["notification"][name] = value
own = listener.accept()[0]
bind = receive(own)[prefix + "BindInvocation"]
used = bind["invokerCredentials"]["used"]
say(bound=str(bind["initiatorIdentifier"]), port_name=str(bind["responderPortIdentifier"]),
    version=int(bind["versionNumber"]), service=int(bind["serviceType"]),
    known=bool(auth._check_return_credentials(used, "L4RG", "6f7572730a")))
def bound(one):
    one["responderIdentifier"] = "STATION"
    one["result"]["positive"] = int(bind["versionNumber"])
send(own, "BindReturn", bound)
start = receive(own)[prefix + "StartInvocation"]
def started(one):
    one["invokeId"] = start["invokeId"]
    if kind == "cltu":
        one["result"]["positiveResult"]["startRadiationTime"]["ccsdsFormat"] = time_now
        one["result"]["positiveResult"]["stopRadiationTime"]["undefined"] = None
    else:
        one["result"]["positiveResult"] = None
send(own, "StartReturn", started)
if kind == "rcf":
    asked = start["requestedGvcId"]
    say(channel=[int(asked["spacecraftId"]), int(asked["versionNumber"]),
        int(asked["vcId"]["virtualChannel"])])
if kind == "raf":
    say(quality=str(start["requestedFrameQuality"]))
if kind != "cltu":
    def first(one):
        frame(one, 0, b"first frame", -1)
        notify(one, 1, "lossFrameSync", None)
        frame(one, 2, b"after a gap", 5)
        notify(one, 3, "productionStatusChange", "interrupted")
    send(own, "TransferBuffer", first)
    def second(one):
        notify(one, 0, "excessiveDataBacklog", None)
        frame(one, 1, b"after a backlog", 0)
    send(own, "TransferBuffer", second)
expected = 0
while True:
    pdu = receive(own)
    name, one = pdu.getName()[len(kind):], pdu.getComponent()
    if name == "TransferDataInvocation":
        say(cltu=one["cltuData"].asOctets().hex(), id=int(one["cltuIdentification"]))
        full = len(one["cltuData"]) > 100
        def answer(back):
            global expected
            back["invokeId"], back["cltuBufferAvailable"] = one["invokeId"], 1000
            if full:
                back["result"]["negativeResult"]["specific"] = "unableToStore"
            else:
                expected += 1
                back["result"]["positiveResult"] = None
            back["cltuIdentification"] = expected
        send(own, "TransferDataReturn", answer)
        def told(back):
            back["cltuNotification"]["cltuRadiated"] = None
            ok = back["cltuLastOk"]["cltuOk"]
            ok["cltuIdentification"] = expected - 1
            ok["radiationStopTime"]["ccsdsFormat"] = time_now
            done = back["cltuLastProcessed"]["cltuProcessed"]
            done["cltuIdentification"], done["cltuStatus"] = expected - 1, "radiated"
            done["radiationStartTime"]["known"]["ccsdsFormat"] = time_now
            back["productionStatus"], back["uplinkStatus"] = "operational", "nominal"
        if not full:
            send(own, "AsyncNotifyInvocation", told)
    elif name == "StopInvocation":
        say(stop=True)
        def stopped(back):
            back["invokeId"] = one["invokeId"]
            back["result"]["positiveResult"] = None
        send(own, "StopReturn", stopped)
    elif name == "UnbindInvocation":
        say(unbind=str(one["unbindReason"]))
        send(own, "UnbindReturn", lambda back: back["result"].__setitem__("positive", None))
        break
"""


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "sle.toml"
    path.touch(0o600)
    # In hexadecimal, as the package wants them.
    path.write_text('password = "hex:6f7572730a"\nprovider_password = "hex:7468656972730a"\n')
    return path


@pytest.fixture
def other(package: dict[str, str], passwords: Path) -> Iterator[Any]:
    made: list[Any] = []

    def make(kind: str, more: str = "") -> tuple[Process, Adapter]:
        process = Process(PROVIDER, package, kind)
        made.append(process)
        port = process.hear()["port"]
        instance = INSTANCES[ServiceType[kind.upper()]]
        adapter = open_adapter(
            f"sle-{kind}://127.0.0.1:{port}?instance={instance}&provider=STATION&port=PRT"
            f"&version=5&auth=all&credentials={passwords}&report=0{more}",
            policy=Policy(5.0, 5.0),
        )
        made.append(adapter)
        adapter.open()
        assert adapter.wait_until(State.RUNNING, State.FAILED, timeout_s=PATIENCE_S)
        assert adapter.state is State.RUNNING, adapter.statistics()
        return process, adapter

    yield make
    for one in reversed(made):
        one.close()


@pytest.mark.parametrize(("kind", "more"), [("raf", ""), ("rcf", "&channel=0.291.5")])
def test_our_frames_adapters_receive_from_another_provider(other, kind: str, more: str) -> None:
    process, adapter = other(kind, more)
    assert process.hear() == {"context": [1, 25, 5]}
    assert process.hear() == {
        "bound": "L4RG",
        "port_name": "PRT",
        "version": 5,
        "service": ServiceType[kind.upper()],
        "known": True,
    }
    asked = process.hear()
    assert asked == ({"quality": "goodFramesOnly"} if kind == "raf" else {"channel": [291, 0, 5]})
    found = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < 3 and time.monotonic() < deadline:
        found += adapter.receive(0.1)
    assert [(one.octets, one.lost) for one in found] == [
        (b"first frame", 0),
        (b"after a gap", 5),
        (b"after a backlog", -1),
    ]
    # 1958-01-01 and 25163 days: 2026-11-23, 21:00:00.123456.
    assert {one.ert_ns for one in found} == {tai_ns_from_utc_iso("2026-11-23T21:00:00.123456Z")}
    seen = adapter.statistics()
    assert (seen.gaps, seen.overflows, seen.lost) == (1, 1, 5)
    assert "discarded" in seen.detail
    adapter.close()
    assert process.hear() == {"stop": True}
    assert process.hear() == {"unbind": "suspend"}


def test_our_cltu_adapter_commands_through_another_provider(other) -> None:
    process, adapter = other("cltu")
    assert process.hear() == {"context": [1, 25, 5]}
    assert process.hear()["known"]
    assert adapter.send(b"one")
    assert process.hear() == {"cltu": b"one".hex(), "id": 0}
    assert not adapter.send(bytes(101))
    assert process.hear() == {"cltu": bytes(101).hex(), "id": 1}
    assert adapter.send(b"two")
    assert process.hear() == {"cltu": b"two".hex(), "id": 1}
    deadline = time.monotonic() + PATIENCE_S
    while "2 CLTUs radiated" not in adapter.statistics().detail and time.monotonic() < deadline:
        time.sleep(0.01)
    assert adapter.statistics().detail == "uplink operational, cltu radiated, 2 CLTUs radiated"
    with pytest.raises(Unsendable, match="a CLTU of 0 octets"):
        adapter.send(b"")
    adapter.close()
    assert process.hear() == {"stop": True}
    assert process.hear() == {"unbind": "suspend"}
