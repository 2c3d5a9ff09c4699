"""The wheel of `nets`: built from what git holds, whole, and with nothing left behind."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"


def test_the_wheel_is_whole_and_its_build_leaves_nothing_behind(tmp_path):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    tracked = {pathlib.Path(name) for name in listed.stdout.split("\0") if name}
    clone, wheels = tmp_path / "clone", tmp_path / "wheels"
    for path in tracked:
        (clone / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, clone / path)
    subprocess.run([sys.executable, "-B", "-c", BUILD, wheels], cwd=clone, check=True, capture_output=True)
    assert {path.relative_to(clone) for path in clone.rglob("*") if path.is_file()} == tracked
    assert not {path.name for path in clone.iterdir()} - {path.parts[0] for path in tracked}

    (wheel,) = wheels.iterdir()
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    records = {f"nets/records/{path.name}" for path in tracked if path.parent == pathlib.Path("data/runs")}
    assert held == {"answers.py", *records, *(str(path) for path in tracked if path.parts[0] == "nets")}
