"""Tables of a site: what a task may see of them, schemas without data, and made-up data."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from fogline.data.site_tables.altering import altered
from fogline.data.site_tables.files import SiteTableError, read_table, write_table
from fogline.data.site_tables.schema import mock, read_schema, schema_of
from fogline.governance.errors import SitePolicyError
from fogline.governance.policy.keys import parse_policy
from fogline.governance.policy.tables import SiteTable

SECRET = b"s" * 32
PATIENTS = """id,name,age,postcode,pulse,ill
7,Ann Lee,47,11503,71.5,1
8,"Bob, jr.",33,11601,,0
7,Ann Lee,48,11503,80.25,1
"""
RULES = {"id": "hash", "age": "round(10)", "postcode": "prefix(3)", "pulse": "keep", "ill": "keep", "name": "drop"}


def patients(folder: Path, ranges: bool = False, **rules: str) -> SiteTable:
    path = folder / "patients.csv"
    path.write_text(PATIENTS)
    return SiteTable.of("patients", str(path), rules or RULES, ranges)


def test_a_task_sees_what_the_rules_leave(tmp_path: Path) -> None:
    seen = altered(patients(tmp_path), SECRET)
    assert list(seen) == ["id", "age", "postcode", "pulse", "ill"]
    assert seen["age"].tolist() == ["40", "30", "40"]
    assert seen["postcode"].tolist() == ["115", "116", "115"]
    assert seen["pulse"].tolist() == ["71.5", "", "80.25"]
    assert seen["id"][0] == seen["id"][2] != seen["id"][1]
    said = str(seen)
    assert not any(value in said for value in ("Ann", "Bob", "47", "11503"))


def test_what_has_no_rule_is_not_seen(tmp_path: Path) -> None:
    assert list(altered(patients(tmp_path, age="keep"), SECRET)) == ["age"]
    with pytest.raises(SiteTableError, match="drops every column"):
        altered(patients(tmp_path, name="drop"), SECRET)


def test_a_hash_is_of_one_site_and_one_column(tmp_path: Path) -> None:
    table = patients(tmp_path, id="hash", age="hash")
    (tmp_path / "patients.csv").write_text("id,age\n47,47\n")
    one, other = altered(table, SECRET), altered(table, b"t" * 32)
    texts = {str(columns[name][0]) for columns in (one, other) for name in ("id", "age")}
    assert len(texts) == 4
    assert all(len(text) == 16 for text in texts)


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"name": "round(10)"}, "the column 'name' of .* has a value that 'round' does not fit"),
        ({"weight": "keep"}, "has no column 'weight'"),
    ],
)
def test_what_does_not_fit_is_said_without_a_value(rules: dict[str, str], why: str, tmp_path: Path) -> None:
    with pytest.raises(SiteTableError, match=f"(?i){why}") as caught:
        altered(patients(tmp_path, **rules), SECRET)
    assert "Ann" not in str(caught.value)


def test_arrays_are_altered_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "machines.npz"
    vibration, hours = np.arange(12.0, dtype=np.float32).reshape(3, 4), np.array([11, 25, 39])
    write_table(path, {"vibration": vibration, "hours": hours, "serial": np.array(["a1", "b2", "a1"])})
    table = SiteTable.of("m", str(path), {"vibration": "round(5)", "hours": "round(20)", "serial": "hash"}, True)
    seen = altered(table, SECRET)
    assert seen["vibration"].tolist() == [[0, 0, 0, 0], [0, 5, 5, 5], [5, 5, 10, 10]]
    assert seen["vibration"].dtype == np.float32
    assert seen["hours"].tolist() == [0, 20, 20]
    made = mock(schema_of(table, seen), 50)
    assert made["vibration"].shape == (50, 4)
    assert made["vibration"].dtype == np.float32
    assert made["hours"].dtype == hours.dtype
    with pytest.raises(SiteTableError, match="'hash' does not fit"):
        altered(SiteTable.of("m", str(path), {"vibration": "hash"}), SECRET)


def test_a_schema_tells_ranges_only_where_the_policy_lets_it(tmp_path: Path) -> None:
    closed = patients(tmp_path)
    schema = schema_of(closed, altered(closed, SECRET))
    said = msgspec.json.encode(schema).decode()
    assert not any(value in said for value in ("115", "116", "40", "71", "80.25", "Ann", 'low":3'))
    types = {column.name: column.type for column in schema.columns}
    assert types == {"id": "hash", "age": "integer", "postcode": "integer", "pulse": "number", "ill": "integer"}
    assert {column.name for column in schema.columns if column.empty} == {"pulse"}
    opened = patients(tmp_path, ranges=True)
    ages = schema_of(opened, altered(opened, SECRET)).columns[1]
    assert (ages.low, ages.high, ages.step) == (30, 40, 10), "of what is seen, not of what lies there"


def test_made_up_data_is_true_to_its_schema(tmp_path: Path) -> None:
    table = patients(tmp_path, ranges=True)
    schema = schema_of(table, altered(table, SECRET))
    path = tmp_path / "patients.schema.json"
    path.write_bytes(msgspec.json.encode(schema))
    made = mock(read_schema(path), 400, seed=3)
    assert list(made) == [column.name for column in schema.columns]
    assert set(made["age"].tolist()) == {"30", "40"}
    assert set(made["ill"].tolist()) <= {"0", "1"}
    assert "" in made["pulse"].tolist()
    assert all(len(text) == 16 for text in made["id"].tolist())
    write_table(tmp_path / "mock.csv", made)
    again = schema_of(
        SiteTable.of("patients", str(tmp_path / "mock.csv"), {**RULES, "id": "keep", "name": "keep"}), made
    )
    assert [column.type for column in again.columns[1:]] == [column.type for column in schema.columns[1:]]
    assert read_table(tmp_path / "mock.csv")["age"].tolist() == made["age"].tolist()
    assert mock(schema, 9, 1)["id"].tolist() == mock(schema, 9, 1)["id"].tolist()
    assert mock(schema, 9, 1)["id"].tolist() != mock(schema, 9, 2)["id"].tolist()


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,a\n1,2\n", "", 'a\n\x00\n"', "PK\x03\x04"])
@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_what_is_no_table_is_a_sentence(text: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"broken.{ending}"
    path.write_text(text)
    with pytest.raises(SiteTableError):
        altered(SiteTable.of("t", str(path), {"a": "keep", "b": "keep"}), SECRET)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ('age = "rnd(10)"', "'rnd\\(10\\)', which is no rule; did you mean 'round'"),
        ('age = "round"', r"write a number above 0, as round\(10\)"),
        ('age = "prefix(2.5)"', r"as prefix\(10\)"),
        ('age = "round(-1)"', "above 0"),
        ('age = "keep(3)"', "'keep' has no number"),
        ("", "lets no column be used"),
    ],
)
def test_a_rule_that_is_none_is_refused(columns: str, why: str) -> None:
    with pytest.raises(SitePolicyError, match=why):
        parse_policy(f'[table.patients]\nfile = "p.csv"\n[table.patients.columns]\n{columns}\n')
