// What the live figures share. Plain scripts without dependencies, so that they run from a local copy of the site too.
"use strict";
window.readingDigits = (() => {
  const here = document.currentScript.src;
  const loading = {};

  const data = {};

  /** Run another script of this folder, once; if that failed, again. Returns a promise. */
  function load(file) {
    const [, name] = file.match(/^data\/(\w+)/) ?? [];
    return (loading[file] ??= new Promise((resolve, reject) => {
      const script = element("script", { src: new URL(file, here).href,
        load: () => (name && !data[name] ? fail() : resolve()), error: fail }); // part of a file runs, too
      function fail() {
        delete loading[file];
        script.remove();
        reject(new Error(`${file} could not be loaded`));
      }
      document.head.append(script);
    }));
  }

  /** Build a figure from scripts that are fetched when the reader comes near, or asks for them again. */
  function whenNear(container, files, build) {
    const again = element("button", { type: "button", click: fetch }, "try again");
    const failed = element("div", { class: "live-figure", role: "alert" }, "This figure could not be loaded. ", again);
    async function fetch() {
      failed.remove();
      try {
        await Promise.all(files.map(load));
      } catch {
        container.append(failed);
        return;
      }
      build();
      container.dataset.ready = "";
    }
    new IntersectionObserver(([entry], observer) => {
      if (!entry.isIntersecting) return;
      observer.disconnect();
      fetch();
    }, { rootMargin: "300px" }).observe(container);
  }

  /** An element with these attributes (functions are listeners) and children. */
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === "function") made.addEventListener(name, value);
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  /** A square canvas of side × side pixels, which the style sheet enlarges. */
  function pixels(side, attributes = {}) {
    return element("canvas", { width: side, height: side, class: "live-pixels", ...attributes });
  }

  /** What a canvas was last filled with, unless it changed its size. */
  const images = new WeakMap();
  function imageOf(canvas) {
    let image = images.get(canvas);
    if (image?.width !== canvas.width) images.set(canvas, image = new ImageData(canvas.width, canvas.height));
    return image;
  }

  /** Fill a canvas with values, a pixel each; NaN is clear. */
  function paint(canvas, values, colour) {
    const image = imageOf(canvas);
    values.forEach((value, i) => image.data.set(Number.isNaN(value) ? [0, 0, 0, 0] : colour(value), 4 * i));
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** Show one of several maps (of `maps`, beside each other in `values`) in grey, white for 0 and black for `most`. */
  function paintMap(canvas, values, maps, map, most) {
    const image = imageOf(canvas), colours = new Int32Array(image.data.buffer), scale = 255 / (most || 1);
    let changed = false;
    for (let i = 0; i < colours.length; i++) {
      const colour = 0xff000000 | (0x010101 * (255 - Math.round(scale * values[maps * i + map])));
      if (colours[i] === colour) continue;
      colours[i] = colour;
      changed = true;
    }
    if (changed) canvas.getContext("2d").putImageData(image, 0, 0);
  }

  /** A number with two decimals, unless it is whole, and with a minus sign that is one. */
  const decimal = (value) =>
    (Number.isInteger(value) ? `${value}` : value.toFixed(2)).replace(/^-0\.00$/, "0.00").replace("-", "−");

  /** A table of side × side numbers, and its cells. */
  function grid(side, title) {
    const cells = Array.from({ length: side ** 2 }, () => element("td"));
    const lines = Array.from({ length: side }, (_, i) => element("tr", {}, ...cells.slice(side * i, side * (i + 1))));
    return [element("table", { class: "live-grid" }, element("caption", {}, title), element("tbody", {}, ...lines)), cells];
  }

  /** Change a text, if it changes. */
  function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  /** Write values into cells of these colours, white on black above `most`; null is not known. */
  function fill(cells, values, colour, most) {
    cells.forEach((cell, i) => {
      const value = values[i];
      say(cell, value === null ? "…" : decimal(value));
      cell.style.backgroundColor = value === null ? "" : `rgb(${colour(value).slice(0, 3)})`;
      cell.style.color = most && value > most ? "#fff" : "#000";
    });
  }

  /** A frame round pixels of a picture, and a function that puts it there. */
  const frame = (kind) => element("div", { class: `live-frame live-${kind}` });
  function put(frame, left, top, size, all) {
    Object.assign(frame.style, { left: `${100 * left / all}%`, top: `${100 * top / all}%`,
      width: `${100 * size / all}%`, height: `${100 * size / all}%` });
  }

  /** Let pointer and arrow keys steer: go(row, column) from a place (0 to 1), move(down, right) by a step. */
  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  function steer(handle, go, move) {
    drag(handle, (x, y) => go(y, x));
    handle.addEventListener("keydown", (event) => {
      const by = STEPS[event.key];
      if (!by || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      move(...by);
    });
  }

  /** A colour scale: 0 is white and `most` is black. */
  function grey(most) {
    return (value) => {
      const shade = 255 * (1 - value / (most || 1));
      return [shade, shade, shade, 255];
    };
  }

  /** A colour scale: −most is blue, 0 white, most orange. */
  function signed(most) {
    return (value) => {
      const end = value < 0 ? [0, 114, 178] : [213, 94, 0];
      return [...end.map((part) => 255 + (part - 255) * Math.min(1, Math.abs(value) / most)), 255];
    };
  }

  /**
   * Call follow(x, y, first, instead) with the pointer's place in the target, from 0 to 1, while it is pressed.
   * One pointer at a time, but a pen is followed `instead` of the palm that rests beside it.
   */
  function drag(target, follow) {
    let pointer = null, kind = null;
    const at = (event, first, instead) => {
      const box = target.getBoundingClientRect();
      follow((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, first, instead);
    };
    const end = (event) => {
      if (event.pointerId === pointer) pointer = null;
    };
    target.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      const palm = pointer !== null && kind === "touch" && event.pointerType === "pen";
      const lost = kind === event.pointerType && event.isPrimary; // the first of its kind again: the release was lost
      if (pointer !== null && !palm && !lost) return;
      [pointer, kind] = [event.pointerId, event.pointerType];
      target.setPointerCapture(pointer);
      at(event, true, palm);
    });
    target.addEventListener("pointermove", (event) => {
      if (!event.buttons) end(event); // its release was lost
      if (event.pointerId !== pointer) return;
      const passed = event.getCoalescedEvents?.() ?? [];
      for (const each of passed.length ? passed : [event]) at(each, false, false);
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) target.addEventListener(kind, end);
  }

  /** An invisible element, and a function that lets screen readers say a text once the reader pauses. */
  function announcer() {
    const region = element("output", { class: "live-unseen" });
    let timer;
    return [region, (text) => {
      clearTimeout(timer);
      timer = setTimeout(() => region.textContent = text, 500);
    }];
  }

  /** The bytes that a base64 text stands for. */
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  /** A probability in percent. */
  function percent(probability) {
    if (probability > 0.999) return ">\u00a099.9\u00a0%";
    return probability < 0.001 ? "<\u00a00.1\u00a0%" : `${(100 * probability).toFixed(1)}\u00a0%`;
  }

  return {
    data, load, whenNear, element, pixels, paint, paintMap, grey, signed, decimal, grid, fill, frame, put, drag, steer,
    announcer, bytes, percent, say,
  };
})();
