"""`utils/parse_options.sh`: what scripts rely on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = f"""#!/usr/bin/env bash
# Do a thing.
# Usage: script.sh [options] <data>
set -euo pipefail
# shellcheck source=utils/parse_options.sh
. {ROOT}/utils/parse_options.sh
parse_options "$@" << 'END'
# How
--nj=4 N+                  number of jobs
--pass=0 N                 which pass
--snr='10 5' SNRS          signal-to-noise ratios,
                           one of which is drawn
--write-wav=false BOOL     also write the mixes
--kind=noise noise|music   of noise
--port= N                  drawn if not given
--
# Set by the caller
--cmd=run.py CMD           job runner
OTHERS
END
echo "nj=${{opt[nj]}} pass=${{opt[pass]}} snr=${{opt[snr]}} wav=${{opt[write-wav]}} kind=${{opt[kind]}}" \\
  "port=${{opt[port]}}"
echo "args:$(printf ' <%s>' "${{args[@]}}") others:$(printf ' <%s>' "${{others[@]}}")"
"""


@pytest.fixture
def call(tmp_path):
    """Run a script with these options, or its sibling that also takes options which it does not list."""
    (tmp_path / "script.sh").write_text(SCRIPT.replace("OTHERS\n", ""))
    (tmp_path / "open.sh").write_text(SCRIPT.replace("OTHERS", "--*"))

    def run(*arguments: str, script: str = "script.sh", ok: bool = True, **environment: str):
        done = subprocess.run(["bash", str(tmp_path / script), *arguments], capture_output=True, text=True,
                              cwd=tmp_path, env={**os.environ, **environment}, timeout=30)
        assert (done.returncode == 0) is ok, done.stdout + done.stderr
        return done

    return run


def test_defaults_and_both_forms(call):
    assert call().stdout.splitlines()[0] == "nj=4 pass=0 snr=10 5 wav=false kind=noise port="
    text = call("--nj", "8", "--write-wav=true", "--snr", "20 15", "--kind=music", "--port", "7").stdout
    assert text.splitlines()[0] == "nj=8 pass=0 snr=20 15 wav=true kind=music port=7"
    assert call("--nj", "8", "--nj=9").stdout.startswith("nj=9 ")  # the last one counts


def test_options_end_at_the_first_other_word(call):
    assert "args: <data> <--nj> <9> <a b>" in call("--nj", "8", "data", "--nj", "9", "a b").stdout
    assert "args: <--nj>" in call("--", "--nj").stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--bogus", "1"], "unknown option --bogus"),
        (["--bogus"], "unknown option --bogus"),
        (["--bogus=1"], "unknown option --bogus"),
        (["--n", "1"], "unknown option --n"),  # no abbreviations
        (["-n", "1"], "unknown option -n"),
        (["--nj"], "--nj needs a value"),
        (["--nj", "--cmd", "x"], "--nj needs a value, not the option --cmd"),
        (["--write-wav", "yes"], "--write-wav takes true or false, not 'yes'"),
        (["--nj", "0"], "--nj takes a whole number from 1, not '0'"),
        (["--nj", ""], "--nj takes a whole number from 1, not ''"),
        (["--pass", "-1"], "--pass takes a whole number from 0, not '-1'"),
        (["--port", "x"], "--port takes a whole number from 0, not 'x'"),
        (["--kind", "wind"], "--kind is one of noise, music, not 'wind'"),
        (["--kind", "noise|music"], "--kind is one of noise, music"),
        (["--home", "x"], "unknown option --home"),  # in the environment
        (["--args", "x"], "unknown option --args"),  # a variable of the script
    ],
)
def test_errors_are_fatal_and_name_the_option(call, arguments, reason):
    done = call(*arguments, ok=False, home="1")
    assert reason in done.stderr and done.stderr.startswith("script.sh: error: ") and done.stdout == ""
    assert "--help lists the options" in done.stderr


def test_the_environment_changes_nothing(call):
    assert call(nj="99", opt="x", args="y", others="z").stdout == call().stdout


def test_what_is_not_listed_goes_to_others_where_the_script_wants_it(call):
    text = call("--calm", "drop", "--nj", "2", "--url=a b", "data", script="open.sh").stdout
    assert text.startswith("nj=2 ") and "args: <data> others: <--calm> <drop> <--url> <a b>" in text
    assert "--calm needs a value" in call("--calm", script="open.sh", ok=False).stderr


def test_no_option_is_executed(call, tmp_path):
    for word in (f"--a[$(touch {tmp_path}/ran)]", f"--$(touch {tmp_path}/ran)"):
        assert "unknown option" in call(word, "1", ok=False).stderr
        call(word, "1", script="open.sh")
        call("--nj", word, ok=False)
    assert not (tmp_path / "ran").exists()


def test_help_is_the_header_comment_and_the_list(call):
    lines = call("--help").stdout.splitlines()
    assert lines[:5] == ["Do a thing.", "Usage: script.sh [options] <data>", "", "Options", "How"]
    assert "  --nj N                     number of jobs (default: 4)" in lines
    assert "                             one of which is drawn" in lines
    assert any("--write-wav true|false" in line for line in lines) and any("--cmd CMD" in line for line in lines)
    assert not any("shellcheck" in line or "set -euo" in line for line in lines)


def test_a_calling_script_learns_of_the_options_that_are_the_users(call):
    assert call("--list-options").stdout.split() == ["nj", "pass", "snr", "write-wav", "kind", "port"]
    text = call("--help-options").stdout
    assert text.startswith("How\n  --nj N ") and "--port" in text and "--cmd" not in text and "Usage" not in text


def test_a_list_with_a_broken_line_is_refused(call, tmp_path):
    (tmp_path / "script.sh").write_text(SCRIPT.replace("OTHERS", "--seed=0 N"))  # without a description
    assert "cannot read this line of the options: --seed=0 N" in call(ok=False).stderr
