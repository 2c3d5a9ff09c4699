// Draw a digit: the network reads along. Network, weights and sample digits are fetched at the first use.
"use strict";
{
  const { data, load, element, pixels, paintMap, drag, announcer, bytes, percent, say } = readingDigits;
  const SIZE = 280, PEN = 22; // of the pad, and of its pen, in pixels
  const DIGITS = [...Array(10).keys()];

  // ---- from the pad to the network's input ----

  /**
   * The network's input, 28 × 28 pixels from 0 to 255, or null for a blank pad: `as_mnist` of the page "Does
   * it read your digits?", in JavaScript.
   *
   * Prepared as MNIST's digits were: what is written on (by more than a tenth of the most ink) is cut out,
   * scaled into a square of 20 × 20, keeping the aspect, and laid with the centre of mass in the middle. Each
   * pixel is the exact average of the piece of the pad that it covers.
   * ink: size × size values from 0 to 255.
   */
  function preprocess(ink, size) {
    let most = 0;
    for (let i = 0; i < ink.length; i++) if (ink[i] > most) most = ink[i];
    const faint = 0.1 * most;
    let left = size, right = -1, top = size, bottom = -1;
    for (let row = 0; row < size; row++) {
      for (let column = 0; column < size; column++) {
        if (ink[row * size + column] <= faint) continue;
        left = Math.min(left, column);
        right = Math.max(right, column);
        top = Math.min(top, row);
        bottom = row;
      }
    }
    if (right < 0) return null;
    let mass = 0, x = 0, y = 0;
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const value = ink[row * size + column];
        mass += value;
        x += value * (column + 0.5);
        y += value * (row + 0.5);
      }
    }
    const pixel = Math.max(right - left + 1, bottom - top + 1) / 20; // how much of the pad it covers
    const across = shares(x / mass, pixel, left, right), down = shares(y / mass, pixel, top, bottom);

    const wide = new Float64Array(size * 28), input = new Float64Array(28 * 28);
    for (const [to, column, share] of across) {
      for (let row = top; row <= bottom; row++) wide[row * 28 + to] += share * ink[row * size + column];
    }
    for (const [to, row, share] of down) {
      for (let column = 0; column < 28; column++) input[to * 28 + column] += share * wide[row * 28 + column];
    }
    return input;
  }

  /** Along one axis: which of the 28 pixels covers which of the pad's from `first` to `last`, and its share. */
  function shares(centre, pixel, first, last) {
    const found = [];
    for (let from = first; from <= last; from++) {
      const start = (from - centre) / pixel + 14.5, end = start + 1 / pixel; // of MNIST's digits, 14.5 is the mean
      for (let to = Math.max(0, Math.floor(start)); to < Math.min(28, end); to++) {
        found.push([to, from, Math.min(end, to + 1) - Math.max(start, to)]);
      }
    }
    return found;
  }

  // ---- ink ----

  // The marks on the pad, strokes (lists of places) and images (28 × 28), and the ink that they leave. What the
  // canvas shows is never read back: some browsers blank or blur that, for the reader's privacy.
  let marks = [], ink = new Uint8Array(SIZE * SIZE);

  /** Draw a line with a round pen. */
  function line(ink, [x0, y0], [x1, y1], pen) {
    const reach = pen / 2 + 0.5, [dx, dy] = [x1 - x0, y1 - y0], length = dx * dx + dy * dy;
    const from = (a, b) => Math.max(0, Math.floor(Math.min(a, b) - reach));
    const to = (a, b) => Math.min(SIZE, Math.ceil(Math.max(a, b) + reach));
    for (let row = from(y0, y1); row < to(y0, y1); row++) {
      for (let column = from(x0, x1); column < to(x0, x1); column++) {
        const x = column + 0.5 - x0, y = row + 0.5 - y0;
        const along = length ? Math.max(0, Math.min(1, (x * dx + y * dy) / length)) : 0;
        const away = Math.sqrt((x - along * dx) ** 2 + (y - along * dy) ** 2); // Math.hypot is slow
        const value = 255 * Math.min(1, reach - away), i = row * SIZE + column;
        if (value > ink[i]) ink[i] = value;
      }
    }
  }

  /** The ink of all marks, with a pen of this width. */
  function inked(pen) {
    const ink = new Uint8Array(SIZE * SIZE), scale = SIZE / 28;
    for (const mark of marks) {
      if (mark instanceof Uint8Array) {
        for (let i = 0; i < ink.length; i++) {
          ink[i] = mark[28 * Math.floor(i / SIZE / scale) + Math.floor((i % SIZE) / scale)];
        }
      } else mark.forEach((place, i) => line(ink, mark[Math.max(0, i - 1)], place, pen));
    }
    return ink;
  }

  /** What is to be read: a small digit as with a pen that is small, too, a ninth of its longer side. */
  function toRead() {
    if (marks.some((mark) => mark instanceof Uint8Array)) return ink;
    const sides = [0, 1].map((axis) => {
      const places = marks.flatMap((mark) => mark.map((place) => place[axis]));
      return places.reduce((a, b) => Math.max(a, b), 0) - places.reduce((a, b) => Math.min(a, b), SIZE);
    });
    const pen = Math.max(3, Math.max(...sides) / 9);
    return pen < PEN ? inked(pen) : ink;
  }

  // ---- what the reader sees ----

  const pad = element("canvas", {
    width: SIZE, height: SIZE, class: "live-pad", tabindex: 0, role: "img",
    "aria-label": "Pad to draw a digit on with mouse or finger. Without them, use the buttons below. "
      + "Delete clears it, Control Z takes the last stroke back.",
    keydown: (event) => {
      if (["Delete", "Backspace", "Escape"].includes(event.key)) clear();
      if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
    },
  });
  const paper = pad.getContext("2d"), shown = paper.createImageData(SIZE, SIZE);
  const answer = element("p", { class: "live-answer" });
  const bars = DIGITS.map((digit) => ({
    row: element("li"), bar: element("span", { class: "live-bar" }), number: element("span"), digit,
  }));
  for (const { row, bar, number, digit } of bars) {
    row.append(`${digit}`, element("span", { class: "live-track" }, bar), number);
  }
  const input = pixels(28, { role: "img", "aria-label": "The digit as the network gets it, 28 by 28 pixels" });
  const caption = element("p", { class: "live-note" });
  const [region, announce] = announcer();
  const why = element("button", { type: "button", hidden: "", click: () => look.why(...compared) });

  const inside = element("div"); // the network at a glance, when it is there
  const figure = element("div", { class: "live-figure", role: "group", "aria-label": "Draw a digit" },
    element("div", { class: "live-columns" },
      element("div", {}, pad,
        element("div", { class: "live-buttons" },
          element("button", { type: "button", click: clear }, "clear"),
          element("button", { type: "button", click: undo }, "undo"), "or take a digit of the test set:"),
        element("div", { class: "live-samples" }, ...DIGITS.map((digit) => element("button",
          { type: "button", "aria-label": `take a ${digit}`, click: () => take(digit) }, `${digit}`)))),
      element("div", { class: "live-reading" }, answer, element("ol", { class: "live-bars" }, ...bars.map(({ row }) => row)), why,
        element("div", { class: "live-input" }, input, "what the network gets: 28 × 28 pixels, scaled and centred"))),
    region, inside, caption);

  const container = document.getElementById("live-draw");
  container.append(figure);

  // ---- drawing ----

  let network = null, look = null, waiting = false, compared = []; // the answer, and another
  drag(pad, (x, y, first, instead) => {
    const place = [SIZE * x, SIZE * y];
    if (instead) undo(); // what the palm left
    if (first) {
      look?.remember();
      marks.push([]);
    }
    const stroke = marks.at(-1), before = stroke.at(-1) ?? place;
    if (!first && Math.hypot(place[0] - before[0], place[1] - before[1]) < 1) return;
    stroke.push(place);
    line(ink, before, place, PEN);
    changed();
  });

  function clear() {
    put([]);
  }

  function undo() {
    put(marks.slice(0, -1));
  }

  /** Put these marks on the pad, instead of what is there. */
  function put(instead) {
    look?.remember();
    marks = instead;
    ink = inked(PEN);
    changed();
  }

  const taken = DIGITS.map(() => 0);
  /** Put a test digit on the pad, each time another one. */
  async function take(digit) {
    if (!await ready()) return;
    const { each, images } = data.samples;
    const from = 784 * (each * digit + (taken[digit]++ % each));
    put([bytes(images).subarray(from, from + 784)]);
  }

  /** Fetch the network, once. Returns whether it is there. */
  async function ready() {
    try {
      await Promise.all(["network.js", "look.js", "data/weights.js", "data/samples.js"].map(load));
    } catch {
      answer.textContent = "The network could not be loaded. Draw on to try again.";
      return false;
    }
    if (network) return true;
    network = readingDigits.network(data.weights);
    const { record, accuracy } = data.weights;
    caption.textContent = `White is 0; each map is scaled by itself. The network is the first run of the record “${record}”, `
      + `which reads ${(100 * accuracy).toFixed(2)}\u00a0% of the test digits correctly. It runs here, in your browser.`;
    look = readingDigits.look(network, pad);
    inside.append(look.figure);
    return true;
  }

  /** Read the pad at the next frame. */
  function changed() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(async () => {
      show();
      const there = await ready();
      waiting = false;
      if (there) update();
    });
  }

  /** Show the ink, on paper that no theme and no reader's colours change. */
  function show() {
    const colours = new Uint32Array(shown.data.buffer);
    for (let i = 0; i < ink.length; i++) colours[i] = 0xff000000 | (0x010101 * (255 - ink[i]));
    paper.putImageData(shown, 0, 0);
  }

  function update() {
    const drawn = preprocess(toRead(), SIZE);
    const read = drawn && network(drawn);
    draw.probabilities = read?.probabilities ?? null;

    paintMap(input, drawn ?? new Uint8Array(784), 1, 0, 255);
    look?.show(read);
    const [best, second] = read ? [...DIGITS].sort((a, b) => read.probabilities[b] - read.probabilities[a]) : [null];
    why.hidden = !read;
    compared = [best, look?.rival(best) ?? second];
    why.textContent = `why ${compared[0]} and not ${compared[1]}?`;
    for (const { row, bar, number, digit } of bars) {
      bar.style.width = read ? `${100 * read.probabilities[digit]}%` : 0;
      say(number, read ? percent(read.probabilities[digit]) : "–");
      row.classList.toggle("live-best", digit === best);
    }
    answer.textContent = read ? `The network reads: ${best}` : "Draw a digit from 0 to 9.";
    if (network) {
      announce(read ? `The network reads ${best}, with probability ${percent(read.probabilities[best])}.` : "The pad is blank.");
    }
  }

  const draw = readingDigits.draw = {
    probabilities: null,
    preprocess,
    ink: toRead,
    update,
    ready,
    /** All stages for 28 × 28 pixels from 0 to 255; after ready(). */
    classify: (image) => network(image),
  };

  // The drawing stays while the reader looks at another page of the book.
  const KEPT = "reading-digits-drawing";
  addEventListener("pagehide", () => {
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(marks.map((mark) => (mark instanceof Uint8Array ? { image: [...mark] } : mark))));
    } catch { /* some browsers keep nothing */ }
  });
  function kept() {
    try {
      return JSON.parse(sessionStorage.getItem(KEPT)).map((mark) => (mark.image ? Uint8Array.from(mark.image) : mark));
    } catch {
      return [];
    }
  }

  show();
  update();
  if (kept().length) put(kept());
  container.dataset.ready = "";
}
