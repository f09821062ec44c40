"""What has to be decoded: codecs, tones, mixing, playing, recording."""
