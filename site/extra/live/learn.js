// Watch it learn: the shallow network trains in the page, in a worker, on some of MNIST's digits.
"use strict";
{
  const { data, load, whenNear, element, pixels, paint, paintMap, signed, bytes, announcer } = readingDigits;
  const INPUTS = 784, UNITS = 100, CLASSES = 10;

  /** The network and a step of its training. Self-contained, for the worker gets it as text. */
  function learning(INPUTS, UNITS, CLASSES) {
    const ACTIVATIONS = { // and their slopes, by what they give
      sigmoid: [(z) => 1 / (1 + Math.exp(-z)), (a) => a * (1 - a)],
      tanh: [Math.tanh, (a) => 1 - a * a],
      relu: [(z) => Math.max(0, z), (a) => (a > 0 ? 1 : 0)],
    };

    /** Random numbers from 0 to 1, always the same for a seed (mulberry32). */
    function generator(seed) {
      return () => {
        seed = (seed + 0x6d2b79f5) | 0;
        let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
        t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
        return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
      };
    }

    /** Kernel and bias of the hidden layer and of the softmax layer, which starts with zeros. */
    function start(kind, random) {
      const normal = (count, deviation) => Float32Array.from({ length: count }, () =>
        deviation * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()));
      const [kernels, biases] = { chapter: [Math.sqrt(1 / UNITS), 1], He: [Math.sqrt(2 / INPUTS), 0], zeros: [0, 0] }[kind];
      return [normal(INPUTS * UNITS, kernels), normal(UNITS, biases),
        new Float32Array(UNITS * CLASSES), new Float32Array(CLASSES)];
    }

    /** Activations of the hidden layer and logarithms of the probabilities, for 784 pixels from 0 to 255. */
    function forward([w1, b1, w2, b2], activation, image) {
      const hidden = Float64Array.from(b1), [activate] = ACTIVATIONS[activation];
      for (let i = 0; i < INPUTS; i++) {
        if (image[i]) for (let u = 0; u < UNITS; u++) hidden[u] += image[i] / 256 * w1[i * UNITS + u];
      }
      const logs = Float64Array.from(b2);
      for (let u = 0; u < UNITS; u++) {
        hidden[u] = activate(hidden[u]);
        for (let k = 0; k < CLASSES; k++) logs[k] += hidden[u] * w2[u * CLASSES + k];
      }
      const most = Math.max(...logs), total = most + Math.log(logs.reduce((sum, z) => sum + Math.exp(z - most), 0));
      return { hidden, logs: logs.map((z) => z - total) };
    }

    /** A step of gradient descent, in place. Returns the mean loss of the mini-batch. `decay` is λ by the steps of an epoch. */
    function step(weights, activation, images, labels, batch, rate, decay) {
      const [w1, b1, w2, b2] = weights, [, slope] = ACTIVATIONS[activation], share = rate / batch.length;
      let loss = 0;
      const found = batch.map((n) => { // all gradients before any weight changes
        const image = images.subarray(INPUTS * n, INPUTS * (n + 1)), { hidden, logs } = forward(weights, activation, image);
        loss -= logs[labels[n]] / batch.length;
        const output = logs.map((log, k) => Math.exp(log) - (k === labels[n] ? 1 : 0));
        const inner = hidden.map((a, u) => {
          let sum = 0;
          for (let k = 0; k < CLASSES; k++) sum += output[k] * w2[u * CLASSES + k];
          return sum * slope(a);
        });
        return { image, hidden, output, inner };
      });
      if (decay) for (const kernel of [w1, w2]) for (let i = 0; i < kernel.length; i++) kernel[i] -= rate * decay * kernel[i];
      for (const { image, hidden, output, inner } of found) {
        for (let k = 0; k < CLASSES; k++) b2[k] -= share * output[k];
        for (let u = 0; u < UNITS; u++) {
          b1[u] -= share * inner[u];
          for (let k = 0; k < CLASSES; k++) w2[u * CLASSES + k] -= share * hidden[u] * output[k];
        }
        for (let i = 0; i < INPUTS; i++) {
          if (image[i]) for (let u = 0; u < UNITS; u++) w1[i * UNITS + u] -= share * image[i] / 256 * inner[u];
        }
      }
      return loss;
    }

    return { generator, start, forward, step };
  }

  /** What the worker does: train, and report four times a second. */
  function work({ generator, start, forward, step }, INPUTS) {
    let images, labels, training, options, number, weights, initial, random, order = [], steps, seen, running = false;

    function restart() {
      random = generator(0);
      weights = start(options.start, random);
      initial = weights[0].slice();
      [order, steps, seen] = [[], 0, 0];
    }

    function batch() {
      if (order.length < options.batch) {
        order = [...Array(training).keys()];
        for (let i = training - 1; i > 0; i--) {
          const j = Math.floor((i + 1) * random());
          [order[i], order[j]] = [order[j], order[i]];
        }
      }
      return order.splice(0, options.batch);
    }

    function report(loss) {
      const wrong = [], used = new Set();
      const validation = labels.length - training;
      for (let n = training; n < labels.length; n++) {
        const { hidden, logs } = forward(weights, options.activation, images.subarray(INPUTS * n, INPUTS * (n + 1)));
        hidden.forEach((a, u) => a !== 0 && used.add(u));
        const answer = logs.indexOf(Math.max(...logs));
        if (answer !== labels[n]) wrong.push([n, answer]);
      }
      postMessage({ number, steps, epochs: seen / training, loss, accuracy: 1 - wrong.length / validation, wrong: wrong.slice(0, 24),
        dead: weights[1].length - used.size, kernel: weights[0], initial });
    }

    function train() {
      if (!running) return;
      const until = performance.now() + 200;
      let loss = 0, count = 0;
      do {
        loss += step(weights, options.activation, images, labels, batch(), options.rate, options.l2 * options.batch / training);
        count++;
        steps++;
        seen += options.batch;
      } while (performance.now() < until && Number.isFinite(loss));
      if (!Number.isFinite(loss)) running = false;
      report(loss / count);
      setTimeout(train);
    }

    onmessage = ({ data }) => {
      if (data.images) ({ images, labels, training } = data);
      options = data.options;
      if (data.number !== number) restart();
      number = data.number;
      const idle = !running;
      running = data.running;
      if (running && idle) setTimeout(train);
    };
  }

  function build() {
    const CHOICES = {
      rate: ["learning rate", ["0.001", "0.01", "0.03", "0.1", "0.3", "1", "3", "10"], "0.1"],
      batch: ["mini-batch", ["1", "10", "100", "1000"], "10"],
      l2: ["λ", ["0", "0.01", "0.1", "1", "10"], "0"],
      activation: ["activation", ["sigmoid", "tanh", "relu"], "sigmoid"],
      start: ["start", ["chapter", "He", "zeros"], "chapter"],
    };
    const selects = {}, labels = Object.entries(CHOICES).map(([key, [name, options, chosen]]) => {
      const anew = ["activation", "start"].includes(key);
      selects[key] = element("select", { change: () => (anew ? restart() : send()) },
        ...options.map((option) => element("option", {}, option)));
      selects[key].value = chosen;
      return element("label", {}, `${name} `, selects[key]);
    });
    const go = element("button", { type: "button", click: () => (running ? pause() : run()) }, "train");
    const anew = element("button", { type: "button", click: restart }, "start anew");
    const said = element("p", { class: "live-answer" }, "It has learned nothing yet.");
    const chart = element("div", { class: "live-chart", role: "img", "aria-label": "Loss and validation accuracy by step" });
    const units = Array.from({ length: UNITS }, () => pixels(28)), missed = element("div", { class: "live-missed" });
    const [region, announce] = announcer();
    const pictures = element("select", {}, ...["what training has changed", "the weights"].map((name) => element("option", {}, name)));
    const title = (text) => element("p", { class: "live-title" }, text);
    container.append(element("div", { class: "live-figure", role: "group", "aria-label": "Watch it learn" },
      element("div", { class: "live-buttons" }, go, anew, ...labels), said, chart,
      element("div", { class: "live-buttons" }, element("label", {}, "of the 784 weights of each hidden neuron: ", pictures)),
      element("div", { class: "live-units", role: "img", "aria-label": "The hidden neurons, as pictures of their weights" }, ...units),
      title("Orange is above 0, blue below, all on one scale."),
      title("Some of the validation digits that it misreads, with its answers"), missed, region));

    let worker = null, running = false, number = 0, digits = null, points = [[], [], []];
    const ink = () => getComputedStyle(chart).color, line = () => getComputedStyle(container).getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 0.5 }, ticks: { stroke: line } };
    const plot = new uPlot({
      width: chart.clientWidth, height: 260, scales: { x: { time: false }, "%": { range: [0, 100] } },
      series: [{ label: "step" }, { label: "loss", stroke: "#d55e00", width: 1.5 },
        { label: "validation accuracy, %", stroke: "#0072b2", width: 1.5, scale: "%" }],
      axes: [{ ...axis, label: "step" }, { ...axis, label: "loss" }, { ...axis, scale: "%", side: 1, label: "accuracy, %", grid: { show: false } }],
    }, points, chart);
    new ResizeObserver(() => plot.setSize({ width: chart.clientWidth, height: 260 })).observe(chart);
    new MutationObserver(() => plot.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });

    const options = () => ({ rate: Number(selects.rate.value), batch: Number(selects.batch.value), l2: Number(selects.l2.value),
      activation: selects.activation.value, start: selects.start.value });

    function send(more = {}) {
      worker?.postMessage({ options: options(), running, number, ...more });
    }

    /** Fetch and unpack the digits, and start the worker, once. */
    async function ready() {
      if (worker) return;
      await load("data/digits.js");
      const { packed, labels, training } = data.digits;
      const unpacked = new Blob([bytes(packed)]).stream().pipeThrough(new DecompressionStream("gzip"));
      digits = { images: new Uint8Array(await new Response(unpacked).arrayBuffer()), labels: Array.from(labels, Number), training };
      const text = `(${work})((${learning})(${INPUTS}, ${UNITS}, ${CLASSES}), ${INPUTS})`;
      worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
      worker.onmessage = (event) => show(event.data);
      send(digits);
    }

    async function run() {
      running = true;
      go.textContent = "pause";
      try {
        await ready();
      } catch {
        pause();
        said.textContent = "The digits could not be loaded. Try again.";
        return;
      }
      send();
    }

    function pause() {
      running = false;
      go.textContent = "train";
      send();
    }

    function restart() {
      points = [[], [], []];
      plot.setData(points);
      said.textContent = "It has learned nothing yet.";
      readingDigits.learn = null;
      number++;
      send();
    }

    function show({ number: of, steps, epochs, loss, accuracy, wrong, dead, kernel, initial }) {
      const diverged = !Number.isFinite(loss);
      if (of !== number) return; // a report from before it started anew
      [steps, diverged ? null : loss, 100 * accuracy].forEach((value, i) => points[i].push(value));
      plot.setData(points);
      said.textContent = diverged ? `After ${steps} steps the loss is no number any more: the training diverged.`
        : `${steps} steps, ${epochs.toFixed(1)} epochs: loss ${loss.toPrecision(3)}, `
          + `${(100 * accuracy).toFixed(1)} % of the validation digits correct`
          + (options().activation === "relu" ? `, ${dead} of ${UNITS} neurons answer to none of them.` : ".");
      announce(said.textContent);
      if (diverged) pause();
      const shown = pictures.selectedIndex ? kernel : kernel.map((weight, i) => weight - initial[i]);
      let most = 0;
      for (const weight of shown) if (Math.abs(weight) > most) most = Math.abs(weight);
      units.forEach((canvas, u) => paint(canvas, Array.from({ length: INPUTS }, (_, i) => shown[i * UNITS + u] || 0), signed(most || 1)));
      missed.replaceChildren(...wrong.map(([n, answer]) => {
        const small = pixels(28, { role: "img", "aria-label": `a ${digits.labels[n]} read as ${answer}` });
        paintMap(small, digits.images.subarray(INPUTS * n, INPUTS * (n + 1)), 1, 0, 255);
        return element("span", {}, small, `${answer}`);
      }));
      readingDigits.learn = { points, steps, loss, accuracy, dead, diverged };
    }
    units.forEach((canvas) => paint(canvas, Array(INPUTS).fill(0), signed(1)));
  }

  readingDigits.learning = learning(INPUTS, UNITS, CLASSES);
  const container = document.getElementById("live-learn");
  container.append(element("link", { rel: "stylesheet", href: "../vendor/uplot/uPlot.css" }));
  whenNear(container, ["../vendor/uplot/uPlot.js"], build);
}
