"""`utils/old_parse_options.sh`: what scripts and recipes rely on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DRIVER = f"""#!/usr/bin/env bash
# Do a thing.
# Usage: driver.sh [--nj N] <data>
#   --nj N   jobs
set -euo pipefail
nj=4; write_wav=false
cmd="utils/run.py"
seeds="0 1"
prefix=
. {ROOT}/utils/old_parse_options.sh
later=1
echo "nj=$nj write_wav=$write_wav cmd=$cmd seeds=$seeds prefix=$prefix calm=${{calm:-}} rest=$*"
"""

RECIPE = """#!/usr/bin/env bash
# My corpus.
calm=neutral; seeds="0"
. "$(dirname "${BASH_SOURCE[0]}")/driver.sh"
"""


@pytest.fixture
def call(tmp_path):
    (tmp_path / "driver.sh").write_text(DRIVER)
    (tmp_path / "recipe.sh").write_text(RECIPE)

    def run(*arguments: str, script: str = "driver.sh", ok: bool = True, **environment: str):
        done = subprocess.run(["bash", str(tmp_path / script), *arguments], capture_output=True, text=True,
                              cwd=tmp_path, env={**os.environ, **environment}, timeout=30)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    return run


def test_defaults_and_both_forms(call):
    assert call().stdout == "nj=4 write_wav=false cmd=utils/run.py seeds=0 1 prefix= calm= rest=\n"
    done = call("--nj", "8", "--write-wav=true", "--cmd", "run.pl --mem 4G", "--seeds=1 2", "--prefix", "")
    assert done.stdout == "nj=8 write_wav=true cmd=run.pl --mem 4G seeds=1 2 prefix= calm= rest=\n"


def test_options_end_at_the_first_other_argument(call):
    text = call("--nj", "8", "data", "--nj", "9", "a b").stdout
    assert text.startswith("nj=8 ") and text.endswith(" rest=data --nj 9 a b\n")
    assert call("--", "--nj").stdout.endswith("rest=--nj\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--bogus", "1"], "unknown option --bogus"),
        (["--bogus"], "unknown option --bogus"),
        (["--bogus=1"], "unknown option --bogus"),
        (["-n", "1"], "unknown option -n"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--cmd", "x"], "--nj needs a value"),
        (["--write-wav", "yes"], "--write-wav takes true or false, not 'yes'"),
        (["--home", "x"], "unknown option --home"),  # in the environment
        (["--later", "x"], "unknown option --later"),  # assigned only after parsing
        (["--config", "absent.conf"], "absent.conf"),
    ],
)
def test_errors_are_fatal_and_show_the_usage(call, arguments, reason):
    done = call(*arguments, ok=False, home="1", later="2")
    assert reason in done.stderr.splitlines()[-1]
    assert "Usage: driver.sh" in done.stderr and done.stdout == ""


def test_an_option_that_the_environment_also_exports_is_an_option(call):
    assert call(nj="99").stdout.startswith("nj=4 ")
    assert call("--nj", "2", nj="99").stdout.startswith("nj=2 ")


def test_help_is_the_header_comment(call):
    assert call("--help").stdout == "Do a thing.\nUsage: driver.sh [--nj N] <data>\n  --nj N   jobs\n"
    text = call("--help", script="recipe.sh").stdout
    assert text.startswith("My corpus.\n\nDo a thing.\n") and "set -euo" not in text


def test_a_recipe_adds_options_of_its_own(call):
    assert "calm=happy" in call("--calm", "happy", script="recipe.sh").stdout
    call("--calm", "happy", ok=False)


def test_config_file(call, tmp_path):
    (tmp_path / "my.conf").write_text("# all of it\nnj=12  # many\r\n--seeds=\"3 4\"\nwrite-wav='true'")
    assert call("--config", "my.conf").stdout.startswith("nj=12 write_wav=true cmd=utils/run.py seeds=3 4")
    assert call("--nj", "2", "--config=my.conf").stdout.startswith("nj=2 write_wav=true")
    (tmp_path / "my.conf").write_text("nj=1\n\nbogus=2\n")
    assert "my.conf:3: unknown option --bogus" in call("--config", "my.conf", ok=False).stderr
    (tmp_path / "my.conf").write_text("rm -rf x\n")
    assert "my.conf:1: expected name=value" in call("--config", "my.conf", ok=False).stderr
    (tmp_path / "my.conf").write_text("cmd=$(touch ran)\n")
    call("--config", "my.conf", ok=False)
    assert not (tmp_path / "ran").exists()
