"""Codes: feature maps in fewer bytes than float16 needs, from which the index computes all that it shows."""

from diml.search.codes.codec import Codec, Decoder
from diml.search.codes.names import FLOAT16, check_codes, parse_codes
from diml.search.codes.storage import FILE, load_codec, save_codec

__all__ = ["FILE", "FLOAT16", "Codec", "Decoder", "check_codes", "load_codec", "parse_codes", "save_codec"]
