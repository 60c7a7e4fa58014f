"""Training as a user relies on it: it learns, it resumes exactly, it refuses what it cannot use."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from tiny_data import EMOTIONS, SMALL, make_data

from ser.augment.copypaste import SCHEMES
from ser.base.errors import SerError
from ser.data.labels import Labels
from ser.features.packed import pack
from ser.features.store import FeatureStore
from ser.nets.angular_margin import AngularMargin
from ser.nets.resnet import ResNet34
from ser.training.checkpoint import load_checkpoint, load_model, save_checkpoint, transfer
from ser.training.classification import Classification
from ser.training.device import set_up_device
from ser.training.evaluation import log_posteriors
from ser.training.history import add_epoch, keep_epochs, read_history
from ser.training.options import TrainOptions
from ser.training.run_folder import FINISHED, at_work
from ser.training.runs import Run
from ser.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    return make_data(folder / "train", 64, 1), make_data(folder / "dev", 24, 2)


def trainer(data, out: Path, scheme: str = "n+se-cp", seed: int = 0, init: str | None = None, **changes) -> Trainer:
    options = TrainOptions(**{**SMALL, "scheme": scheme, "seed": seed, "init": init or "random", **changes})
    return Trainer(Run(str(out.parent), out.name, (str(data[0]),), str(data[1]), options=options), CPU)


def stop_at_steps(monkeypatch, *numbers: int) -> None:
    """Let SIGTERM come during these steps of training, counted from now on over all trainings."""
    step, steps = Classification.step, itertools.count(1)

    def stopping(self, plan, epoch):
        if next(steps) in numbers:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, plan, epoch)

    monkeypatch.setattr(Classification, "step", stopping)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path)["model"]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    out = tmp_path_factory.mktemp("exp") / "whole"
    torch.set_num_threads(1)
    trainer(data, out).train()
    return out


def test_learns_and_says_what_it_did(data, trained: Path, capsys) -> None:
    model, checkpoint = load_model(trained / "best.pt", CPU)
    dev = FeatureStore.load([data[1]], CPU)
    labels = Labels.read([data[1]], dev.utterances, checkpoint["classes"])
    hypothesis = log_posteriors(model, dev).argmax(1)
    assert (hypothesis == labels.indices).mean() > 0.6
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["scheme"] == "n+se-cp" and config["seed"] == 0 and config["run"]["classes"] == list(EMOTIONS)
    assert config["precision"] == "fp32" and config["run"]["packages"]["torch"].startswith("2.")
    assert config["run"]["git_revision"]
    assert list((trained / "tensorboard").glob("events*"))
    trainer(data, trained).train()
    assert "up to date" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_weights_and_another_does_not(data, trained: Path, tmp_path: Path) -> None:
    for name, seed in (("again", 0), ("other", 1)):
        trainer(data, tmp_path / name, seed=seed).train()
        assert same(weights(tmp_path / name / "last.pt"), weights(trained / "last.pt")) is (seed == 0)


def test_longer_training_continues_a_shorter_one(data, trained: Path, tmp_path: Path) -> None:
    trainer(data, tmp_path, epochs=2).train()
    (tmp_path / FINISHED).unlink()  # one that has finished is left as it is
    trainer(data, tmp_path, epochs=6).train()
    for name in ("best.pt", "last.pt"):
        assert same(weights(tmp_path / name), weights(trained / name))


def test_killed_and_resumed_is_never_interrupted(data, tmp_path: Path) -> None:
    """kill -9 at two different moments, then the same command: the same best.pt and last.pt, bit for bit."""
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump({**SMALL, "epochs": 5}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "pyscripts"), "OMP_NUM_THREADS": "1"}

    def command(out: Path) -> list[str]:
        return [sys.executable, str(ROOT / "pyscripts" / "train.py"), "--train", str(data[0]), "--dev", str(data[1]),
                "--scheme", "n+se-cp", "--config", str(config), "--device", "cpu", "--out", str(out)]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    trainer(data, whole, epochs=5).train()
    for epochs_before_kill, delay in ((1, 0.0), (3, 0.2)):
        with subprocess.Popen(command(killed), env=environment, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith(f"epoch {epochs_before_kill}/"):
                    break
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run(command(killed), env=environment, check=True, capture_output=True, text=True)
    assert "resuming after epoch" in done.stdout
    for name in ("best.pt", "last.pt"):
        assert same(weights(whole / name), weights(killed / name))
        assert load_checkpoint(whole / name)["epoch"] == load_checkpoint(killed / name)["epoch"]
    assert not list(killed.glob("*.tmp"))


def test_all_that_is_random_is_resumed_and_the_average_with_it(data, tmp_path, monkeypatch) -> None:
    """Masks, dropout, smoothing, class weights and averaged weights, of the other network, stopped within an epoch."""
    options = {"network": "tdnn", "width": 8, "average": 0.9, "dropout": 0.3, "label_smoothing": 0.1, "time_masks": 2,
               "time_mask_width": 5, "frequency_masks": 2, "class_weights": "balanced", "input_scaling": "deviations"}
    trainer(data, tmp_path / "whole", **options).train()
    stop_at_steps(monkeypatch, 6)
    with pytest.raises(SystemExit):
        trainer(data, tmp_path / "run", **options).train()
    trainer(data, tmp_path / "run", **options).train()
    for name in ("best.pt", "last.pt"):
        assert same(weights(tmp_path / "run" / name), weights(tmp_path / "whole" / name))
    last = load_checkpoint(tmp_path / "whole" / "last.pt")
    assert not same(last["model"], last["network"])  # what is kept is the average, not the last weights


def test_the_average_is_exponential(data, tmp_path: Path, monkeypatch) -> None:
    """The kept weights are the recursion over all updates, a = 0.7 a + 0.3 w, started at the first."""
    step, after = Classification.step, []

    def noting(self, plan, epoch):
        loss = step(self, plan, epoch)
        after.append(self.network.embedding.weight.detach().clone())
        return loss

    monkeypatch.setattr(Classification, "step", noting)
    trainer(data, tmp_path, network="tdnn", width=8, average=0.7, epochs=2).train()
    average = after[0]
    for weight in after[1:]:
        average = 0.7 * average + 0.3 * weight
    assert torch.allclose(weights(tmp_path / "last.pt")["embedding.weight"], average, atol=1e-6)


def test_input_scaling_is_the_training_sets_and_goes_with_the_network(data, tmp_path: Path) -> None:
    """The kept network on raw rows is one without scaling on rows divided by the training set's deviations."""
    trainer(data, tmp_path, input_scaling="deviations", epochs=1).train()
    rows = FeatureStore.load([data[0]], CPU).frames
    kept = weights(tmp_path / "best.pt")
    assert torch.allclose(kept["deviations"], rows.std(0, correction=0), rtol=1e-4)
    model, _ = load_model(tmp_path / "best.pt", CPU)
    plain = ResNet34(4)
    plain.load_state_dict({name: value for name, value in kept.items() if name != "deviations"})
    lengths = torch.tensor([30, 20])
    with torch.no_grad():
        scaled = plain.eval()(rows[:50] / rows.std(0, correction=0), lengths)
        assert torch.allclose(model(rows[:50], lengths), scaled, atol=1e-4)
    # A network that starts from it divides as it does; one that starts from an unscaled donor divides by 1.
    trainer(data, tmp_path / "tuned", input_scaling="deviations", init=str(tmp_path), epochs=1, scheme="none").train()
    assert torch.equal(weights(tmp_path / "tuned" / "best.pt")["deviations"], kept["deviations"])
    with pytest.raises(SerError, match="input_scaling"):
        trainer(data, tmp_path / "other", init=str(tmp_path), epochs=1).train()


def test_masks_hide_from_training_alone(data, tmp_path: Path, monkeypatch) -> None:
    """With all rows hidden, batches of training are zeros under their labels; what evaluates them sees everything."""
    gather, seen = FeatureStore.batch, []

    def noting(self, plan):
        rows, lengths = gather(self, plan)
        seen.append((plan.masks is not None, bool(rows.any()), sorted(plan.labels.tolist())))
        return rows, lengths

    monkeypatch.setattr(FeatureStore, "batch", noting)
    monkeypatch.setattr("ser.augment.masking._spans", lambda room, width, random: np.stack([0 * room, room], 2))
    trainer(data, tmp_path / "masked", scheme="none", epochs=1, time_masks=1).train()
    masked = seen.copy()
    seen.clear()
    trainer(data, tmp_path / "plain", scheme="none", epochs=1).train()
    assert [labels for _, _, labels in masked] == [labels for _, _, labels in seen]
    assert {(masks, values) for masks, values, _ in masked} == {(True, False), (False, True)}
    assert sum(masks for masks, _, _ in masked) == 4  # the others re-estimate batch-norm statistics


def test_a_small_corpus_gets_min_updates_unless_epochs_are_said(data, tmp_path: Path, capsys) -> None:
    small = {name: value for name, value in SMALL.items() if name not in ("epochs", "min_updates")}
    (tmp_path / "default.yaml").write_text(yaml.safe_dump({**small, "epochs": 1, "min_updates": 10}))
    (tmp_path / "said.yaml").write_text("epochs: 2\n")
    for name, files, overrides, epochs in (
        ("default", ["default.yaml"], {}, 3), ("file", ["default.yaml", "said.yaml"], {}, 2),
        ("words", ["default.yaml"], {"epochs": 1}, 1), ("both", ["default.yaml"], {"epochs": 1, "min_updates": 8}, 2),
    ):
        options = TrainOptions.read([tmp_path / file for file in files], {"network": "tdnn", "width": 8, **overrides})
        run = Run(str(tmp_path), name, (str(data[0]),), str(data[1]), options=options)
        Trainer(run, CPU).train()
        assert len(read_history(tmp_path / name)) == epochs
    assert re.search(r"the best epoch, \d, is among the last of \d, after \d+ updates: ", capsys.readouterr().out)


def test_copypaste_has_updates_of_its_own_unless_epochs_are_said(tmp_path: Path) -> None:
    (tmp_path / "network.yaml").write_text("epochs: 16\nmin_updates: 900\ncopypaste_updates: 2150\nschedule: cosine\n")
    (tmp_path / "said.yaml").write_text("epochs: 20\n")
    (tmp_path / "fewest.yaml").write_text("min_updates: 1000\n")

    def options(scheme: str, *files: str) -> TrainOptions:
        return TrainOptions.read([tmp_path / file for file in files], {"scheme": scheme})

    files = ("network.yaml", "said.yaml")
    assert [options(scheme, "network.yaml").epochs_of(54) for scheme in SCHEMES] == [17, 40, 40, 40]
    assert [options(scheme, *files).epochs_of(54) for scheme in SCHEMES] == [20, 20, 20, 20]
    assert [options(scheme, "network.yaml", "fewest.yaml").epochs_of(54) for scheme in SCHEMES] == [19, 19, 19, 19]
    without = replace(options("none", "network.yaml"), copypaste_updates=0)
    assert options("none", "network.yaml").changed() == without.changed()
    assert not options("none", "network.yaml").differences(without)
    joining = options("n-cp", "network.yaml")
    assert joining.differences(replace(without, scheme="n-cp")) == ["copypaste_updates: 0 -> 2150"]
    assert joining.identity() != replace(without, scheme="n-cp").identity()


@pytest.mark.parametrize("packed", [False, True])
def test_stopped_within_an_epoch_is_never_interrupted(data, trained, tmp_path, monkeypatch, capsys, packed) -> None:
    """SIGTERM in the middle of epochs; on a memory-mapped set too, which is the same features and so the same run."""
    if packed:
        pack([data[0]], tmp_path / "packed", "float32")
        data = (tmp_path / "packed", data[1])
    stop_at_steps(monkeypatch, 2, 7)
    for where in ("in epoch 1, after 2 of 4 batches", "in epoch 2, after 3 of 4 batches"):
        with pytest.raises(SystemExit) as stopped:
            trainer(data, tmp_path / "run").train()
        assert stopped.value.code == 128 + signal.SIGTERM
        assert where in capsys.readouterr().out
    trainer(data, tmp_path / "run").train()
    assert "resuming after epoch 1 and 3 batches" in capsys.readouterr().out
    for name in ("best.pt", "last.pt"):
        assert same(weights(tmp_path / "run" / name), weights(trained / name))


def test_a_training_reports_its_whole_work_also_when_it_resumes(data, tmp_path, monkeypatch, capsys) -> None:
    """24 batches in all, 4 an epoch; resumed after 9 of them, 15 are left."""
    monkeypatch.setattr("ser.base.progress.LOG_EVERY_SECONDS", 0.0)
    stop_at_steps(monkeypatch, 9)
    with pytest.raises(SystemExit):
        trainer(data, tmp_path / "run").train()
    assert re.findall(r"progress: (\d+/\d+) batches trained, \d+ s left", capsys.readouterr().err)[-1] == "9/24"
    trainer(data, tmp_path / "run").train()
    printed = capsys.readouterr()
    assert re.findall(r"progress: (\d+/\d+) batches", printed.err) == [f"{done}/15" for done in range(1, 15)]
    assert re.search(r"^epoch 6/6: .*, 0 s left$", printed.out, re.MULTILINE)


def test_patience_and_no_epoch_at_all(data, tmp_path: Path, capsys) -> None:
    trainer(data, tmp_path / "patient", epochs=9, patience=2, learning_rate=1e-12).train()
    assert load_checkpoint(tmp_path / "patient" / "last.pt")["epoch"] == 3
    printed = capsys.readouterr().out
    assert "no better epoch in 2" in printed
    # The time left is until patience ends: that is what is known.
    assert re.search(r"^epoch 3/9: .*, 0 s left at least$", printed, re.MULTILINE)
    trainer(data, tmp_path / "none", epochs=0).train()
    assert load_checkpoint(tmp_path / "none" / "best.pt")["epoch"] == 0
    trainer(data, tmp_path / "none", epochs=0).train()
    assert "up to date" in capsys.readouterr().out


def test_speakers_are_classes_too(data, tmp_path: Path, capsys) -> None:
    """With what speaker recipes set: angular margin, chunks of random length, a schedule, the loss on dev."""
    options = TrainOptions(**{
        **SMALL, "epochs": 3, "loss": "aam", "min_crop": 15, "short_utt": "repeat", "schedule": "cosine",
        "warmup_epochs": 0.5, "select": "loss", "window": 32, "batch_size": 8, "labels": "utt2spk",
    })  # fmt: skip
    pack([data[0]], tmp_path / "packed", "float16")
    Trainer(Run(str(tmp_path), "run", (str(tmp_path / "packed"),), str(data[0]), options=options), CPU).train()
    losses = [float(loss) for loss in re.findall(r"dev loss (\S+),", capsys.readouterr().out)]
    model, checkpoint = load_model(tmp_path / "run" / "best.pt", CPU)
    assert checkpoint["classes"] == ["s10", "s11", "s12", "s13"]
    assert checkpoint["epoch"] == 1 + int(np.argmin(losses))
    assert model.angular == (0.2, 30) and model.classifier.weight.shape == (4, 400)
    target = ResNet34(3)
    transfer(target, tmp_path / "run", checkpoint["front_end"])
    assert torch.equal(target.embedding.weight, model.embedding.weight)


def test_learning_rates() -> None:
    def rates(**changes) -> list[float]:
        options = TrainOptions(**{**SMALL, "epochs": 10, **changes})
        return [options.rate_factor(epoch, 10, 1) for epoch in (0.5, 1, 2, 6, 10)]

    assert rates() == [1, 1, 1, 1, 1]
    assert rates(warmup_epochs=2) == [0.25, 0.5, 1, 1, 1]
    assert rates(schedule="step", step_epochs=2, step_factor=0.5) == [1, 1, 0.5, 0.125, 1 / 32]
    assert rates(schedule="cosine", warmup_epochs=2) == pytest.approx([0.25, 0.5, 1, 0.5, 0])


def test_angular_margin_is_the_formula() -> None:
    """Against cos(θ + m) itself, in float64, up to where θ + m passes half a turn; no margin without labels."""
    torch.manual_seed(0)
    layer = AngularMargin(8, 5, margin=0.3, scale=10.0)
    x, labels = torch.randn(64, 8), torch.randint(0, 5, (64,))
    a, b = x.double().numpy(), layer.weight.detach().double().numpy()
    cosines = (a / np.linalg.norm(a, axis=1, keepdims=True)) @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T
    assert layer(x).detach().numpy() == pytest.approx(10 * cosines, abs=1e-4)
    rows = np.arange(64)
    angles = np.arccos(cosines[rows, labels])
    expected = cosines.copy()
    straight = cosines[rows, labels] - 0.3 * np.sin(0.3)
    expected[rows, labels] = np.where(angles + 0.3 < np.pi, np.cos(angles + 0.3), straight)
    assert layer(x, labels).detach().numpy() == pytest.approx(10 * expected, abs=1e-4)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("changes", [{"learning_rate": 0.01}, {"scheme": "none"}, {"epochs": 9}])
def test_other_options_never_touch_a_finished_training(data, trained: Path, changes: dict) -> None:
    before = contents(trained)
    (option, value), = changes.items()
    with pytest.raises(SerError, match=rf"finished training with other options \({option}: \S+ -> {value}\).*--tag"):
        trainer(data, trained, **changes).train()
    assert contents(trained) == before


def test_other_data_move_the_old_training_aside_whole(data, tmp_path: Path, capsys) -> None:
    trainer(data, tmp_path / "run", epochs=1).train()
    (tmp_path / "run" / "score_test").mkdir()
    (tmp_path / "run" / "score_test" / "score.json").write_text("{}")
    before = contents(tmp_path / "run")
    other = make_data(tmp_path / "train", 64, 7)
    trainer((other, data[1]), tmp_path / "run", epochs=1).train()
    assert "its data have changed" in capsys.readouterr().out
    assert contents(tmp_path / "run.replaced1") == before
    assert not (tmp_path / "run" / "score_test").exists()
    assert not same(weights(tmp_path / "run" / "last.pt"), weights(tmp_path / "run.replaced1" / "last.pt"))


def test_config_of_a_run_makes_the_same_run(data, trained: Path, tmp_path: Path, shell) -> None:
    program = f"OMP_NUM_THREADS=1 {ROOT}/pyscripts/train.py --device cpu --config {trained}/config.yaml"
    assert "is up to date" in shell(program).stdout
    shell(f"{program} --out {tmp_path}/again")
    assert same(weights(tmp_path / "again" / "last.pt"), weights(trained / "last.pt"))


def test_options_of_next_year_leave_finished_runs_finished(data, trained: Path, capsys) -> None:
    """A run's config.yaml that lacks an option of today, as those of before that option do, and has one of no more."""
    config = yaml.safe_load((trained / "config.yaml").read_text())
    text = (trained / "config.yaml").read_text()
    del config["clip"]
    config["stretch"] = 0.5
    (trained / "config.yaml").write_text(yaml.safe_dump(config))
    trainer(data, trained).train()
    (trained / "config.yaml").write_text(text)
    assert "up to date" in capsys.readouterr().out


def test_history_has_a_line_an_epoch_though_interrupted(data, trained: Path, tmp_path: Path) -> None:
    history = read_history(trained)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    best = load_checkpoint(trained / "best.pt")
    assert max(record["dev_weighted_f1"] for record in history) == best["dev_weighted_f1"]
    assert history[0]["batches"] == {"none": 1, "n-cp": 1, "se-cp": 2, "alone": history[0]["batches"]["alone"]} or (
        sum(history[0]["batches"][kind] for kind in ("n-cp", "se-cp")) == 3)
    shutil.copytree(trained, tmp_path / "run")
    (tmp_path / "run" / "history.jsonl").open("a").write(json.dumps(history[-1] | {"epoch": 7}) + '\n{"epoch": 8, "lo')
    (tmp_path / "run" / FINISHED).unlink()
    trainer(data, tmp_path / "run").train()
    assert read_history(tmp_path / "run") == history
    # A line that lost power cut short must not swallow the epochs after it.
    (tmp_path / "run" / "history.jsonl").open("a").write('{"epoch": 7, "lo')
    keep_epochs(tmp_path / "run", 6)
    add_epoch(tmp_path / "run", history[-1] | {"epoch": 7})
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 2, 3, 4, 5, 6, 7]


def test_two_processes_never_train_in_one_folder(data, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ser.base.lock.PATIENCE_SECONDS", 0.2)
    refusal = rf"is being trained by process {os.getpid()}"
    with at_work(tmp_path, "is being trained"), pytest.raises(SerError, match=refusal):
        trainer(data, tmp_path).train()
    trainer(data, tmp_path, epochs=1).train()


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_truncated_checkpoint_is_named(data, trained: Path, tmp_path: Path, name: str) -> None:
    for file in ("best.pt", "last.pt"):
        content = (trained / file).read_bytes()
        (tmp_path / file).write_bytes(content[:5000] if file == name else content)
    with pytest.raises(SerError, match=rf"{name}: truncated, damaged or not a checkpoint.*delete .* and train again"):
        trainer(data, tmp_path, epochs=7).train()
    if name == "best.pt":
        with pytest.raises(SerError, match="truncated"):
            load_model(tmp_path / name, CPU)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/executed",))

    torch.save({"model": Evil()}, tmp_path / "best.pt")
    with pytest.raises(SerError, match=r"best\.pt"):
        load_checkpoint(tmp_path / "best.pt")
    assert not (tmp_path / "executed").exists()


def test_the_same_features_made_again_train_nothing_again(data, trained: Path, tmp_path: Path, capsys) -> None:
    copies = [Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in data]
    for copy in copies:
        index = copy / "feats.scp"
        index.write_text(index.read_text().replace(str(data[0].parent), str(tmp_path)))
    shutil.copytree(trained, tmp_path / "run")
    before = (tmp_path / "run" / "best.pt").stat().st_mtime_ns
    trainer(copies, tmp_path / "run").train()
    printed = capsys.readouterr().out
    assert "resuming after epoch 6" in printed and "epoch 1/" not in printed
    assert (tmp_path / "run" / "best.pt").stat().st_mtime_ns == before


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    def no_space(self, data) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(OSError, match=r"No space left.*last\.pt"):
        save_checkpoint(tmp_path / "last.pt", {"model": {}})
    assert not os.listdir(tmp_path)


def test_a_class_absent_from_train(data, tmp_path: Path) -> None:
    three = make_data(tmp_path / "train", 24, 3, EMOTIONS[:3])
    with pytest.raises(SerError, match="dev/utt2emo: sad is absent from the training data"):
        trainer((three, data[1]), tmp_path / "out").train()
    assert not (tmp_path / "out" / "best.pt").exists()


def test_an_utterance_without_label(data, tmp_path: Path) -> None:
    train = make_data(tmp_path / "train", 24, 4)
    lines = (train / "utt2emo").read_text().splitlines()
    (train / "utt2emo").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(SerError, match=f"no label for {lines[0].split()[0]}"):
        trainer((train, data[1]), tmp_path / "out").train()


def test_transfer_takes_all_weights_but_the_last_layers(data, trained: Path) -> None:
    front_end = load_checkpoint(trained / "best.pt")["front_end"]
    torch.manual_seed(5)
    model = ResNet34(7)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    transfer(model, trained, front_end)
    donor = weights(trained / "best.pt")
    for name, value in model.state_dict().items():
        assert torch.equal(value, (fresh if name.startswith("classifier.") else donor)[name])
    with pytest.raises(SerError, match="the training data: made with other options"):
        transfer(model, trained, "--sample-frequency=16000")


def test_transfer_trains_every_layer(data, trained: Path, tmp_path: Path) -> None:
    trainer(data, tmp_path, init=str(trained), epochs=1).train()
    donor, tuned = weights(trained / "best.pt"), weights(tmp_path / "last.pt")
    assert all(not torch.equal(donor[name], tuned[name]) for name in donor if name.endswith("weight"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: many\n", r"epochs: 'many' is not of type int"),
        ("epoch: 3\n", r"unknown option 'epoch'"),
        ("epochs: [1\n", "not valid YAML"),
        ("- 3\n", "expected lines"),
        ("learning_rate: .nan\n", "not a number from 0"),
        ("precision: fp8\n", "none of auto, fp32, bf16"),
        ("short_utt: crop\n", "none of pad, repeat"),
    ],
)
def test_options_are_checked(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(SerError, match=message):
        TrainOptions.read([ROOT / "conf" / "train.yaml", path], {})


def test_no_gpu_is_said(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert set_up_device("auto").type == "cpu"
    with pytest.raises(SerError, match="sees no GPU"):
        set_up_device("cuda")


def test_scores_do_not_depend_on_batching(data, trained: Path) -> None:
    model, _ = load_model(trained / "best.pt", CPU)
    store = FeatureStore.load([data[1]], CPU)
    together = log_posteriors(model, store)
    with torch.no_grad():
        for index in range(len(store.utterances)):
            alone = model(*store.whole(np.array([index]))).log_softmax(1)
            assert np.allclose(alone[0].numpy(), together[index], atol=1e-4)
