"""The zip has PGXN's layout."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from tests.support.server import ROOT

REQUIRED = ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec")


def test_everything_is_under_name_and_version(distribution: Path) -> None:
    with zipfile.ZipFile(distribution) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {distribution.stem}


def test_it_holds_what_install_needs_and_what_its_meta_data_name(distribution: Path) -> None:
    with zipfile.ZipFile(distribution) as archive:
        names = {name.removeprefix(f"{distribution.stem}/") for name in archive.namelist()}
        meta = json.loads(archive.read(f"{distribution.stem}/META.json"))
    assert set(REQUIRED) <= set(meta)
    assert f"{meta['name']}-{meta['version']}" == distribution.stem
    provided = meta["provides"]["dialog_partition"]
    assert provided["version"] == meta["version"]
    assert {
        "Makefile",
        "dialog_partition.control",
        "LICENSE",
        "README.md",
        provided["file"],
        provided["docfile"],
    } <= names


def test_version_stands_in_control_file_and_meta_data_alike() -> None:
    meta = json.loads((ROOT / "META.json").read_text())
    assert f"default_version = '{meta['version']}'" in (ROOT / "dialog_partition.control").read_text()
    assert meta["provides"]["dialog_partition"]["file"] == f"extension/dialog_partition--{meta['version']}.sql"
