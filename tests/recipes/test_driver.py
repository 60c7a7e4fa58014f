"""What the driver plans, before anything is made: facts of recipes, options of others, names of folders, mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from small_project import copy_project

ROOT = Path(__file__).resolve().parents[2]
# A recipe table knows its classes from the user's table: test_table.py plans it.
RECIPES = sorted(path.parent.name for path in ROOT.glob("egs/*/run.sh") if path.parent.name != "table")


def call(*words: str, ok: bool = True, script: Path = ROOT / "run.sh", cwd: Path = ROOT) -> str:
    done = subprocess.run([str(script), *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def plan(folder: Path, *words: str, script: Path = ROOT / "run.sh", cwd: Path = ROOT) -> list[dict]:
    """The runs that the driver plans for these options."""
    call("--work-dir", str(folder / "work"), "--plan", str(folder / "runs"), "--baseline", "false", *words,
         script=script, cwd=cwd)
    return [json.loads(line) for line in (folder / "runs").read_text().splitlines()]


def test_mini_is_the_default_and_has_two_schemes(tmp_path: Path) -> None:
    runs = plan(tmp_path)
    assert [run["out"] for run in runs] == [f"exp/mfcc-tdnn_clean_{scheme}_random/seed0"
                                            for scheme in ("none", "n+se-cp")]
    assert runs[0]["train"] == ["data/train_voiced"] and runs[0]["dev"] == "data/dev_voiced"
    noisy = {name: f"data/{name}_voiced" for name in ("test_snr10", "test_snr0")}
    assert runs[0]["tests"] == {"test": "data/test_voiced", "test_diluted": "data/test_voiced", **noisy}
    assert runs[0]["work"] == str(tmp_path / "work") and not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_called_either_way_plans_the_same(tmp_path: Path, recipe: str) -> None:
    runs = plan(tmp_path, "--recipe", recipe, "--seeds", "3")
    assert runs and runs == plan(tmp_path, "--seeds", "3", script=ROOT / "egs" / recipe / "run.sh", cwd=tmp_path)
    assert {run["recipe"] for run in runs} == {recipe}


def test_the_users_options_beat_the_recipes_facts(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "--recipe", "librispeech", "--train-data", "clean")
    assert run["train"] == ["data/packed_clean_voiced"] and run["task"] == "speaker"
    assert [run["fold"] for run in plan(tmp_path, "--recipe=ravdess", "--scheme", "none", "--folds", "4 2")] == [4, 2]
    assert len(plan(tmp_path, "--recipe", "ravdess", "--scheme", "none")) == 6


@pytest.mark.parametrize(("words", "condition"), [
    (["--recipe", "ravdess"], "mfcc-resnet_clean+speed_none_random"),
    (["--recipe", "ravdess", "--train-data", "clean"], "mfcc-resnet_clean_none_random"),
    (["--recipe", "ravdess", "--system", "functionals"], "functionals-svm_clean_none_random"),
    (["--recipe", "mini"], "mfcc-tdnn_clean_none_random"),
])
def test_the_networks_on_mfcc_learn_emotions_from_other_speeds_too(
    tmp_path: Path, words: list[str], condition: str
) -> None:
    run = plan(tmp_path, *words, "--scheme", "none")[0]
    assert Path(run["out"]).parts[1] == condition


def test_the_baseline_is_planned_beside_the_networks(tmp_path: Path) -> None:
    """On the same features and folds, without any option of theirs, and once whatever schemes and seeds there are."""
    options = ("--recipe", "ravdess", "--folds", "1 2", "--scheme", "none n-cp", "--seeds", "1 2", "--cmn", "utterance",
               "--train-data", "clean+noise", "--epochs", "3", "--tag", "mine", "--baseline", "true")
    runs = plan(tmp_path, *options)
    of_networks, of_baseline = runs[:-2], runs[-2:]
    assert len(of_networks) == 8 and not [run for run in of_networks if "functionals" in run["out"]]
    assert [run["out"] for run in of_baseline] == [
        f"exp/functionals-utterance-svm_clean+noise_none_random/fold{fold}/seed0" for fold in (1, 2)]
    for run, network in zip(of_baseline, of_networks[::2], strict=False):
        assert all(run[part] == network[part] for part in ("fold", "train", "dev", "tests", "test_list", "given"))
        assert run["options"] == {"system": "functionals", "network": "svm"}
    # Stage 4 alone scores what there is to score.
    assert plan(tmp_path, *options, "--stage", "4") == of_networks
    trained = tmp_path / "work" / of_baseline[1]["out"]
    trained.mkdir(parents=True)
    (trained / ".train.done").touch()
    assert plan(tmp_path, *options, "--stage", "4") == [*of_networks, of_baseline[1]]


@pytest.mark.parametrize("words", [
    ["--recipe", "librispeech", "--baseline", "true"], ["--system", "functionals", "--baseline", "true"],
])
def test_no_baseline_of_speakers_nor_of_itself(tmp_path: Path, words: list[str]) -> None:
    assert len(plan(tmp_path, *words)) == 1


@pytest.mark.parametrize(
    ("options", "condition", "train"),
    [
        ([], "mfcc-tdnn_clean_none_random", ["train_voiced"]),
        (["--train-data", "clean+noise"], "mfcc-tdnn_clean+noise_none_random",
         ["train_voiced", "train_noisy_voiced"]),
        (["--train-data", "clean+noise", "--snr", "0 10 5"], "mfcc-tdnn_clean+noise_none_random",
         ["train_voiced", "train_noisy_voiced"]),
        (["--train-data", "clean+noise", "--snr", "15 -5", "--noise-kinds", "music"],
         "mfcc-tdnn_clean+noise-music-15-m5_none_random", ["train_voiced", "train_noisy-music-15-m5_voiced"]),
        (["--train-data", "clean+noise-music-15-m5"],
         "mfcc-tdnn_clean+noise-music-15-m5_none_random", ["train_voiced", "train_noisy-music-15-m5_voiced"]),
        (["--train-data", "clean+vtlp+speed+noise-20", "--cmn", "utterance"],
         "mfcc-utterance-tdnn_clean+noise-20+speed+vtlp_none_random",
         ["train_utterance_voiced", "train_noisy-20_utterance_voiced", "train_speed_utterance_voiced",
          "train_vtlp_utterance_voiced"]),
        (["--train-data", "clean+pitch", "--test-snr", "none"], "mfcc-tdnn_clean+pitch_none_random",
         ["train_voiced", "train_pitch_voiced"]),
        (["--mfcc-config", "conf/mfcc_16k.conf"], "mfcc16k-tdnn_clean_none_random", ["train_mfcc16k_voiced"]),
        (["--mfcc-config", "conf/mfcc_8k.conf"], "mfcc-tdnn_clean_none_random", ["train_voiced"]),
        (["--mfcc-config", "{tmp}/my_own.conf"], "mfcc-my-own-tdnn_clean_none_random",
         ["train_mfcc-my-own_voiced"]),
        (["--cmn", "utterance", "--copy-vad", "own"], "mfcc-utterance-ownvad-tdnn_clean_none_random",
         ["train_utterance-ownvad_voiced"]),
        (["--cmn", "speaker"], "mfcc-speaker-tdnn_clean_none_random", ["train_speaker_voiced"]),
        (["--cmn", "speaker", "--cmn-vars", "true", "--network", "tdnn"], "mfcc-speaker-vars-tdnn_clean_none_random",
         ["train_speaker-vars_voiced"]),
        (["--mfcc-config", "conf/mfcc_16k.conf", "--cmn", "none", "--compress", "true"],
         "mfcc16k-compressed-none-tdnn_clean_none_random", ["train_mfcc16k-compressed-none_voiced"]),
    ],
)
def test_features_and_copies_have_their_names(
    tmp_path: Path, options: list[str], condition: str, train: list[str]
) -> None:
    (tmp_path / "my_own.conf").write_text("--sample-frequency=16000\n")
    options = [option.replace("{tmp}", str(tmp_path)) for option in options]
    (run,) = plan(tmp_path, "--scheme", "none", *options)
    assert run["out"] == f"exp/{condition}/seed0"
    assert run["train"] == [f"data/{name}" for name in train]


def test_a_recipes_own_normalisation_is_the_default_that_the_command_line_replaces(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "cmn.conf").write_text("# whole line\n--cmn=speaker  # and its end\n--cmn-vars=true\n")
    program = ROOT / "local" / "system_mfcc.sh"
    assert call("--recipe-dir", str(tmp_path), "name", script=program) == "mfcc-speaker-vars\n"
    assert call("--cmn", "sliding", "--recipe-dir", str(tmp_path), "name", script=program) == "mfcc\n"
    assert call("--cmn", "speaker", "--recipe-dir", str(tmp_path), "name", script=program) == "mfcc-speaker\n"


@pytest.mark.parametrize(
    ("recipe", "options", "name"),
    [
        ("ravdess", ["--calm", "drop"], "_calm-drop"),
        ("ravdess", ["--calm", "neutral", "--allow-partial", "true"], ""),
        ("iemocap", ["--merge-excited", "true"], "_merge-excited"),
        ("iemocap", ["--merge-excited", "false"], ""),
        ("librispeech", ["--train-subsets", "a b", "--dev-speakers", "9"], "_train-subsets-a+b-dev-speakers-9"),
    ],
)
def test_other_lists_have_their_own_folders(tmp_path: Path, recipe: str, options: list[str], name: str) -> None:
    run = plan(tmp_path, "--recipe", recipe, *options)[0]
    assert run["out"].startswith(f"exp{name}/mfcc-resnet") and run["dev"].startswith(f"data{name}/")


def test_lists_of_paths_have_names_without_them(tmp_path: Path) -> None:
    first, second = (plan(tmp_path, "--recipe", "voxceleb", "--trials", path)[0]["out"] for path in ("a/b", "a/c"))
    assert first != second and all(out.count("/") == 2 and out.startswith("exp_trials-") for out in (first, second))


def test_a_speaker_models_options_are_named(tmp_path: Path) -> None:
    options = ("--recipe", "librispeech", "--noise-passes", "2", "--min-utts", "8")
    (run,) = plan(tmp_path, *options)
    assert run["train"] == ["data/packed_clean+noise-passes2-utts8_voiced"]
    assert run["out"] == "exp/mfcc-resnet_clean+noise-passes2-utts8_none_random/seed0"
    (named,) = plan(tmp_path, "--recipe", "librispeech", "--train-data", "clean+noise-passes2-utts8")
    assert named | {"given": run["given"]} == run


def test_training_options_name_the_run_and_reach_it(tmp_path: Path) -> None:
    (run,) = plan(tmp_path, "--scheme", "none", "--learning-rate", "0.01")
    assert run["out"] == "exp/mfcc-tdnn_clean_none_random_learning-rate-0.01/seed0"
    assert run["options"]["learning_rate"] == 0.01
    (run,) = plan(tmp_path, "--scheme", "none", "--learning-rate", "0.01", "--tag", "mine")
    assert run["out"] == "exp/mfcc-tdnn_clean_none_random_mine/seed0"


def test_options_may_come_out_of_a_pipe(tmp_path: Path) -> None:
    line = (f"{ROOT}/run.sh --work-dir {tmp_path}/work --plan {tmp_path}/runs --scheme none --baseline false "
            "--config <(echo 'epochs: 3')")
    subprocess.run(["bash", "-c", line], check=True)
    run = json.loads((tmp_path / "runs").read_text())
    assert run["options"]["epochs"] == 3 and run["out"] == "exp/mfcc-tdnn_clean_none_random/seed0"


def test_paths_are_the_callers(tmp_path: Path) -> None:
    shutil.copy(ROOT / "conf" / "mfcc_16k.conf", tmp_path / "mfcc_16k.conf")
    (tmp_path / "five.yaml").write_text("epochs: 5\n")
    call("--work-dir", "work", "--plan", "runs", "--config", "five.yaml", "--mfcc-config", "mfcc_16k.conf",
         cwd=tmp_path)
    run = json.loads((tmp_path / "runs").read_text().splitlines()[0])
    assert run["out"] == "exp/mfcc16k-tdnn_clean_none_random_five/seed0" and run["work"] == str(tmp_path / "work")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stages", "3"], "unknown option --stages"),
        (["--noise-dir", "./nowhere"], "--noise-dir ./nowhere: no such folder"),
        (["--noise", "cafe"], "--noise"),
        (["--calm", "drop"], "unknown option --calm: the corpus ravdess has it, mini has no such thing"),
        (["--min-utts", "3"], "unknown option --min-utts"),  # of another task
        (["--cmd", "run.pl"], "unknown option --cmd"),  # between the programs
        (["--suffix", "x"], "unknown option --suffix"),
        (["--scheme", "cp"], "'cp' is none of none, se-cp, n-cp, n+se-cp"),
        (["--scheme", ""], "cannot be empty"),
        (["--recipe", "nowhere"], "no recipe 'nowhere'; there are: cremad"),
        (["--recipe", ""], "no recipe ''"),
        (["--seeds", "one"], "--seeds takes whole numbers"),
        (["--seeds", "0 1 0"], "'0' is given twice"),
        (["--seeds", ""], "cannot be empty"),
        (["--folds", "9"], "no folds, not '9'"),
        (["--recipe", "ravdess", "--folds", "9"], "ravdess has 1 2 3 4 5 6, not '9'"),
        (["--recipe", "ravdess", "--folds", "1 2 1", "--stage", "3"], "given twice"),
        (["--stage", "3", "--stop-stage", "1"], "comes after"),
        (["--stage", "9"], "--stage is one of 0, 1, 2, 3, 4, 5, not '9'"),
        (["--nj", "0"], "--nj takes a whole number from 1"),
        (["--train-threads", "x"], "--train-threads takes a whole number"),
        (["--num-nodes", "2"], "run.py knows one machine"),
        (["--ngpu", "1", "--num-processes", "2"], "each GPU has its process"),
        (["--system", "fbank"], "--system is one of mfcc"),
        (["--network", "lstm"], "--network of mfcc is one of resnet tdnn"),
        (["--cmn", "sliding", "--cmn-vars", "true"], "--cmn-vars true is for --cmn speaker, not for sliding"),
        (["--cmn", "global"], "--cmn is one of sliding, utterance, speaker, none"),
        (["--mfcc-config", "/nowhere"], "--mfcc-config /nowhere: no such file"),
        (["--train-data", "noise"], "--train-data is clean, or a sum such as clean+noise"),
        (["--train-data", "clean+tempo"], "of noise speed pitch vtlp emoaug1 cyclegan stargan; not 'clean+tempo'"),
        (["--train-data", "clean+speed+speed"], "speed is there twice"),
        (["--train-data", "clean+speed-0.8"], "speed has no options"),
        (["--train-data", "clean+speed2"], "speed has no options"),
        (["--train-data", "clean+emoaug"], "emoaug has a number, that of the copies: emoaug4"),
        (["--train-data", "clean+emoaug2-loud"], "after emoaug's number comes -balanced or nothing"),
        (["--balance", "true"], "--balance true is of copies in other styles"),
        (["--remainder", "pad"], "--remainder pad is of blocks"),
        (["--cv-folds", "3"], "--cv-folds is of --split segment"),
        (["--weights", "x.npz"], "x.npz: is of --init imagenet"),
        (["--train-data", "clean+emoaug2"], "name EmoAug's network, --converter RUN"),
        (["--train-data", "clean+noise-wind"], "--noise-kinds are noise and music, not 'wind'"),
        (["--snr", "loud"], "--snr takes numbers in dB, not 'loud'"),
        (["--test-snr", ""], "--test-snr cannot be empty"),
        (["--noise-kinds", ""], "--noise-kinds are noise and music"),
        (["--recipe", "librispeech", "--train-data", "clean+noise-x2"], "'x2' is none of passes<N>"),
        (["--recipe", "ravdess", "--calm", "dropped"], "--calm: invalid choice: 'dropped'"),
        (["--epochs", "many"], "epochs: 'many'"),
        (["--init", "/nowhere"], "no best.pt there"),
        (["--config", "/nowhere.yaml"], "--config /nowhere.yaml: no such file"),
        (["--config", "/tmp"], "--config /tmp: no such file"),
        (["--recipe", "iemocap"], "IEMOCAP is licensed and cannot be fetched; say where it is with --corpus-dir"),
        (["--stage", "3", "--scheme", "none"], "no such file"),
        (["--work-dir", "/proc/here"], "cannot make that folder"),
        (["extra"], "unexpected argument 'extra'"),
    ],
)
def test_what_cannot_work_is_said(tmp_path: Path, options: list[str], message: str) -> None:
    printed = call(*([] if "--work-dir" in options else ["--work-dir", str(tmp_path)]), *options, ok=False)
    assert message in printed
    assert not (tmp_path / "data").exists()


def test_a_recipe_is_not_another(tmp_path: Path) -> None:
    assert "this is the recipe ravdess" in call("--recipe", "cremad", ok=False, script=ROOT / "egs/ravdess/run.sh")


@pytest.mark.parametrize(("facts", "message"), [
    ("", "egs/own/run.sh does not state its facts, followed by --"),
    ("--", "egs/own/run.sh states '', for which there is no local/task_.sh"),
])
def test_a_new_recipe_without_facts_is_told(tmp_path: Path, facts: str, message: str) -> None:
    project = copy_project(tmp_path / "project")
    (project / "egs" / "own").mkdir()
    recipe = project / "egs" / "own" / "run.sh"
    recipe.write_text('#!/usr/bin/env bash\nexec "$(dirname "$0")/../../run.sh" --recipe own ' + facts + ' "$@"\n')
    os.chmod(recipe, 0o755)
    assert message in call("--recipe", "own", ok=False, script=project / "run.sh")


def test_a_fold_gets_the_copies_of_its_own_utterances(tmp_path: Path) -> None:
    speakers = {"train": "ab", "dev": "c", "test": "de"}

    def write(name: str, ids: dict[str, str], features: bool = False) -> None:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        for table, value in (("utt2spk", lambda utt: ids[utt]), ("utt2emo", lambda _: "sad"),
                             *([("feats.scp", lambda utt: f"/x.ark:{len(utt)}")] if features else [])):
            (folder / table).write_text("".join(f"{utt} {value(utt)}\n" for utt in sorted(ids)))
        of = {speaker: " ".join(sorted(utt for utt in ids if ids[utt] == speaker)) for speaker in ids.values()}
        (folder / "spk2utt").write_text("".join(f"{speaker} {of[speaker]}\n" for speaker in sorted(of)))

    for name, letters in speakers.items():
        write(f"fold2/{name}", {f"{letter}-1": letter for letter in letters})
    everyone = {f"{letter}-1": letter for letters in speakers.values() for letter in letters}
    copies = {f"{utt}-noise-snr{snr}": speaker for utt, speaker in everyone.items() for snr in (5, 10)}
    write("all_noisy", copies)
    (tmp_path / "data" / "all_noisy" / "utt2uniq").write_text(
        "".join(f"{copy} {copy.split('-noise')[0]}\n" for copy in sorted(copies)))
    write("all_noisy_voiced", {copy: speaker for copy, speaker in copies.items() if copy != "a-1-noise-snr5"}, True)
    for snr in (10, 0):
        write(f"test_snr{snr}_voiced", everyone, True)
    options = ("--folds", "2", "--train-data", "clean+noise")
    printed = call(*options, "share", "copies", script=ROOT / "local" / "task_emotion.sh", cwd=tmp_path)

    def listed(name: str) -> list[str]:
        lines = (tmp_path / "data" / "fold2" / name / "feats.scp").read_text().splitlines()
        return [line.split()[0] for line in lines]

    assert listed("train_noisy_voiced") == ["a-1-noise-snr10", "b-1-noise-snr10", "b-1-noise-snr5"]
    assert listed("test_snr0_voiced") == listed("test_snr10_voiced") == ["d-1", "e-1"]
    assert "data/fold2/train_noisy_voiced: 1 of 4 utterances have no features" in printed


def test_help_lists_stages_and_options_and_those_of_others() -> None:
    printed = call("--recipe", "ravdess", "--help")
    for word in ("--stage", "--stop-stage", "--scheme", "--train-data", "--init", "--seeds", "--folds", "--nj",
                 "--ngpu", "--config", "--recipe", "--system", "--network", "--tag", "--task", "--emotions",
                 "--mfcc-config", "--cmn", "--snr", "--test-snr", "--min-utts", "--calm", "--learning-rate", "resnet"):
        assert word in printed
    assert "--data-name" not in printed and "--work-dir DIR" in printed
    printed = call("--help", script=ROOT / "egs" / "voxceleb" / "run.sh")
    assert "--sre-dirs" in printed and "--min-utts" in printed and "--snr" not in printed


def test_the_config_of_a_run_plans_that_run_again(tmp_path: Path) -> None:
    """With options of the system, the task and the corpus, a pre-trained model's folder, and a front end elsewhere."""
    front_end = tmp_path / "my ü.conf"
    front_end.write_text((ROOT / "conf" / "mfcc_8k.conf").read_text() + "--num-ceps=20\n--num-mel-bins=20\n")
    given = ("--recipe", "ravdess", "--cmn", "utterance", "--calm", "drop", "--test-snr", "15", "--folds", "2",
             "--mfcc-config", str(front_end), "--scheme", "n-cp", "--seeds", "7", "--epochs", "3")
    (run,) = plan(tmp_path, *given)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    record = {name: value for name, value in run.items() if name != "options"}
    seven = {"seed": 7, "scheme": "n-cp", "system": "mfcc", "network": "resnet", "init": "random"}
    (folder / "config.yaml").write_text(yaml.safe_dump({**seven, **run["options"], "run": record}))
    call("--config", str(folder / "config.yaml"), "--plan", str(folder / "again.jsonl"))
    assert json.loads((folder / "again.jsonl").read_text()) == run
    said = call("--recipe", "mini", "--config", str(folder / "config.yaml"), ok=False)
    assert "a run of the recipe ravdess, not of mini" in said


def test_one_training_has_one_name(tmp_path: Path) -> None:
    one = plan(tmp_path, "--learning-rate", "1e-3", "--learning-rate", "2e-3", "--epochs", "5")
    other = plan(tmp_path, "--epochs", "5", "--learning-rate", "0.002")
    assert one == other and one[0]["tag"] == "epochs-5_learning-rate-0.002"
