import assert from 'node:assert/strict';
import { test } from 'node:test';

import { BLIND, KNOWN, Picture, UNKNOWN, codeOf, density, pooled, spelled } from '../static/heatmap/picture.js';
import { between, cumulated } from '../static/heatmap/profile.js';
import { colour, intensity, leastDensity, palette } from '../static/heatmap/scale.js';
import { clamped, panned, priceAt, ticks, timeAt, timeTicks, xOf, yOf, zoomed } from '../static/heatmap/view.js';

const MINUTES = 300_000;
const START = 1_795_300_200_000;

/** @param {[number, number][]} runs code and length */
function runs(runs) {
  const codes = Buffer.from(runs.map(([code]) => code));
  const lengths = Buffer.alloc(2 * runs.length);
  runs.forEach(([, length], index) => lengths.writeUInt16LE(length, 2 * index));
  return { codes: codes.toString('base64'), lengths: lengths.toString('base64') };
}

/** Four columns of which the third is missing, and two rows of 10 from 100 up. */
function told() {
  const times = [START, START + MINUTES, START + 3 * MINUTES];
  return {
    ...{ symbol: 'BTCUSDT', interval_ms: MINUTES, start: START - MINUTES, end: START + 4 * MINUTES, base: 100, bin: 10, bins: 2 },
    ...{ times, close: [111, 112, 113], low: [110, 111, 112], high: [112, 113, 114], oi_missing: [START + MINUTES] },
    long: runs([[0, 1], [81, 2], [0, 3]]),
    short: runs([[0, 3], [9, 1], [17, 2]]),
  };
}

const picture = () => /** @type {Picture} */ (Picture.of(told()));

/** @param {number} time @param {object} [data] */
const snapshot = (time, data = {}) => ({
  timestamp: new Date(time).toISOString(),
  data: { current_price: 115, bin: 5, levels: [{ price: 105, long_density: 1024, short_density: 0 }, { price: 110, long_density: 0, short_density: 2 }, { price: 115, long_density: 0, short_density: 2 }], ...data },
});

test('runs are spelled out, and those that do not fit are refused', () => {
  assert.deepEqual([...spelled(runs([[0, 2], [7, 300], [255, 1]]), 303)].filter((code) => code !== 7), [0, 0, 255]);
  assert.throws(() => spelled(runs([[0, 2]]), 3), /cut off/);
  assert.throws(() => spelled(runs([[0, 4]]), 3), /cut off/);
});

test('codes stand for eight steps to each doubling', () => {
  assert.deepEqual([0, 1, 9, 81].map(density), [0, 1, 2, 1024]);
  assert.deepEqual([0.5, 1, 2, 1024, 1e30].map(codeOf), [0, 1, 9, 81, 255]);
  for (const amount of [3, 777, 5e6]) assert.ok(Math.abs(density(codeOf(amount)) / amount - 1) < 0.046);
});

test('a picture has a place for each candle, also where one is missing', () => {
  const made = picture();

  assert.deepEqual([made.columns, made.rows, made.top, made.end], [4, 2, 120, START + 4 * MINUTES]);
  assert.deepEqual([...made.known.slice(0, 4)], [KNOWN, BLIND, UNKNOWN, KNOWN]);
  assert.deepEqual([0, 1, 2, 3].map((column) => made.code(column, 0, 'long')), [0, 81, 0, 81]);
  assert.deepEqual([0, 1, 2, 3].map((column) => made.code(column, 1, 'both')), [9, 17, 0, 17]);
  assert.deepEqual(made.spans(UNKNOWN), [[START + 2 * MINUTES, START + 3 * MINUTES]]);
  assert.deepEqual([made.row(99), made.row(100), made.row(110), made.row(120)], [-1, 0, 1, -1]);
  assert.deepEqual([made.column(START - 1), made.column(START), made.column(made.end)], [-1, 0, -1]);
  assert.equal(Picture.of({ ...told(), times: [] }), null);
});

test('of both sides the denser is shown: they are never added', () => {
  const made = picture();
  made.short[1] = 90;

  assert.deepEqual([made.code(1, 0, 'both'), made.code(1, 0, 'long'), made.code(1, 0, 'short')], [90, 81, 90]);
});

test('the newest map is the newest column, of bins that are added up to rows', () => {
  const made = picture();

  assert.equal(made.live(snapshot(START + 4 * MINUTES + 1000)), true);

  assert.equal(made.columns, 5);
  assert.deepEqual([made.code(4, 0, 'long'), made.code(4, 1, 'short')], [81, codeOf(4)]);
  assert.equal(made.code(3, 1, 'short'), 17, 'the candle before stays as it was');
  assert.deepEqual([made.close[4], made.known[4]], [115, KNOWN]);
});

test('a map of the end of a candle is that candle\'s, too', () => {
  const made = picture();

  made.live(snapshot(START + 4 * MINUTES, { oi_missing: true }));

  assert.deepEqual([made.code(3, 1, 'short'), made.known[3], made.known[4]], [codeOf(4), BLIND, BLIND]);
});

test('a map after a hole is shown, and the hole is told', () => {
  const made = picture();

  assert.equal(made.live(snapshot(START + 6 * MINUTES + 1)), false);
  assert.deepEqual([made.columns, made.known[4], made.known[6]], [7, UNKNOWN, KNOWN]);
  assert.equal(made.live(snapshot(START)), true, 'an older one is nothing new');
  assert.equal(made.known[2], UNKNOWN);
  assert.equal(made.live(snapshot(START + 9000 * MINUTES)), false);
  assert.equal(made.columns, 7);
});

test('columns that are put together show the densest, from the highest row down', () => {
  const { cells, known, columns } = pooled(picture(), 'both', 2);

  assert.equal(columns, 2);
  assert.deepEqual([...cells], [17, 17, 81, 81]);
  assert.deepEqual([...known], [1, 1]);
  assert.deepEqual([...pooled(picture(), 'short', 1).known], [1, 1, 0, 1]);
});

test('the brightest is the densest but for one cell in a thousand', () => {
  const made = new Picture({ start: 0, interval: MINUTES, columns: 2000, base: 0, bin: 1, rows: 1 });
  made.long.fill(100, 0, 2000);
  made.long[7] = 250;

  assert.equal(made.bright('both'), 100);
  assert.equal(made.bright('short'), 1);
});

/** How light a colour looks, by its luminance. @param {number[]} colour */
function luminance(colour) {
  const [r, g, b] = colour.map((value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

for (const theme of /** @type {const} */ (['dark', 'light'])) {
  test(`the more, the ${theme === 'dark' ? 'lighter' : 'darker'} on a ${theme} page, whatever eyes see of red and green`, () => {
    const sign = theme === 'dark' ? 1 : -1;
    for (let step = 1; step <= 100; step++) {
      const [less, more] = [colour((step - 1) / 100, theme), colour(step / 100, theme)];
      assert.ok(sign * (luminance(more) - luminance(less)) > 0, `step ${step}`);
    }
    const most = [luminance(colour(0, theme)), luminance(colour(1, theme))].sort((a, b) => b - a);
    assert.ok((most[0] + 0.05) / (most[1] + 0.05) > 12);
  });
}

test('scales end at the brightest and agree with the threshold', () => {
  for (const scale of /** @type {const} */ (['linear', 'sqrt', 'log'])) {
    assert.deepEqual([0, 201, 255].map((code) => intensity(code, 201, scale)), [0, 1, 1]);
    const least = leastDensity(0.5, 201, scale);
    const code = codeOf(least);
    assert.ok(Math.abs(intensity(code, 201, scale) - 0.5) < 0.03, scale);
  }
  assert.ok(intensity(100, 201, 'linear') < intensity(100, 201, 'sqrt'));
  assert.equal(intensity(1, 201, 'log'), 0);
  assert.equal(leastDensity(0, 201, 'log'), 0);
});

test('what is below the threshold looks as if nothing were there', () => {
  const pixels = palette(201, 'sqrt', 0.5, 'dark');

  assert.equal(pixels[170], pixels[0]);
  assert.notEqual(pixels[195], pixels[0]);
  assert.ok([...pixels].every((pixel) => pixel >>> 24 === 255));
});

const BOUNDS = { from: 0, to: 1000, low: 0, high: 100, column: 1, row: 1 };
const BOX = { left: 10, top: 5, width: 500, height: 200 };
const VIEW = { from: 200, to: 700, low: 20, high: 60 };

test('places and what lies there are each other\'s inverse', () => {
  assert.deepEqual([xOf(VIEW, BOX, 200), xOf(VIEW, BOX, 700)], [10, 510]);
  assert.deepEqual([yOf(VIEW, BOX, 60), yOf(VIEW, BOX, 20)], [5, 205]);
  assert.equal(timeAt(VIEW, BOX, xOf(VIEW, BOX, 333)), 333);
  assert.ok(Math.abs(priceAt(VIEW, BOX, yOf(VIEW, BOX, 44)) - 44) < 1e-9);
});

test('what is pointed at stays where it is while zooming', () => {
  const at = { time: 300, price: 50 };

  const nearer = zoomed(VIEW, BOUNDS, at, 0.5, 0.25);

  assert.deepEqual([nearer.to - nearer.from, nearer.high - nearer.low], [250, 10]);
  assert.ok(Math.abs(xOf(nearer, BOX, 300) - xOf(VIEW, BOX, 300)) < 1e-9);
  assert.ok(Math.abs(yOf(nearer, BOX, 50) - yOf(VIEW, BOX, 50)) < 1e-9);
});

test('nobody zooms or pans beyond what there is', () => {
  assert.deepEqual(zoomed(VIEW, BOUNDS, { time: 300, price: 50 }, 100), { from: 0, to: 1000, low: 0, high: 100 });
  const closest = zoomed(VIEW, BOUNDS, { time: 300, price: 50 }, 1e-6);
  assert.deepEqual([Math.round(closest.to - closest.from), Math.round(closest.high - closest.low)], [8, 8]);
  assert.ok(closest.from < 300 && closest.to > 300);
  assert.deepEqual(panned(VIEW, BOUNDS, BOX, 5000, 0), { from: 0, to: 500, low: 20, high: 60 });
  assert.deepEqual(panned(VIEW, BOUNDS, BOX, -50, 50), { from: 250, to: 750, low: 30, high: 70 });
  assert.deepEqual(clamped({ from: -10, to: 2000, low: 90, high: 130 }, BOUNDS), { from: 0, to: 1000, low: 60, high: 100 });
});

test('axes have round numbers and round times', () => {
  assert.deepEqual(ticks(81_200, 93_000, 5), [85_000, 90_000]);
  assert.deepEqual(ticks(0.11, 0.16, 5).map((at) => at.toFixed(2)), ['0.11', '0.12', '0.13', '0.14', '0.15', '0.16']);
  assert.deepEqual(ticks(1, 1, 5), []);
  assert.deepEqual(timeTicks(1, 86_400_000, 4).map((at) => at / 3_600_000), [6, 12, 18, 24]);
});

const LEVELS = [
  { price: 80, long_density: 100, short_density: 0 },
  { price: 95, long_density: 40, short_density: 0 },
  { price: 100, long_density: 5, short_density: 7 },
  { price: 105, long_density: 0, short_density: 20 },
  { price: 120, long_density: 9, short_density: 50 },
];

test('sums go from the mark outwards: longs down, shorts up', () => {
  const sums = cumulated(LEVELS, 5, 102);

  assert.deepEqual(sums.long, [{ price: 100, sum: 5 }, { price: 95, sum: 45 }, { price: 80, sum: 145 }]);
  assert.deepEqual(sums.short, [{ price: 105, sum: 7 }, { price: 110, sum: 27 }, { price: 125, sum: 77 }]);
  assert.deepEqual([between(sums, 102, 90), between(sums, 102, 80), between(sums, 102, 111), between(sums, 102, 102)], [45, 145, 27, 0]);
});
