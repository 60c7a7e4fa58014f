"""Converting a data directory: the tables and recordings, the same every time, what is rejected, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ser.apps.convert import Converter, attention_fault
from ser.augment.style_copies import plan_copies
from ser.base.kaldi_tables import read_table, write_table
from ser.data.arks import ArkWriter
from ser.features.speech_store import made_by
from ser.nets.speaker import Ge2e
from ser.nets.synthesis import Generated, Synthesiser
from ser.nets.vocoder import load_vocoder
from ser.nets.vocoder_folder import MelOptions
from ser.training.checkpoint import save_checkpoint

BANDS, UNITS, STYLE_BANDS = 10, 12, 40
CPU = torch.device("cpu")


def recording(random: np.random.Generator) -> np.ndarray:
    """Return a quarter of a second of speech, as loud noise, after 0.2 s of faint noise and before 0.3 s of it."""
    level = np.repeat([1e-3, 0.3, 1e-3], [3200, 4000, 4800])
    return level * random.uniform(-1, 1, len(level))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six utterances of two speakers, four of them angry and one sad, with all that converting reads."""
    folder, random = tmp_path / "data", np.random.default_rng(0)
    texts = {"mel": f"--num-mel-bins={BANDS}\n", "units": f"--codebook=a\n--num-units={UNITS}\n",
             "styles": "--of=tiny\n"}
    tables: dict[str, dict[str, object]] = {name: {} for name in
                                            ("utt2spk", "utt2emo", "units.txt", "utt2num_frames", "text", "wav.scp")}
    (folder / "conf").mkdir(parents=True)
    for name, text in texts.items():
        (folder / "conf" / f"{name}.conf").write_text(text)
    with ArkWriter(folder / "styles.ark", folder / "styles.scp") as writer:
        for index, utterance in enumerate(("a-1", "a-2", "a-3", "b-1", "b-2", "b-3")):
            writer.write(utterance, random.random((30 + index, STYLE_BANDS + 1)).astype(np.float32))
            row = (utterance[0], "sad" if utterance == "b-3" else "angry", " ".join(map(str, range(index, index + 5))),
                   20 + index, "some words", folder / f"{utterance}.wav")
            for table, value in zip(tables.values(), row, strict=True):
                table[utterance] = value
            soundfile.write(folder / f"{utterance}.wav", recording(random), 16000, subtype="PCM_16")
    for name, table in tables.items():
        write_table(folder / name, table)
    write_table(folder / "spk2utt", {"a": "a-1 a-2 a-3", "b": "b-1 b-2 b-3"})
    return folder


@pytest.fixture
def model(data: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = Synthesiser(Ge2e(6, 8, 1), 16, UNITS, BANDS)
    torch.nn.init.constant_(network.decoder.stop.bias, -9)
    torch.nn.init.constant_(network.decoder.mel.bias, -4)
    options = {"system": "synthesis", "network": "tacotron", "labels": "utt2spk", "select": "loss", "width": 16}
    save_checkpoint(tmp_path / "model.pt", {
        "model": network.state_dict(), "classes": list(map(str, range(UNITS))), "dim": [BANDS, STYLE_BANDS + 1],
        "front_end": made_by([data]), "options": options, "built_from": network.built_from})
    return tmp_path / "model.pt"


def test_copies_of_a_data_directory(data: Path, model: Path, shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = f"steps/convert_data_dir.sh --model {model} --reject false --copies 2 {data} {out}"
    said = shell(line.replace("--model", "--nj 1 --model")).stdout
    assert "10 copies of 6 utterances" in said and "1 utterances without another" in said and "real-time" in said
    assert set(read_table(out / "wav.scp")) == {f"{utt}-emoaug{n}" for utt in ("a-1", "a-2", "a-3", "b-1", "b-2")
                                                for n in (1, 2)}
    uniq, ref, speakers = (read_table(out / name) for name in ("utt2uniq", "utt2ref", "utt2spk"))
    assert all(uniq[copy] == copy.rpartition("-")[0] != ref[copy] for copy in ref)
    assert all(read_table(data / "utt2spk")[ref[copy]] == speakers[copy] for copy in ref)
    assert set(read_table(out / "utt2emo").values()) == {"angry"}
    shell(f"utils/validate_data_dir.sh --no-feats {out}")
    recordings = {copy: Path(path).read_bytes() for copy, path in read_table(out / "wav.scp").items()}
    for copy, path in read_table(out / "wav.scp").items():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert info.duration == pytest.approx(float(read_table(out / "utt2dur")[copy]), abs=1e-3)
        own, made = (soundfile.read(file, dtype="int16")[0] for file in (data / f"{uniq[copy]}.wav", path))
        assert np.array_equal(made[:2400], own[:2400]) and np.array_equal(made[-3600:], own[-3600:]), "its silence"
        assert not np.array_equal(made[2400:4000], own[2400:4000])
    assert "are up to date" in shell(line).stdout
    # A job that was killed leaves recordings without a record of them.
    (out / ".convert_data_dir.done").unlink()
    (out / "wav/batch0.json").unlink()
    (out / "wav/a-1-emoaug1.wav").unlink()
    (out / "wav/.old-emoaug1.wav.tmp").write_bytes(b"")
    shell(line.replace("--model", "--nj 3 --model"))
    assert recordings == {copy: Path(path).read_bytes() for copy, path in read_table(out / "wav.scp").items()}
    assert "10 copies" in shell(line.replace("--model", "--seed 1 --model")).stdout
    assert recordings["a-1-emoaug1"] != (out / "wav/a-1-emoaug1.wav").read_bytes(), "another seed, another copy"


def test_wrong_input_is_refused(data: Path, model: Path, shell, tmp_path: Path) -> None:
    line = f"steps/convert_data_dir.sh --nj 1 --model {model} {data} {tmp_path}/out"
    said = shell(line, ok=False).stderr
    assert "all 5 copies were rejected" in said and "--reject false" in said and "does not stop" in said
    assert not (tmp_path / "out/utt2spk").exists()
    assert "would overwrite" in shell(line.replace(f"{tmp_path}/out", str(data)), ok=False).stderr
    (data / "conf/units.conf").write_text("--codebook=b\n--num-units=12\n")
    said = shell(line, ok=False).stderr
    assert "--codebook=b" in said and "--codebook=a" in said and "Traceback" not in said
    assert "no such model" in shell(line.replace("model.pt", "none.pt"), ok=False).stderr
    (data / "wav.scp").unlink()
    assert "wav.scp" in shell(line, ok=False).stderr


def test_a_network_from_before_styles_had_a_level_is_refused(data: Path, model: Path, shell, tmp_path: Path) -> None:
    (data / "conf/styles.conf").write_text("--of=tiny\n--level=rms\n")
    old = torch.load(model, weights_only=True)
    for name in ("style_means", "style_deviations"):
        del old["model"][name]
    torch.save(old, model)
    said = shell(f"steps/convert_data_dir.sh --nj 1 --model {model} {data} {tmp_path}/out", ok=False).stderr
    assert "--level=rms" in said and "train it again" in said and "Traceback" not in said


def test_a_network_with_layers_of_another_size_is_refused(data: Path, model: Path, shell, tmp_path: Path) -> None:
    old = torch.load(model, weights_only=True)
    old["model"]["decoder.prenet.0.weight"] = torch.zeros(8, BANDS)
    torch.save(old, model)
    said = shell(f"steps/convert_data_dir.sh --nj 1 --model {model} {data} {tmp_path}/out", ok=False).stderr
    assert "decoder.prenet.0.weight" in said and "train it again" in said and "Traceback" not in said


def test_a_piece_of_a_recording_has_its_own_silence(data: Path, model: Path, shell, tmp_path: Path) -> None:
    whole = np.concatenate([soundfile.read(data / f"{utterance}.wav", dtype="int16")[0]
                            for utterance in read_table(data / "utt2spk")])
    soundfile.write(tmp_path / "whole.wav", whole, 16000)
    segments = {utterance: f"rec {0.75 * number:g} {0.75 * number + 0.75:g}"
                for number, utterance in enumerate(read_table(data / "utt2spk"))}
    write_table(data / "segments", segments)
    write_table(data / "wav.scp", {"rec": tmp_path / "whole.wav"})
    shell(f"steps/convert_data_dir.sh --nj 2 --model {model} --reject false {data} {tmp_path}/out")
    for copy, path in read_table(tmp_path / "out/wav.scp").items():
        own, made = (soundfile.read(file, dtype="int16")[0] for file in (data / f"{copy.rpartition('-')[0]}.wav", path))
        assert np.array_equal(made[:2400], own[:2400]) and np.array_equal(made[-3600:], own[-3600:])


class Reader(torch.nn.Module):
    """Stands in for a trained network: it reads the units in order, two frames each, and says what the style is."""

    def generate(self, units, lengths, style, max_frames, seed):
        frames = 2 * lengths
        attention = torch.zeros(len(units), int(frames.max()), units.shape[1])
        for index, length in enumerate(lengths.tolist()):
            attention[index, : 2 * length, :length] = torch.eye(length).repeat_interleave(2, 0)
        mels = style[:, None, :1].expand(-1, attention.shape[1], BANDS)
        return Generated(mels, frames, attention, torch.ones(len(units), dtype=torch.bool))


def test_a_rejected_copy_is_tried_in_another_style(tmp_path: Path) -> None:
    options = MelOptions(num_mel_bins=BANDS)
    names = ["a-1", "a-2", "a-3"]
    copies, _ = plan_copies(dict.fromkeys(names, "a"), dict.fromkeys(names, "sad"), 1, False, 0)
    first = copies[0].styles[0]
    styles = {name: torch.full((4,), -11.5 if name == first else -2.0) for name in names}
    silences = dict.fromkeys(names, (np.zeros(5, np.int16), np.zeros(0, np.int16)))
    converter = Converter(Reader(), load_vocoder(None, options), dict.fromkeys(names, np.arange(10)),
                          styles.__getitem__, dict.fromkeys(names, 20), silences, 16000, 0, True, CPU)
    outcomes, _ = converter.convert(copies, tmp_path)
    (made,) = [outcome for outcome in outcomes if outcome.name == copies[0].name]
    assert made.faults == [(first, "is silent, under -70 dB")] and made.ref == copies[0].styles[1]
    assert all((tmp_path / f"{outcome.name}.wav").is_file() for outcome in outcomes)
    converter.frames = dict.fromkeys(names, 50)
    outcomes, _ = converter.convert(copies, tmp_path / "short")
    assert {fault for outcome in outcomes for _, fault in outcome.faults} == {"is shorter than 0.5 times its source"}
    assert all(len(outcome.faults) == 3 and not outcome.ref for outcome in outcomes)
    assert not (tmp_path / "short").exists()


def test_what_is_wrong_with_an_attention() -> None:
    good = np.eye(20).repeat(3, 0)
    assert attention_fault(good) is None
    assert attention_fault(np.full((60, 20), 1 / 20)) == "attention is not focused"
    assert attention_fault(np.concatenate([good, good[:9]])) == "attention ends before the last unit"
    assert attention_fault(good[:45]) == "attention ends before the last unit"
    assert attention_fault(np.concatenate([good[:54], good[-1:]])) is None, "the last one may be passed by"
    assert attention_fault(good[np.random.default_rng(0).permutation(60)]) == "attention goes back"
    assert attention_fault(np.delete(good, slice(12, 36), 0)) == "attention skips units"
