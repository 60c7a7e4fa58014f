"""The columns of a row of WORLD's features, a frame of 5 ms (`ser.features.world` makes them)."""

COEFFICIENTS, SCALES = 36, 10
CEPSTRUM = slice(0, COEFFICIENTS)  # mel-cepstral coefficients of the spectral envelope
CONTOUR = slice(COEFFICIENTS, COEFFICIENTS + SCALES)  # wavelet components of log F0, the finest first
LEVEL = COEFFICIENTS + SCALES  # log F0 less these
CONVERTED = slice(0, LEVEL + 1)  # what differs from emotion to emotion
VOICED = LEVEL + 1  # 1 or 0
APERIODICITY = slice(VOICED + 1, VOICED + 2)  # coded, in dB: one band at 16 kHz
COLUMNS = APERIODICITY.stop
