"""Images a second that are bent by `nets.elastic`, by SciPy and by Keras: python benchmarks/augment.py

`nets.elastic` and the loop with SciPy draw Simard's field, Keras' layer draws another. A figure is the best
of three measurements. Compare within one run only: machines differ. KERAS_BACKEND chooses the backend.
"""

import time

import keras
import numpy as np
from scipy import ndimage

import nets
from nets import machine

SIGMA, ALPHA = 4.0, 34.0


def scipy_loop(images):
    rng, positions = np.random.default_rng(0), np.indices(images.shape[1:3])
    bent = np.empty_like(images)
    for i, image in enumerate(images[..., 0]):
        fields = [ndimage.gaussian_filter(rng.uniform(-1, 1, image.shape), SIGMA, mode="constant")
                  for _ in range(2)]
        bent[i, ..., 0] = ndimage.map_coordinates(image, positions + ALPHA * np.array(fields), order=1)
    return bent


def images_a_second(bend, images):
    bend(images)  # compiles what is compiled
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        np.asarray(bend(images))
        seconds.append(time.perf_counter() - began)
    return len(images) / min(seconds)


def main():
    images = nets.load_mnist().train.images
    layer = keras.layers.RandomElasticTransform((1.0, 1.0), scale=(1.0, 1.0))  # always, at full strength
    ways = [("nets.elastic", lambda images: nets.elastic(images, 0, SIGMA, ALPHA), 50000),
            ("a loop with SciPy", scipy_loop, 2000),
            ("keras.layers.RandomElasticTransform", lambda images: layer(images, training=True), 500)]
    print(f"{keras.backend.backend()} on {machine.device()}")
    for name, bend, count in ways:
        print(f"{name:36}{images_a_second(bend, images[:count]):10,.0f} images a second", flush=True)


if __name__ == "__main__":
    main()
