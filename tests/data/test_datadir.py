"""Data directories: what is accepted, what is rejected and how it is said, and the tools that write them."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data import datadir
from ser.data.datadir import DataDir, check_disjoint, class_counts, validate
from ser.data.rearrange import combine, fix, pick, split, subset

EMOTIONS = ("angry", "happy", "neutral", "sad")
NEED = ("wav.scp", "feats.scp", "utt2emo")


def write(path: Path, lines: dict[str, str] | list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{key} {value}" for key, value in sorted(lines.items())] if isinstance(lines, dict) else lines
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def make(path: Path, speakers: int = 4, each: int = 6, first: int = 1) -> Path:
    """A valid directory with features, lengths and audio that is there."""
    utt2spk = {f"s{s:02d}-u{u:02d}": f"s{s:02d}" for s in range(first, first + speakers) for u in range(each)}
    audio = path.parent / "audio.wav"
    audio.write_bytes(b"RIFF" * 500)
    ark = path.parent / "a.ark"
    ark.write_bytes(b"\0" * 2000)
    numbered = dict(enumerate(utt2spk))
    write(path / "utt2spk", utt2spk)
    write(path / "spk2utt", {s: " ".join(u for u in utt2spk if utt2spk[u] == s) for s in set(utt2spk.values())})
    write(path / "wav.scp", {u: str(audio) for u in utt2spk})
    write(path / "utt2emo", {u: EMOTIONS[n % 4] for n, u in numbered.items()})
    write(path / "utt2dur", {u: f"{1 + n % 5}.5" for n, u in numbered.items()})
    write(path / "utt2num_frames", {u: str(100 + 7 * n % 31) for n, u in numbered.items()})
    write(path / "feats.scp", {u: f"{ark}:{13 * n}" for n, u in numbered.items()})
    write(path / "vad.scp", {u: f"{ark}:{17 * n}" for n, u in numbered.items()})
    write(path / "conf/mfcc.conf", ["--sample-frequency=8000"])
    write(path / "frame_shift", ["0.01"])
    return path


def add_segments(path: Path) -> None:
    """Turn it into a directory where each speaker is one recording."""
    utt2spk = read_table(path / "utt2spk")
    audio = next(iter(read_table(path / "wav.scp").values()))
    write(path / "segments", {u: f"{s}-rec {int(u[-2:])}.0 {int(u[-2:])}.9" for u, s in utt2spk.items()})
    write(path / "wav.scp", {f"{s}-rec": audio for s in set(utt2spk.values())})


@pytest.fixture
def data(tmp_path):
    return make(tmp_path / "train")


def problem(path: Path, **options) -> str:
    with pytest.raises(SerError) as error:
        validate(path, **options)
    return str(error.value)


def edit(path: Path, line: int, new: str | None) -> None:
    """Replace a line (counted from 1), or remove it with None."""
    rows = path.read_text().splitlines()
    rows[line - 1 : line] = [] if new is None else [new]
    write(path, rows)


# ---- validation


def test_a_good_directory_is_accepted(data):
    validate(data, need=NEED, emotions=EMOTIONS)
    add_segments(data)
    validate(data, need=NEED, emotions=EMOTIONS)


def test_a_transcript_may_be_empty(data):
    utterances = list(read_table(data / "utt2spk"))
    write(data / "text", [utterances[0], *(f"{utterance} hello there" for utterance in utterances[1:])])
    validate(data, need=NEED)
    assert [*read_table(data / "text").values()] == ["", *["hello there"] * (len(utterances) - 1)]


def test_missing_parts_are_named(data, tmp_path):
    assert "no such data directory" in problem(tmp_path / "nowhere")
    for name in ("utt2spk", "spk2utt", "utt2emo", "feats.scp", "wav.scp"):
        other = shutil.copytree(data, tmp_path / f"without-{name}")
        (other / name).unlink()
        text = problem(other, need=NEED)
        assert f"{other / name}: no such file" in text
    (tmp_path / "without-utt2emo/wav.scp").unlink()
    validate(tmp_path / "without-utt2emo", need=())


@pytest.mark.parametrize(
    ("name", "line", "new", "expected"),
    [
        ("utt2emo", 3, None, "utt2spk:3: utterance s01-u02 is not in utt2emo"),
        ("utt2emo", 3, "s01-u02 hapy", "utt2emo:3: unknown label 'hapy' of s01-u02"),
        ("utt2emo", 3, "s01-u02 happy sad", "utt2emo:3: 's01-u02 happy sad'"),
        ("utt2emo", 3, "s01-u02", "utt2emo:3: expected a key and a value"),
        ("utt2emo", 3, "s01-u02 sad\r", "utt2emo:3"),
        ("utt2emo", 3, "s01-u01 sad", "utt2emo:3: s01-u01 is also in line 2"),
        ("utt2emo", 3, "s99-u02 sad", "utt2emo:3: utterance s99-u02 is not in utt2spk"),
        ("utt2spk", 3, "s01-u02 s09", "utt2spk:3: utterance s01-u02 does not start with the id of its speaker, s09"),
        ("utt2spk", 3, "s01-u02 s01 x", "utt2spk:3"),
        ("utt2spk", 7, "s00-u99 s00", "utt2spk:7: s00-u99 is out of order (after s01-u05)"),
        ("spk2utt", 2, "s02 s02-u01 s02-u00", "spk2utt:2: utterances of s02 are not those of utt2spk"),
        ("spk2utt", 2, None, "speaker s02 is not in spk2utt"),
        ("wav.scp", 5, "s01-u04 ~/a.wav", "wav.scp:5"),
        ("wav.scp", 5, "s01-u04 /nowhere/a.wav", "wav.scp:5: /nowhere/a.wav: No such file"),
        ("wav.scp", 5, "s01-u04 /tmp", "wav.scp:5: /tmp: is a folder"),
        ("utt2dur", 4, "s01-u03 0", "utt2dur:4"),
        ("utt2dur", 4, "s01-u03 nan", "utt2dur:4"),
        ("utt2num_frames", 4, "s01-u03 12.5", "utt2num_frames:4"),
        ("utt2num_frames", 4, None, "utt2spk:4: utterance s01-u03 is not in utt2num_frames"),
        ("feats.scp", 4, None, "utt2spk:4: utterance s01-u03 is not in feats.scp"),
        ("feats.scp", 4, "s01-u03 /nowhere/a.ark:12", "feats.scp:4: /nowhere/a.ark: No such file"),
        ("vad.scp", 4, None, "utt2spk:4: utterance s01-u03 is not in vad.scp"),
        ("frame_shift", 1, "fast", "frame_shift"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(data, name, line, new, expected):
    edit(data / name, line, new)
    assert expected in problem(data, need=NEED, emotions=EMOTIONS)


@pytest.mark.parametrize(
    ("line", "new"),
    [(2, "s01-u01 s01-rec 1.0 1.0"), (2, "s01-u01 s01-rec 2.0 1.0"), (2, "s01-u01 s01-rec 1.0"),
     (2, "s01-u01 s01-rec -1 1.0"), (2, "s01-u01 s01-rec one two"), (2, "s01-u01 unknown 1.0 2.0")],
)
def test_bad_segments(data, line, new):
    add_segments(data)
    edit(data / "segments", line, new)
    assert f"segments:{line}" in problem(data)


def test_a_recording_without_segments_and_segments_without_recordings(data):
    add_segments(data)
    with open(data / "wav.scp", "a") as wavs:
        wavs.write("s99-rec x.wav\n")
    assert "wav.scp:5: recording s99-rec is not in segments" in problem(data)
    (data / "wav.scp").unlink()
    assert "there is no wav.scp" in problem(data)


def test_bad_audio_files(data, tmp_path):
    empty, pointer = tmp_path / "empty.wav", tmp_path / "pointer.wav"
    empty.write_bytes(b"")
    pointer.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 72000\n")
    edit(data / "wav.scp", 2, f"s01-u01 {empty}")
    edit(data / "wav.scp", 4, f"s01-u03 {pointer}")
    edit(data / "wav.scp", 6, "s01-u05 sox /nowhere.wav -t wav - |")  # not run
    text = problem(data, need=("wav.scp",))
    assert f"wav.scp:2: {empty}: is empty" in text
    assert f"wav.scp:4: {pointer}: is a Git LFS pointer" in text and "git lfs pull" in text
    assert "nowhere" not in text
    validate(data)  # audio that is not needed is not looked for


def test_noise_of_copies(data):
    utterances = DataDir(data).utterances
    write(data / "utt2noise", dict.fromkeys(utterances, "10 0 /music/a b.wav"))
    validate(data)
    edit(data / "utt2noise", 3, f"{utterances[2]} loud 0 /music/a.wav")
    assert "utt2noise:3" in problem(data)
    edit(data / "utt2noise", 3, None)
    assert "is not in utt2noise" in problem(data)


def test_all_problems_at_once_and_equal_ones_together(data):
    edit(data / "utt2emo", 3, None)
    edit(data / "utt2dur", 4, "s01-u03 -1")
    for line in (8, 10, 12):
        edit(data / "wav.scp", line, f"s02-u{line - 7:02d} /nowhere/{line}.wav")
    text = problem(data, need=("wav.scp",))
    assert "3 kinds of problems" in text and len(text.splitlines()) == 4
    assert "wav.scp:8: /nowhere/8.wav: No such file or directory (and 2 more, line 10, 12)" in text


def test_cut_empty_and_binary_tables(data):
    whole = (data / "utt2emo").read_bytes()
    (data / "utt2emo").write_bytes(whole[:-3])
    assert "utt2emo:24: the last line does not end" in problem(data)
    (data / "utt2emo").write_bytes(b"")
    assert "utt2emo: is empty" in problem(data)
    (data / "utt2emo").write_bytes(b"\xff\xfe\x00")
    assert "utt2emo: not UTF-8" in problem(data)


def test_sorted_by_utterance_but_not_by_speaker(tmp_path):
    # '-' sorts before letters: speakers a and a-b interleave
    path = make(tmp_path / "d", speakers=1)
    for name in datadir.TABLES:
        (path / name).unlink(missing_ok=True)
    utt2spk = {"a-1": "a", "a-b-1": "a-b", "a-c": "a"}
    write(path / "utt2spk", utt2spk)
    write(path / "spk2utt", {"a": "a-1 a-c", "a-b": "a-b-1"})
    assert "utt2spk:3: speaker a is out of order" in problem(path, need=())
    validate(path, need=(), speaker_order=False)


def test_speakers_across_splits(tmp_path):
    train, dev, test = make(tmp_path / "train"), make(tmp_path / "dev", first=5), make(tmp_path / "test", first=8)
    check_disjoint(train, dev)
    with pytest.raises(SerError, match=r"1 speaker in both \S*dev and \S*test: s08;"):
        check_disjoint(train, dev, test)
    faster = tmp_path / "faster"
    faster.mkdir()
    write(faster / "utt2spk", {"sp1.1-s05-1": "sp1.1-s05"})
    with pytest.raises(SerError, match=r"1 speaker in both \S*faster and \S*dev: s05;"):
        check_disjoint(faster, dev)


def test_class_counts(data):
    assert class_counts(data) == {"angry": 6, "happy": 6, "neutral": 6, "sad": 6}


# ---- mending


def test_fix_sorts_drops_and_keeps_the_old(data):
    before = (data / "utt2emo").read_text()
    rows = before.splitlines()
    del rows[2]
    write(data / "utt2emo", [*reversed(rows), rows[0]])
    scrambled = (data / "utt2emo").read_text()
    edit(data / "utt2dur", 5, "s01-u04 -1")
    (data / "spk2utt").unlink()
    assert fix(data) == {"utt2emo": ["s01-u02"], "utt2dur": ["s01-u04"]}
    validate(data, need=NEED)
    assert len(DataDir(data).utterances) == 22 and "s01-u04" not in read_table(data / "spk2utt")["s01"]
    assert (data / ".backup/utt2emo").read_text() == scrambled
    assert (data / ".backup/dropped_utterances").read_text() == "s01-u02 utt2emo\ns01-u04 utt2dur\n"
    assert fix(data) == {}
    assert (data / ".backup/utt2emo").read_text() == scrambled  # a second run does not lose the original


def test_fix_with_segments(data):
    add_segments(data)
    edit(data / "wav.scp", 2, None)
    edit(data / "segments", 2, "s01-u01 s01-rec 5 4")
    dropped = fix(data)
    assert dropped["segments"] == ["s01-u01"] and dropped["wav.scp"] == [f"s02-u{n:02d}" for n in range(6)]
    validate(data, need=NEED)


def test_fix_counts_what_only_other_tables_know(data):
    edit(data / "utt2spk", 1, None)
    assert fix(data) == {"utt2spk": ["s01-u00"]}


def test_fix_leaves_choices_to_the_user(data):
    with open(data / "utt2emo", "a") as table:
        table.write("s01-u00 sad\n")
    with pytest.raises(SerError, match="s01-u00 occurs twice with different values"):
        fix(data)
    write(data / "utt2emo", ["x y"])
    with pytest.raises(SerError, match="no utterance is in all"):
        fix(data)
    assert len(read_table(data / "utt2spk")) == 24  # nothing was changed


# ---- subsets


def test_subset_takes_every_table(data, tmp_path):
    subset(data, tmp_path / "part", ["s01-u03", "s03-u00", "unknown"])
    validate(tmp_path / "part", need=NEED, emotions=EMOTIONS)
    assert DataDir(tmp_path / "part").utterances == ["s01-u03", "s03-u00"]
    source, part = DataDir(data), DataDir(tmp_path / "part")
    for name in ("wav.scp", "utt2emo", "utt2dur", "utt2num_frames", "feats.scp", "vad.scp"):
        assert part.table(name)["s03-u00"] == source.table(name)["s03-u00"]
    assert (tmp_path / "part/conf/mfcc.conf").read_text() == (data / "conf/mfcc.conf").read_text()
    assert (tmp_path / "part/frame_shift").exists()


def test_subset_replaces_what_was_there(data, tmp_path):
    part = tmp_path / "part"
    subset(data, part, ["s01-u03", "s03-u00"])
    write(part / "data/raw.ark", ["kept"])
    (data / "feats.scp").unlink()
    subset(data, part, ["s01-u04"])
    assert not (part / "feats.scp").exists() and (part / "data/raw.ark").exists()
    stamp = (part / "utt2spk").stat().st_mtime_ns, (part / "utt2emo").stat().st_mtime_ns
    subset(data, part, ["s01-u04"])
    assert stamp == ((part / "utt2spk").stat().st_mtime_ns, (part / "utt2emo").stat().st_mtime_ns)
    with pytest.raises(SerError, match="source"):
        subset(data, data, ["s01-u04"])
    with pytest.raises(SerError, match="none of"):
        subset(data, tmp_path / "none", ["unknown"])
    assert not (tmp_path / "none").exists()


def test_subset_keeps_only_the_recordings_used(data, tmp_path):
    add_segments(data)
    subset(data, tmp_path / "part", ["s01-u03", "s03-u00"])
    validate(tmp_path / "part", need=NEED)
    assert list(read_table(tmp_path / "part/wav.scp")) == ["s01-rec", "s03-rec"]


def test_pick(data):
    source = DataDir(data)
    every = source.utterances
    assert pick(source, "first", 3) == every[:3] and pick(source, "last", 3) == every[-3:]
    assert pick(source, "spread", 4) == every[::6]
    assert Counter(utt[:3] for utt in pick(source, "per-spk", 2)) == {f"s0{n}": 2 for n in range(1, 5)}
    assert len(pick(source, "per-spk", 100)) == 24
    frames = source.table("utt2num_frames")
    shortest = pick(source, "shortest", 5)
    assert max(int(frames[u]) for u in shortest) <= min(int(frames[u]) for u in set(every) - set(shortest))
    speakers = pick(source, "speakers", 7)
    assert len(speakers) == 12 and len({utt[:3] for utt in speakers}) == 2
    assert pick(source, "speakers", 7) == speakers
    assert len({tuple(sorted(pick(source, "speakers", 7, seed))) for seed in range(10)}) > 1
    with pytest.raises(SerError, match="there are 24"):
        pick(source, "first", 25)


# ---- joining


def test_combine(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", first=5)
    (two / "vad.scp").unlink()
    left_out = combine(tmp_path / "both", [two, one])
    assert left_out == {"vad.scp": [str(two)]}
    validate(tmp_path / "both", need=NEED)
    assert len(DataDir(tmp_path / "both").utterances) == 48
    assert (tmp_path / "both/conf/mfcc.conf").exists() and (tmp_path / "both/frame_shift").exists()


def test_combine_refuses_what_does_not_go_together(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", first=4)
    with pytest.raises(SerError, match="s04-u00 is also in"):
        combine(tmp_path / "both", [one, two])
    two = make(tmp_path / "three", first=9)
    write(two / "conf/mfcc.conf", ["--sample-frequency=16000"])
    with pytest.raises(SerError, match="features do not go together"):
        combine(tmp_path / "both", [one, two])
    write(two / "conf/mfcc.conf", ["--sample-frequency=8000"])
    add_segments(two)
    with pytest.raises(SerError, match="without segments"):
        combine(tmp_path / "both", [one, two])
    add_segments(one)
    combine(tmp_path / "both", [one, two])
    validate(tmp_path / "both", need=NEED)
    assert not (tmp_path / "train").exists()


def test_combine_never_passes_noisy_speech_for_clean(tmp_path):
    clean, noisy = make(tmp_path / "clean"), make(tmp_path / "noisy", first=5)
    write(noisy / "utt2noise", dict.fromkeys(DataDir(noisy).utterances, "10 0 n.wav"))
    combine(tmp_path / "both", [clean, noisy])
    both = DataDir(tmp_path / "both")
    assert both.has("feats.scp") and not both.has("wav.scp") and not both.has("utt2noise")
    (clean / "feats.scp").unlink()
    with pytest.raises(SerError, match=r"make_mfcc\.sh"):
        combine(tmp_path / "again", [clean, noisy])
    assert not (tmp_path / "again").exists()


# ---- splitting


def concatenated(parts: list[Path], name: str) -> str:
    return "".join((part / name).read_text() for part in parts)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 24])
def test_parts_make_up_the_whole_in_order(data, number):
    parts = split(data, number)
    assert parts == [data / f"split{number}" / str(k) for k in range(1, number + 1)]
    for name in ("utt2spk", "wav.scp", "utt2emo", "feats.scp", "utt2num_frames", "vad.scp"):
        assert concatenated(parts, name) == (data / name).read_text()
    for part in parts:
        validate(part, need=NEED)
    if number <= 4:
        assert concatenated(parts, "spk2utt") == (data / "spk2utt").read_text()
        check_disjoint(*parts)


def test_split_is_even(tmp_path):
    data = make(tmp_path / "d", speakers=10, each=6)
    assert [len(DataDir(part).utterances) for part in split(data, 5)] == [12] * 5
    sizes = [len(DataDir(part).utterances) for part in split(data, 4)]
    assert sum(sizes) == 60 and set(sizes) <= {12, 18}
    assert [len(DataDir(part).utterances) for part in split(data, 4, per_utt=True)] == [15] * 4


def test_a_large_speaker_leaves_no_part_empty(tmp_path):
    data = tmp_path / "d"
    utt2spk = {f"a-{n:03d}": "a" for n in range(100)} | {"b-1": "b", "c-1": "c"}
    write(data / "utt2spk", utt2spk)
    fix(data)
    assert [len(DataDir(part).utterances) for part in split(data, 3)] == [100, 1, 1]


def test_split_again_touches_only_what_changed(data):
    parts = split(data, 2)
    stamps = {path: path.stat().st_mtime_ns for part in parts for path in part.rglob("*") if path.is_file()}
    split(data, 2)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    edit(data / "utt2emo", 1, "s01-u00 sad")
    (data / "vad.scp").unlink()
    (parts[1] / "utt2spk").unlink()  # as a killed split leaves it
    split(data, 2)
    assert read_table(parts[0] / "utt2emo")["s01-u00"] == "sad" and not (parts[0] / "vad.scp").exists()
    assert concatenated(parts, "utt2spk") == (data / "utt2spk").read_text()
    assert stamps[parts[1] / "utt2emo"] == (parts[1] / "utt2emo").stat().st_mtime_ns


def test_too_many_parts(data):
    with pytest.raises(SerError, match="24 utterances into 25"):
        split(data, 25)


# ---- the programs


def test_shell_tools(shell, data, tmp_path):
    done = shell(f'utils/validate_data_dir.sh --no-text --emotions "angry happy neutral sad" {data}')
    assert "24 utterances of 4 speakers" in done.stdout
    assert "unknown label 'sad'" in shell(f"utils/validate_data_dir.sh --emotions angry {data}", ok=False).stderr
    shell(f"utils/split_data_dir.sh {data} 2 && utils/split_data_dir.sh --per-utt {data} 2")
    assert (data / "split2/2/utt2spk").exists() and (data / "split2utt/2/utt2spk").exists()
    shell(f"utils/subset_data_dir.sh --per-spk {data} 2 {tmp_path}/sub")
    assert len(DataDir(tmp_path / "sub").utterances) == 8
    write(tmp_path / "list", ["s02", "s04", "s77"])
    done = shell(f"utils/subset_data_dir.sh --spk-list {tmp_path}/list {data} {tmp_path}/spk")
    assert "s77" in done.stderr and set(read_table(tmp_path / "spk/utt2spk").values()) == {"s02", "s04"}
    write(tmp_path / "list", ["s02-u01"])
    shell(f"utils/subset_data_dir.sh --utt-list {tmp_path}/list {data} {tmp_path}/utt")
    assert DataDir(tmp_path / "utt").utterances == ["s02-u01"]
    other = make(tmp_path / "other", first=7)
    shell(f"utils/combine_data.sh {tmp_path}/both {data} {other}")
    assert len(DataDir(tmp_path / "both").utterances) == 48
    edit(data / "utt2emo", 1, None)
    done = shell(f"utils/fix_data_dir.sh {data}")
    assert "s01-u00" in done.stderr and "dropped 1" in done.stdout
    done = shell(f"python3 pyscripts/data_dir.py check-disjoint {data} {tmp_path}/both", ok=False)
    assert "s01" in done.stderr and "Traceback" not in done.stderr
    done = shell(f"python3 pyscripts/data_dir.py class-counts --emotions disgust {data}")
    assert done.stdout.splitlines()[0].split() == ["angry", "disgust", "happy", "neutral", "sad", "all", "speakers"]
    assert done.stdout.splitlines()[1].split()[1:] == ["5", "0", "6", "6", "6", "23", "4"]
    for tool in ("validate_data_dir", "fix_data_dir", "subset_data_dir", "combine_data", "split_data_dir"):
        assert "usage" in shell(f"utils/{tool}.sh --help").stdout
