// Explore the errors: guess a digit that the networks misread, then see its label and their answers.
"use strict";
{
  const { data, whenNear, element, pixels, paint, grey, bytes, percent } = readingDigits;
  const container = document.getElementById("live-errors");

  function build() {
    const { record, digits, images } = data.errors;
    const inks = bytes(images), networks = digits[0].answers.length;
    const image = (i) => inks.subarray(784 * i, 784 * (i + 1));
    const guesses = digits.map(() => null);
    let current = 0;

    const large = pixels(28, { role: "img" });
    const title = element("p", { class: "live-title" }), question = element("p", { class: "live-answer", "aria-live": "polite" });
    const keys = [...Array(10).keys()].map((digit) =>
      element("button", { type: "button", click: () => guess(digit) }, `${digit}`));
    const verdict = element("div", { class: "live-verdict", "aria-live": "polite" });
    const next = element("button", { type: "button", click: () => show((current + 1) % digits.length) }, "next digit");
    const score = element("p", { class: "live-note" });
    const gallery = digits.map((_, i) => {
      const small = pixels(28);
      paint(small, image(i), grey(255));
      return element("button", { type: "button", click: () => show(i) }, small);
    });

    function guess(digit) {
      if (guesses[current] !== null) return;
      guesses[current] = digit;
      show(current);
      next.focus({ preventScroll: true });
    }

    function show(i) {
      current = i;
      const { index, label, vote, answers, sure } = digits[i], guessed = guesses[i];
      paint(large, image(i), grey(255));
      large.setAttribute("aria-label", `Test digit ${index}, handwritten`);
      title.textContent = `${i + 1} of ${digits.length}: test digit ${index}`;
      question.textContent = guessed === null ? "What do you read?" : `You read ${guessed}. The label is ${label}.`;
      keys.forEach((key, digit) => {
        key.setAttribute("aria-disabled", guessed !== null);
        key.classList.toggle("live-chosen", digit === guessed);
      });
      verdict.replaceChildren(...(guessed === null ? [] : [
        element("ul", {}, ...answers.map((answer, n) => element("li", {},
          `network ${n + 1}: ${answer}` + (sure[n] === null ? "" : `, ${percent(sure[n])} sure`)))),
        element("p", {}, `the vote: ${vote}`),
      ]));
      const tried = guesses.filter((each) => each !== null).length;
      const right = guesses.filter((each, n) => each === digits[n].label).length;
      gallery.forEach((button, n) => {
        const [mark, words] = guesses[n] === null ? ["", ""]
          : guesses[n] === digits[n].label ? ["live-right", ", your guess is the label"] : ["live-wrong", ", your guess is not the label"];
        button.className = mark;
        button.setAttribute("aria-label", `digit ${n + 1}${words}`);
        button.setAttribute("aria-current", n === i);
      });
      score.textContent = `These are the ${digits.length} test digits that the vote of ${networks === 1 ? "the one network" : `the ${networks} networks`} of “${record}” misreads. `
        + (tried ? `You gave the label of ${right} of the ${tried} you have tried.` : "Guess with a button, or type a digit.");
    }

    const typed = (event) => {
      if (/^[0-9]$/.test(event.key) && !event.ctrlKey && !event.metaKey && !event.altKey) guess(Number(event.key));
    };
    container.append(element("div", { class: "live-figure", role: "group", "aria-label": "Explore the errors", keydown: typed },
      element("div", { class: "live-columns" },
        element("div", { class: "live-picture" }, large, title),
        element("div", { class: "live-reading" }, question,
          element("div", { class: "live-buttons", role: "group", "aria-label": "Your guess" }, ...keys), verdict,
          element("div", { class: "live-buttons" }, next))),
      score, element("div", { class: "live-gallery" }, ...gallery)));
    show(0);
    readingDigits.errors = { guesses };
  }

  whenNear(container, ["data/errors.js"], build);
}
