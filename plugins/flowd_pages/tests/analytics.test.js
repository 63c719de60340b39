import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as model from '../static/analytics/model.js';
import { compact } from '../static/analytics/tables.js';
import { accountLines, others, sourceLines, totalsLines } from '../static/feed/words.js';

const NOW = 1_700_000_000_000;
const MINUTE = Math.floor(NOW / 60_000) * 60_000;
const HOUR = Math.floor(NOW / 3_600_000) * 3_600_000;

/** @param {number} time_ms @param {string} buy @param {string} sell */
const sum = (time_ms, buy, sell) => ({ time_ms, buy, sell, count: 1 });

test('there is a bar for each minute up to now, with or without trades', () => {
  const minutes = new Map([sum(MINUTE, '5', '3'), sum(MINUTE - 59 * 60_000, '1', '0'), sum(MINUTE - 60 * 60_000, '9', '9')].map((one) => [one.time_ms, one]));

  const bars = model.bars(minutes, NOW, model.span('1h'));

  assert.equal(bars.length, 60);
  assert.deepEqual(bars.at(-1), { time: MINUTE, minutes: 1, buy: 5, sell: 3, count: 1 });
  assert.deepEqual([bars[0].buy, bars[1].buy], [1, 0]);
});

test('a day has a bar for five minutes, and loses none', () => {
  const minutes = new Map(Array.from({ length: 1440 }, (_, index) => [MINUTE - index * 60_000, sum(MINUTE - index * 60_000, '2', '1')]));

  const bars = model.bars(minutes, NOW, model.span('24h'));

  assert.equal(bars.length, 288);
  assert.ok(bars.every((bar) => bar.time % 300_000 === 0));
  assert.deepEqual([bars[100].buy, bars[100].sell, bars[100].count], [10, 5, 5]);
});

test('what is no span is an hour', () => {
  assert.equal(model.span(null).value, '1h');
  assert.equal(model.span('4h').minutes, 240);
  for (const { minutes, group } of model.SPANS) assert.equal(minutes % group, 0);
});

test('a bar says for how long it is not known, also of the time before there was anything', () => {
  const now = MINUTE + 30_000;
  const unknown = [{ from: -Infinity, to: MINUTE - 58 * 60_000 }, { from: MINUTE - 90_000, to: MINUTE - 40_000 }, { from: MINUTE + 20_000, to: Infinity }];

  const bars = model.bars(new Map(), now, model.span('1h'), unknown);

  assert.deepEqual([bars[0].unknown, bars[1].unknown, bars[2].unknown], [60_000, undefined, undefined]);
  assert.deepEqual(bars.slice(-3).map((bar) => bar.unknown), [30_000, 20_000, 10_000]);
});

test('what is not known is what outages took and nothing brought back', () => {
  const outages = [
    { component: 'fills', from_ms: 10, to_ms: 20, recovered: null },
    { component: 'fills', from_ms: 30, to_ms: 40, recovered: 5 },
    { component: 'fills', from_ms: 50, to_ms: null },
    { component: 'other', from_ms: 0, to_ms: 99, recovered: null },
  ];

  assert.deepEqual(model.unknowns(outages, 'fills', 5, 60), [{ from: -Infinity, to: 5 }, { from: 10, to: 20 }, { from: 50, to: 60 }]);
  assert.deepEqual(model.unknowns([], 'fills', null, 60), []);
  assert.equal(model.overlap([{ from: 0, to: 20 }, { from: 10, to: 30 }, { from: 25, to: 28 }], 5, 100), 25);
});

test('the heat map of one side has that side only', () => {
  const { rows, most } = model.heat([{ symbol: 'ETH', ...sum(HOUR, '10', '5') }, { symbol: 'BTC', ...sum(HOUR, '0', '99') }], NOW, 'buy');
  assert.deepEqual(rows.map(({ symbol, total }) => [symbol, total]), [['ETH', 10]]);
  assert.equal(most, 10);
});

test('sums that nothing draws any more are let go', () => {
  const sums = new Map([sum(1, '1', '1'), sum(5, '1', '1')].map((one) => [one.time_ms, one]));
  model.prune(sums, 5);
  assert.deepEqual([...sums.keys()], [5]);
});

test('the heat map has the coins with the most, hour by hour', () => {
  const hours = [
    { symbol: 'ETH', ...sum(HOUR, '10', '5') },
    { symbol: 'BTC', ...sum(HOUR - 3_600_000, '100', '0') },
    { symbol: 'BTC', ...sum(HOUR - 24 * 3_600_000, '999', '0') },
    { symbol: 'SOL', ...sum(HOUR + 3_600_000, '999', '0') },
    { symbol: '*', ...sum(HOUR, '5000', '0') },
    { symbol: 'NIL', ...sum(HOUR, '0', '0') },
  ];

  const { times, rows, most } = model.heat(hours, NOW);

  assert.equal(times.length, 24);
  assert.equal(times.at(-1), HOUR);
  assert.deepEqual(rows.map((row) => [row.symbol, row.total]), [['BTC', 100], ['ETH', 15], ['*', 5000]]);
  assert.deepEqual([rows[0].cells[22].buy, rows[0].cells[23].buy, rows[0].cells[0].buy], [100, 0, 0]);
  assert.equal(most, 5000);
});

test('only so many coins have a row', () => {
  const hours = Array.from({ length: 40 }, (_, index) => ({ symbol: `C${index}`, ...sum(HOUR, String(index + 1), '0') }));
  const { rows } = model.heat(hours, NOW);
  assert.deepEqual([rows.length, rows[0].symbol], [model.HEAT_COINS, 'C39']);
});

test('levels go from nothing to the most, and small ones are seen', () => {
  assert.deepEqual([0, 1, 250, 1000, 2000].map((value) => model.level(value, 1000)), [0, 1, 3, 6, 6]);
  assert.equal(model.level(0, 0), 0);
  for (let step = 1; step <= model.LEVELS; step++) assert.equal(model.level(model.atLeast(step, 1000) + 0.01, 1000), step);
});

test('the part that was bought is in whole percent', () => {
  assert.deepEqual([model.bought('1', '3'), model.bought('0', '5'), model.bought('0', '0')], [25, 0, null]);
});

test('how far a ranking may be off is said in words', () => {
  const ranking = { error: '0', volume: '1000', rows: [{}] };
  assert.equal(model.errorWords(ranking), 'These sums are exact.');
  assert.equal(model.errorWords(ranking, { since: 'since 16:27', lost: '' }), 'Known since 16:27 only.');
  assert.equal(model.errorWords(ranking, { lost: '4 min' }), 'At least this: 4 min of it are missing, as the source was away.');
  assert.match(model.errorWords({ ...ranking, error: '5' }, { lost: '4 min' }), /too low\. At least this: 4 min/);
  assert.equal(model.errorWords({ ...ranking, error: '5' }), 'Estimates: never too high, at most $5.00 (0.50% of all) too low.');
  assert.match(model.errorWords({ ...ranking, error: '0.00001' }), /less than 0.01%/);
  assert.equal(model.errorWords({ ...ranking, rows: [] }), '');
  assert.equal(model.errorWords({ ...ranking, error: 'x' }), '');
});

test('a cell says in words what its colour says', () => {
  const cell = { time: HOUR, buy: 1000, sell: 500, count: 3 };
  assert.equal(model.cellWords(cell, 'ETH', '22:00 to 23:00'), 'ETH, 22:00 to 23:00: $1.5K, longs $500.00, shorts $1K, 3 orders');
  assert.equal(model.cellWords({ ...cell, count: 0 }, 'ETH', 'then'), 'ETH, then: nothing');
});

test('what stands in a cell is short', () => {
  const table = { 0.4: '<1', 12.6: '13', 999.4: '999', 999.6: '1K', 1234: '1.2K', 9960: '10K', 450_000: '450K', 999_600: '1M', 1_250_000: '1.3M', 3e9: '3B' };
  for (const [value, wanted] of Object.entries(table)) assert.equal(compact(Number(value)), wanted, value);
});

// -- what is not configured

test('the lines that help name the stream, quoted where TOML wants it', () => {
  assert.match(accountLines('all-fills'), /^\[sources\.all-fills\]\nkind = "hydromancer"\nsubscription = "allFills"\n/);
  assert.match(sourceLines('liquidations', 'my.feed'), /^\[sources\."my\.feed"\]\nkind = "binance-force-order"\n/);
  assert.doesNotMatch(sourceLines('liquidations', 'my.feed'), /api_key/);
  assert.ok(sourceLines('all-fills', 'fills').endsWith(accountLines('fills')));
  assert.equal(totalsLines('sums', 'fills', 'takers'), '[transforms.sums]\nkind = "totals"\ninput = "fills"\ncount = "takers"');
});

test('the other streams are those that could be named instead', () => {
  const mistake = { code: 'UNKNOWN_STREAM', message: '', allowed: ['fills', 'fills.totals', 'a.b', 'outages', 7] };
  assert.deepEqual(others(mistake), ['fills', 'a.b']);
  assert.deepEqual(others({ code: '', message: '' }), []);
});
