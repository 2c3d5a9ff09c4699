// Move the receptive field: one place at a time, what a convolution and the pooling after it compute.
"use strict";
{
  const {
    data, whenNear, element, pixels, paint, grey, signed, decimal, grid, fill, frame, put, steer, announcer, bytes,
  } = readingDigits;
  const FIELD = 5, SIDE = 28;
  const rows = [1, 1, 0, -1, -1], places = [...Array(25).keys()];
  const KERNELS = {
    "lower edge": places.map((i) => rows[Math.floor(i / 5)]),
    "right edge": places.map((i) => rows[i % 5]),
    "rising stroke": places.map((i) => [2, 0, -1, -1, 0][Math.abs(Math.floor(i / 5) + (i % 5) - 4)]),
    "blur": places.map(() => 1 / 25),
  };
  const POOLINGS = {
    "max": (values) => Math.max(...values),
    "L2": (values) => Math.hypot(...values),
  };

  /**
   * The figure, on a digit (28 × 28 pixels from 0 to 1), with the kernel of this name chosen: one of the above or
   * one that is `learned` ({name: 25 weights}).
   */
  readingDigits.receptiveField = (digit, learned, chosen) => {
    const kernels = { ...KERNELS, ...learned };

    // ---- what is computed ----

    let weights, stride, pooling, side, sums, pooled; // of the whole image; the maps are side × side and half of that
    let row = 10, column = 12, seen = []; // the neuron in hand, and which have been

    /** The numbers of the pixels in the window of the neuron (row, column). */
    const window = (row, column) => places.map((i) =>
      SIDE * (stride * row + Math.floor(i / FIELD)) + stride * column + (i % FIELD));

    /** The numbers of the four neurons in the square that holds the neuron (row, column). */
    const square = (row, column) => [0, 1].flatMap((i) => [0, 1].map((j) =>
      side * (row - (row % 2) + i) + column - (column % 2) + j));

    function compute() {
      const sum = (inputs) => inputs.reduce((total, i, k) => total + digit[i] * weights[k], 0);
      side = Math.floor((SIDE - FIELD) / stride) + 1;
      sums = Array.from({ length: side ** 2 }, (_, i) => sum(window(Math.floor(i / side), i % side)));
      pooled = Array.from({ length: (side / 2) ** 2 }, (_, i) =>
        pooling(square(2 * Math.floor(i / (side / 2)), 2 * (i % (side / 2))).map((neuron) => sums[neuron])));
    }

    // ---- what the reader sees ----

    const choice = (name, options, chosen) => {
      const select = element("select", { change: restart }, ...options.map((option) => element("option", {}, option)));
      select.value = chosen;
      return [element("label", {}, `${name} `, select), select];
    };
    const [kernelLabel, kernelChoice] = choice("kernel", Object.keys(kernels), chosen);
    const [strideLabel, strideChoice] = choice("stride", ["1", "2"], "1");
    const [poolingLabel, poolingChoice] = choice("pooling", Object.keys(POOLINGS), "max");
    const slide = element("button", { type: "button", click: () => (sliding ? stop() : start()) }, "slide over all places");
    const empty = element("button", { type: "button", click: restart }, "empty the maps");

    const onImage = frame("field"), onMap = frame("field"), squareOnMap = frame("square"), onPooled = frame("square");
    const imageCanvas = pixels(SIDE), mapCanvas = element("canvas", { class: "live-pixels" });
    const pooledCanvas = element("canvas", { class: "live-pixels" });
    const handle = (label, ...children) =>
      element("div", { class: "live-handle", tabindex: 0, role: "application", "aria-label": label }, ...children);
    const imageHandle = handle("The digit. Arrow keys move the window.", imageCanvas, onImage);
    const mapHandle = handle("The feature map. Arrow keys move the square that is pooled.", mapCanvas, squareOnMap, onMap);
    const pooledView = element("div", { class: "live-view" }, pooledCanvas, onPooled);
    const mapSize = element("span"), pooledSize = element("span");
    const picture = (view, ...words) => element("div", { class: "live-picture" }, view, element("p", { class: "live-title" }, ...words));

    const [inputsTable, inputCells] = grid(5, "25 inputs");
    const [weightsTable, weightCells] = grid(5, "25 weights");
    const [productsTable, productCells] = grid(5, "25 products");
    const [squareTable, squareCells] = grid(2, "4 neurons");
    const sumText = element("p", { class: "live-answer" }), pooledText = element("p", { class: "live-answer" });
    const [region, announce] = announcer();
    const sign = (text) => element("span", {}, text);

    const figure = element("div", { class: "live-figure", role: "group", "aria-label": "Move the receptive field" },
      element("div", { class: "live-buttons" }, kernelLabel, strideLabel, poolingLabel, slide, empty),
      element("div", { class: "live-columns" },
        picture(imageHandle, "the digit: move the window"),
        picture(mapHandle, "feature map, ", mapSize),
        picture(pooledView, "pooled, ", pooledSize)),
      element("div", { class: "live-columns live-sum" },
        inputsTable, sign("×"), weightsTable, sign("="), productsTable, sumText),
      element("div", { class: "live-columns live-sum" }, squareTable, pooledText),
      element("p", { class: "live-note" }, "Orange is above 0, blue below, hatched not computed yet. Bias and activation function are left out: "
        + "as in ConvPool, the bare sums are pooled."),
      region);

    /** Go to a neuron; `whole` computes the three that are pooled with it, too. */
    function go(toRow, toColumn, whole = false) {
      const inside = (value) => Math.max(0, Math.min(side - 1, value));
      [row, column] = [inside(toRow), inside(toColumn)];
      for (const neuron of whole ? square(row, column) : [side * row + column]) seen[neuron] = true;
      show();
    }

    function show() {
      const inputs = window(row, column).map((i) => digit[i]), products = inputs.map((input, i) => input * weights[i]);
      const four = square(row, column), sum = sums[side * row + column];
      const half = side / 2, [y, x] = [row >> 1, column >> 1], whole = four.every((neuron) => seen[neuron]);
      const most = Math.max(...sums.map(Math.abs)), heaviest = Math.max(...weights.map(Math.abs));

      paint(mapCanvas, sums.map((value, i) => (seen[i] ? value : NaN)), signed(most));
      paint(pooledCanvas, pooled.map((value, i) => square(2 * Math.floor(i / half), 2 * (i % half))
        .every((neuron) => seen[neuron]) ? value : NaN), signed(Math.max(...pooled.map(Math.abs))));
      put(onImage, stride * column, stride * row, FIELD, SIDE);
      put(onMap, column, row, 1, side);
      put(squareOnMap, 2 * x, 2 * y, 2, side);
      put(onPooled, x, y, 1, half);
      fill(inputCells, inputs, grey(1), 0.5);
      fill(weightCells, weights, signed(2 * heaviest));
      fill(productCells, products, signed(2 * heaviest));
      fill(squareCells, four.map((neuron) => (seen[neuron] ? sums[neuron] : null)), signed(2 * most));

      const means = poolingChoice.value === "max" ? "the largest" : "the root of the sum of squares";
      sumText.textContent = `Sum: ${decimal(sum)}`;
      pooledText.textContent = `${means[0].toUpperCase()}${means.slice(1)}: ${whole ? decimal(pooled[half * y + x]) : "…"}`;
      announce(`Row ${row}, column ${column}: sum ${decimal(sum)}. `
        + (whole ? `Pooled, ${means} of four: ${decimal(pooled[half * y + x])}.` : ""));
      readingDigits.field = { row, column, stride, inputs, weights, products, sum, sums, pooled };
    }

    /** Take what is chosen, with empty maps. */
    function restart() {
      stop();
      const before = stride;
      [weights, stride, pooling] = [kernels[kernelChoice.value], Number(strideChoice.value), POOLINGS[poolingChoice.value]];
      compute();
      for (const [canvas, size] of [[mapCanvas, side], [pooledCanvas, side / 2]]) canvas.width = canvas.height = size;
      mapSize.textContent = `${side} × ${side}`;
      pooledSize.textContent = `${side / 2} × ${side / 2}`;
      seen = [];
      const scale = (before ?? stride) / stride;
      go(Math.floor(row * scale), Math.floor(column * scale), true);
    }

    // ---- sliding ----

    let sliding = 0;
    function start() {
      let next = 0;
      const step = () => {
        const until = matchMedia("(prefers-reduced-motion: reduce)").matches ? sums.length : next + sums.length / 288;
        while (next < until && next < sums.length) seen[next++] = true;
        go(Math.floor((next - 1) / side), (next - 1) % side);
        if (next < sums.length) sliding = requestAnimationFrame(step);
        else stop();
      };
      seen = [];
      slide.textContent = "stop";
      sliding = requestAnimationFrame(step);
    }

    function stop() {
      cancelAnimationFrame(sliding);
      sliding = 0;
      slide.textContent = "slide over all places";
    }

    // ---- moving ----

    function moving(handle, follow, step, whole) {
      steer(handle, (y, x) => {
        stop();
        go(follow(y), follow(x), whole);
      }, (down, right) => {
        stop();
        go(row + step * down, column + step * right, whole);
      });
    }
    moving(imageHandle, (at) => Math.round((SIDE * at - FIELD / 2) / stride), 1, false);
    moving(mapHandle, (at) => Math.floor(side * at), 2, true);

    paint(imageCanvas, digit, grey(1));
    restart();
    return figure;
  };

  const container = document.getElementById("live-field");
  if (container) {
    whenNear(container, ["data/field.js"], () => {
      const { image, learned, record, filter } = data.field;
      container.append(readingDigits.receptiveField(Array.from(bytes(image), (ink) => ink / 256),
        { [`learned: filter ${filter} of “${record}”`]: learned }, "lower edge"));
    });
  }
}
