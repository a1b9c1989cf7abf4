"""Features computed elsewhere: compare them, and see which parts match, without any model.

    python examples/own_features.py

Features are an array (images, rows * columns, numbers per part), one row of parts after the other.
"""

import numpy as np
import torch

from diml import FeatureMaps, Matcher
from diml.matching import similarity


def main() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(3, 4 * 4, 32)).astype("float32")
    features[1] = features[0, ::-1] + 0.1 * features[1]  # image 1 has the parts of image 0, in reverse order
    maps = FeatureMaps(torch.from_numpy(features), grid=(4, 4))

    print("similarity of all pairs:")
    print(similarity(maps, maps).numpy().round(3))

    match = Matcher(tolerance=1e-6).match(maps[0], maps[1])
    print(f"similarity {float(match.similarity):.3f}, of which the strongest pairs of parts contribute")
    for pair in match.parts(4):
        print(f"  {pair.a} with {pair.b}: {pair.contribution:+.3f} ({pair.share:.0%})")


if __name__ == "__main__":
    main()
