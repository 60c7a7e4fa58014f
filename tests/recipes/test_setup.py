"""The environment that every script sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = [sys.executable, str(ROOT / "utils" / "check_env.py")]


def test_path_sh_can_be_sourced_from_anywhere_and_is_silent(tmp_path: Path) -> None:
    line = f". {ROOT}/path.sh; . {ROOT}/path.sh; echo $SER_ROOT; which validate_data_dir.sh make_mfcc.sh"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{line}; python -c 'import ser'"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )
    assert done.stdout.splitlines() == [
        str(ROOT), f"{ROOT}/utils/validate_data_dir.sh", f"{ROOT}/steps/make_mfcc.sh",
    ]
    assert done.stderr == ""


def test_this_environment_qualifies() -> None:
    subprocess.run([*CHECK, "--import", str(ROOT / "requirements.txt")], check=True)


@pytest.mark.parametrize(
    ("pin", "reason"),
    [
        ("numpy==99.0", "older than 99.0"),  # at least the pinned version
        ("no-such-package-here==1.0", "no-such-package-here is not installed"),
    ],
)
def test_an_environment_that_lacks_something_does_not(tmp_path: Path, pin: str, reason: str) -> None:
    (tmp_path / "requirements.txt").write_text(f"# a comment\n{pin}\n")
    done = subprocess.run([*CHECK, str(tmp_path / "requirements.txt")], capture_output=True, text=True)
    assert done.returncode == 1
    assert reason in done.stderr


@pytest.mark.parametrize(
    ("torch", "torchaudio", "problem"),
    [
        ("2.11.0+cu128", "2.11.0+cu128", ""),
        ("2.14.1", "2.11.0", ""),
        ("2.10.0", "2.10.0", "torch is 2.10.0, older than 2.11; torchaudio is 2.10.0, older than 2.11"),
        ("2.11.0", "2.11.0 broken", "import torchaudio.compliance.kaldi fails: libcudart.so.13"),
    ],
)
def test_torch_of_a_gpu_machine_is_taken_as_it_is(tmp_path: Path, torch: str, torchaudio: str, problem: str) -> None:
    """Packages of other versions, made up here, stand before the real ones on the path."""
    for name, version in (("torch", torch), ("torchaudio", torchaudio)):
        version, _, broken = version.partition(" ")
        for module in (name, f"{name}/compliance/kaldi", f"{name}/functional"):
            (tmp_path / module).mkdir(parents=True)
            (tmp_path / module / "__init__.py").write_text("raise OSError('libcudart.so.13')" if broken else "")
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    done = subprocess.run([*CHECK, "--import", str(ROOT / "requirements.txt")], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode == 0) is (not problem) and problem in done.stderr, done.stderr


def test_an_older_pin_is_satisfied_by_a_newer_version(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy==1.0\n")
    subprocess.run([*CHECK, str(tmp_path / "requirements.txt")], check=True)


@pytest.mark.parametrize(
    "script",
    [path.relative_to(ROOT) for folder in (".", "egs/*", "steps", "utils", "local")
     for path in sorted(ROOT.glob(f"{folder}/*.sh")) if path.stat().st_mode & 0o100]
    + [path.relative_to(ROOT) for folder in ("pyscripts/*.py", "egs/*/local/prepare.py")
       for path in sorted(ROOT.glob(folder))],
    ids=str,
)
def test_every_program_explains_itself(script: Path) -> None:
    runner = ["bash"] if script.suffix == ".sh" else [sys.executable]
    done = subprocess.run(
        [*runner, str(ROOT / script), "--help"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "PYTHONPATH": str(ROOT / "pyscripts")},
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 20


def test_jobs_without_a_network_start_without_the_packages_that_take_seconds_to_import() -> None:
    code = """
import importlib, sys
sys.path.insert(0, "pyscripts")
for name in ("data_dir", "prepare_musan", "make_mfcc", "compute_vad", "compute_cmvn_stats", "prepare_feats",
             "augment_data_dir", "perturb_data_dir", "make_waveforms", "pack_feats", "cut_lists", "plan_runs",
             "status"):
    importlib.import_module(name)
    heavy = {"torch", "torchaudio", "transformers", "sklearn", "scipy", "matplotlib"} & sys.modules.keys()
    assert not heavy, f"{name} imports {heavy}"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
