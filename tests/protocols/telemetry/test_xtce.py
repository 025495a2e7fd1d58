"""XTCE that others write: inheritance, arrays, times; and refusals, by element and path."""

from __future__ import annotations

import numpy as np
import pytest
from construct import Bytes, GreedyBytes, Int8ub, Int16ub, this
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Enumeration, Polynomial, Spline, Text
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.limits import EnumerationLimits, Limits, Severity
from protocols.telemetry.xtce import XtceRefused, export_xtce, import_xtce
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat

HEADER_TYPES = "".join(
    f'<IntegerParameterType name="U{bits}" signed="false">'
    f'<IntegerDataEncoding sizeInBits="{bits}"/></IntegerParameterType>'
    for bits in (1, 2, 3, 8, 11, 14, 16)
)
HEADER = (("VER", 3), ("TYP", 1), ("SHF", 1), ("APID", 11), ("FLG", 2), ("SEQ", 14), ("LEN", 16))


def document(
    types: str = "",
    parameters: str = "",
    containers: str = "",
    *,
    root: str = "",
    namespace: str = "http://www.omg.org/spec/XTCE/20180204",
) -> bytes:
    """A file as others write it: default namespace, header container, then what is given."""
    header = "".join(f'<Parameter name="{n}" parameterTypeRef="U{b}"/>' for n, b in HEADER)
    entries = "".join(f'<ParameterRefEntry parameterRef="{n}"/>' for n, _ in HEADER)
    return (
        f'<?xml version="1.0"?><SpaceSystem name="TEST" xmlns="{namespace}">'
        f'<Header validationStatus="Draft"/>{root}<TelemetryMetaData>'
        f"<ParameterTypeSet>{HEADER_TYPES}{types}</ParameterTypeSet>"
        f"<ParameterSet>{header}{parameters}</ParameterSet><ContainerSet>"
        f'<SequenceContainer name="ROOT" abstract="true"><EntryList>{entries}</EntryList>'
        f"</SequenceContainer>{containers}</ContainerSet></TelemetryMetaData></SpaceSystem>"
    ).encode()


def packet(entries: str, name: str = "P", apid: int = 5, base: str = "ROOT") -> str:
    return (
        f'<SequenceContainer name="{name}"><EntryList>{entries}</EntryList>'
        f'<BaseContainer containerRef="{base}"><RestrictionCriteria>'
        f'<Comparison parameterRef="APID" value="{apid}"/>'
        "</RestrictionCriteria></BaseContainer></SequenceContainer>"
    )


def entry(name: str, inside: str = "") -> str:
    return f'<ParameterRefEntry parameterRef="{name}">{inside}</ParameterRefEntry>'


def parameter(name: str, kind: str) -> str:
    return f'<Parameter name="{name}" parameterTypeRef="{kind}"/>'


@pytest.mark.parametrize(
    "namespace", ["http://www.omg.org/spec/XTCE/20180204", "http://www.omg.org/space/xtce"]
)
@pytest.mark.parametrize("encoding", ["IEEE754", "IEEE754_1985"])
def test_floats_in_both_spellings_and_namespaces(namespace: str, encoding: str) -> None:
    found = import_xtce(
        document(
            f'<FloatParameterType name="F"><FloatDataEncoding sizeInBits="64" encoding="{encoding}"'
            ' byteOrder="leastSignificantByteFirst"/></FloatParameterType>',
            parameter("X", "F"),
            packet(entry("X")),
            namespace=namespace,
        )
    )
    octets = found.encode("P", {"X": -2.5})
    assert octets[6:] == np.array([-2.5], "<f8").tobytes()


def test_inheritance_over_three_levels_and_a_concrete_base() -> None:
    containers = (
        packet(entry("A"), "BASE")
        + '<SequenceContainer name="HEIR"><EntryList>'
        + entry("B")
        + '</EntryList><BaseContainer containerRef="BASE"><RestrictionCriteria><ComparisonList>'
        + '<Comparison parameterRef="A" comparisonOperator="&gt;=" value="7"/>'
        + "</ComparisonList></RestrictionCriteria></BaseContainer></SequenceContainer>"
    )
    found = import_xtce(document("", parameter("A", "U8") + parameter("B", "U16"), containers))
    base, heir = found.definition("BASE"), found.definition("HEIR")
    assert base.apid == heir.apid == 5
    assert base.conditions == (Condition("A", 7, "<"),)
    assert heir.conditions == (Condition("A", 7, ">="),)
    batch = PacketBatch.from_packets(
        [found.encode("BASE", {"A": 6}), found.encode("HEIR", {"A": 7, "B": 300})]
    )
    tables = found.decode(batch)
    assert [(t.definition.name, t.rows.tolist()) for t in tables] == [("BASE", [0]), ("HEIR", [1])]


def test_nested_containers_gaps_booleans_and_labels_in_comparisons() -> None:
    types = (
        '<BooleanParameterType name="B" oneStringValue="YES" zeroStringValue="NO">'
        '<IntegerDataEncoding sizeInBits="1"/></BooleanParameterType>'
        '<EnumeratedParameterType name="E"><IntegerDataEncoding sizeInBits="8"/><EnumerationList>'
        '<Enumeration value="3" label="THREE"/><Enumeration value="4" label="FOUR"/>'
        "</EnumerationList></EnumeratedParameterType>"
    )
    containers = (
        f'<SequenceContainer name="PART"><EntryList>{entry("MODE")}</EntryList></SequenceContainer>'
        '<SequenceContainer name="P"><EntryList><ContainerRefEntry containerRef="PART"/>'
        + entry(
            "OK",
            "<LocationInContainerInBits><FixedValue>7</FixedValue></LocationInContainerInBits>",
        )
        + '</EntryList><BaseContainer containerRef="ROOT"><RestrictionCriteria><ComparisonList>'
        '<Comparison parameterRef="APID" value="9"/><Comparison parameterRef="VER" value="0"/>'
        "</ComparisonList></RestrictionCriteria></BaseContainer></SequenceContainer>"
    )
    found = import_xtce(document(types, parameter("MODE", "E") + parameter("OK", "B"), containers))
    definition = found.definition("P")
    assert definition.fields[1] == Spare(7)
    assert definition.conditions == (Condition("VER", 0),)
    octets = found.encode("P", {"MODE": "FOUR", "OK": "YES"})
    assert octets[6:] == b"\x04\x01"


ARRAY = (
    '<ArrayParameterType name="A" arrayTypeRef="U16"><DimensionList><Dimension><StartingIndex>'
    "<FixedValue>0</FixedValue></StartingIndex><EndingIndex>{}</EndingIndex></Dimension>"
    "</DimensionList></ArrayParameterType>"
)
DYNAMIC = (
    '<DynamicValue><ParameterInstanceRef parameterRef="N"/>'
    '<LinearAdjustment slope="{}" intercept="{}"/></DynamicValue>'
)


def test_arrays_and_repeated_containers() -> None:
    types = ARRAY.format(DYNAMIC.format(2, -1))
    parameters = parameter("N", "U8") + parameter("X", "A") + parameter("Y", "U8")
    element = (
        f'<SequenceContainer name="EL"><EntryList>{entry("Y")}</EntryList></SequenceContainer>'
    )
    entries = (
        entry("N")
        + '<ArrayParameterRefEntry parameterRef="X"/><ContainerRefEntry containerRef="EL">'
        "<RepeatEntry><Count><FixedValue>3</FixedValue></Count></RepeatEntry></ContainerRefEntry>"
    )
    found = import_xtce(document(types, parameters, element + packet(entries)))
    octets = found.encode("P", {"X": [1, 2, 3, 4], "Y": [7, 8, 9]})
    assert octets[6:] == bytes([2, 0, 1, 0, 2, 0, 3, 0, 4, 7, 8, 9])


def test_times_of_others() -> None:
    types = (
        '<AbsoluteTimeParameterType name="T"><Encoding units="seconds" scale="0.0000152587890625">'
        '<IntegerDataEncoding sizeInBits="48"/></Encoding><ReferenceTime><Epoch>TAI</Epoch>'
        "</ReferenceTime></AbsoluteTimeParameterType>"
        '<RelativeTimeParameterType name="R"><Encoding units="seconds" scale="0.5" offset="-1">'
        '<IntegerDataEncoding sizeInBits="8"/></Encoding></RelativeTimeParameterType>'
    )
    found = import_xtce(
        document(types, parameter("W", "T") + parameter("D", "R"), packet(entry("W") + entry("D")))
    )
    assert found.parameters["W"].type.time == CucFormat(4, 2)
    assert found.parameters["D"].calibration == Polynomial((-1.0, 0.5))
    assert found.parameters["D"].unit == "s"


U8 = (
    '<IntegerParameterType name="X">{}<IntegerDataEncoding sizeInBits="8"{}>{}'
    "</IntegerDataEncoding>{}</IntegerParameterType>"
)
SIMPLE = (parameter("V", "X"), packet(entry("V")))


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (
            document(U8.format("", ' bitOrder="leastSignificantBitFirst"', "", ""), *SIMPLE),
            "/SpaceSystem[TEST]/TelemetryMetaData/ParameterTypeSet/IntegerParameterType[X]"
            "/IntegerDataEncoding: attribute bitOrder",
        ),
        (document(U8.format("", ' encoding="BCD"', "", ""), *SIMPLE), "attribute encoding 'BCD'"),
        (
            document(
                U8.format("", "", "<ContextCalibratorList/>", ""),
                *SIMPLE,
            ),
            "IntegerDataEncoding/ContextCalibratorList: element ContextCalibratorList has no place",
        ),
        (
            document(
                U8.format(
                    "",
                    "",
                    "<DefaultCalibrator><MathOperationCalibrator/></DefaultCalibrator>",
                    "",
                ),
                *SIMPLE,
            ),
            "DefaultCalibrator/MathOperationCalibrator",
        ),
        (
            document(U8.format("", "", "<ErrorDetectCorrect/>", ""), *SIMPLE),
            "element ErrorDetectCorrect",
        ),
        (
            document(U8.format("", "", "", '<ValidRange minInclusive="0"/>'), *SIMPLE),
            "IntegerParameterType[X]/ValidRange",
        ),
        (
            document(
                U8.format(
                    "",
                    "",
                    "",
                    '<DefaultAlarm><StaticAlarmRanges><WatchRange minInclusive="1"/>'
                    '<WarningRange minInclusive="0"/></StaticAlarmRanges></DefaultAlarm>',
                ),
                *SIMPLE,
            ),
            "DefaultAlarm/StaticAlarmRanges/WatchRange",
        ),
        (
            document("", parameter("V", "U8"), packet(entry("V", "<IncludeCondition/>"))),
            "SequenceContainer[P]/EntryList/ParameterRefEntry/IncludeCondition",
        ),
        (
            document(
                U8.format("", "", "", ""),
                '<Parameter name="V" parameterTypeRef="X" initialValue="3"/>',
                SIMPLE[1],
            ),
            "Parameter[V]: attribute initialValue",
        ),
        (
            document(U8.format("", "", "", ""), *SIMPLE, root="<CommandMetaData/>"),
            "/SpaceSystem[TEST]/CommandMetaData",
        ),
        (
            document(
                '<FloatParameterType name="X"><FloatDataEncoding encoding="MILSTD_1750A"/>'
                "</FloatParameterType>",
                *SIMPLE,
            ),
            "attribute encoding 'MILSTD_1750A'",
        ),
        (
            document(U8.format("", "", "", ""), SIMPLE[0], packet(entry("/OTHER/V"))),
            "reference '/OTHER/V'",
        ),
        (document("", "", packet(entry("NOWHERE"))), "parameter 'NOWHERE' is not declared"),
        (
            document(
                "",
                parameter("V", "U8"),
                '<SequenceContainer name="P"><EntryList>'
                + entry("V")
                + "</EntryList></SequenceContainer>",
            ),
            "a space packet's primary header",
        ),
        (
            document(
                ARRAY.format(DYNAMIC.format(0.5, 0)),
                parameter("N", "U8") + parameter("V", "A"),
                packet(entry("N") + '<ArrayParameterRefEntry parameterRef="V"/>'),
            ),
            "LinearAdjustment of 0.5 and 1",
        ),
        (
            document("", parameter("V", "U8"), packet(entry("V")) + packet(entry("V"), "Q")),
            "could both match one packet",
        ),
        (b"<a", "no XML document"),
        (b'<?xml version="1.0"?><x/>', "the root element must be SpaceSystem"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_by_name(octets: bytes, says: str) -> None:
    with pytest.raises(XtceRefused) as refusal:
        import_xtce(octets)
    assert says in str(refusal.value)


def test_what_may_be_lost_is_named_by_the_caller() -> None:
    octets = document("", parameter("V", "U8"), packet(entry("V")), root="<CommandMetaData/>")
    assert import_xtce(octets, ignore=["CommandMetaData"]).parameters["V"].type.bits == 8


def test_entities_are_refused() -> None:
    bomb = b"""<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
    <SpaceSystem name="&b;"/>"""
    with pytest.raises(XtceRefused):
        import_xtce(bomb)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_mutated_documents_raise_only_remote_errors(data: st.DataObject) -> None:
    octets = bytearray(export_xtce(RICH))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(octets) - 1))
        if data.draw(st.booleans()):
            octets[at] = data.draw(st.integers(32, 126))
        else:
            del octets[at : at + data.draw(st.integers(1, 40))]
    try:
        import_xtce(bytes(octets))
    except RemoteError:
        return


RICH = Dictionary(
    "RICH",
    (
        PacketDefinition(
            "ONE",
            1,
            (
                Parameter("T", CucFormat(4, 2, epoch_tai_ns=10**18)),
                Parameter("S", Int8ub, calibration=Enumeration({1: "A", 2: "A", 3: "B"}),
                          limits=EnumerationLimits(("A",), ("B",), Severity.CRITICAL, 2)),
                Parameter("V", Int16ub, "V", Polynomial((0.1, 1e-3, -0.0)),
                          Limits((None, 30.0), (-1.5, 1e300), 3), "volts & <more>", "two\nlines"),
                Repeat((Parameter("X", Int8ub), Spare(4), Spare(12)), 2),
                Parameter("D", CdsFormat(3, 4, scale="tai", p_field=True), unit=""),
                Parameter("NAME", Bytes(4), calibration=Text("UTF-8", terminated=False)),
                Parameter("N", Int8ub),
                Parameter("TEXT", Bytes(this.N * 2 + 2), calibration=Text("UTF-16LE", True)),
                Repeat(Parameter("Y", Int16ub, calibration=Spline(((0, 1), (5, -3.5)))), "N"),
            ),
            (Condition("S", 2, ">="), Condition("SEQ_FLGS", 3)),
            time="T",
            description="first",
            secondary_header=False,
        ),
        PacketDefinition("ANY", None, (Parameter("REST", GreedyBytes),),
                         (Condition("SEQ_FLGS", 1),)),
        PacketDefinition("TWO", 2, (Parameter("Z", Int8ub), Parameter("REST", GreedyBytes)),
                         (Condition("SEQ_FLGS", 3),)),
        PacketDefinition("THREE", 3, (Repeat((Parameter("X", Int8ub), Parameter("Z", Int8ub))),),
                         (Condition("SEQ_FLGS", 3),)),
    ),
    notes="A dictionary with everything that is easily lost",
)  # fmt: skip


@pytest.mark.parametrize("arrays", ["portable", "standard"])
def test_nothing_is_lost(arrays: str) -> None:
    octets = export_xtce(RICH, arrays=arrays)  # pyright: ignore[reportArgumentType]
    again = import_xtce(octets)
    # Conditions on the header come first, those on the body after what XTCE decodes for them.
    assert {d.name: d.fields for d in again.definitions} == {
        d.name: d.fields for d in RICH.definitions
    }
    assert again == RICH
    assert export_xtce(again, arrays=arrays) == octets  # pyright: ignore[reportArgumentType]


def test_what_xtce_cannot_say_is_refused_by_name() -> None:
    both = PacketDefinition(
        "P",
        1,
        (Parameter("N", Int8ub), Repeat(Parameter("X", Int8ub), "N"), Parameter("R", GreedyBytes)),
    )
    with pytest.raises(LocalError, match=r"R in packet P takes what N leaves"):
        export_xtce(Dictionary("D", (both,)))
    apart = (
        PacketDefinition("A", 1, (Parameter("K", Int8ub),), (Condition("K", 1),)),
        PacketDefinition("B", 1, (Parameter("L", Int16ub),), (Condition("L", 2),)),
    )
    with pytest.raises(LocalError, match="could both match"):
        Dictionary("D", apart)
    differ = (
        PacketDefinition(
            "A", 1, (Parameter("J", Int8ub), Parameter("K", Int8ub)), (Condition("K", 1),)
        ),
        PacketDefinition(
            "B", 1, (Parameter("L", Int8ub), Parameter("K", Int8ub)), (Condition("K", 2),)
        ),
    )
    with pytest.raises(LocalError, match="begin differently before"):
        export_xtce(Dictionary("D", differ))
    control = PacketDefinition("P", 1, (Parameter("X", Int8ub, description="a\x00b"),))
    with pytest.raises(LocalError, match="XML cannot hold"):
        export_xtce(Dictionary("D", (control,)))
