// The built site in Firefox: every page loads clean, and the figures to play with work. `make firefox` runs it.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, beforeEach, test } from "node:test";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const SITE = pathToFileURL(`${import.meta.dirname ?? new URL(".", import.meta.url).pathname}/../../_build/html/`);
const PAGES = readdirSync(new URL("book/", SITE)).filter((name) => name.endsWith(".html"));
const SEVEN = [[0.25, 0.2], [0.5, 0.18], [0.73, 0.2], [0.6, 0.45], [0.5, 0.65], [0.42, 0.88]];
let browser, page, complaints;

before(async () => {
  browser = await puppeteer.launch({ browser: "firefox", executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr" });
});
after(() => browser?.close());

beforeEach(async () => {
  await page?.close();
  [page, complaints] = [await browser.newPage(), []];
  await page.setViewport({ width: 1000, height: 1400 });
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (![SITE.href, "blob:", "data:"].some((start) => request.url().startsWith(start))) complaints.push(request.url());
  });
});

async function open(name, figure) {
  await page.goto(new URL(`book/${name}.html`, SITE).href);
  if (!figure) return;
  await page.$eval(`#live-${figure}`, (element) => element.scrollIntoView());
  await page.waitForSelector(`#live-${figure}[data-ready]`);
}

const click = (text, within = "button") => page.$$eval(within, (all, text) =>
  all.find((element) => element.textContent.trim() === text).click(), text);

async function draw(strokes) {
  const pad = await page.$(".live-pad");
  await pad.scrollIntoView();
  const box = await pad.boundingBox();
  for (const stroke of strokes) {
    const [start, ...rest] = stroke.map(([x, y]) => [box.x + x * box.width, box.y + y * box.height]);
    await page.mouse.move(...start);
    await page.mouse.down();
    for (const place of rest) await page.mouse.move(...place, { steps: 2 });
    await page.mouse.up();
  }
  await page.waitForFunction("readingDigits.draw.probabilities");
}

assert(PAGES.length > 20, "build the site first");
for (const name of PAGES) {
  test(`${name} loads clean`, async () => {
    await open(name.slice(0, -5));
    assert.equal(await page.$$eval("main h1", (all) => all.filter((title) => title.checkVisibility()).length), 1);
    assert.deepEqual(complaints, []);
  });
}

test("a drawn 7 is read, and its numbers add up", async () => {
  await open("index", "draw");
  await draw([SEVEN]);
  const probabilities = await page.evaluate("[...readingDigits.draw.probabilities]");
  assert.equal(probabilities.indexOf(Math.max(...probabilities)), 7);
  await page.$$eval(".live-stage-maps1 canvas", (all) => all[3].click());
  const { products, sum, bias, value, map } = await page.evaluate("readingDigits.looking.explained");
  const total = products.flat().reduce((a, b) => a + b, 0);
  assert(map === 3 && Math.abs(total - sum) < 1e-6 && Math.abs(Math.max(0, sum + bias) - value) < 1e-4);
  await click("clear");
  assert.deepEqual(complaints, []);
});

test("a window slides over a digit", async () => {
  await open("00-convolutional-networks", "field");
  assert.equal((await page.evaluate("readingDigits.field.sums")).length, 24 * 24);
  assert.deepEqual(complaints, []);
});

test("errors are shown", async () => {
  await open("11-ensemble", "errors");
  assert(await page.$$eval("#live-errors canvas", (all) => all.length) > 20);
  assert.deepEqual(complaints, []);
});

test("curves of chosen experiments are drawn", async () => {
  await open("runs", "runs");
  const before = await page.evaluate("readingDigits.runs.chosen.length");
  await page.$$eval(".live-choice input:not(:checked)", ([box]) => box.click());
  assert.equal(await page.evaluate("readingDigits.runs.chosen.length"), before + 1);
  assert.deepEqual(complaints, []);
});

test("a network learns in the page", async () => {
  await open("learn", "learn");
  await click("train");
  await page.waitForFunction("readingDigits.learn?.steps >= 500", { timeout: 120_000 });
  await click("pause");
  assert(await page.evaluate("readingDigits.learn.accuracy") > 0.5);
  assert.deepEqual(complaints, []);
});
