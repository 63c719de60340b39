import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Alerts, LINES_MAX } from '../static/chart/alerts.js';
import { MARKS_MAX, Marks } from '../static/chart/marks.js';
import { placeOf } from '../static/chart/paint.js';
import { amount, signed, sinceWords } from '../static/chart/words.js';
import * as zone from '../static/chart/zone.js';

const NOW_MS = Date.UTC(2026, 6, 1, 12);
const NOW = NOW_MS / 1000;

/** @type {Map<string, string>} */
let storage = new Map();

beforeEach(() => {
  storage = new Map();
  Object.assign(globalThis, {
    localStorage: { getItem: (/** @type {string} */ name) => storage.get(name) ?? null, setItem: (/** @type {string} */ name, /** @type {string} */ value) => storage.set(name, value) },
  });
  zone.choose('UTC');
});

/** @param {number} close @param {{time?: number, low?: number, high?: number}} [more] */
const candle = (close, { time = NOW, low = close, high = close } = {}) => ({ time, open: close, high, low, close, volume: 1, closed: false, text: String(close) });

/** Lines at these prices, and a price that was seen. @param {number} last @param {string[]} prices */
function watching(last, ...prices) {
  const clock = { ms: NOW_MS };
  const alerts = new Alerts(() => clock.ms, () => {});
  alerts.open('BTCUSDT');
  alerts.catchUp([candle(last)]);
  for (const price of prices) assert.ok(alerts.add(price));
  /** @param {any[]} lines */
  const of = (lines) => lines.map(({ price }) => price);
  return { alerts, clock, of };
}

test('a line is told when the price comes to it, from either side, and once', () => {
  const { alerts, of } = watching(100, '110', '95');

  assert.deepEqual(of(alerts.put(candle(109.9))), []);
  assert.deepEqual(of(alerts.put(candle(110))), ['110']);
  assert.deepEqual(of(alerts.put(candle(120))), []);
  assert.deepEqual(of(alerts.put(candle(94))), ['95']);
  assert.deepEqual(of(alerts.put(candle(120))), []);
});

test('a price that went there and back between two tellings was there', () => {
  const { alerts, of } = watching(100, '110', '90');

  assert.deepEqual(of(alerts.put(candle(101, { low: 100, high: 111 }))), ['110']);
  assert.deepEqual(of(alerts.put(candle(102, { time: NOW + 60, low: 89, high: 103 }))), ['90']);
});

test('what the candle did before the line was there is not told', () => {
  const { alerts, of } = watching(100);
  alerts.put(candle(101, { low: 90, high: 120 }));
  alerts.add('110');

  assert.deepEqual(of(alerts.put(candle(102, { low: 90, high: 120 }))), []);
  assert.deepEqual(of(alerts.put(candle(103, { low: 90, high: 121 }))), ['110']);
});

test('a line where the price is waits until the price is back', () => {
  const { alerts, of } = watching(100, '100');

  assert.deepEqual(of(alerts.put(candle(101))), []);
  assert.deepEqual(of(alerts.put(candle(99))), ['100']);
});

test('an old candle that comes late moves nothing', () => {
  const { alerts, of } = watching(100, '90');

  assert.deepEqual(of(alerts.put(candle(80, { time: NOW - 600 }))), []);
  assert.deepEqual(of(alerts.put(candle(95))), []);
});

test('a line that is moved is watched anew', () => {
  const { alerts, of } = watching(100, '110');
  alerts.put(candle(115));

  assert.ok(alerts.move(alerts.lines[0].id, '120'));

  assert.equal(alerts.lines[0].fired, null);
  assert.deepEqual(of(alerts.put(candle(121))), ['120']);
});

test('lines are kept by symbol, and what happened while the page was away is told', () => {
  const { alerts, clock } = watching(100, '110', '130');
  alerts.leave();

  clock.ms += 600_000;
  const back = new Alerts(() => clock.ms, () => {});
  back.open('ETHUSDT');
  assert.deepEqual(back.lines, []);
  back.open('BTCUSDT');
  const fired = back.catchUp([candle(100, { time: NOW - 60, high: 200 }), candle(105, { time: NOW + 60, high: 112 }), candle(104, { time: NOW + 120 })]);

  assert.deepEqual(fired.map(({ price, fired }) => [price, fired]), [['110', NOW_MS + 60_000]]);
  back.open('BTCUSDT');
  assert.deepEqual(back.catchUp([candle(111, { time: NOW + 60, high: 112 })]), [], 'it was told already');
});

test('only prices are lines, and only so many', () => {
  const { alerts } = watching(100);
  for (const wrong of ['', '-1', '0', '1e5', 'NaN', '1,000', '<b>', '1'.repeat(40)]) assert.equal(alerts.add(wrong), null, wrong);
  for (let count = 0; count < LINES_MAX; count++) assert.ok(alerts.add(String(200 + count)));

  assert.equal(alerts.add('5'), null);
  assert.equal(alerts.move(alerts.lines[0].id, 'x'), false);
  alerts.remove(alerts.lines[0].id);
  assert.equal(alerts.lines.length, LINES_MAX - 1);
});

test('what was written down and makes no sense is no line', () => {
  for (const text of ['', 'null', '{}', '[1]', '[{"price": "x", "from": 1}]', '[{"price": "5"}]', 'oops']) {
    storage.set('flowd.alerts.BTCUSDT', text);
    const alerts = new Alerts(() => NOW_MS, () => {});
    alerts.open('BTCUSDT');
    assert.deepEqual(alerts.lines, [], text);
  }
});

const COLOURS = /** @type {any} */ ({ buy: 'green', sell: 'red' });

/** @param {string} id @param {number} second @param {string} side @param {string} notional */
const order = (id, second, side, notional) => ({ value: { id, time_ms: (NOW + second) * 1000, price: '5', side, notional } });

test('from a value on liquidations are marked, of each bar and side the largest', () => {
  const marks = new Marks();
  assert.equal(marks.least, 100_000);

  assert.equal(marks.put([order('a', 0, 'BUY', '99999.99')]), false);
  assert.equal(marks.put([order('b', 1, 'BUY', '100000'), order('c', 2, 'BUY', '200000'), order('d', 3, 'SELL', '150000'), order('e', 61, 'SELL', '1000000')]), true);

  const found = marks.markers(60, COLOURS);
  assert.deepEqual(found.map(({ id, time, shape, color }) => [id, time - NOW, shape, color]), [['c', 0, 'arrowUp', 'green'], ['d', 0, 'arrowDown', 'red'], ['e', 60, 'arrowDown', 'red']]);
  assert.deepEqual(found.map(({ text }) => text), ['', '', '$1M'], 'words have room');
  assert.ok(found[2].size > found[1].size);
});

test('the least value is kept, and what is none is refused', () => {
  const marks = new Marks();
  marks.put([order('a', 0, 'BUY', '150000'), order('b', 60, 'BUY', '2000000')]);

  assert.equal(marks.choose('many'), false);
  assert.equal(marks.choose('1m'), true);

  assert.deepEqual(marks.markers(60, COLOURS).map(({ id }) => id), ['b']);
  assert.equal(new Marks().least, 1_000_000);
  assert.equal(marks.choose(''), true);
  assert.deepEqual([marks.least, marks.markers(60, COLOURS)], [0, []]);
});

test('only so many marks are held, the newest', () => {
  const marks = new Marks();

  marks.put(Array.from({ length: MARKS_MAX + 5 }, (_, index) => order(String(index), index * 60, 'BUY', '500000')));

  const found = marks.markers(60, COLOURS);
  assert.deepEqual([found.length, found[0].id], [MARKS_MAX, '5']);
});

test('a zone is as far from UTC as it is at that time', () => {
  const [summer, winter] = [Date.UTC(2026, 6, 1, 12), Date.UTC(2026, 0, 1, 12)];
  const berlin = new zone.Zone('Europe/Berlin');
  assert.deepEqual([berlin.label(summer), berlin.label(winter)], ['UTC+2', 'UTC+1']);
  assert.equal(berlin.shift(summer) - summer, 2 * 3_600_000);
  assert.equal(new zone.Zone('America/St_Johns').label(winter), 'UTC−3:30');
  assert.equal(new zone.Zone('Asia/Kathmandu').label(winter), 'UTC+5:45');
  assert.equal(new zone.Zone('UTC').shift(winter), winter);
  // The hour in which the clocks are put forward.
  const change = Date.UTC(2026, 2, 29, 1);
  assert.equal(berlin.shift(change) - berlin.shift(change - 1), 3_600_001);
});

test('the zone that was chosen is kept, and one that nobody knows is UTC', () => {
  zone.choose('Asia/Tokyo');
  assert.deepEqual([zone.current().name, storage.get('flowd.zone')], ['Asia/Tokyo', 'Asia/Tokyo']);
  assert.equal(sinceWords(Date.UTC(2026, 6, 1, 7, 27), NOW_MS), '16:27');
  assert.equal(sinceWords(Date.UTC(2026, 5, 30, 7, 27), NOW_MS), '30 Jun 16:27');

  zone.choose('Atlantis/Capital');
  assert.equal(zone.current().name, 'UTC');
});

test('below the axis stand the days and hours of the zone', () => {
  const points = [-2, -1, 0, 1, 2].map((hours) => ({ time: Date.UTC(2026, 6, 1, 22 + hours) / 1000, timeWeight: 0 }));
  class Scale {
    /** @param {any[]} points */
    fillWeightsForPoints(points) {
      for (const point of points) point.timeWeight = 99;
    }

    /** @param {number} item */
    key(item) {
      return item;
    }
  }
  const library = /** @type {any} */ ({ defaultHorzScaleBehavior: () => Scale });
  zone.choose('Europe/Berlin');

  zone.zonedScale(library, () => false).fillWeightsForPoints(/** @type {any} */ (points), 1);
  assert.deepEqual(points.slice(1).map(({ timeWeight }) => timeWeight), [30, 50, 30, 30]);
  assert.equal(zone.tick(zone.current().shift(points[2].time * 1000), 2), '2');
  assert.equal(zone.tick(zone.current().shift(points[1].time * 1000), 3), '23:00');

  zone.zonedScale(library, () => true).fillWeightsForPoints(/** @type {any} */ (points), 0);
  assert.equal(points[0].timeWeight, 99, 'days are those of UTC');
});

test('words about hatched times lie on no others, and on the logo only where there is no other place', () => {
  assert.equal(placeOf([100, 300], 60, []), 200);
  assert.equal(placeOf([0, 130], 60, []), 86, 'right of the logo');
  assert.equal(placeOf([0, 80], 60, []), 50, 'as far right as its span goes');
  assert.equal(placeOf([100, 150], 60, []), null);

  // A gap of a quarter of an hour lies in the time before anything was counted.
  const gap = placeOf([400, 500], 60, []);
  assert.equal(gap, 450);
  assert.equal(placeOf([0, 500], 200, [[420, 480]]), 210, 'beside the words about the gap');
  assert.equal(placeOf([400, 500], 60, [[420, 480]]), null, 'rather none than over others');
  assert.equal(placeOf([100, 300], 60, [[0, 100], [300, 400]]), 200, 'what only touches it takes nothing');
});

test('amounts are dollars, as on every other page, and a difference has its sign before them', () => {
  assert.deepEqual([8_310_000, 0].map(amount), ['$8.31M', '$0.00']);
  assert.deepEqual(['5000', '-693', '0', '-0.001'].map(signed), ['+$5K', '−$693.00', '$0.00', '$0.00']);
});
