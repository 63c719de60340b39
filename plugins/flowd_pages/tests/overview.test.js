import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as model from '../static/overview/model.js';
import { best, intervalMs } from '../static/overview/prices.js';
import { sorted } from '../static/rows.js';
import { venueName } from '../static/words.js';

const HOUR = 3_600_000;

/** @param {string} id @param {number} time_ms @param {string} notional */
const event = (id, time_ms, notional) => ({ id, fill: id, time_ms, symbol: 'BTCUSDT', chart: 'BTCUSDT', side: 'SELL', price: '1', averaged: false, quantity: notional, notional, venue: 'Binance', approximate: false, address: null });

test('feeds are the streams of liquidations, by the venue of what writes them, and what is missing is told with its lines', () => {
  const status = {
    streams: [
      { name: 'orders', record: 'Liquidation', records: 7, kind: 'binance-force-order' },
      { name: 'by', record: 'Liquidation', records: 2, kind: 'bybit-liquidations' },
      { name: 'volume', record: 'Bucket', kind: 'liquidation-volume' },
      { name: 'all-fills', record: 'Fill', records: 1 },
      { name: 'liquidations', record: 'Fill', records: 3 },
      { name: 'c', record: 'Candle' },
    ],
  };

  const has = model.found(status, 'liquidations');

  assert.deepEqual(has.feeds.map(({ name, venue, fills }) => [name, venue, fills]), [['orders', 'Binance', false], ['by', 'Bybit', false], ['liquidations', 'Hyperliquid', true]]);
  assert.deepEqual(has.missing.map(({ venue }) => venue), ['OKX']);
  assert.deepEqual([has.volume, has.windows, has.candles], ['volume', false, ['c']]);
  assert.match(model.sumLines(has), /^\[sinks\.charts\]\nkind = "liquidation-websocket"\norders = "orders"\nvolume = "volume"$/);
  assert.equal(model.sumLines({ ...has, windows: true }), '');
});

test('a daemon with nothing is told all lines that sums need', () => {
  const lines = model.sumLines(model.found({}, 'liquidations'));
  for (const kind of ['binance-force-order', 'liquidation-volume', 'liquidation-websocket']) assert.ok(lines.includes(`kind = "${kind}"`), kind);
});

test('the unknown is what the worst source lacks, each moment once, and nothing that came later', () => {
  const outages = [
    { component: 'a', from_ms: 0, to_ms: 300, recovered: null },
    { component: 'a', from_ms: 200, to_ms: 400, recovered: null },
    { component: 'a', from_ms: 500, to_ms: 600, recovered: 3 },
    { component: 'b', from_ms: 900, to_ms: null },
    { component: 'other', from_ms: 0, to_ms: 1000, recovered: null },
  ];

  assert.equal(model.unknownMs(outages, ['a'], 100, 1000), 300);
  assert.equal(model.unknownMs(outages, ['b'], 100, 1000), 100);
  assert.equal(model.unknownMs(outages, ['a', 'b'], 100, 1000), 300);
  assert.equal(model.unknownMs(outages, ['a'], 400, 1000), 0);
  assert.equal(model.unknownMs([], [], 0, 1000), 0);
});

test('a past that is still being filled in is not called all of it', () => {
  assert.equal(model.knownFrom(5 * HOUR, 6 * HOUR, 7 * HOUR), 'all of it');
  assert.equal(model.knownFrom(5 * HOUR, 6 * HOUR, 7 * HOUR, true), 'still being filled in');
  assert.equal(model.knownFrom(6 * HOUR + 60_000, 6 * HOUR, 7 * HOUR), 'since 06:01');
  assert.equal(model.knownFrom(null, 6 * HOUR, 7 * HOUR, true), 'nothing yet');
});

test('a sum is not called whole while one of its venues is known for a part of it', () => {
  const [start, now] = [6 * HOUR, 7 * HOUR];
  const late = start + 60_000;
  assert.equal(model.knownInFull(HOUR, [HOUR, 2 * HOUR], start, now), 'all of it');
  assert.equal(model.knownInFull(HOUR, [HOUR, late], start, now), 'in full since 06:01');
  assert.equal(model.knownInFull(late, [late, late + 60_000], start, now), 'since 06:01, in full since 06:02');
  assert.equal(model.knownInFull(late, [null, late], start, now), 'since 06:01');
  assert.equal(model.knownInFull(HOUR, [HOUR, late], start, now, true), 'still being filled in');
  assert.equal(model.knownInFull(null, [late], start, now), 'nothing yet');
});

test('how unusual something is, is told only where the usual is known', () => {
  const sum = { buy: '300', sell: '20', count: 2 };
  assert.equal(model.againstUsual({ ...sum, usual: '100.00' }), '×3.2');
  assert.equal(model.againstUsual({ ...sum, usual: '10.00' }), '×32');
  for (const usual of [null, undefined, '0.00']) assert.equal(model.againstUsual({ ...sum, usual }), '');
  assert.equal(model.ratioOf(undefined), null);
});

test('of the largest only so many are kept, each once, in their order', () => {
  const kept = new model.Kept(2, model.largestFirst);
  for (const one of [event('a', 1, '5'), event('b', 2, '50'), event('a', 1, '5'), event('c', 3, '7')]) kept.put(one);
  assert.deepEqual(kept.rows.map(({ id }) => id), ['b', 'c']);
  assert.equal(kept.put(event('d', 4, '1')), false);
  assert.equal(kept.put(event('e', 5, '60')), true);
  assert.deepEqual(kept.rows.map(({ id }) => id), ['e', 'b']);
});

test('the fills of one account in one transaction are one liquidation, whichever way each of them comes', () => {
  const fill = { time_ms: 5, symbol: 'kPEPE', side: 'SELL', dir: 'Close Long', fee_token: 'USDC', role: 'liquidated', hash: '0x1', venue: 'hyperliquid' };
  /** @param {string} id @param {string} address @param {string} price @param {string} quantity @param {string} notional */
  const one = (id, address, price, quantity, notional) => /** @type {model.Event} */ (model.eventOf({ ...fill, id, address, price, quantity, notional }));
  const kept = new model.Kept(2, model.largestFirst);
  const [first, other, second] = [one('1', '0xa', '10.0', '2', '20'), one('2', '0xb', '10.1', '3', '30.3'), one('3', '0xa', '10.2', '2', '20.4')];

  assert.equal(kept.put(first) && kept.put(other) && kept.put(second), true);
  assert.equal(kept.put(first) || kept.put(second), false);

  assert.deepEqual(kept.rows.map(({ notional, price, averaged, address }) => [notional, price, averaged, address]), [['40.4', '10.1', true, '0xa'], ['30.3', '10.1', false, '0xb']]);
  assert.equal(first.chart, '1000PEPEUSDT');
});

test('the other side of a liquidation is no event, and whose it was is', () => {
  const fill = { id: 1, time_ms: 5, symbol: 'BTC', side: 'SELL', price: '2', notional: '4', venue: 'hyperliquid', address: '0xa', liquidated_user: null };
  assert.equal(model.eventOf({ ...fill, role: 'counterparty' }), null);
  const found = model.eventOf({ ...fill, role: 'liquidated' });
  assert.deepEqual([found?.venue, found?.address, found?.approximate], ['Hyperliquid', '0xa', false]);
  assert.equal(model.eventOf({ ...fill, price_kind: 'bankruptcy', venue: 'bybit' })?.approximate, true);
});

test('venues are written as people do', () => {
  assert.deepEqual(['binance', 'okx', 'bybit', 'hyperliquid', 'deribit', ''].map(venueName), ['Binance', 'OKX', 'Bybit', 'Hyperliquid', 'Deribit', 'unknown']);
});

test('weights are tenfolds', () => {
  assert.deepEqual(['999.99', '1000', '10000', '100000', '5000000'].map(model.weight), [0, 1, 2, 3, 4]);
});

test('a move is read from the widest candles that are fine enough', () => {
  assert.deepEqual(best(['1m', '5m', '1h', '1d'], HOUR), ['5m', '1m']);
  assert.deepEqual(best(['1m', '5m', '1h', '1d'], 24 * HOUR), ['1h', '5m', '1m']);
  assert.deepEqual(best(['1h', '1M'], HOUR), []);
  assert.ok(Number.isNaN(intervalMs('1M')));
});

test('what is not known comes last in both orders', () => {
  const items = [{ n: 2 }, { n: null }, { n: 5 }];
  assert.deepEqual(sorted(items, (item) => item.n, true).map(({ n }) => n), [5, 2, null]);
  assert.deepEqual(sorted(items, (item) => item.n, false).map(({ n }) => n), [2, 5, null]);
});

test('what is in no venue\'s sum is the rest, to the cent, and nothing where they are the whole', () => {
  const part = { buy: '100.10', sell: '0', count: 1 };
  const sum = { buy: '100.15', sell: '3', count: 3, lower_bound: true, approximate: false, venues: { binance: part } };
  assert.deepEqual(model.unnamed(sum), { buy: '0.05', sell: '3', count: 2, lower_bound: true, approximate: false });
  assert.equal(model.unnamed({ ...part, venues: { binance: part } }), null);
  assert.equal(model.unnamed({ ...part, count: 2 })?.count, 2, 'nobody knows any venue');
});
