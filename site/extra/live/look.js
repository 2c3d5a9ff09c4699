// Look into the network: all its stages at a glance, how any number in it comes about, and why one answer and not another.
"use strict";
{
  const {
    load, element, pixels, paint, paintMap, grey, signed, decimal, grid, fill, frame, put, steer, announcer, percent,
  } = readingDigits;

  // What is shown, from left to right: so many maps of side × side. The hidden neurons stand in one square.
  const STAGES = [
    { key: "input", title: "input", maps: 1, side: 28 },
    { key: "maps1", title: "20 maps, 0 to 19", maps: 20, side: 24 },
    { key: "pooled1", title: "pooled", maps: 20, side: 12 },
    { key: "maps2", title: "40 maps, 0 to 39", maps: 40, side: 8 },
    { key: "pooled2", title: "pooled", maps: 40, side: 4 },
    { key: "hidden", title: "100 neurons", maps: 1, side: 10 },
    { key: "probabilities", title: "answers", maps: 10, side: 1 },
  ];
  const sideOf = (key) => STAGES.find((stage) => stage.key === key).side;

  // Every number is the sum of a window × window of all `channels` maps before it, each times a weight: in the
  // convolutional layers, where many neurons share the weights, and in the fully connected ones, of a single window.
  const LAYERS = [
    { key: "maps1", name: "first convolution", from: "input", channels: 1, window: 5, of: 20, pooled: "pooled1" },
    { key: "maps2", name: "second convolution", from: "pooled1", channels: 20, window: 5, of: 40, pooled: "pooled2" },
    { key: "hidden", name: "hidden neurons", from: "pooled2", channels: 40, window: 4, of: 100 },
    { key: "probabilities", name: "answers", from: "hidden", channels: 100, window: 1, of: 10 },
  ];

  /** What one number is made of: `at` is {layer, map, row, column}; lists by channel, each a list of the window. */
  function explain(network, stages, at) {
    const { from, channels, window, of, pooled, key } = LAYERS[at.layer], [kernel, biases] = network.layers[at.layer];
    const side = from === "hidden" ? 1 : sideOf(from), places = [...Array(window ** 2).keys()];
    const each = (value) => Array.from({ length: channels }, (_, channel) => places.map((k) => value(k, channel)));
    const inputs = each((k, channel) => stages[from][channels * (side * (at.row + Math.floor(k / window))
      + at.column + (k % window)) + channel]);
    const weights = each((k, channel) => kernel[of * (channels * k + channel) + at.map]);
    const products = inputs.map((values, channel) => values.map((value, k) => value * weights[channel][k]));
    const sums = products.map((values) => values.reduce((a, b) => a + b, 0));
    const sum = sums.reduce((a, b) => a + b, 0), bias = biases[at.map];
    const value = (row, column) => stages[key][of * ((pooled ? sideOf(key) : 1) * row + column) + at.map];
    const [top, left] = [at.row - (at.row % 2), at.column - (at.column % 2)];
    const square = pooled ? [0, 1].flatMap((i) => [0, 1].map((j) => value(top + i, left + j))) : [];
    return { inputs, weights, products, sums, sum, bias, value: value(at.row, at.column), square };
  }

  /** Why one answer and not another: the share of each hidden neuron in the difference of their sums, the log-odds. */
  function compare(network, stages, one, other) {
    const [kernel, biases] = network.layers[3], { hidden } = stages;
    const shares = Array.from(hidden, (value, n) => value * (kernel[10 * n + one] - kernel[10 * n + other]));
    const sum = shares.reduce((a, b) => a + b, 0), bias = biases[one] - biases[other];
    return { one, other, shares, sum, bias, total: sum + bias };
  }

  const SIDE = 28, FRAME = 5;
  const near = (i, reach) => [...Array(SIDE ** 2).keys()].filter((j) => Math.max(
    Math.abs(Math.floor(i / SIDE) - Math.floor(j / SIDE)), Math.abs((i % SIDE) - (j % SIDE))) <= reach);
  const DOTS = Array.from({ length: SIDE ** 2 }, (_, i) => near(i, 1)), FRAMES = DOTS.map((_, i) => near(i, FRAME >> 1));
  const sumOver = (places, values) => places.reduce((sum, i) => sum + values[i], 0);

  /** The place whose square of FRAME × FRAME has the largest sum, or null if none is above 0. */
  function peak(values) {
    const sums = FRAMES.map((places) => (places.length < FRAME ** 2 ? 0 : sumOver(places, values)));
    const i = sums.indexOf(Math.max(...sums));
    return sums[i] > 0 ? { row: Math.floor(i / SIDE) - (FRAME >> 1), column: (i % SIDE) - (FRAME >> 1) } : null;
  }

  const rowsAndColumns = ({ row, column }) => `rows ${row} to ${row + FRAME - 1}, columns ${column} to ${column + FRAME - 1}`;

  /**
   * The figure, show(stages) for what the network makes of a drawing on the pad, or null, remember() before it changes,
   * why(one, other) to compare two answers, and rival(one), with which it is being compared.
   */
  readingDigits.look = (network, pad) => {
    let stages = null, at = null, channel = 0; // what is shown, which number is explained, and which map before it

    // ---- all stages ----

    const canvases = STAGES.map(({ maps, side }) => Array.from({ length: maps }, (_, map) =>
      pixels(side, maps > 1 ? { title: `${side > 1 ? "map " : ""}${map}` } : {})));
    const overview = element("div", { class: "live-network" }, ...STAGES.map((stage, s) => element("div",
      { class: `live-stage live-stage-${stage.key}` },
      element("div", { class: "live-maps", role: "img", "aria-label": `${stage.title}, ${stage.side} by ${stage.side}`,
        click: (event) => point(s, event) }, ...canvases[s].map((canvas, map) => (stage.side > 1 ? canvas
        : element("div", { class: "live-numbered" }, `${map}`, canvas)))),
      element("p", { class: "live-title" }, stage.title, element("br"),
        stage.side === 1 ? "" : stage.maps === 1 && s ? "0 to 99" : `${stage.side} × ${stage.side}`))));

    /** The row and column under the pointer. */
    function placeIn(target, event, side) {
      const box = target.getBoundingClientRect();
      return [[event.clientY, box.top], [event.clientX, box.left]].map(([place, start]) =>
        Math.max(0, Math.min(side - 1, Math.floor(side * (place - start) / box.width))));
    }

    /** Explain the number under the pointer. */
    function point(s, event) {
      const target = event.target.querySelector?.(":scope > canvas:only-child") ?? event.target;
      const map = canvases[s].indexOf(target), { key, side } = STAGES[s];
      if (map < 0 || !stages) return;
      const [row, column] = placeIn(target, event, side);
      const layer = LAYERS.findIndex((layer) => layer.key === key || layer.pooled === key);
      if (key === "input") go({ layer: 0, map: at?.layer === 0 ? at.map : 0, row: row - 2, column: column - 2 }, true);
      else if (key === "hidden") go({ layer, map: side * row + column, row: 0, column: 0 }, true);
      else if (key === LAYERS[layer].pooled) go(winner({ layer, map, row: 2 * row, column: 2 * column }), true);
      else go({ layer, map, row, column }, true);
      grow(target);
    }

    /** Of the square that is pooled, the neuron with the largest activation. */
    function winner(at) {
      const { square } = explain(network, stages, at), i = square.indexOf(Math.max(...square));
      return { ...at, row: at.row - (at.row % 2) + (i >> 1), column: at.column - (at.column % 2) + (i % 2) };
    }

    const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

    /** Bring the explanation into view, below the page's header, unless it is there from first to last. */
    function bring(first = versus.hidden ? chooser : versus, last = versus.hidden ? row : versus) {
      const header = parseFloat(getComputedStyle(document.documentElement).scrollPaddingTop) || 0;
      if (first.getBoundingClientRect().top >= header && last.getBoundingClientRect().bottom <= innerHeight) return;
      first.scrollIntoView({ behavior: still() ? "auto" : "smooth" });
    }

    /** Let the large picture grow out of the small one, so that the eye can follow. */
    function grow(from) {
      const to = LAYERS[at.layer].pooled ? mapHandle : source;
      bring();
      if (still()) return;
      const [a, b] = [from, to].map((e) => e.getBoundingClientRect());
      to.animate([{ transformOrigin: "0 0", transform: `translate(${a.left - b.left}px, ${a.top - b.top}px) scale(${a.width / b.width})` },
        { transformOrigin: "0 0", transform: "none" }], { duration: 400, easing: "ease-out" });
    }

    // ---- one number ----

    const number = (label) => {
      const input = element("input", { type: "number", min: 0, value: 0, input: typed });
      return [element("label", {}, `${label} `, input), input];
    };
    const layerChoice = element("select", { change: () => go({ layer: layerChoice.selectedIndex - 1, map: 0, row: 0, column: 0 }, true) },
      ...["choose", ...LAYERS.map(({ name }) => name)].map((name) => element("option", {}, name)));
    const [mapLabel, mapInput] = number("number"), [rowLabel, rowInput] = number("row"), [columnLabel, columnInput] = number("column");
    function typed() {
      const [map, row, column] = [mapInput, rowInput, columnInput].map((input) => Math.floor(Number(input.value)));
      if (at) go({ ...at, map, row, column });
    }

    const digitCanvas = pixels(28), sourceCanvas = pixels(28), mapCanvas = pixels(24), pooledCanvas = pixels(12);
    const onDigit = frame("field"), onSource = frame("field"), onMap = frame("field");
    const square = frame("square"), onPooled = frame("square");
    const tapped = (choose) => (event) => {
      const target = event.currentTarget;
      go(...choose(...placeIn(target, event, target.firstChild.width)));
      bring();
    };
    const digit = element("div", { class: "live-view", click: tapped((row, column) => // of the second layer's windows
      [{ layer: 1, map: at.layer === 1 ? at.map : channel, row: (row - 6) >> 1, column: (column - 6) >> 1 }, at.layer !== 1]) },
    digitCanvas, onDigit);
    const source = element("div", { class: "live-view", click: tapped((row, column) =>
      (at.layer === 3 ? [{ layer: 2, map: 10 * row + column }, true]
        : at.layer === 2 ? [winner({ layer: 1, map: channel, row: 2 * row, column: 2 * column }), true]
          : [{ ...at, row: row - 2, column: column - 2 }])) }, sourceCanvas, onSource);
    const mapHandle = element("div", { class: "live-handle", tabindex: 0, role: "application",
      "aria-label": "The map. Arrow keys move to the next neuron." }, mapCanvas, square, onMap);
    const pooledView = element("div", { class: "live-view", click: tapped((row, column) =>
      [winner({ ...at, row: 2 * row, column: 2 * column })]) }, pooledCanvas, onPooled);
    const titles = [0, 1, 2, 3].map(() => element("p", { class: "live-title" }));
    const pictures = [digit, source, mapHandle, pooledView].map((view, i) => element("div", { class: "live-picture" }, view, titles[i]));
    const row = element("div", { class: "live-columns live-views" }, ...pictures);
    steer(mapHandle, (y, x) => {
      const side = sideOf(LAYERS[at.layer].key);
      go({ ...at, row: Math.floor(side * y), column: Math.floor(side * x) });
    }, (down, right) => go({ ...at, row: at.row + down, column: at.column + right }));

    const tiles = element("div", { class: "live-tiles", role: "group", "aria-label": "The sum over each map before it" });
    const tables = element("div", { class: "live-columns live-sum" });
    const formula = element("p", { class: "live-formula" }), pooling = element("p", { class: "live-formula" });
    const slide = element("button", { type: "button", click: openField }, "slide this kernel over your digit");
    const field = element("div");
    const [region, announce] = announcer();
    const panel = element("div",
      { hidden: "", class: "live-explained", role: "group", tabindex: -1, "aria-label": "How this number comes about" },
      row, tiles, tables, formula, pooling, field, region);
    const hint = element("p", { class: "live-note" }, "Click or tap any place of any map to see how its number comes about, or choose one here. "
      + "Counting starts at 0, from the top left.");

    // ---- one answer against another, and the way down to the drawing ----

    let lead = null, compared = null; // where the way goes on, and back
    const on = element("button", { type: "button", click: () => follow(lead) });
    const back = element("button", { type: "button", click: () => follow(compared) });
    const otherChoice = element("select", { change: () => go({ ...at, other: otherChoice.selectedIndex }) },
      ...Array.from({ length: 10 }, (_, digit) => element("option", {}, `${digit}`)));
    const verdict = element("p", { class: "live-best" }), reckoning = element("p", { class: "live-note" });
    const cell = 9, effectCanvas = pixels(cell * SIDE, { role: "img" });
    const onInk = frame("ink"), onBlank = frame("blank");
    const [forOrange, forBlue, inAll, hintAt] = [1, 2, 3, 4].map(() => element("span"));
    const marks = ["orange", "blue"].map((colour) => element("span", { class: "live-mark", style: `border-color: var(--${colour})` }));
    const effect = element("div", { class: "live-columns live-views" },
      element("div", { class: "live-picture live-large" }, element("div", { class: "live-view live-effect" }, effectCanvas, onInk, onBlank)),
      element("div", { class: "live-said" },
        element("p", {}, marks[0], forOrange, element("br"), marks[1], forBlue, element("br"), inAll),
        element("p", {}, hintAt),
        element("p", {}, "New ink also switches neurons on and off, so this is a hint. ",
          element("button", { type: "button", click: toPad }, "draw there and see"))));
    const sides = [1, -1].map((sign) => {
      const rows = Array.from({ length: 4 }, () => {
        const button = element("button", { type: "button", click: () => follow({ layer: 2, map: row.neuron }) });
        const bar = element("span", { class: "live-bar" }), number = element("span"), terms = element("span", { class: "live-note" });
        const item = element("li", {}, button, element("span", { class: "live-track" }, bar), number, terms);
        const row = { neuron: 0, item, button, bar, number, terms };
        return row;
      });
      return { sign, rows, title: element("p") };
    });
    const versus = element("div", { role: "group", "aria-label": "Compare two answers" },
      element("div", { class: "live-buttons" }, element("label", {}, "compare it with ", otherChoice)), verdict, effect,
      element("div", { class: "live-columns" }, ...sides.map(({ sign, rows, title }) => element("div", { class: "live-side" },
        title, element("ol", { class: `live-shares ${sign > 0 ? "live-for" : ""}` }, ...rows.map(({ item }) => item))))),
      reckoning);
    panel.prepend(versus);
    field.before(element("div", { class: "live-buttons" }, on, back, slide));

    /** The number of the chosen map before it that has the largest product, and in its square won the pooling. */
    function before(products) {
      if (at.layer === 0) return null;
      if (at.layer === 3) return { layer: 2, map: channel };
      const sizes = products.map(Math.abs), k = sizes.indexOf(Math.max(...sizes)), { window } = LAYERS[at.layer];
      return winner({ layer: at.layer - 1, map: channel, row: 2 * (at.row + Math.floor(k / window)),
        column: 2 * (at.column + (k % window)) });
    }

    /** Explain this number, from a button that may go. */
    function follow(to) {
      go(to, true);
      panel.focus({ preventScroll: true });
      bring();
    }

    let pair = [], former = null; // the two answers, orange and blue, and the stages of the drawing before

    function toPad() {
      pad.focus({ preventScroll: true });
      bring(pad, pad);
    }

    /** For which of the two answers the log-odds are, in words. */
    const odds = (value) => `${decimal(Math.abs(value))} for ${pair[value > 0 ? 0 : 1]}`;

    function contrast() {
      const best = [...stages.probabilities.keys()].filter((digit) => digit !== at.map)
        .reduce((a, b) => (stages.probabilities[b] > stages.probabilities[a] ? b : a));
      const other = at.other === undefined || at.other === at.map ? best : at.other;
      compared = at = { ...at, other };
      if (!pair.includes(at.map) || !pair.includes(other)) pair = [at.map, other]; // or each keeps its colour
      [...otherChoice.options].forEach((option, digit) => option.disabled = digit === at.map);
      otherChoice.selectedIndex = other;
      const found = compare(network, stages, ...pair), { shares, sum, bias, total } = found;
      const [first, second] = total > 0 ? pair : [pair[1], pair[0]];

      const longest = Math.max(...shares.map(Math.abs)) || 1;
      for (const { sign, rows, title } of sides) {
        const order = [...shares.keys()].filter((n) => sign * shares[n] > 0).sort((a, b) => sign * (shares[b] - shares[a]));
        title.textContent = `${order.length} neuron${order.length === 1 ? "" : "s"} for ${pair[sign > 0 ? 0 : 1]}: `
          + `${decimal(order.reduce((all, n) => all + Math.abs(shares[n]), 0))}${order.length > rows.length ? ", most from" : ""}`;
        rows.forEach((row, i) => {
          row.item.hidden = i >= order.length;
          if (row.item.hidden) return;
          const n = row.neuron = order[i], [weight, less] = pair.map((digit) => network.layers[3][0][10 * n + digit]);
          row.button.textContent = `neuron ${n}`;
          row.bar.style.width = `${100 * Math.abs(shares[n]) / longest}%`;
          row.number.textContent = `${sign > 0 ? "+" : ""}${decimal(shares[n])}`;
          row.terms.textContent = `${decimal(stages.hidden[n])} × (${decimal(weight)} ${less < 0 ? "+" : "−"} ${decimal(Math.abs(less))})`;
        });
      }
      const ratio = Math.exp(Math.abs(total)), digits = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
      const times = ratio < 1e6 ? ratio.toLocaleString("en", digits) : "over a million";
      const was = former && compare(network, former, ...pair).total;
      verdict.textContent = `${first} is ${times} times as likely as ${second}: ${odds(total)}${former ? ` (was ${odds(was)})` : ""}.`;
      reckoning.textContent = `Each is the neuron's activation times its weight to ${pair[0]} less that to ${pair[1]}. `
        + `All together: ${odds(sum)}. With the answers' biases, ${odds(bias)}: ${odds(total)}. `
        + `e to the power ${decimal(Math.abs(total))} is ${times}.`;
      back.textContent = `back to ${at.map} against ${other}`;
      return { ...found, ...showEffect(total) };
    }

    /** The digit in the colours of the two answers: squares of ink, and small ones where there is none. */
    function showEffect(total) {
      const { weights, bias } = network.effect(stages, ...pair), ink = stages.input, sign = total > 0 ? 1 : -1;
      const shares = Array.from(ink, (value, i) => value * weights[i]), dots = DOTS.map((places) => sumOver(places, weights));
      const blank = (i) => ink[i] < 0.1, mostOf = (values) => Math.max(...values.map(Math.abs)) || 1;
      const colours = [signed(mostOf(shares)), signed(mostOf(dots.map((dot, i) => (blank(i) ? dot : 0))))];
      const context = effectCanvas.getContext("2d");
      context.fillStyle = "#fff";
      context.fillRect(0, 0, cell * SIDE, cell * SIDE);
      for (let i = 0; i < ink.length; i++) {
        const [colour, size, grey] = blank(i) ? [colours[1](dots[i]), 5, 1] : [colours[0](shares[i]), cell, 1 - 0.2 * Math.min(1, ink[i])];
        context.fillStyle = `rgb(${colour.slice(0, 3).map((part) => Math.round(grey * part))})`;
        context.fillRect(cell * (i % SIDE) + (cell - size) / 2, cell * Math.floor(i / SIDE) + (cell - size) / 2, size, size);
      }
      const [first, second] = total > 0 ? pair : [pair[1], pair[0]];
      const inkAt = peak(shares.map((share) => sign * share)), blankAt = peak(dots.map((dot, i) => (blank(i) ? -sign * dot : 0)));
      for (const [frame, place, colour] of [[onInk, inkAt, sign], [onBlank, blankAt, -sign]]) {
        frame.hidden = !place;
        if (place) put(frame, place.column, place.row, FRAME, SIDE);
        frame.style.borderColor = `var(--${colour > 0 ? "orange" : "blue"})`;
      }
      const added = [1, -1].map((sign) => shares.reduce((sum, share) => sum + Math.max(0, sign * share), 0));
      forOrange.textContent = `your ink for ${pair[0]}: ${decimal(added[0])}`;
      forBlue.textContent = `your ink for ${pair[1]}: ${decimal(added[1])}`;
      inAll.textContent = `biases: ${odds(bias)}; in all, log-odds ${odds(total)}.`;
      hintAt.textContent = (inkAt ? `In the solid frame, your ink speaks most for ${first}. ` : "")
        + "The small squares have no ink; a dot there would speak for the answer of its colour"
        + (blankAt ? `, most for ${second} in the dashed frame.` : ".");
      effectCanvas.setAttribute("aria-label", ["Your digit.", inkAt && `Most ink for ${first}: ${rowsAndColumns(inkAt)}.`,
        blankAt && `A dot would speak most for ${second}: ${rowsAndColumns(blankAt)}.`].filter(Boolean).join(" "));
      return { weights, inputBias: bias, added, inkAt, blankAt };
    }

    const chooser = element("div", { class: "live-buttons" },
      element("label", {}, "look into ", layerChoice), mapLabel, rowLabel, columnLabel);
    const figure = element("div", {}, overview, hint, chooser, panel);

    /** Explain this number; `fresh` starts with the map before it that says most. */
    function go(to, fresh = false) {
      if (to.layer < 0) at = null;
      else {
        const { key, of, pooled } = LAYERS[to.layer], last = pooled ? sideOf(key) - 1 : 0;
        const inside = (value, last) => Math.max(0, Math.min(last, value || 0));
        at = { layer: to.layer, map: inside(to.map, of - 1), row: inside(to.row, last), column: inside(to.column, last),
          other: to.other };
        if (fresh && stages) {
          const sums = explain(network, stages, at).sums.map(Math.abs);
          channel = sums.indexOf(Math.max(...sums));
        }
        if (fresh) field.replaceChildren();
      }
      detail();
      if (panel.hidden) return;
      const { name, pooled } = LAYERS[at.layer], where = pooled ? `map ${at.map}, row ${at.row}, column ${at.column}` : `number ${at.map}`;
      const words = [versus.hidden ? "" : `${verdict.textContent} ${effectCanvas.getAttribute("aria-label")}`, formula.textContent, pooling.textContent];
      announce(`${name[0].toUpperCase()}${name.slice(1)}, ${where}. ${words.filter(Boolean).join(" ")}`);
    }

    let cells = [], shape = null; // of the tables, which are made anew for another layer
    function shapeTables(layer) {
      if (shape === layer) return;
      shape = layer;
      const { window, channels } = LAYERS[layer], made = ["inputs", "weights", "products"].map((name) =>
        grid(window, window > 1 ? `${window ** 2} ${name}` : name.slice(0, -1)));
      cells = made.map(([, cells]) => cells);
      tables.replaceChildren(made[0][0], "×", made[1][0], "=", made[2][0]);
      tiles.hidden = channels === 1;
      tiles.replaceChildren(...Array.from({ length: channels === 1 ? 0 : channels }, (_, c) =>
        element("button", { type: "button", click: () => { channel = c; detail(); } },
          window > 1 ? pixels(window) : element("span", { class: "live-pixels" }))));
    }

    function detail() {
      layerChoice.selectedIndex = at ? at.layer + 1 : 0;
      panel.hidden = !at || !stages;
      for (const label of [mapLabel, rowLabel, columnLabel]) label.hidden = !at;
      for (const canvas of overview.querySelectorAll(".live-here")) canvas.classList.remove("live-here");
      if (panel.hidden) return;
      const { key, from, channels, window, pooled, of } = LAYERS[at.layer];
      shapeTables(at.layer);
      channel = Math.min(channel, channels - 1);
      rowLabel.hidden = columnLabel.hidden = !pooled;
      mapInput.max = of - 1;
      rowInput.max = columnInput.max = pooled ? sideOf(key) - 1 : 0;
      for (const [input, value] of [[mapInput, at.map], [rowInput, at.row], [columnInput, at.column]]) {
        if (Number(input.value) !== value) input.value = value;
      }
      const found = explain(network, stages, at), { inputs, weights, products, sums, sum, bias, value } = found;
      const hidden = from === "hidden", side = sideOf(from);
      lead = before(products[channel]);

      // the map before it, this map, and what is pooled
      const large = (canvas, key, maps, map) => {
        if (canvas.width !== sideOf(key)) canvas.width = canvas.height = sideOf(key);
        paintMap(canvas, stages[key], maps, map, most(stages[key], maps, map));
      };
      large(sourceCanvas, from, hidden ? 1 : channels, hidden ? 0 : channel);
      if (hidden) put(onSource, channel % side, Math.floor(channel / side), 1, side);
      else put(onSource, at.column, at.row, window, side);
      titles[1].textContent = at.layer === 0 ? "your digit, and the window" : hidden ? "the hidden neurons"
        : `pooled map ${channel} before it${window === side ? "" : ", and the window"}`;
      pictures[0].hidden = at.layer === 0 || hidden;
      pictures[1].classList.toggle("live-large", pictures[0].hidden);
      pictures[2].hidden = pictures[3].hidden = !pooled;
      paintMap(digitCanvas, stages.input, 1, 0, most(stages.input, 1, 0));
      if (pooled) {
        const side = sideOf(key), [y, x] = [at.row >> 1, at.column >> 1];
        large(mapCanvas, key, of, at.map);
        large(pooledCanvas, pooled, of, at.map);
        put(onMap, at.column, at.row, 1, side);
        put(square, 2 * x, 2 * y, 2, side);
        put(onPooled, x, y, 1, side / 2);
        titles[2].textContent = `map ${at.map}: move to any neuron`;
        titles[3].textContent = "pooled";
        put(onDigit, 2 * at.column, 2 * at.row, 14, 28); // the window of the window, in the second layer
        titles[0].textContent = "your digit: what this neuron sees";
      } else if (key === "hidden") {
        const { row, column } = lead;
        put(onSource, column >> 1, row >> 1, 1, side);
        put(onDigit, 2 * column, 2 * row, 14, 28);
        const product = products[channel][4 * (row >> 1) + (column >> 1)];
        titles[0].textContent = `your digit: what the largest product with map ${channel}, ${decimal(product)}, comes from`;
      }
      canvases[STAGES.findIndex((stage) => stage.key === key)][key === "hidden" ? 0 : at.map].classList.add("live-here");
      canvases[STAGES.findIndex((stage) => stage.key === from)][hidden ? 0 : channel].classList.add("live-here");

      // the products: of all maps before it in small, of one of them in full
      const flat = products.flat(), strongest = Math.max(...flat.map(Math.abs)), heaviest = Math.max(...weights.flat().map(Math.abs));
      const colour = signed(strongest || 1);
      [...tiles.children].forEach((tile, c) => {
        if (window > 1) paint(tile.firstChild, products[c], colour);
        else tile.firstChild.style.backgroundColor = `rgb(${colour(products[c][0]).slice(0, 3)})`;
        tile.setAttribute("aria-pressed", c === channel);
        tile.setAttribute("aria-label", `${hidden ? "neuron" : "map"} ${c}: ${decimal(sums[c])}`);
        tile.title = `${hidden ? "neuron" : "map"} ${c}: ${decimal(sums[c])}`;
      });
      const brightest = Math.max(...inputs[channel]);
      fill(cells[0], inputs[channel], grey(brightest), brightest / 2);
      fill(cells[1], weights[channel], signed(2 * heaviest));
      fill(cells[2], products[channel], signed(2 * (strongest || 1)));

      const one = hidden ? "neuron" : "map", total = sum + bias;
      const parts = channels === 1 ? `Sum of ${flat.length} products: ${decimal(sum)}`
        : `${window > 1 ? "Sum over" : "Product of"} ${one} ${channel} before it: ${decimal(sums[channel])}. Over all ${channels}, ${flat.length} products: ${decimal(sum)}`;
      const ending = key === "probabilities" ? `Softmax, e to this power, divided by the sum of all ten such powers: ${percent(value)}`
        : `ReLU: ${total > 0 ? "it stays" : "negative, so"} ${decimal(value)}`;
      formula.textContent = `${parts}. With the bias, ${decimal(bias)}: ${decimal(total)}. ${ending}.`;
      pooling.hidden = !pooled;
      pooling.textContent = pooled ? `Pooled, the largest of ${found.square.map(decimal).join(", ")}: ${decimal(Math.max(...found.square))}.` : "";
      slide.hidden = at.layer !== 0;
      on.hidden = !lead;
      if (lead) on.textContent = `on to ${hidden ? `neuron ${lead.map}` : `map ${lead.map}, row ${lead.row}, column ${lead.column}`}`;
      versus.hidden = key !== "probabilities";
      const against = versus.hidden ? null : contrast();
      back.hidden = !versus.hidden || !compared;
      look.explained = { ...at, ...found, channel, against };
    }

    /** The figure of the receptive field, on this digit and with this kernel. */
    async function openField() {
      try {
        await load("field.js");
      } catch {
        field.textContent = "It could not be loaded. Try again.";
        return;
      }
      const name = `learned: filter ${at.map}`, weights = explain(network, stages, at).weights[0];
      const digit = Array.from(stages.input);
      field.replaceChildren(readingDigits.receptiveField(digit, { [name]: weights }, name));
      field.scrollIntoView({ block: "nearest" });
    }

    const most = (values, maps, map) => {
      let most = 0;
      for (let i = map; i < values.length; i += maps) if (values[i] > most) most = values[i];
      return most;
    };

    const blank = new Float32Array(20 * 24 ** 2);
    function show(read) {
      stages = read;
      STAGES.forEach(({ key, maps }, s) => canvases[s].forEach((canvas, map) => {
        const values = read?.[key] ?? blank;
        paintMap(canvas, values, maps, map, key === "probabilities" ? 1 : most(values, maps, map));
      }));
      detail();
    }

    const why = (one, other) => follow({ layer: 3, map: one, other });
    const rival = (one) => (at?.layer === 3 && pair.includes(one) ? pair.find((digit) => digit !== one) : null);
    /** Keep what the drawing is now, to be compared with what comes next. */
    const remember = () => former = stages ?? former;
    const look = { figure, show, why, rival, remember, explained: null };
    return readingDigits.looking = look;
  };
}
