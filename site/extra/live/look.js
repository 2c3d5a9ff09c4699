// Look into the network: all its stages at a glance, how any number in it comes about, and why one answer and not another.
"use strict";
{
  const {
    load, element, pixels, paint, paintMap, grey, signed, decimal, grid, fill, frame, put, steer, announcer, percent,
  } = readingDigits;

  // What is shown, from left to right: so many maps of side × side. The hidden neurons stand in one square.
  const STAGES = [
    { key: "input", title: "input", maps: 1, side: 28 },
    { key: "maps1", title: "20 maps", maps: 20, side: 24 },
    { key: "pooled1", title: "pooled", maps: 20, side: 12 },
    { key: "maps2", title: "40 maps", maps: 40, side: 8 },
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

  /** Why one answer and not another: the share of each hidden neuron in the difference of their sums. */
  function compare(network, stages, one, other) {
    const [kernel, biases] = network.layers[3], { hidden } = stages;
    const shares = Array.from(hidden, (value, n) => value * (kernel[10 * n + one] - kernel[10 * n + other]));
    const sum = shares.reduce((a, b) => a + b, 0), bias = biases[one] - biases[other];
    return { other, shares, sum, bias, total: sum + bias };
  }

  /** The figure, show(stages) for what the network makes of a drawing, or null, and why(): the answer explained. */
  readingDigits.look = (network) => {
    let stages = null, at = null, channel = 0; // what is shown, which number is explained, and which map before it

    // ---- all stages ----

    const canvases = STAGES.map(({ maps, side }) => Array.from({ length: maps }, () => pixels(side)));
    const overview = element("div", { class: "live-network" }, ...STAGES.map((stage, s) => element("div",
      { class: `live-stage live-stage-${stage.key}` },
      element("div", { class: "live-maps", role: "img", "aria-label": `${stage.title}, ${stage.side} by ${stage.side}`,
        click: (event) => point(s, event) }, ...canvases[s]),
      element("p", { class: "live-title" }, stage.title, element("br"),
        stage.maps === 1 && s ? "" : stage.side === 1 ? "0 to 9" : `${stage.side} × ${stage.side}`))));

    /** Explain the number under the pointer. */
    function point(s, event) {
      const map = canvases[s].indexOf(event.target), { key, side } = STAGES[s];
      if (map < 0 || !stages) return;
      const box = event.target.getBoundingClientRect();
      const [row, column] = [[event.clientY, box.top], [event.clientX, box.left]].map(([place, start]) =>
        Math.max(0, Math.min(side - 1, Math.floor(side * (place - start) / box.width))));
      const layer = LAYERS.findIndex((layer) => layer.key === key || layer.pooled === key);
      if (layer < 0) return;
      if (key === "hidden") go({ layer, map: side * row + column, row: 0, column: 0 }, true);
      else if (key === LAYERS[layer].pooled) go(winner({ layer, map, row: 2 * row, column: 2 * column }), true);
      else go({ layer, map, row, column }, true);
      grow(event.target);
    }

    /** Of the square that is pooled, the neuron with the largest activation. */
    function winner(at) {
      const { square } = explain(network, stages, at), i = square.indexOf(Math.max(...square));
      return { ...at, row: at.row - (at.row % 2) + (i >> 1), column: at.column - (at.column % 2) + (i % 2) };
    }

    /** Let the large picture grow out of the small one, so that the eye can follow. */
    function grow(from) {
      const to = LAYERS[at.layer].pooled ? mapHandle : source;
      if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
        to.scrollIntoView({ block: "nearest" });
        return;
      }
      const [a, b] = [from, to].map((e) => e.getBoundingClientRect());
      to.animate([{ transformOrigin: "0 0", transform: `translate(${a.left - b.left}px, ${a.top - b.top}px) scale(${a.width / b.width})` },
        { transformOrigin: "0 0", transform: "none" }], { duration: 400, easing: "ease-out" });
      to.scrollIntoView({ block: "nearest", behavior: "smooth" });
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

    const sourceCanvas = pixels(28), mapCanvas = pixels(24), pooledCanvas = pixels(12);
    const onSource = frame("field"), onMap = frame("field"), square = frame("square"), onPooled = frame("square");
    const source = element("div", { class: "live-view" }, sourceCanvas, onSource);
    const mapHandle = element("div", { class: "live-handle", tabindex: 0, role: "application",
      "aria-label": "The map. Arrow keys move to the next neuron." }, mapCanvas, square, onMap);
    const pooledView = element("div", { class: "live-view" }, pooledCanvas, onPooled);
    const titles = [0, 1, 2].map(() => element("p", { class: "live-title" }));
    const pictures = [source, mapHandle, pooledView].map((view, i) => element("div", { class: "live-picture" }, view, titles[i]));
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
      element("div", { class: "live-columns" }, ...pictures), tiles, tables, formula, pooling, field, region);
    const hint = element("p", { class: "live-note" }, "Click any place of any map to see how its number comes about, or choose one here.");

    // ---- one answer against another, and the way down to the drawing ----

    let lead = null, compared = null; // where the way goes on, and back
    const on = element("button", { type: "button", click: () => follow(lead) });
    const back = element("button", { type: "button", click: () => follow(compared) });
    const otherChoice = element("select", { change: () => go({ ...at, other: otherChoice.selectedIndex }) },
      ...Array.from({ length: 10 }, (_, digit) => element("option", {}, `${digit}`)));
    const verdict = element("p", { class: "live-best" }), reckoning = element("p");
    const sides = [1, -1].map((sign) => {
      const rows = Array.from({ length: 4 }, () => {
        const button = element("button", { type: "button", click: () => follow({ layer: 2, map: row.neuron }) });
        const bar = element("span", { class: "live-bar" }), number = element("span"), terms = element("span", { class: "live-note" });
        const item = element("li", {}, button, element("span", { class: "live-track" }, bar), number, terms);
        const row = { neuron: 0, item, button, bar, number, terms };
        return row;
      });
      return { sign, rows, title: element("p", { class: "live-title" }) };
    });
    const versus = element("div", { role: "group", "aria-label": "Compare two answers" },
      element("div", { class: "live-buttons" }, element("label", {}, "compare it with ", otherChoice)), verdict,
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
      (versus.hidden ? source : versus).scrollIntoView({ block: "nearest" });
    }

    function contrast() {
      const best = [...stages.probabilities.keys()].filter((digit) => digit !== at.map)
        .reduce((a, b) => (stages.probabilities[b] > stages.probabilities[a] ? b : a));
      const other = at.other === undefined || at.other === at.map ? best : at.other;
      compared = at;
      [...otherChoice.options].forEach((option, digit) => option.disabled = digit === at.map);
      otherChoice.selectedIndex = other;
      const found = compare(network, stages, at.map, other), { shares, sum, bias, total } = found;
      const longest = Math.max(...shares.map(Math.abs)) || 1;
      const [many, few] = sides.map(({ sign, rows, title }) => {
        const order = [...shares.keys()].filter((n) => sign * shares[n] > 0).sort((a, b) => sign * (shares[b] - shares[a]));
        title.textContent = `most for ${sign > 0 ? at.map : other}`;
        rows.forEach((row, i) => {
          row.item.hidden = i >= order.length;
          if (row.item.hidden) return;
          const n = row.neuron = order[i], [weight, less] = [at.map, other].map((digit) => network.layers[3][0][10 * n + digit]);
          row.button.textContent = `neuron ${n}`;
          row.bar.style.width = `${100 * Math.abs(shares[n]) / longest}%`;
          row.number.textContent = `${sign > 0 ? "+" : ""}${decimal(shares[n])}`;
          row.terms.textContent = `${decimal(stages.hidden[n])} × (${decimal(weight)} ${less < 0 ? "+" : "−"} ${decimal(Math.abs(less))})`;
        });
        return order.length;
      });
      const ratio = Math.exp(Math.abs(total)), digits = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
      const times = ratio < 1e6 ? ratio.toLocaleString("en", digits) : "over a million";
      verdict.textContent = `${at.map} against ${other}: ${many} neurons speak for ${at.map}, ${few} for ${other}; `
        + `together, ${total > 0 ? at.map : other} is ${times} times as likely.`;
      reckoning.textContent = "Each is the activation times the difference of its weights to the two answers. "
        + `Over all 100: ${decimal(sum)}. With the difference of the biases, ${decimal(bias)}: ${decimal(total)}. `
        + `e to the power of ${decimal(Math.abs(total))}: ${times} times.`;
      back.textContent = `back to ${at.map} against ${other}`;
      return found;
    }

    const figure = element("div", {}, overview, hint,
      element("div", { class: "live-buttons" }, element("label", {}, "look into ", layerChoice), mapLabel, rowLabel, columnLabel),
      panel);

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
      const words = [versus.hidden ? "" : verdict.textContent, formula.textContent, pooling.textContent];
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
      titles[0].textContent = at.layer === 0 ? "your digit, and the window" : hidden ? "the hidden neurons"
        : `pooled map ${channel} before it${window === side ? "" : ", and the window"}`;
      pictures[1].hidden = !pooled;
      pictures[2].hidden = hidden;
      onPooled.className = `live-frame live-${pooled ? "square" : "field"}`;
      if (pooled) {
        const side = sideOf(key), [y, x] = [at.row >> 1, at.column >> 1];
        large(mapCanvas, key, of, at.map);
        large(pooledCanvas, pooled, of, at.map);
        put(onMap, at.column, at.row, 1, side);
        put(square, 2 * x, 2 * y, 2, side);
        put(onPooled, x, y, 1, side / 2);
        titles[1].textContent = `map ${at.map}: move to any neuron`;
        titles[2].textContent = "pooled";
      } else if (key === "hidden") {
        const { row, column } = lead;
        put(onSource, column >> 1, row >> 1, 1, side);
        large(pooledCanvas, "input", 1, 0);
        put(onPooled, 2 * column, 2 * row, 14, 28); // the window of the window
        const product = products[channel][4 * (row >> 1) + (column >> 1)];
        titles[2].textContent = `your digit: where its largest product, ${decimal(product)}, comes from`;
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
        : `${window > 1 ? `Sum over this ${one}` : `Product of this ${one}`}: ${decimal(sums[channel])}. Over all ${channels}, ${flat.length} products: ${decimal(sum)}`;
      const ending = key === "probabilities" ? `softmax: e to the power of it, divided by the same of all ten: ${percent(value)}`
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

    const why = () => follow({ layer: 3, map: stages.probabilities.indexOf(Math.max(...stages.probabilities)) });
    const look = { figure, show, why, explained: null };
    return readingDigits.looking = look;
  };
}
