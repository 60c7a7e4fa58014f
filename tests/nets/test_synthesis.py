"""EmoAug's network: torchaudio's Tacotron 2 as the outside truth, and that it learns, stops and follows the style."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.models import Tacotron2

from ser.nets.speaker import Ge2e
from ser.nets.synthesis import Discriminator, Synthesiser, synthesis_losses

WIDTH, STYLE = 32, 8


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return units, their lengths, mels, theirs, and styles of three utterances, with junk beyond their ends."""
    random = torch.Generator().manual_seed(seed)
    units, mels = torch.randint(200, (3, 9), generator=random), torch.randn(3, 20, 80, generator=random)
    return units, torch.tensor([9, 4, 6]), mels, torch.tensor([20, 11, 15]), torch.randn(3, STYLE, generator=random)


def network(**options: bool | int) -> Synthesiser:
    torch.manual_seed(0)
    return Synthesiser(STYLE, WIDTH, **options).eval()


@pytest.fixture
def no_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the prenet's dropout, which is there in evaluation too."""
    monkeypatch.setattr(F, "dropout", lambda x, *_, **__: x)


def peer_and_ours() -> tuple[Tacotron2, Synthesiser]:
    """Return torchaudio's network and ours, without styles, with its weights."""
    torch.manual_seed(1)
    peer = Tacotron2(
        n_symbol=200, symbol_embedding_dim=WIDTH, encoder_embedding_dim=WIDTH, decoder_rnn_dim=2 * WIDTH,
        attention_rnn_dim=2 * WIDTH, attention_hidden_dim=WIDTH // 4, prenet_dim=256,
        postnet_embedding_dim=WIDTH,
    ).eval()
    for module in peer.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    names = {
        "embedding": "encoder.embedding", "prenet.layers": "prenet", "attention_rnn": "attention_lstm",
        "decoder_rnn": "decoder_lstm", "attention_layer": "attention", "query_layer": "query", "memory_layer": "memory",
        ".v.": ".score.", "location_layer.location_conv": "filters", "location_layer.location_dense": "location",
        "linear_projection": "mel", "gate_layer": "stop",
    }
    state = {}
    for name, value in peer.state_dict().items():
        for theirs, own in names.items():
            name = name.replace(theirs, own)
        before, found, after = name.partition(".convolutions.")
        if found:  # theirs are pairs of a convolution and its norm
            number, place, rest = after.split(".")
            name = f"{before}.{('convolutions', 'norms')[int(place)]}.{number}.{rest}"
        state[name] = value
    ours = Synthesiser(0, WIDTH).eval()
    ours.load_state_dict({**ours.state_dict(), **state})  # all but the statistics of styles, of which there are none
    return peer, ours


@pytest.mark.usefixtures("no_dropout")
def test_teacher_forced_it_is_torchaudios_tacotron2_with_the_same_weights_and_has_its_gradients() -> None:
    peer, ours = peer_and_ours()
    units, _, mels, _, _ = batch()
    lengths, frames = torch.full((3,), 9), torch.full((3,), 20)  # theirs computes on padding
    before, after, stops, attention = peer(units, lengths, mels.transpose(1, 2), frames)
    said = ours(units, lengths, mels, frames, torch.zeros(3, 0))
    for own, theirs in zip(said[:4], (before.transpose(1, 2), after.transpose(1, 2), stops, attention), strict=True):
        assert torch.allclose(own, theirs, atol=1e-4)
    synthesis_losses(said, mels, lengths).sum().backward()
    ends = F.one_hot(frames - 1, 20).float()
    squares = sum((made.transpose(1, 2) - mels).square().mean((1, 2)) for made in (before, after))
    (squares + F.binary_cross_entropy_with_logits(stops, ends, reduction="none").mean(1)).sum().backward()
    pairs = {
        ours.decoder.attention_lstm.weight_ih: peer.decoder.attention_rnn.weight_ih,
        ours.decoder.attention_lstm.weight_hh: peer.decoder.attention_rnn.weight_hh,
        ours.decoder.decoder_lstm.weight_hh: peer.decoder.decoder_rnn.weight_hh,
        ours.decoder.attention.query.weight: peer.decoder.attention_layer.query_layer.weight,
        ours.decoder.attention.filters.weight: peer.decoder.attention_layer.location_layer.location_conv.weight,
        ours.encoder.embedding.weight: peer.embedding.weight,
    }
    for own, theirs in pairs.items():
        assert torch.allclose(own.grad, theirs.grad, rtol=1e-3, atol=1e-4 * float(theirs.grad.abs().max()))


@pytest.mark.usefixtures("no_dropout")
def test_generating_with_every_frame_own_is_torchaudios_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, ours = peer_and_ours()
    monkeypatch.setattr("ser.nets.tacotron_decoder._STOPS", 2.0)
    monkeypatch.setattr("ser.nets.tacotron_decoder._Draws.__next__", lambda self: torch.full((2, 3, 256), 0.5))
    peer.decoder.gate_threshold, peer.decoder.decoder_max_step = 2.0, 12
    units, lengths = batch()[0], torch.full((3,), 9)
    with pytest.warns(UserWarning, match="max decoder steps"), torch.no_grad():
        theirs, _, _ = peer.infer(units, lengths)
    made = ours.generate(units, lengths, torch.zeros(3, 0), 12, [0, 1, 2])
    assert torch.allclose(made.mels, theirs.transpose(1, 2), atol=1e-4)
    assert made.lengths.tolist() == [12] * 3 and not made.stopped.any()
    with torch.no_grad():  # the same by way of scheduled sampling
        said = ours(units, lengths, torch.zeros(3, 12, 80), torch.full((3,), 12), torch.zeros(3, 0), own=1.0)
    assert torch.allclose(said.mels, made.mels, atol=1e-5)


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize("training", [False, True])
def test_junk_beyond_an_utterances_end_changes_nothing_of_it_nor_of_batch_norm(training: bool) -> None:
    units, lengths, mels, frames, styles = batch()
    results = []
    for junk in (0, 1):
        model = network().train(training)
        units_there, mels_there = torch.full_like(units, junk), torch.full_like(mels, 9.0 * junk)
        for row, (count, length) in enumerate(zip(lengths, frames, strict=True)):
            units_there[row, :count], mels_there[row, :length] = units[row, :count], mels[row, :length]
        said = model(units_there, lengths, mels_there, frames, styles)
        losses = synthesis_losses(said, mels_there, lengths, guided=1.0)
        results.append([*said[:4], losses, *(norm.running_var for norm in model.encoder.norms)])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.usefixtures("no_dropout")
def test_no_utterance_depends_on_what_it_is_batched_with() -> None:
    model, (units, lengths, mels, frames, styles) = network(), batch()
    with torch.no_grad():
        together = model(units, lengths, mels, frames, styles)
    limits = torch.tensor([7, 30, 18])  # the batch goes on without those that have ended
    generated = model.generate(units, lengths, styles, limits, [5, 6, 7])
    for row in range(3):
        one = (units[row : row + 1, : lengths[row]], lengths[row : row + 1])
        style = styles[row : row + 1]
        with torch.no_grad():
            alone = model(*one, mels[row : row + 1, : frames[row]], frames[row : row + 1], style)
        assert torch.allclose(alone.mels[0], together.mels[row, : frames[row]], atol=1e-5)
        assert torch.allclose(alone.attention[0], together.attention[row, : frames[row], : lengths[row]], atol=1e-5)
        made = model.generate(*one, style, int(limits[row]), [5 + row])
        length = int(made.lengths)
        assert length == generated.lengths[row] and made.stopped == generated.stopped[row]
        assert torch.allclose(made.mels[0], generated.mels[row, :length], atol=1e-4)
        assert not generated.mels[row, length:].any() and not generated.attention[row, length:].any()


@pytest.mark.usefixtures("no_dropout")
def test_with_a_reduction_factor_each_step_says_frames_after_the_last_of_the_step_before() -> None:
    model, (units, lengths, mels, frames, styles) = network(postnet=False, reduction=3), batch()

    def said(mels: Tensor) -> Tensor:
        with torch.no_grad():
            return model(units, lengths, mels, frames, styles).mels[0]

    first, changed = said(mels), mels.clone()
    changed[:, [0, 1, 3, 4, 6]] += 1  # what no step reads
    assert first.shape == (20, 80) and torch.equal(first, said(changed))
    changed[:, 8] += 1
    differ = (first != said(changed)).any(1)
    assert differ[9:].all() and not differ[:9].any()


@pytest.mark.usefixtures("no_dropout")
def test_with_a_reduction_factor_an_utterance_ends_within_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser.nets.tacotron_decoder._Draws.__next__", lambda self: torch.full((2, 1, 256), 0.5))
    model, (units, lengths, _, _, styles) = network(reduction=3), batch()
    model.decoder.stop.weight.data.zero_()
    model.decoder.stop.bias.data.fill_(-9)
    limits = torch.tensor([7, 3, 8])
    made = model.generate(units, lengths, styles, limits, [0, 1, 2])
    assert made.lengths.tolist() == limits.tolist() and not made.stopped.any() and made.mels.shape == (3, 8, 80)
    with torch.no_grad():  # the same by way of scheduled sampling
        freely = model(units, lengths, torch.zeros(3, 8, 80), limits, styles, own=1.0)
    assert torch.allclose(freely.mels, made.mels, atol=1e-5)
    assert torch.allclose(freely.attention, made.attention, atol=1e-5)
    model.decoder.stop.bias.data[1] = 9  # a step's second frame
    made = model.generate(units, lengths, styles, limits, [0, 1, 2])
    assert made.lengths.tolist() == [2, 2, 2] and made.stopped.all()


def test_another_style_or_seed_changes_the_mel_and_the_same_repeats_it_bit_for_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ser.nets.tacotron_decoder._STOPS", 2.0)  # an untrained network may stop at once
    model, (units, lengths, _, _, styles) = network(), batch()

    def mels(styles: Tensor, seeds: list[int]) -> Tensor:
        return model.generate(units, lengths, styles, 10, seeds).mels

    first = mels(styles, [1, 2, 3])
    assert torch.equal(first, mels(styles, [1, 2, 3]))
    assert not torch.allclose(first[0], mels(styles.roll(1, 0), [1, 2, 3])[0], atol=1e-3)
    other = mels(styles, [1, 9, 3])
    assert torch.allclose(first[0], other[0], atol=1e-5) and not torch.allclose(first[1], other[1], atol=1e-3)


@pytest.mark.usefixtures("no_dropout")
def test_what_the_style_adds_is_that_of_a_plain_loop_over_units_beside_it() -> None:
    decoder, (_, lengths, mels, _, style) = network().decoder, batch()
    units = torch.randn(3, 9, WIDTH)
    memory = torch.cat([units, style[:, None].expand(-1, 9, -1)], 2)
    beyond = torch.arange(9) >= lengths[:, None]
    hidden = cell = said = said_cell = torch.zeros(3, 2 * WIDTH)
    context, weights, sums = F.pad(style, (WIDTH, 0)), torch.zeros(3, 9), torch.zeros(3, 9)
    keys, attention, expected = decoder.attention.memory(memory), decoder.attention, []
    for frame in F.pad(mels, (0, 0, 1, 0))[:, :-1].unbind(1):
        for layer in decoder.prenet:
            frame = layer(frame).relu()
        hidden, cell = decoder.attention_lstm(torch.cat([frame, context], 1), (hidden, cell))
        places = attention.filters(F.pad(torch.stack([weights, sums], 1), (15, 15))).transpose(1, 2)
        energies = keys + attention.query(hidden)[:, None] + attention.location(places)
        scores = attention.score(energies.tanh())[..., 0].masked_fill(beyond, -torch.inf)
        weights = scores.softmax(1)
        sums = sums + weights
        context = (weights[:, None] @ memory)[:, 0]
        said, said_cell = decoder.decoder_lstm(torch.cat([hidden, context], 1), (said, said_cell))
        expected.append(decoder.mel(torch.cat([said, context], 1)))
    made, _, _ = decoder(units, style, lengths, mels, 0.0)
    assert torch.allclose(made, torch.stack(expected, 1), atol=1e-5)


def test_a_style_is_a_vector_and_a_level_which_are_standardised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ser.nets.tacotron_decoder._STOPS", 2.0)
    torch.manual_seed(0)
    encoder, (units, lengths, mels, frames, _) = Ge2e(6, 8, 1), batch()
    model, heard = Synthesiser(encoder, WIDTH).eval(), torch.rand(3, 50, 41)
    styles = torch.stack([model.style_of(each) for each in heard])
    assert torch.allclose(styles, torch.cat([encoder(heard[..., :40]), heard[:, 0, 40:]], 1), atol=1e-6)
    known = torch.cat([0.04 * torch.randn(20, 6), 3 + torch.randn(20, 1)], 1)
    model.standardise(known)
    scaled = (known - model.style_means) / model.style_deviations
    assert torch.allclose(scaled.mean(0), torch.zeros(7), atol=1e-5)
    assert float(scaled[:, :6].square().mean()) == pytest.approx(1, rel=1e-4)
    assert float(scaled[:, 6].square().mean()) == pytest.approx(1, rel=1e-4)
    torch.manual_seed(1)
    said = model(units, lengths, mels, frames, heard)
    torch.manual_seed(1)
    assert torch.allclose(said.mels, model(units, lengths, mels, frames, styles).mels, atol=1e-5)
    first = model.generate(units, lengths, styles, 10, [1, 2, 3]).mels
    styles[0, 6] += 1  # e times as loud
    louder = model.generate(units, lengths, styles, 10, [1, 2, 3]).mels
    assert not torch.allclose(first[0], louder[0], atol=1e-3) and torch.allclose(first[1:], louder[1:], atol=1e-5)


def test_the_gradient_reaches_the_style_and_every_parameter() -> None:
    model, (units, lengths, mels, frames, styles) = network().train(), batch()
    styles.requires_grad_()
    said = model(units, lengths, mels, frames, styles, own=0.3)
    synthesis_losses(said, mels, lengths, guided=1.0).sum().backward()
    assert styles.grad.abs().sum(1).min() > 0
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_the_loss_is_what_its_docstring_says() -> None:
    model, (units, lengths, mels, frames, styles) = network(postnet=False), batch()
    with torch.no_grad():
        said = model(units, lengths, mels, frames, styles)
        losses = synthesis_losses(said, mels, lengths)
        guided = synthesis_losses(said, mels, lengths, guided=2.0) - losses
    for row, (count, length) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
        ends = torch.zeros(length)
        ends[-1] = 1
        stop = F.binary_cross_entropy_with_logits(said.stops[row, :length], ends)
        square = F.mse_loss(said.mels[row, :length], mels[row, :length])
        assert float(losses[row]) == pytest.approx(float(square + stop))
        apart = torch.tensor([[u / count - t / length for u in range(count)] for t in range(length)])
        expected = 2 * (said.attention[row, :length, :count] * (1 - torch.exp(-(apart**2) / 0.08))).mean()
        assert float(guided[row]) == pytest.approx(float(expected), rel=1e-4)


def test_sizes_are_tacotron2s_at_width_512() -> None:
    with torch.device("meta"):
        ours, peer = Synthesiser(0), Tacotron2(n_symbol=200)
    assert sum(value.numel() for value in ours.parameters()) == sum(value.numel() for value in peer.parameters())


def made_utterances(count: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return utterances as `batch` does, of two styles; a unit is one to four frames of a spectrum of its own."""
    random = torch.Generator().manual_seed(3)
    spectra, offsets = torch.randn(200, 80, generator=random), 0.5 * torch.randn(2, 80, generator=random)
    units, mels, styles = [], [], torch.eye(STYLE)[torch.arange(count) % 2]
    for number in range(count):
        said = torch.randperm(200, generator=random)[: 8 + number]
        held = torch.randint(2, 5, (len(said),), generator=random)
        units.append(said)
        mels.append(spectra[said].repeat_interleave(held, 0) + offsets[number % 2])
    padded = (nn.utils.rnn.pad_sequence(parts, batch_first=True) for parts in (units, mels))
    lengths = (torch.tensor([len(part) for part in parts]) for parts in (units, mels))
    (units, mels), (unit_lengths, mel_lengths) = padded, lengths
    return units, unit_lengths, mels, mel_lengths, styles


@pytest.mark.long
def test_eight_utterances_are_learnt_and_said_with_a_monotone_attention_and_an_end() -> None:
    torch.manual_seed(0)
    units, lengths, mels, frames, styles = made_utterances(8)
    model = Synthesiser(STYLE, 64, dropout=0.0).train()
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)

    def error(units: Tensor) -> float:
        with torch.no_grad():
            said = model.eval()(units, lengths, mels, frames, styles)
        model.train()
        mask = said.attention.sum(2) > 0.5
        return float((said.mels - mels).square().mean(2)[mask].mean())

    first = error(units)
    for _ in range(400):
        optimiser.zero_grad()
        synthesis_losses(model(units, lengths, mels, frames, styles), mels, lengths, guided=1.0).mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    last = error(units)
    assert last < first / 10
    shuffled = units.clone()
    for row, count in enumerate(lengths):
        shuffled[row, :count] = units[row, torch.randperm(int(count))]
    assert error(shuffled) > 2 * last
    made = model.eval().generate(units, lengths, styles, 2 * frames, range(8))
    assert made.stopped.all() and (made.lengths - frames).abs().max() <= 5
    for row, length in enumerate(made.lengths):
        place = made.attention[row, :length].argmax(1)
        assert float((place.diff() >= 0).float().mean()) >= 0.95


def test_the_discriminator_separates_speech_like_from_noise_and_a_generator_can_then_lower_its_loss() -> None:
    torch.manual_seed(0)
    critic, lengths = Discriminator(20, 32).train(), torch.tensor([40, 32, 25, 40])
    optimiser = torch.optim.Adam(critic.parameters(), 2e-3)
    mask = (torch.arange(40) < lengths[:, None])[..., None]

    def genuine() -> Tensor:
        return torch.randn(4, 40, 20).cumsum(1) * mask / 3

    for _ in range(150):
        noise = torch.randn(4, 40, 20) * mask
        scores = critic(torch.cat([genuine(), noise]), lengths.repeat(2))
        loss = (scores[:4] - 1).square().mean() + scores[4:].square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    critic.eval()
    fake = (torch.randn(4, 40, 20) * mask).requires_grad_()
    with torch.no_grad():
        assert (critic(genuine(), lengths) - 1).square().mean() + critic(fake, lengths).square().mean() < 0.1
    before = (critic(fake, lengths) - 1).square().mean()
    (gradient,) = torch.autograd.grad(before, fake)
    assert (critic(fake - 0.05 * gradient / gradient.std(), lengths) - 1).square().mean() < before
    with torch.no_grad():
        assert torch.allclose(critic(fake[2:3, :25], lengths[2:3]), critic(fake, lengths)[2:3], atol=1e-5)
