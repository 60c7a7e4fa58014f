"""A recogniser on a file answers what stage 4 scores, whatever the front end was, and names what it cannot use."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
import torch
import yaml
from tiny_encoder import TINY, save_encoder

from ser.base.errors import SerError
from ser.base.kaldi_tables import write_table
from ser.features.directories import front_end
from ser.predict import Recogniser
from ser.scoring.predictions import read_predictions
from ser.training.checkpoint import save_checkpoint
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED
from ser.training.systems import SYSTEMS

if TYPE_CHECKING:
    from conftest import Shell

ROOT = Path(__file__).resolve().parents[2]
PREDICT = ROOT / "pyscripts" / "predict.py"
CLASSES = ["angry", "happy", "neutral", "sad"]
LABEL = {"01": "neutral", "02": "neutral", "03": "happy", "04": "sad", "05": "angry"}
# Front ends: options of prepare_feats.sh and of the steps, and of the run.
FRONT_ENDS = {
    "sliding": ("--cmn sliding", "false", "conf/mfcc_8k.conf"),
    "16 kHz compressed": ("--cmn utterance", "true", "conf/mfcc_16k.conf"),
    "speaker": ("--cmn speaker --cmn-vars true", "false", "conf/mfcc_8k.conf"),
}


def make_run(folder: Path, data: Path, given: list[str], system: str = "mfcc", network: str = "tdnn") -> Path:
    """A run whose network has random weights: its answers differ from file to file as a trained one's do."""
    torch.manual_seed(1)
    options = TrainOptions(system=system, network=network, width=64, crop=100)
    made_by = front_end([data])
    dim = int(re.search("--num-ceps=([0-9]+)", made_by)[1]) if system == "mfcc" else TINY["hidden_size"]
    network = SYSTEMS[system].networks[network].build(dim, len(CLASSES), options)
    run = folder / "run"
    run.mkdir()
    (run / "config.yaml").write_text(yaml.safe_dump({**options.changed(), "run": {"given": given}}))
    (run / FINISHED).write_text("{}")
    save_checkpoint(run / "best.pt", {
        "model": network.state_dict(), "classes": CLASSES, "front_end": made_by, "epoch": 1, "dim": dim,
        "options": options.changed(),
    })  # fmt: skip
    return run


@pytest.fixture(scope="module", params=FRONT_ENDS)
def scored(
    request: pytest.FixtureRequest, shared: Path, shell: Shell, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, dict[str, Path]]:
    """A front end, a run that the steps and score.py have scored on real recordings, and these by utterance."""
    cmn, compress, conf = FRONT_ENDS[request.param]
    folder = tmp_path_factory.mktemp("scored")
    data, voiced = folder / "test", folder / "test_voiced"
    wavs = {f"Actor{path.parent.name[-2:]}-{path.stem}": path for actor in ("01", "02")
            for path in sorted((shared / "data/ravdess").glob(f"Actor_{actor}/*.wav"))[::5]}
    data.mkdir()
    write_table(data / "wav.scp", wavs)
    write_table(data / "utt2spk", {utterance: utterance[:7] for utterance in wavs})
    write_table(data / "utt2emo", {utterance: LABEL[path.stem[6:8]] for utterance, path in wavs.items()})
    by_speaker = f"steps/compute_cmvn_stats.sh {data} &&" if "speaker" in cmn else ""
    shell(f"utils/fix_data_dir.sh {data} && "
          f"steps/make_mfcc.sh --nj 2 --compress {compress} --mfcc-config {conf} {data} && "
          f"steps/compute_vad.sh --nj 1 {data} && {by_speaker} "
          f"steps/prepare_feats.sh --nj 1 --compress {compress} {cmn} {data} {voiced}")
    run = make_run(folder, voiced, ["--compress", compress])
    shell(f"pyscripts/score.py --run {run} --tests test={voiced} --device cpu")
    return request.param, run, wavs


def predict(*arguments: object, stdin: bytes = b"", status: int = 0) -> tuple[str, str]:
    done = subprocess.run([sys.executable, PREDICT, *map(str, arguments)], input=stdin, capture_output=True, cwd=ROOT)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


def test_answers_are_what_was_scored_to_the_last_digit(scored: tuple[str, Path, dict[str, Path]]) -> None:
    name, run, wavs = scored
    expected = read_predictions(run / "score_test" / "predictions.tsv")
    assert len(np.unique(expected.posteriors[:, 0])) > 5  # the network hears a difference
    speakers = [utterance[:7] for utterance in expected.utterances]
    answers = Recogniser(run, "cpu").predict([wavs[utterance] for utterance in expected.utterances], speakers=speakers)
    ours = [[f"{answer.probabilities[label]:.6f}" for label in expected.classes] for answer in answers]
    assert ours == [[f"{value:.6f}" for value in row] for row in expected.posteriors]
    assert [answer.emotion for answer in answers] == list(expected.hypothesis)
    assert not any(answer.alone or answer.error for answer in answers)
    # A file alone has the same answer, but for one that was trained with statistics by speaker: that says so.
    alone = Recogniser(run, "cpu").predict([wavs[expected.utterances[3]]])[0]
    difference = max(abs(alone.probabilities[label] - value) for label, value in answers[3].probabilities.items())
    assert alone.alone == (name == "speaker") and (difference > 1e-5 if alone.alone else difference < 1e-6)


def test_table_and_same_speaker_share_statistics(scored: tuple[str, Path, dict[str, Path]], tmp_path: Path) -> None:
    name, run, wavs = scored
    if name != "speaker":
        pytest.skip("only --cmn speaker has statistics to share")
    expected = read_predictions(run / "score_test" / "predictions.tsv")
    table = tmp_path / "files.tsv"
    table.write_text("file\tspk\n" + "".join(f"{wavs[u]}\t{u[:7]}\n" for u in expected.utterances))
    rows = list(csv.DictReader(io.StringIO(predict("--model", run, "--format", "csv", "--table", table)[0])))
    assert [[row[label] for label in CLASSES] for row in rows] == [[f"{v:.6f}" for v in r] for r in expected.posteriors]
    first = [u for u in expected.utterances if u.startswith("Actor01")]
    words = [wavs[utterance] for utterance in first]
    out, _ = predict("--model", run, "--format", "csv", "--same-speaker", "true", *words)
    assert [row["angry"] for row in csv.DictReader(io.StringIO(out))] == [row["angry"] for row in rows[: len(first)]]
    assert "normalised by itself alone" in predict("--model", run, words[0])[0]


@pytest.fixture(scope="module")
def run_and_wav(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run and a recording."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "conf").mkdir()
    shutil.copy(ROOT / "conf/mfcc_8k.conf", folder / "conf/mfcc.conf")
    (folder / "conf/cmn.conf").write_text("--cmn=sliding\n")
    return make_run(folder, folder, []), next((shared / "data/ravdess").glob("Actor_03/*.wav"))


def test_any_file_folders_and_standard_input(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    """Bad files are named, the others go on, and the status says so."""
    run, wav = run_and_wav
    samples, rate = soundfile.read(wav)
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    soundfile.write(folder / "a.flac", samples, rate, subtype="PCM_16")
    soundfile.write(folder / "deeper" / "b.OGG", np.stack([samples, samples], 1), rate)
    (folder / "notes.txt").write_text("not audio\n")
    out, err = predict("--model", run, "--format", "json", folder, wav)
    records = [json.loads(line) for line in out.splitlines()]
    assert [Path(record["file"]).name for record in records] == ["a.flac", "b.OGG", wav.name]
    assert records[0]["probabilities"] == pytest.approx(records[2]["probabilities"], abs=1e-6)
    assert records[0]["probabilities"] == pytest.approx(records[1]["probabilities"], abs=0.05)
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1) and err == ""
    assert records[0]["seconds"] == pytest.approx(len(samples) / rate)

    piped, _ = predict("--model", run, "-", stdin=wav.read_bytes())
    assert piped.startswith("standard input  ") and piped.split()[2] == records[2]["emotion"]

    (tmp_path / "cut.wav").write_bytes(wav.read_bytes()[:5000])
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "short.wav", samples[:100], rate)
    bad = [tmp_path / name for name in ("cut.wav", "silence.wav", "short.wav", "absent.wav")]
    out, err = predict("--model", run, *bad, wav, "-", stdin=b"nothing", status=1)
    assert out.startswith(f"{wav}  ") and len(out.splitlines()) == 1
    assert "cut.wav: truncated" in err and "silence.wav: is too short, or nobody speaks" in err
    assert "short.wav: is too short" in err and "absent.wav: No such file" in err
    assert re.search("standard input: .*not audio", err)
    assert len(err.splitlines()) == 5
    (tmp_path / "empty").mkdir()
    assert "empty: no audio file in this folder" in predict("--model", run, tmp_path / "empty", status=1)[1]


def test_along_a_file(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    """Pieces cover the recording; silence has no answer; a piece that sees the whole file answers as the file does."""
    run, wav = run_and_wav
    samples, rate = soundfile.read(wav)
    joined = np.concatenate([samples, np.zeros(rate * 2), samples])
    (answer,) = Recogniser(run, "cpu").predict([(joined.astype(np.float32), rate)], every=0.5)
    assert answer.along[0].start == 0 and answer.along[-1].end == pytest.approx(len(joined) / rate)
    assert all(one.end == other.start for one, other in zip(answer.along, answer.along[1:], strict=False))
    middle = len(samples) / rate + 1
    assert next(moment for moment in answer.along if moment.start <= middle < moment.end).emotion == ""
    assert sum(bool(moment.emotion) for moment in answer.along) > 2
    (whole,) = Recogniser(run, "cpu").predict([wav], every=100)
    assert whole.along[0].probabilities == pytest.approx(whole.probabilities, abs=1e-6)
    integers, rate = soundfile.read(wav, dtype="int16")
    assert Recogniser(run, "cpu").predict([(integers, rate)])[0].probabilities == whole.probabilities

    out, _ = predict("--model", run, "--every", "0.5", "--format", "csv", "--plot", tmp_path / "out.svg", wav)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert float(rows[1]["start"]) == 0.5 and {"angry", "emotion"} <= rows[0].keys()
    assert "<svg" in (tmp_path / "out.svg").read_text()
    for plot, files, message in ((tmp_path / "out.doc", (wav,), "must end in one of"),
                                 (tmp_path / "out.svg", (wav, wav), "draws one recording, not 2")):
        out, error = predict("--model", run, "--every", "0.5", "--plot", plot, *files, status=1)
        assert message in error and not out, "before the work"


def test_what_ffmpeg_reads(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    """A format that libsndfile does not know, from ffmpeg itself."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg here; .ci/run installs it")
    run, wav = run_and_wav
    film = tmp_path / "film.mka"
    subprocess.run(["ffmpeg", "-v", "error", "-i", wav, "-c:a", "pcm_s16le", film], check=True)
    one, other = Recogniser(run, "cpu").predict([wav, film])
    assert one.probabilities == other.probabilities
    assert predict("--model", run, "-", stdin=film.read_bytes())[0].split()[2] == one.emotion


def test_models_that_cannot_be_used(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    run, wav = run_and_wav
    with pytest.raises(SerError, match="no such checkpoint"):
        Recogniser(tmp_path)
    unfinished = tmp_path / "seed0"
    shutil.copytree(run, unfinished)
    (unfinished / FINISHED).unlink()
    with pytest.raises(SerError, match=r"has not finished; .*best\.pt"):
        Recogniser(unfinished)
    assert Recogniser(unfinished / "best.pt").predict([wav])[0].emotion
    checkpoint = torch.load(run / "best.pt", weights_only=True)
    save_checkpoint(unfinished / "best.pt", checkpoint | {"front_end": "--encoder=hubert"})
    with pytest.raises(SerError, match="other features than voiced MFCC and an encoder's hidden states"):
        Recogniser(unfinished / "best.pt")


def test_tables_of_files(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    run, wav = run_and_wav
    table = tmp_path / "files.csv"
    table.write_text(f"path,start,end\n{wav},2,1\n{wav},soon,\n")
    said = predict("--model", run, "--table", table, status=1)[1]
    assert "files.csv:2: " in said and "ends at 1 s and starts at 2 s; correct the times" in said
    assert "files.csv:3: 'soon' is no time; write times in seconds" in said
    assert "or a --table of them" in predict("--model", run, status=2)[1]


def test_pieces_of_files(run_and_wav: tuple[Path, Path], tmp_path: Path) -> None:
    """A piece gets the answer of a file that has nothing else, and times are those of the whole file."""
    run, wav = run_and_wav
    samples, rate = soundfile.read(wav, dtype="int16")
    begin, end = int(0.8 * rate), int(2.3 * rate)
    soundfile.write(tmp_path / "cut.wav", samples[begin:end], rate)
    table = tmp_path / "pieces.csv"
    table.write_text(f"file,start,end\n{wav},0.8,2.3\n{wav},,\n{wav},0 days 00:00:00.8,\n{wav},90,\n")
    said, complaints = predict("--model", run, "--format", "json", "--every", "0.5", "--table", table, status=1)
    piece, whole, rest = map(json.loads, said.splitlines())
    assert complaints.count("error") == 1 and "is not inside its" in complaints and "correct the times" in complaints
    cut, alone = Recogniser(run, "cpu").predict([tmp_path / "cut.wav", wav], every=0.5)
    assert piece["probabilities"] == pytest.approx(cut.probabilities, abs=1e-6) and piece["piece"] == [0.8, 2.3]
    assert piece["probabilities"] != pytest.approx(whole["probabilities"], abs=1e-6)
    assert whole["probabilities"] == pytest.approx(alone.probabilities, abs=1e-6) and "piece" not in whole
    assert rest["piece"] == pytest.approx([0.8, len(samples) / rate])
    assert [moment["start"] for moment in piece["along"]] == pytest.approx([0.8, 1.3, 1.8])
    assert [moment["emotion"] for moment in piece["along"]] == [moment.emotion for moment in cut.along]
    said = predict("--model", run, "--format", "csv", "--table", table, status=1)[0]
    row = next(csv.DictReader(io.StringIO(said)))
    assert (row["start"], row["end"]) == ("0.800", "2.300")
    assert f"{wav} 0.80-2.30 s  " in predict("--model", run, "--table", table, status=1)[0]


# ---- a pretrained encoder's hidden states ----------------------------------------------------------------------------

@pytest.mark.parametrize("normalised", [False, True], ids=["as it is", "by speaker"])
def test_a_run_on_an_encoder_answers_what_was_scored_and_takes_its_encoder_along(
    normalised: bool, shared: Path, shell: Shell, tmp_path: Path
) -> None:
    wavs = {f"Actor01-{path.stem}": path for path in sorted((shared / "data/ravdess").glob("Actor_01/*.wav"))[::5]}
    data, encoder = tmp_path / "test", save_encoder(tmp_path / "hubert", 1, layers=3)
    data.mkdir()
    write_table(data / "wav.scp", wavs)
    write_table(data / "utt2spk", dict.fromkeys(wavs, "Actor01"))
    write_table(data / "utt2emo", {utterance: LABEL[path.stem[6:8]] for utterance, path in wavs.items()})
    shell(f"utils/fix_data_dir.sh {data} && steps/make_encoder_feats.sh --nj 1 --encoder {encoder} --layer 2 {data}")
    if normalised:
        shell(f"steps/compute_cmvn_stats.sh --vad false {data} && steps/prepare_feats.sh --nj 1 --vad false "
              f"--compress two-byte --cmn speaker --cmn-vars true {data} {data}_normalised")
        data = data.with_name("test_normalised")
    run = make_run(tmp_path, data, ["--encoder", str(encoder), "--encoder-layer", "2"], "encoder", "linear")
    shell(f"pyscripts/score.py --run {run} --tests test={data} --device cpu")
    expected = read_predictions(run / "score_test" / "predictions.tsv")
    assert len(np.unique(expected.posteriors[:, 0])) > 5

    files = [wavs[utterance] for utterance in expected.utterances]
    actor = ["the actor"] * len(files)
    answers = Recogniser(run, "cpu").predict(files, speakers=actor)
    assert not any(answer.alone for answer in answers)
    ours = [[answer.probabilities[label] for label in expected.classes] for answer in answers]
    # Hidden states in other batches are rounded otherwise, which may turn the last of the file's six decimals.
    assert np.allclose(ours, expected.posteriors, rtol=0, atol=2e-6)
    alone = Recogniser(run, "cpu").predict(files[2:3], every=0.5)[0]
    assert alone.alone == normalised
    if not normalised:  # whatever it is batched with, but for rounding
        assert alone.probabilities == pytest.approx(answers[2].probabilities, abs=1e-4)
    assert sum(bool(moment.emotion) for moment in alone.along) > 4

    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    soundfile.write(long, np.zeros(61 * 16000), 16000)
    soundfile.write(short, np.zeros(300), 16000)
    bad = Recogniser(run, "cpu").predict([long, files[0], short])
    assert "long.wav: 61.0 s long, over the 60 s of the encoder" in bad[0].error and bad[1].emotion
    assert "short.wav: 0.019 s long, too short" in bad[2].error

    model, moved = tmp_path / "model", tmp_path / "moved"
    shell(f"{EXPORT} --licence none {run} {model}")
    model.rename(moved)
    encoder.rename(tmp_path / "away")
    assert Recogniser(moved, "cpu").predict(files, speakers=actor) == answers
    with pytest.raises(SerError, match="not where the run says; name its folder with --encoder"):
        Recogniser(run, "cpu")
    assert Recogniser(run, "cpu", str(tmp_path / "away")).predict(files, speakers=actor) == answers
    other = save_encoder(tmp_path / "other", 2, layers=3)
    refused = predict("--model", run, "--encoder", other, files[0], status=1)[1]
    assert "other holds hubert-" in refused and "Traceback" not in refused


# ---- a model in a folder of its own ----------------------------------------------------------------------------------

EXPORT = "pyscripts/export_model.py"


def test_an_exported_model_answers_as_its_run_does_wherever_it_lies(
    scored: tuple[str, Path, dict[str, Path]], shell: Shell, tmp_path: Path
) -> None:
    name, run, wavs = scored
    folder = tmp_path / "models" / name
    assert "say so with --licence" in shell(f"{EXPORT} {run} '{folder}'", ok=False).stderr
    shell(f"{EXPORT} --licence 'CC BY-NC-SA 4.0' {run} '{folder}'")
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    files = list(wavs.values())[:5]
    assert Recogniser(moved, "cpu").predict(files) == Recogniser(run, "cpu").predict(files)

    card = (moved / "README.md").read_text()
    score = json.loads((run / "score_test" / "score.json").read_text())
    assert f"| test | {len(wavs)} | {100 * score['weighted_f1']:.1f} |" in card and "CC BY-NC-SA 4.0" in card
    assert "angry, happy, neutral, sad" in card and "--cmn=" in card
    assert sorted(path.name for path in moved.iterdir()) == ["README.md", "model.safetensors", "recogniser.json"]


def test_exports_that_cannot_be(run_and_wav: tuple[Path, Path], shell: Shell, tmp_path: Path) -> None:
    """What is there is not overwritten; what is damaged, or recognises something else, is refused."""
    run, _ = run_and_wav
    taken, model = tmp_path / "taken", tmp_path / "model"
    taken.mkdir()
    (taken / "thesis.tex").write_text("mine")
    write = f"{EXPORT} --licence none {run}"
    assert "is no exported model" in shell(f"{write} {taken}", ok=False).stderr
    assert [path.name for path in taken.iterdir()] == ["thesis.tex"]
    shell(f"{write} {model} && {write} {model}")  # an export is replaced
    assert "It has not been scored." in (model / "README.md").read_text()
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(SerError, match="damaged or incomplete"):
        Recogniser(model)
    (model / "model.safetensors").unlink()
    with pytest.raises(SerError, match="damaged or incomplete"):
        Recogniser(model)
    speakers = tmp_path / "speakers.pt"
    checkpoint = torch.load(run / "best.pt", weights_only=True)
    save_checkpoint(speakers, checkpoint | {"options": checkpoint["options"] | {"labels": "utt2spk"}})
    with pytest.raises(SerError, match="recognises 4 speakers, not emotions"):
        Recogniser(speakers)
