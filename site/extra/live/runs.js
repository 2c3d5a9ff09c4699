// All runs: curves of chosen experiments, what two networks misread in common, what most networks misread.
"use strict";
{
  const { data, whenNear, element, pixels, paintMap, bytes } = readingDigits;
  const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#997a00", "#56b4e9", "#8a6bd1", "#7f7f7f"];
  const FIRST = ["shallow", "conv-pool", "relu", "dropout"];
  const MEASURES = ["loss", "validation accuracy, %", "test accuracy, %"];
  const container = document.getElementById("live-runs");

  function build() {
    const { experiments, missed } = data.runs, names = Object.keys(experiments);
    /** Which digits the first run of an experiment misreads, and as what: a map. */
    const misread = Object.fromEntries(names.filter((name) => experiments[name].wrong).map((name) => {
      let index = 0;
      const { wrong, answers } = experiments[name];
      return [name, new Map(wrong.map((step, i) => [index += step, Number(answers[i])]))];
    }));
    const known = Object.keys(misread);
    let chosen = FIRST.filter((name) => name in experiments);
    const colour = (name) => COLOURS[chosen.indexOf(name)];

    // ---- choosing ----

    const boxes = names.map((name) => {
      const box = element("input", { type: "checkbox", change: () => choose(name, box.checked) });
      return { name, box, row: element("label", {}, box, ` ${name}`) };
    });
    const filter = element("input", { type: "search", "aria-label": "show names with", placeholder: "names with …", input: () => {
      for (const { name, row } of boxes) row.hidden = !name.includes(filter.value.trim().toLowerCase());
    } });
    const select = (label, options, chosen) => {
      const made = element("select", { change: show }, ...options.map((option) => element("option", {}, option)));
      made.value = chosen;
      return [element("label", {}, `${label} `, made), made];
    };
    const [measureLabel, measure] = select("show", MEASURES, MEASURES[1]);
    const [eachLabel, each] = select("of", ["mean and range", "each run"], "mean and range");
    const tick = (label) => {
      const made = element("input", { type: "checkbox", change: show });
      return [element("label", {}, made, ` ${label}`), made];
    };
    const [logEpochsLabel, logEpochs] = tick("logarithmic epochs"), [logValuesLabel, logValues] = tick("logarithmic values");

    function choose(name, on) {
      chosen = on ? [...chosen, name] : chosen.filter((each) => each !== name);
      show();
    }

    // ---- curves ----

    const chart = element("div", { class: "live-chart", role: "img" });
    let plot = null;
    const half = (hex) => `${hex}33`;

    /** What is plotted of a run, an epoch each: a loss, or an accuracy in percent; its errors on a logarithmic axis. */
    function curve(run) {
      const kind = measure.selectedIndex;
      return run[kind].map((value) => {
        if (kind === 0) return logValues.checked && value <= 0 ? null : value;
        const errors = 10_000 - value;
        return logValues.checked ? (errors ? errors / 100 : null) : value / 100;
      });
    }

    function draw() {
      const curves = chosen.map((name) => experiments[name].runs.map(curve));
      const length = Math.max(1, ...curves.flat().map((values) => values.length));
      const epochs = Array.from({ length }, (_, i) => i + 1);
      const columns = [epochs], series = [{ label: "epoch" }], bands = [];
      const value = (_, value) => (value == null ? "–" : measure.selectedIndex ? value.toFixed(2) : value.toPrecision(3));
      const add = (values, name, more) => {
        columns.push(epochs.map((_, i) => values[i] ?? null));
        series.push({ label: name, stroke: colour(name), width: 1.5, value, points: { show: length === 1 }, ...more });
      };
      chosen.forEach((name, n) => {
        const runs = curves[n];
        if (each.selectedIndex === 1) runs.forEach((run, i) => add(run, name, i ? { class: "live-quiet" } : {}));
        else {
          const over = (reduce) => epochs.map((_, i) => {
            const values = runs.map((run) => run[i]).filter((value) => value != null);
            return values.length ? reduce(values) : null;
          });
          add(over((values) => values.reduce((a, b) => a + b) / values.length), name);
          if (runs.length < 2) return;
          for (const limit of [Math.max, Math.min]) add(over((values) => limit(...values)), name, { class: "live-quiet", width: 0 });
          bands.push({ series: [series.length - 2, series.length - 1], fill: half(colour(name)) });
        }
      });
      const ink = () => getComputedStyle(chart).color, line = () => getComputedStyle(container).getPropertyValue("--line");
      const axis = { stroke: ink, grid: { stroke: line, width: 0.5 }, ticks: { stroke: line } };
      const title = logValues.checked && measure.selectedIndex ? `errors in ${MEASURES[measure.selectedIndex].replace(" accuracy", "")}`
        : MEASURES[measure.selectedIndex];
      plot?.destroy();
      plot = new uPlot({
        width: chart.clientWidth, height: 320, series, bands,
        scales: { x: { time: false, distr: logEpochs.checked ? 3 : 1 }, y: { distr: logValues.checked ? 3 : 1 } },
        axes: [{ ...axis, label: "epoch" }, { ...axis, label: title, size: 60, values: (_, ticks) => ticks.map((tick) =>
          (tick == null ? "" : `${Number(tick.toPrecision(4))}`)) }],
      }, columns, chart);
      chart.setAttribute("aria-label", `Curves by epoch: ${title} of ${chosen.join(", ")}. The table below has their results.`);
      readingDigits.runs = { chosen, columns };
    }

    // ---- results, and errors in common ----

    const results = element("div", { class: "live-scroll", tabindex: 0, role: "group", "aria-label": "Results" });
    const common = element("div", { class: "live-scroll", tabindex: 0, role: "group", "aria-label": "Errors in common" });
    const row = (kind, [first, ...cells]) => element("tr", {}, element("th", { scope: kind === "th" ? "col" : "row" }, first),
      ...cells.map((cell) => element(kind, {}, cell)));
    const table = (title, heading, rows) => [element("p", { class: "live-title" }, title),
      element("table", { class: "live-table", "aria-label": title },
        element("thead", {}, row("th", heading)), element("tbody", {}, ...rows.map((cells) => row("td", cells))))];
    const named = (name) => {
      const mark = element("span", { class: "live-mark" }), { page } = experiments[name];
      mark.style.borderColor = colour(name);
      const home = page ? [" ", element("a", { href: `${page}.html` }, `page ${parseInt(page, 10)}`)] : [];
      return element("span", {}, mark, name, ...home);
    };

    function accuracy(counts) {
      const mean = counts.reduce((a, b) => a + b) / counts.length;
      const spread = Math.sqrt(counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / (counts.length - 1));
      return (mean / 100).toFixed(2) + (counts.length > 2 ? ` ± ${(spread / 100).toFixed(2)}` : "");
    }

    function tables() {
      results.replaceChildren(...table("Test accuracy: mean, and standard deviation of three runs or more",
        ["experiment", "runs", "test, %", "network and training"],
        chosen.map((name) => [named(name), `${experiments[name].runs.length}`, accuracy(experiments[name].test),
          element("span", { class: "live-what" }, experiments[name].what)])));
      const compared = chosen.filter((name) => name in misread);
      common.replaceChildren(...table("Test digits that both misread, each by its first run; on the diagonal, all that one misreads",
        ["", ...compared.map((_, i) => `${i + 1}`)],
        compared.map((a, i) => [`${i + 1} ${a}`, ...compared.map((b) =>
          `${[...misread[a].keys()].filter((index) => misread[b].has(index)).length}`)])));
    }

    // ---- what most misread ----

    const inks = bytes(missed.images), who = element("div", { class: "live-verdict", "aria-live": "polite" });
    const missedBy = missed.digits.map((index) => known.filter((name) => misread[name].has(index)));
    const gallery = missed.digits.map((index, i) => {
      const small = pixels(28);
      paintMap(small, inks.subarray(784 * i, 784 * (i + 1)), 1, 0, 255);
      return element("button", { type: "button", click: () => tell(i),
        "aria-label": `test digit ${index}, misread by ${missedBy[i].length}` }, small);
    });

    function tell(i) {
      gallery.forEach((button, n) => button.setAttribute("aria-current", n === i));
      const by = {};
      const right = known.filter((name) => !missedBy[i].includes(name));
      for (const name of missedBy[i]) (by[misread[name].get(missed.digits[i])] ??= []).push(name);
      who.replaceChildren(
        element("p", { class: "live-answer" }, `Test digit ${missed.digits[i]}, label ${missed.labels[i]}: `
          + `${missedBy[i].length} of ${known.length} networks misread it.`),
        element("ul", {}, ...Object.entries(by).sort(([, a], [, b]) => b.length - a.length).map(([answer, names]) =>
          element("li", {}, `as ${answer}, ${names.length}: ${names.join(", ")}`)),
          element("li", {}, `correctly, ${right.length}: ${right.join(", ") || "none"}`)));
    }

    // ---- all of it ----

    function show() {
      for (const { name, box } of boxes) {
        box.checked = chosen.includes(name);
        box.disabled = !box.checked && chosen.length === COLOURS.length;
      }
      draw();
      tables();
    }

    const title = (text) => element("p", { class: "live-answer" }, text);
    container.append(element("div", { class: "live-figure", role: "group", "aria-label": "All runs" },
      element("div", { class: "live-buttons" }, title(`Choose up to ${COLOURS.length} of ${names.length} experiments`), filter),
      element("div", { class: "live-choice", role: "group", "aria-label": "experiments", tabindex: 0 }, ...boxes.map(({ row }) => row)),
      element("div", { class: "live-buttons" }, measureLabel, eachLabel, logEpochsLabel, logValuesLabel),
      chart, results, common,
      title(`The ${missed.digits.length} digits that most of ${known.length} networks misread, the first run of each experiment`),
      element("div", { class: "live-gallery" }, ...gallery), who));
    show();
    tell(0);
    new ResizeObserver(() => plot.setSize({ width: chart.clientWidth, height: 320 })).observe(chart);
    new MutationObserver(() => plot.redraw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  }

  container.append(element("link", { rel: "stylesheet", href: "../vendor/uplot/uPlot.css" }));
  whenNear(container, ["../vendor/uplot/uPlot.js", "data/runs.js"], build);
}
