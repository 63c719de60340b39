import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';

import { FlowdClient } from '../static/flowd-client.js';
import { AT_MOST, Dots, past, roundAbove } from '../static/heatmap/dots.js';
import { partly } from '../static/heatmap/words.js';
import { FakeSocket, seeded } from './fakes.js';

const NOW = 1_795_300_200_000;
const WEEK = 7 * 86_400_000;
const RANGE = { symbol: 'BTCUSDT', start: NOW - WEEK, end: NOW };

/** @param {number} time @param {number} notional */
const order = (time, notional, id = `o${time}`) => ({ id, symbol: 'BTCUSDT', time_ms: time, price: '100', notional: String(notional), side: 'SELL', coverage: 'sampled' });

/** What the history has, oldest first. @type {ReturnType<typeof order>[]} */
let kept = [];
/** What was asked of it. @type {URLSearchParams[]} */
let asked = [];
/** How many records one answer looks at. */
let scan = Infinity;
/** @type {Response | null} */
let refusal = null;

/** So many at equal distances over the week, the larger the fewer. @param {number} many */
function week(many) {
  const random = seeded(7);
  return Array.from({ length: many }, (_, n) => order(RANGE.start + Math.floor((n * WEEK) / many), Math.round(100 / (random() + 1e-6))));
}

/** What was kept and is not here. @param {{id?: string}[]} dots */
function lacking(dots) {
  const ids = new Set(dots.map(({ id }) => id));
  return kept.filter(({ id }) => !ids.has(id));
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  FakeSocket.made = [];
  [kept, asked, scan, refusal] = [[], [], Infinity, null];
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW });
  mock.method(globalThis, 'fetch', async (/** @type {string} */ path) => {
    const query = new URLSearchParams(path.split('?')[1]);
    asked.push(query);
    if (refusal) return refusal;
    const number = (/** @type {string} */ name) => Number(query.get(name) ?? 0);
    const from = query.has('cursor') ? number('cursor') : 0;
    const range = kept.filter(({ time_ms }) => time_ms >= number('start') && time_ms < Number(query.get('end') ?? Infinity));
    if (query.get('order') === 'desc') range.reverse();
    const found = [];
    let at = from;
    for (; at < range.length && at - from < scan && found.length < number('limit'); at++) {
      if (Number(range[at].notional) >= number('min_notional')) found.push({ seq: at, value: range[at] });
    }
    return new Response(JSON.stringify({ stream: 'orders', records: found, next: at < range.length ? String(at) : null, gaps: [] }));
  });
});

afterEach(() => {
  mock.timers.reset();
  mock.restoreAll();
});

/** The dots of a symbol that are loaded. @param {object[]} live @param {boolean} [history] */
async function loaded(live, history = true) {
  const client = new FlowdClient({ url: 'http://daemon.test/ws', WebSocket: /** @type {any} */ (FakeSocket) });
  FakeSocket.last.open();
  const dots = new Dots(client, () => {});
  dots.load('orders', 'BTCUSDT', RANGE.start, history);
  FakeSocket.last.records('orders', 'e.1', live, true);
  for (let turns = 0; turns < 30; turns++) await settled();
  return dots;
}

test('a round amount is reached by no more than the share that was meant', () => {
  assert.equal(roundAbove([1, 2, 3, 40, 50, 60, 70, 80, 90, 100], 0.3), 100);
  assert.equal(roundAbove([1500, 2500, 12_000, 700], 0.5), 2000);
  assert.equal(roundAbove([0, 0], 0.1), 2);
});

test('a week that is not too many comes in one answer, whole', async () => {
  kept = week(AT_MOST);

  const found = await past('orders', RANGE, new AbortController().signal);

  assert.deepEqual([found.dots.length, found.from, found.least, asked.length], [AT_MOST, null, 0, 1]);
});

test('of too many the newest are here, and all of the older that are large', async () => {
  kept = week(8 * AT_MOST);

  const { dots, from, least, before } = await past('orders', RANGE, new AbortController().signal);

  assert.equal(from, null);
  assert.ok(least > 0 && asked.length <= 3);
  const ids = new Set(dots.map(({ id }) => id));
  const missing = lacking(dots);
  assert.ok(missing.length > 0 && missing.every(({ time_ms, notional }) => time_ms < before && Number(notional) < least));
  assert.ok(ids.size > 1.3 * AT_MOST && ids.size <= 2 * AT_MOST, `${ids.size}`);
});

test('a storm just now does not hide a quiet week', async () => {
  const random = seeded(3);
  const storm = Array.from({ length: AT_MOST + 1 }, (_, n) => order(NOW - AT_MOST - 1 + n, Math.round(100 / (random() + 1e-6)), `s${n}`));
  kept = [...week(700).slice(0, -1), ...storm];

  const { dots, from, least } = await past('orders', RANGE, new AbortController().signal);

  assert.deepEqual([from, least, lacking(dots).length], [null, 0, 0]);
});

test('of ever so many that are equal the newest are here, and since when is told', async () => {
  kept = week(6 * AT_MOST).map((one) => ({ ...one, notional: '1000' }));
  kept.slice(0, 5 * AT_MOST).forEach((one) => (one.notional = '1000000'));

  const { dots, from, before } = await past('orders', RANGE, new AbortController().signal);

  assert.ok(from !== null && from < before);
  const ids = new Set(dots.map(({ id }) => id));
  assert.ok(kept.filter(({ time_ms }) => time_ms > from).every(({ id }) => ids.has(id)));
});

test('a history that looks at a part at a time is followed, but not for ever', async () => {
  kept = week(900);
  scan = 300;
  const whole = await past('orders', RANGE, new AbortController().signal);
  assert.deepEqual([whole.dots.length, whole.from], [900, null]);

  scan = 100;
  asked = [];
  const part = await past('orders', RANGE, new AbortController().signal);
  assert.deepEqual([part.dots.length, part.from, asked.length], [400, kept[500].time_ms, 4]);
});

test('what the stream forgot comes from the history, nothing twice', async () => {
  kept = week(700);
  const dots = await loaded(kept.slice(-200));

  assert.equal(dots.all.length, 700);
  assert.equal(new Set(dots.all).size, 700);
  assert.deepEqual([dots.part, dots.sampled], [null, true]);
  assert.deepEqual([asked[0].get('symbol'), asked[0].get('start'), asked[0].get('end')], ['BTCUSDT', String(RANGE.start), String(kept[500].time_ms + 1)]);

  FakeSocket.last.records('orders', 'e.2', [order(NOW, 5)]);
  assert.deepEqual([dots.all.length, asked.length], [701, 2]);
});

test('where there is none, what the stream has is told to be a part', async () => {
  kept = week(700);
  const without = await loaded(kept.slice(-200), false);
  assert.deepEqual([without.all.length, without.part?.from, asked.length], [200, kept[500].time_ms, 0]);

  refusal = new Response(JSON.stringify({ error: { code: 'UNKNOWN_STREAM', message: 'no' } }), { status: 404 });
  const refused = await loaded(kept.slice(-200));
  assert.deepEqual([refused.all.length, refused.part?.from], [200, kept[500].time_ms]);
});

test('a history that is younger than the map is told to be a part', async () => {
  kept = week(700).slice(300);
  const dots = await loaded(kept.slice(-200));
  assert.deepEqual([dots.all.length, dots.part?.from], [400, kept[0].time_ms]);

  kept = [];
  const empty = await loaded([]);
  assert.deepEqual([empty.all.length, empty.part?.from], [0, NOW]);
});

test('after the stream began anew the history is asked again', async () => {
  kept = week(700);
  const dots = await loaded(kept.slice(-200));

  FakeSocket.last.records('orders', 'f.1', [], true);
  for (let turns = 0; turns < 30; turns++) await settled();

  assert.deepEqual([dots.all.length, dots.part, asked.length], [700, null, 4]);
});

test('a live stream does not grow without bound, and what it let go of is in the history', async () => {
  kept = week(700);
  const dots = await loaded([]);
  const many = Array.from({ length: 2 * AT_MOST + 1 }, (_, n) => order(NOW + n, 5));

  kept.push(...many);
  FakeSocket.last.records('orders', 'e.2', many);
  for (let turns = 0; turns < 30; turns++) await settled();

  assert.ok(dots.all.length <= 3 * AT_MOST);
  const part = /** @type {import('../static/heatmap/dots.js').Part} */ (dots.part);
  assert.ok(lacking(dots.all).every(({ time_ms, notional }) => time_ms <= part.before && Number(notional) < part.least));
});

test('what was let go of is told no more', async () => {
  kept = week(700);
  const dots = await loaded(kept.slice(-200));

  dots.forget();
  FakeSocket.last.records('orders', 'e.2', [order(NOW, 5)]);

  assert.deepEqual([dots.all, dots.part], [[], null]);
});

test('which part is drawn is told in a few words', () => {
  const before = Date.UTC(2026, 10, 27, 12);
  assert.equal(partly({ before, from: before, least: 0 }), 'since 27 Nov 12:00 only');
  assert.equal(partly({ before, from: null, least: 20_000 }), 'before 27 Nov 12:00 those of $20K and more');
  assert.equal(partly({ before, from: before - 86_400_000, least: 20_000 }), 'since 26 Nov 12:00 only, before 27 Nov 12:00 those of $20K and more');
});
