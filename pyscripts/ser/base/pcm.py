"""Samples at int16 scale, -32768 to 32767, which is Kaldi's."""

INT16_SCALE = 32768.0  # that of a sample of 1, of a waveform from -1 to 1
