"""One's own corpus as a table: what is read, what is refused and how, and the splits that are drawn."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from ser.base.errors import SerError
from ser.base.kaldi_tables import read_table
from ser.data import corpus_table, speaker_splits
from ser.data.audio import UtteranceReader
from ser.data.corpus import EmotionRecording
from ser.data.datadir import validate
from ser.data.table_recordings import recordings

if TYPE_CHECKING:
    from conftest import Shell

PREPARE = "egs/table/local/prepare.py"
SPEAKERS = ("anna", "ben", "cleo", "dan", "eva", "finn")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers' angry, calm and sad recordings of 1 s, whose samples say whose and which they are."""
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "wav").mkdir()
    for number, (speaker, emotion) in enumerate(itertools.product(SPEAKERS, ("angry", "calm", "sad"))):
        samples = np.linspace(0, 0.01 * (number + 1), 8000)
        soundfile.write(folder / "wav" / f"{speaker}_{emotion}.wav", samples, 8000, subtype="PCM_16")
    return folder


def rows(*columns: str, delimiter: str = ",") -> list[str]:
    """The lines of a good table: path, emotion, speaker, and constant columns `name=value`."""
    names, values = zip(*(column.split("=") for column in columns), strict=True) if columns else ((), ())
    head = delimiter.join(("path", "emotion", "speaker", *names))
    return [head, *(delimiter.join((f"wav/{speaker}_{emotion}.wav", emotion, speaker, *values))
                    for speaker in SPEAKERS for emotion in ("angry", "calm", "sad"))]


def write(corpus: Path, lines: list[str], name: str = "table.csv", encoding: str = "utf-8") -> Path:
    path = corpus / name
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


# ---- good tables -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["plain", "tsv", "excel", "unicode", "names", "windows"])
def test_the_same_table_in_many_spellings(corpus: Path, variant: str) -> None:
    plain = corpus_table.read(write(corpus, rows()))
    lines, encoding = rows(), "utf-8"
    if variant == "tsv":
        lines = rows(delimiter="\t")
    elif variant == "excel":
        lines, encoding = ["sep=;", *(f"{line}\r" for line in rows("n=1,5", delimiter=";")), ";;;\r"], "utf-8-sig"
    elif variant == "unicode":
        lines, encoding = rows(delimiter="\t"), "utf-16"
    elif variant == "names":
        lines = ["File,Label,Spk,age", *(f"{line},30" for line in rows()[1:])]
    elif variant == "windows":
        lines = [line.replace("wav/", "wav\\").replace(",angry,", ", Angry ,") for line in rows()]
    table = corpus_table.read(write(corpus, lines, "variant.csv", encoding))
    # An Excel file has one row more above the names.
    shift = 1 if variant == "excel" else 0
    assert [(row.number - shift, row.path, row.emotion, row.speaker) for row in table.rows] == [
        (row.number, row.path, row.emotion, row.speaker) for row in plain.rows]
    assert [row.number for row in plain.rows] == list(range(2, 20)) and plain.emotions == ["angry", "calm", "sad"]


def test_pieces_of_files_get_segments(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    """audformat's times too; what is read for a piece is what lies there in its file."""
    lines = ["file,start,end,emotion,speaker,split,text"]
    for speaker, split in zip(SPEAKERS, ("train", "training", "Train", "val", "test", "TEST"), strict=True):
        for emotion in ("angry", "sad"):
            file, rest = f"wav/{speaker}_{emotion}.wav", f"{emotion},{speaker},{split}"
            lines += [f"{file},0 days 00:00:00,0 days 00:00:00.250000,{rest},yes", f'{file},0.5,NaT,{rest},"oh, no"']
    table = write(corpus, lines, "pieces.csv")
    shell(f"{PREPARE} --corpus-dir {table} {tmp_path}/data")
    for name, count in {"train": 12, "dev": 4, "test": 8}.items():
        tables = validate(tmp_path / "data" / name, need=("wav.scp", "utt2emo"))
        assert len(tables["utt2spk"]) == len(tables["segments"]) == count
        assert len(tables["wav.scp"]) == count // 2
    assert tables["utt2dur"]["eva-eva_sad-0000000"] == "0.25" and tables["utt2dur"]["eva-eva_sad-0000500"] == "0.5"
    assert tables["text"]["eva-eva_sad-0000500"] == "oh, no"
    read = dict(UtteranceReader(tmp_path / "data" / "test", 8000))
    whole, _ = soundfile.read(corpus / "wav" / "eva_sad.wav", dtype="int16")
    assert np.array_equal(read["eva-eva_sad-0000000"].samples, whole[:2000])
    assert np.array_equal(read["eva-eva_sad-0000500"].samples, whole[4000:])


def test_emotions_are_renamed_joined_and_chosen(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    table = write(corpus, rows())
    done = shell(f"{PREPARE} --corpus-dir {table} --rename Calm=neutral,sad=neutral {tmp_path}/joined")
    assert Counter(read_table(tmp_path / "joined/all/utt2emo").values()) == {"angry": 6, "neutral": 12}
    assert "neutral, which" not in done.stderr
    done = shell(f"{PREPARE} --corpus-dir {table} --emotions 'sad angry' {tmp_path}/chosen")
    assert Counter(read_table(tmp_path / "chosen/all/utt2emo").values()) == {"angry": 6, "sad": 6}
    assert "6 rows of others left out" in done.stdout and "no emotion is called neutral" in done.stderr
    names = [shell(f"{PREPARE} --data-name {words}").stdout
             for words in ("", "--emotions 'sad angry'", "--emotions 'Angry sad'", "--rename sad=low")]
    assert names[0] == "\n" and names[1] == names[2] == "emotions-angry+sad\n" and len(set(names)) == 3


def test_files_of_one_name_are_told_apart(corpus: Path) -> None:
    """Two folders with the same file names, and a speaker's name with blanks: ids stay unique and in order."""
    lines = ["path,emotion,speaker"]
    for speaker, folder, emotion in itertools.product(("b", "b c", "b.c"), ("one", "two"), ("angry", "sad")):
        lines.append(f"{speaker}/{folder}/{emotion}.wav,{emotion},{speaker}")
    found = recordings(corpus_table.read(write(corpus, lines, "alike.csv")))
    ids = {recording.utterance: recording.speaker for recording in found}
    assert len(ids) == 12 and all(name.startswith(f"{speaker}-") for name, speaker in ids.items())
    assert [ids[name] for name in sorted(ids)] == sorted(ids.values())


# ---- splits ----------------------------------------------------------------------------------------------------------


def check_folds(data: Path, names: list[str]) -> None:
    tested = []
    for name in names:
        sets = [set(read_table(data / name / part / "utt2spk").values()) for part in ("train", "dev", "test")]
        assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
        tested += sorted(sets[2])
    assert sorted(tested) == sorted(set(read_table(data / "all" / "utt2spk").values()))


def test_folds_are_drawn_once_and_kept(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    table, data = write(corpus, rows(), "grows.csv"), tmp_path / "data"
    command = f"{PREPARE} --corpus-dir {table} {data}"
    assert "speakers drawn" in shell(command).stdout
    check_folds(data, [f"fold{number}" for number in range(1, 6)])
    kept = (data / "local" / "speakers.txt").read_text()
    again = shell(command).stdout
    assert "16 of 16 data directories are up to date" in again and "speakers drawn" not in again
    # A shorter table keeps its folds, a new speaker has to be put in one of them.
    write(corpus, rows()[:-1], "grows.csv")
    shell(command)
    assert (data / "local" / "speakers.txt").read_text() == kept
    write(corpus, [*rows()[:-1], "wav/finn_sad.wav,sad,gil"], "grows.csv")
    assert re.search(r"speakers.txt: speaker gil is in none of its lines; .*remove", shell(command, ok=False).stderr)


def test_drawn_groups_share_no_speaker_and_are_balanced() -> None:
    random = np.random.default_rng(3)
    recordings = [EmotionRecording(f"{speaker}-{k}", f"{speaker}", "angry" if k % 3 else "sad", Path(f"{speaker}{k}"))
                  for speaker in range(40) for k in range(int(random.integers(3, 30)))]
    groups = speaker_splits.draw_folds(recordings)
    assert sorted(itertools.chain(*groups.values())) == sorted({r.speaker for r in recordings}) and len(groups) == 5
    counts = [Counter(r.emotion for r in recordings if r.speaker in group) for group in groups.values()]
    assert max(c["sad"] for c in counts) <= 1.3 * min(c["sad"] for c in counts)
    assert groups == speaker_splits.draw_folds(recordings)


def test_a_column_of_folds_and_one_without_dev(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    fold = dict(zip(SPEAKERS, (0, 0, 1, 1, 2, 2), strict=True))
    lines = [f"{rows()[0]},fold", *(f"{line},{fold[line.split(',')[2]]}" for line in rows()[1:])]
    shell(f"{PREPARE} --corpus-dir {write(corpus, lines, 'folds.csv')} {tmp_path}/folds")
    check_folds(tmp_path / "folds", ["fold0", "fold1", "fold2"])
    assert set(read_table(tmp_path / "folds/fold1/test/utt2spk").values()) == {"cleo", "dan"}

    lines = [f"{rows()[0]},split", *(f"{line},{'test' if 'eva' in line else 'train'}" for line in rows()[1:])]
    shell(f"{PREPARE} --corpus-dir {write(corpus, lines, 'nodev.csv')} {tmp_path}/nodev")
    parts = {name: set(read_table(tmp_path / "nodev" / name / "utt2spk").values()) for name in ("train", "dev", "test")}
    assert parts["test"] == {"eva"} and len(parts["dev"]) == 1 and len(parts["train"]) == 4
    assert set().union(*parts.values()) == set(SPEAKERS)


def test_without_speakers_files_are_divided_and_it_is_said_loudly(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    lines = ["path,emotion,start,end", *(f"{line.rsplit(',', 1)[0]},{piece}" for line in rows()[1:]
                                         for piece in ("0,0.5", "0.5,1"))]
    table = write(corpus, lines, "nameless.csv")
    assert "--no-speakers true" in shell(f"{PREPARE} --corpus-dir {table} {tmp_path}/data", ok=False).stderr
    done = shell(f"{PREPARE} --corpus-dir {table} --no-speakers true {tmp_path}/data")
    assert "THE TEST HAS VOICES OF THE TRAINING" in done.stderr
    check_folds(tmp_path / "data", [f"fold{number}" for number in range(1, 6)])
    for number in range(1, 6):  # both pieces of a file are on one side
        assert set(Counter(read_table(tmp_path / f"data/fold{number}/test/utt2spk").values()).values()) == {2}


# ---- what the driver is told -----------------------------------------------------------------------------------------


def test_facts(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    table = write(corpus, rows(), "facts.csv")
    said = shell(f"{PREPARE} --facts --stage 3 --corpus-dir {table}").stdout.splitlines()
    assert said[0] == "--work-dir" and said[1].endswith("/egs/table/facts")
    assert said[2:] == ["--all-folds", "1 2 3 4 5", "--scheme", "none se-cp", "--test-snr", "none"]
    of_synthesis = shell(f"{PREPARE} --facts --task synthesis --corpus-dir {table}").stdout.splitlines()
    assert of_synthesis == said[:4], "schemes and noisy tests are the emotion task's"
    words = f"--facts --corpus-dir {table} --rename calm=neutral --work-dir {tmp_path} --musan-dir /musan"
    assert shell(f"{PREPARE} {words}").stdout.splitlines() == ["--work-dir", str(tmp_path), "--all-folds", "1 2 3 4 5"]
    refused = shell(f"{PREPARE} --facts --corpus-dir {table} --scheme 'none n+se-cp'", ok=False).stderr
    assert "n+se-cp: no emotion is called neutral" in refused and "--rename" in refused
    # Without the table: what was found when the lists were made.
    assert "has no lists yet" in shell(f"{PREPARE} --facts --work-dir {tmp_path}", ok=False).stderr
    shell(f"{PREPARE} --corpus-dir {table} {tmp_path}/data")
    assert shell(f"{PREPARE} --facts --work-dir {tmp_path}").stdout.splitlines()[2:4] == ["--all-folds", "1 2 3 4 5"]
    assert json.loads((tmp_path / "data/local/table.json").read_text())["emotions"] == ["angry", "calm", "sad"]
    other = write(corpus, rows(), "other.csv")
    assert "of its own with --work-dir" in shell(f"{PREPARE} --corpus-dir {other} {tmp_path}/data", ok=False).stderr


# ---- twenty broken tables --------------------------------------------------------------------------------------------


def changed(number: int, *changes: tuple[str, str], lines: list[str] | None = None) -> list[str]:
    """The lines of a good table with words of one row replaced."""
    lines = lines or rows()
    for old, new in changes:
        assert old in lines[number - 1]
        lines[number - 1] = lines[number - 1].replace(old, new)
    return lines


def with_split(split: dict[str, str]) -> list[str]:
    return [f"{rows()[0]},split", *(f"{line},{split[line.split(',')[2]]}" for line in rows()[1:])]


FIXED = dict(zip(SPEAKERS, ("train", "train", "train", "train", "dev", "test"), strict=True))

# name: (lines, encoding, row (0: none), what is said, the remedy)
BROKEN: dict[str, tuple[list[str], str, int, str, str]] = {
    "empty": ([], "utf-8", 0, "is empty", "write column names"),
    "no rows": (rows()[:1], "utf-8", 0, "has no rows", "name a recording in each row"),
    "no column names": (rows()[1:], "utf-8", 1, "no column is called path or file", "name the columns"),
    "no emotion column": (changed(1, ("emotion", "mood")), "utf-8", 1, "no column is called emotion or label",
                          "name the columns"),
    "two path columns": ([f"{rows()[0]},file", *(f"{line},x" for line in rows()[1:])], "utf-8", 1,
                         "columns 'path' and 'file' both mean the path", "rename or remove"),
    "no speaker column": ([line.rsplit(",", 1)[0] for line in rows()], "utf-8", 1, "no column says who speaks",
                          "--no-speakers true"),
    "latin-1": (changed(6, ("ben_calm", "b\xe9n")), "latin-1", 6, "byte 0xe9, as in Latin-1", "iconv -f LATIN1"),
    "a spreadsheet": (["PK\3\4 binary"], "utf-8", 0, "is a spreadsheet", "CSV UTF-8"),
    "a comma too many": (changed(4, ("sad,", "sad,very,")), "utf-8", 4, "4 columns where the first line has 3",
                         "double quotes"),
    "a value missing": (changed(7, (",ben", "")), "utf-8", 7, "2 columns where the first line has 3", "complete"),
    "an open quote": (changed(19, (",sad", ',"sad')), "utf-8", 19, "unexpected end of data", "close the quotes"),
    "no path": (changed(3, ("wav/anna_calm.wav", "")), "utf-8", 3, "no path", "fill the path in, or remove"),
    "no emotion": (changed(3, ("calm,", ",")), "utf-8", 3, "no emotion of wav/anna", "fill the emotion in"),
    "odd emotion": (changed(3, (",calm,", ",calm/happy,")), "utf-8", 3, "emotion 'calm/happy'", "letters, digits"),
    "no speaker": (changed(3, (",anna", ",")), "utf-8", 3, "no speaker of wav/anna", "fill the speaker in"),
    "one class": ([re.sub(",(calm|sad),", ",angry,", line) for line in rows()], "utf-8", 0,
                  "all 18 rows are angry", "add rows of another"),
    "duplicate": ([*rows(), rows()[4]], "utf-8", 20, "ben_angry.wav is in row 5 already", "keep one of the rows"),
    "two labels": ([*rows(), rows()[4].replace(",angry,", ",sad,")], "utf-8", 20, "angry there and sad here",
                   "keep one of the rows"),
    "two splits": (changed(9, ("train", "test"), lines=with_split(FIXED)), "utf-8", 9,
                   "speaker cleo is in test here and in train in row 8", "give every speaker one split"),
    "unknown split": (changed(6, ("train", "tran"), lines=with_split(FIXED)), "utf-8", 6, "'tran' is no split",
                      "train, dev or test"),
    "no split": (changed(6, (",train", ","), lines=with_split(FIXED)), "utf-8", 6, "no split of", "fill the split in"),
    "no test": (with_split(FIXED | {"finn": "dev"}), "utf-8", 0, "has no row in test", "complete the column"),
    "two folds": (with_split(dict(zip(SPEAKERS, "112212", strict=True))), "utf-8", 0, "has 2 folds", "3 or more"),
    "times": (changed(3, (",0,1", ",0.5,0.2"), lines=rows("start=0", "end=1")), "utf-8", 3,
              "ends at 0.2 s and starts at 0.5 s", "correct the times"),
    "no time": (changed(3, (",0,1", ",zero,1"), lines=rows("start=0", "end=1")), "utf-8", 3, "'zero' is no time",
                "in seconds"),
    "beyond the end": (changed(3, (",0,1", ",2,3"), lines=rows("start=0", "end=1")), "utf-8", 3, "is 1.000 s long",
                       "correct the times"),
    "missing file": (changed(3, ("anna_calm", "anna_clam")), "utf-8", 3, "no such file", "--allow-partial true"),
    "no audio": (changed(3, ("wav/anna_calm.wav", "broken.csv")), "utf-8", 3, "not an audio file",
                 "--allow-partial true"),
    "speakers alike": ([*rows(), "wav/x.wav,sad,a b", "wav/y.wav,sad,a-b"], "utf-8", 21,
                       "speaker 'a-b' cannot be told from 'a b' of row 20", "rename one of them"),
    "two speakers": (rows()[:7], "utf-8", 0, "cannot be divided into 3 groups", "record more people"),
    "rare class": (changed(2, (",angry,", ",proud,"), lines=with_split(dict(FIXED, anna="dev"))), "utf-8", 2,
                   "none of the 1 rows that are proud is in train", '--rename "proud=…"'),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_table(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The message has the table, the row, what is wrong and what to do; and nothing is left that looks made."""
    lines, encoding, row, said, remedy = BROKEN[name]
    table = write(corpus, lines, "broken.csv", encoding)
    monkeypatch.setattr("sys.argv", [PREPARE, "--corpus-dir", str(table), str(tmp_path / "data")])
    with pytest.raises(SerError) as error:
        runpy.run_path(str(ROOT / PREPARE))["main"]()
    message = str(error.value)
    assert said in message and remedy in message, message
    if name in ("missing file", "no audio"):  # the message is about audio
        assert f"(row {row})" in message
    elif name != "two speakers":
        assert f"{table}:{row}: " in message if row else f"{table}: " in message, message
    assert not list(tmp_path.glob("data/*/utt2spk"))


def test_all_faults_are_told_at_once(corpus: Path) -> None:
    lines = changed(3, (",calm,", ",,"))
    lines[6] = lines[6].replace(",sad,", ",,")
    lines[9] = lines[9].replace("wav/cleo_sad.wav", "")
    with pytest.raises(SerError) as error:
        corpus_table.read(write(corpus, lines, "many.csv"))
    message = str(error.value)
    assert "2 kinds of problems" in message and "many.csv:3: no emotion" in message
    assert "(and 1 more, line 7)" in message and "many.csv:10: no path" in message


def test_missing_audio_can_be_left_out(corpus: Path, shell: Shell, tmp_path: Path) -> None:
    table = write(corpus, changed(3, ("anna_calm", "anna_clam")), "partial.csv")
    done = shell(f"{PREPARE} --corpus-dir {table} --allow-partial true {tmp_path}/data")
    assert "anna_clam.wav (row 3); left out" in done.stderr
    assert len(read_table(tmp_path / "data/all/utt2emo")) == 17
