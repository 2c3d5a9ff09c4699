// What the live figures share. Plain scripts without dependencies, so that they run from a local copy of the site too.
"use strict";
window.readingDigits = (() => {
  const here = document.currentScript.src;
  const loading = {};

  /** Run another script of this folder, once. Returns a promise. */
  function load(file) {
    return (loading[file] ??= new Promise((resolve, reject) => {
      document.head.append(element("script", { src: new URL(file, here).href, load: resolve, error: reject }));
    }));
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

  /** Fill a canvas with values, a pixel each; NaN is clear. */
  function paint(canvas, values, colour) {
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    values.forEach((value, i) => {
      if (!Number.isNaN(value)) image.data.set(colour(value), 4 * i);
    });
    context.putImageData(image, 0, 0);
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

  /** Call follow(x, y, first) with the pointer's place in the target, from 0 to 1, while it is pressed. */
  function drag(target, follow) {
    let pointer = null;
    const at = (event, first) => {
      const box = target.getBoundingClientRect();
      follow((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, first);
    };
    target.addEventListener("pointerdown", (event) => {
      if (pointer !== null || event.button !== 0) return;
      pointer = event.pointerId;
      target.setPointerCapture(pointer);
      at(event, true);
    });
    target.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) at(each, false);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      target.addEventListener(end, (event) => {
        if (event.pointerId === pointer) pointer = null;
      });
    }
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

  return { data: {}, load, element, pixels, paint, grey, signed, drag, announcer, bytes, percent };
})();
