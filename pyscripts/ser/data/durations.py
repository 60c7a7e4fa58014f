"""How long the utterances of a data directory are."""

from __future__ import annotations

import soundfile

from ser.base.errors import SerError
from ser.base.progress import progress
from ser.data.audio import decode, is_pipe
from ser.data.datadir import DataDir


def durations(data: DataDir) -> dict[str, float]:
    """Return the seconds of each utterance, from utt2dur, else from segments, else from the recordings."""
    if data.has("utt2dur"):
        return {utterance: float(seconds) for utterance, seconds in data.table("utt2dur").items()}
    recordings = data.table("wav.scp")
    if data.has("segments"):
        seconds = {}
        for utterance, value in data.table("segments").items():
            recording, start, end = value.split()
            until = float(end) if float(end) >= 0 else recording_seconds(recordings[recording])
            seconds[utterance] = until - float(start)
        return seconds
    return {
        recording: recording_seconds(rxfile)
        for recording, rxfile in progress(recordings.items(), len(recordings), "reading durations")
    }


def recording_seconds(rxfile: str) -> float:
    """Return the seconds of a file or Kaldi pipe. Raises SerError for a file that is no audio."""
    if is_pipe(rxfile):
        audio = decode(rxfile)
        return len(audio.samples) / audio.rate
    try:
        return soundfile.info(rxfile).duration
    except soundfile.SoundFileError:
        raise SerError(f"{rxfile}: cannot be read as audio; run steps/make_mfcc.sh, which tells more") from None
