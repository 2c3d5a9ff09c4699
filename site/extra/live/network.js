// The network, as nets/layers.py has it. Values lie in a row as in Keras: row, column and, fastest, channel.
"use strict";
{
  /** Sums of a convolution: 5 × 5 windows of square maps, no padding, kernel not turned. */
  function convolve(values, channels, kernel, filters) {
    const side = Math.sqrt(values.length / channels), places = side - 4;
    const sums = new Float32Array(places * places * filters), here = new Float64Array(filters);
    for (let row = 0; row < places; row++) {
      for (let column = 0; column < places; column++) {
        here.fill(0);
        for (let i = 0; i < 5; i++) {
          for (let j = 0; j < 5 * channels; j++) {
            const value = values[((row + i) * side + column) * channels + j];
            if (value === 0) continue;
            const weight = (i * 5 * channels + j) * filters;
            for (let f = 0; f < filters; f++) here[f] += value * kernel[weight + f];
          }
        }
        sums.set(here, (row * places + column) * filters);
      }
    }
    return sums;
  }

  /** The largest of each square of 2 × 2. */
  function maxPool(values, channels) {
    const side = Math.sqrt(values.length / channels), half = side / 2, line = side * channels;
    const largest = new Float32Array(half * half * channels);
    for (let place = 0, to = 0; place < half * half; place++) {
      let from = channels * (2 * side * Math.floor(place / half) + 2 * (place % half));
      for (let c = 0; c < channels; c++, from++, to++) {
        largest[to] = Math.max(values[from], values[from + channels], values[from + line], values[from + line + channels]);
      }
    }
    return largest;
  }

  /** Sums of a fully connected layer. */
  function multiply(values, kernel, units) {
    const sums = new Float32Array(units);
    values.forEach((value, i) => {
      if (value !== 0) for (let u = 0; u < units; u++) sums[u] += value * kernel[i * units + u];
    });
    return sums;
  }

  /** Backwards through convolve: what each value does to all sums together, if `slopes` are what the sums do. */
  function convolveBack(slopes, filters, kernel, channels) {
    const places = Math.sqrt(slopes.length / filters), side = places + 4;
    const back = new Float64Array(side * side * channels);
    slopes.forEach((slope, i) => {
      if (slope === 0) return;
      const place = Math.floor(i / filters), from = side * Math.floor(place / places) + (place % places);
      for (let k = 0; k < 25; k++) {
        const to = channels * (from + side * Math.floor(k / 5) + (k % 5));
        for (let c = 0; c < channels; c++) back[to + c] += slope * kernel[filters * (channels * k + c) + (i % filters)];
      }
    });
    return back;
  }

  /** Backwards through maxPool: the slope goes to the largest of the four, in equal parts if there are several. */
  function maxPoolBack(slopes, values, channels) {
    const half = Math.sqrt(slopes.length / channels), line = 2 * half * channels, back = new Float64Array(values.length);
    slopes.forEach((slope, i) => {
      if (slope === 0) return;
      const place = Math.floor(i / channels);
      const from = 2 * line * Math.floor(place / half) + 2 * channels * (place % half) + (i % channels);
      const four = [from, from + channels, from + line, from + line + channels];
      const most = Math.max(values[four[0]], values[four[1]], values[four[2]], values[four[3]]);
      const largest = four.filter((from) => values[from] === most);
      for (const from of largest) back[from] = slope / largest.length;
    });
    return back;
  }

  /** Backwards through multiply. */
  const multiplyBack = (slopes, kernel, inputs) => Float64Array.from({ length: inputs }, (_, i) =>
    slopes.reduce((sum, slope, u) => sum + slope * kernel[i * slopes.length + u], 0));

  const add = (sums, biases) => sums.map((sum, i) => sum + biases[i % biases.length]);
  const relu = (sums, biases) => sums.map((sum, i) => Math.max(0, sum + biases[i % biases.length]));

  function softmax(sums) {
    const most = Math.max(...sums);
    const powers = Array.from(sums, (sum) => Math.exp(sum - most));
    const total = powers.reduce((a, b) => a + b);
    return powers.map((power) => power / total);
  }

  /** A 16-bit floating point number from its bits. */
  function half(bits) {
    const exponent = (bits >> 10) & 31, fraction = bits & 1023;
    const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
    return bits & 0x8000 ? -size : size;
  }

  /**
   * The network that tools/live.py has written, as a function of 28 × 28 pixels from 0 to 255, with its
   * weights: kernel and bias of each layer.
   */
  readingDigits.network = ({ shapes, numbers, precision }) => {
    const { buffer } = readingDigits.bytes(numbers);
    const all = precision === "float16"
      ? Float32Array.from(new Uint16Array(buffer), half) : new Float32Array(buffer);
    let end = 0;
    const [w1, b1, w2, b2, w3, b3, w4, b4] = shapes.map((shape) =>
      all.subarray(end, (end += shape.reduce((a, b) => a * b))));

    /** All numbers of every stage: sums before bias and activation, and what comes out. */
    const network = (pixels) => {
      const input = Float32Array.from(pixels, (pixel) => pixel / 256);
      const sums1 = convolve(input, 1, w1, b1.length), pooled1 = relu(maxPool(sums1, b1.length), b1);
      const sums2 = convolve(pooled1, b1.length, w2, b2.length), pooled2 = relu(maxPool(sums2, b2.length), b2);
      const sums3 = multiply(pooled2, w3, b3.length), hidden = relu(sums3, b3);
      const sums4 = multiply(hidden, w4, b4.length), probabilities = softmax(add(sums4, b4));
      return { input, sums1, maps1: relu(sums1, b1), pooled1, sums2, maps2: relu(sums2, b2), pooled2,
        sums3, hidden, sums4, probabilities };
    };
    /**
     * Why one answer and not another, pixel by pixel. With ReLU and max as they are for this digit, the network is
     * linear: one sum less the other is input · weights + bias.
     */
    network.effect = ({ sums1, pooled1, sums2, pooled2, hidden }, one, other) => {
      let bias = b4[one] - b4[other];
      /** What passes ReLU, with what it does to the bias. */
      const open = (slopes, values, biases) => slopes.map((slope, i) => {
        if (values[i] === 0) return 0;
        bias += slope * biases[i % biases.length];
        return slope;
      });
      const slopes3 = open(Float64Array.from(hidden, (_, n) => w4[10 * n + one] - w4[10 * n + other]), hidden, b3);
      const slopes2 = open(multiplyBack(slopes3, w3, pooled2.length), pooled2, b2);
      const slopes1 = open(convolveBack(maxPoolBack(slopes2, sums2, b2.length), b2.length, w2, b1.length), pooled1, b1);
      return { weights: convolveBack(maxPoolBack(slopes1, sums1, b1.length), b1.length, w1, 1), bias };
    };
    network.layers = [[w1, b1], [w2, b2], [w3, b3], [w4, b4]];
    return network;
  };
}
