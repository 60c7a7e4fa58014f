#!/usr/bin/env python3
"""Features ready for training: mean normalisation, then only the voiced frames.

Example: steps/prepare_feats.sh --nj 4 --cmd "$train_cmd" data/train data/train_feats

Reads feats.scp and vad.scp of <data>, and with --cmn speaker what steps/compute_cmvn_stats.sh makes. Writes feats.scp,
utt2num_frames, utt2spk, spk2utt, utt2emo, utt2uniq, frame_shift, conf/mfcc.conf or conf/encoder.conf, and conf/cmn.conf
in <out-data>, for the utterances that have voiced frames, and with --cmn speaker utt2num_cmvn, the number of recordings
behind each one's statistics; arks go to <ark-dir> (<out-data>/data), logs to <log> (<out-data>/log). The other
utterances are named in the log and listed in <log>/prepare_feats_<name>.dropped; above a share of --max-drop that is an
error. What is up to date is not made again.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np

from ser.base.errors import SerError, run_main
from ser.base.files import write_text
from ser.base.kaldi_tables import read_table, write_table
from ser.base.progress import progress
from ser.data.arks import ONE_BYTE, TWO_BYTES, ArkWriter, read_arks
from ser.data.datadir import spk2utt
from ser.features.cmvn import BY_SPEAKER, apply_cmvn
from ser.features.feature_step import FeatureStep, Summary, add_arguments, run_step, scp_inputs
from ser.features.frontend import CMN
from ser.features.voiced import read_voiced, tables_read

_BY_SPEAKER = BY_SPEAKER.removeprefix("--cmn=")
_UTTERANCE_TABLES = ("utt2spk", "utt2emo", "utt2uniq")  # what is carried over, where the data directory has it
_NUM_CMVN = "utt2num_cmvn"  # likewise, where its statistics are used
_OPTION_FILES = ("frame_shift", "conf/mfcc.conf", "conf/encoder.conf")
_COMPRESS = {"false": 0, "true": ONE_BYTE, "two-byte": TWO_BYTES}


class PrepareFeats(FeatureStep):
    name, stem, scp, what = "prepare_feats", "feats", "feats.scp", "normalised voiced features"
    own_target = True

    def __init__(self, cmn: str, divide: bool = False, compress: int = 0, vad: bool = True) -> None:
        self.cmn, self.divide, self.compress, self.vad = cmn, divide, compress, vad
        said = ["vars"] * divide + ["all frames"] * (not vad) + ["two bytes"] * (compress == TWO_BYTES)
        self.options = (cmn, *said) if said else cmn
        self.carried = (*_UTTERANCE_TABLES, _NUM_CMVN) if cmn == _BY_SPEAKER else _UTTERANCE_TABLES

    def inputs(self, data: Path) -> dict[str, object]:
        conf = [path.read_text() for path in (data / name for name in _OPTION_FILES) if path.exists()]
        tables = [scp_inputs(data / name) for name in tables_read(self.vad)]
        if self.cmn == _BY_SPEAKER:
            if not (data / "utt2cmvn").exists():
                raise SerError(f"{data}/utt2cmvn: no such file; run steps/compute_cmvn_stats.sh {data} first")
            tables.append(scp_inputs(data / "utt2cmvn"))
        tables += [read_table(data / name) for name in self.carried if (data / name).exists()]
        return {utterance: (conf, *(table.get(utterance) for table in tables)) for utterance in tables[0]}

    def process(self, data: Path, writer: ArkWriter, summary: Summary) -> None:
        total = len(read_table(data / "feats.scp"))
        # The step has checked that all tables have the same utterances, in the same order.
        stats = read_arks(data / "utt2cmvn") if self.cmn == _BY_SPEAKER else itertools.repeat(("", np.zeros(0)))
        utterances = progress(read_voiced(data, self.vad), total, "normalised")
        for (utterance, matrix, voiced), (_, of_speaker) in zip(utterances, stats, strict=False):
            if not voiced.any():
                summary.drop(utterance, "has no voiced frame; remove it from the lists")
                continue
            if self.cmn == _BY_SPEAKER:
                selected = apply_cmvn(matrix[voiced], of_speaker, self.divide)
            else:
                selected = CMN[self.cmn](matrix)[voiced]
            writer.write(utterance, selected)
            summary.frames[utterance] = len(selected)

    def tables(self, data: Path, target: Path, summary: Summary) -> list[Path]:
        written = []
        for name in (*_UTTERANCE_TABLES, _NUM_CMVN):
            (target / name).unlink(missing_ok=True)
            if name in self.carried and (data / name).exists():
                table = read_table(data / name)
                write_table(target / name, {utt: table[utt] for utt in summary.frames if utt in table})
                written.append(target / name)
        write_table(target / "spk2utt", spk2utt(read_table(target / "utt2spk")))
        written.append(target / "spk2utt")
        for name in _OPTION_FILES:
            if (data / name).exists():
                write_text(target / name, (data / name).read_text())
                written.append(target / name)
        write_text(target / "conf" / "cmn.conf", f"--cmn={self.cmn}\n" + "--cmn-vars=true\n" * self.divide)
        written.append(target / "conf" / "cmn.conf")
        write_table(target / "utt2num_frames", summary.frames)
        return [target / "utt2num_frames", *written]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, target=True)
    parser.add_argument("--cmn", choices=(*CMN, _BY_SPEAKER), default="sliding",
                        help="what to subtract: the mean of 300 frames around, as Kaldi's x-vector recipe does, of the "
                        "utterance, or of the voiced frames of all of the speaker's recordings, as Kaldi's apply-cmvn "
                        "--utt2spk does (default: sliding)")
    parser.add_argument("--cmn-vars", choices=("true", "false"), default="false",
                        help="with --cmn speaker divide by the deviations too, as apply-cmvn --norm-vars=true does "
                        "(default: false)")
    parser.add_argument("--vad", choices=("true", "false"), default="true",
                        help="keep the voiced frames, those of vad.scp; false: all frames, for hidden states "
                        "(default: true)")
    parser.add_argument("--compress", choices=_COMPRESS, default="false",
                        help="write Kaldi's compressed matrices: true, a quarter of the size, 256 levels for each "
                        "coefficient between its extremes in the utterance; two-byte, half of the size, 65536 levels "
                        "between the matrix's extremes (default: false)")
    args = parser.parse_args()
    if args.cmn_vars == "true" and args.cmn != _BY_SPEAKER:
        raise SerError(f"--cmn-vars true is for --cmn {_BY_SPEAKER}, whose statistics have deviations; leave it out")
    run_step(PrepareFeats(args.cmn, args.cmn_vars == "true", _COMPRESS[args.compress], args.vad == "true"), args)


if __name__ == "__main__":
    run_main(main)
