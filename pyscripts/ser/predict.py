"""What a user imports to recognise emotions in recordings.

    from ser.predict import Recogniser
    recogniser = Recogniser("egs/mini/exp/mfcc-tdnn_clean_none_random/seed0")
    print(recogniser.predict(["call.wav"])[0].emotion)
"""

from ser.apps.recogniser import Answer, Moment, Recogniser

__all__ = ["Answer", "Moment", "Recogniser"]
