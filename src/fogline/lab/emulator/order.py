"""What a lab tells its emulator."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from fogline.lab.labfile import LabFile


class Order(BaseModel):
    """Which lab to run, for whom."""

    name: str
    folder: Path
    owner: int
    rootless: bool
    lab: LabFile
