import assert from 'node:assert/strict';
import { test } from 'node:test';

import { adding, atLeast, doubts, exactness, liquidated, restarting, since, traded, when } from '../static/words.js';

const NOW = Date.UTC(2023, 10, 14, 22, 13, 21);
const HOUR = 3_600_000;

test('since when is a time of today, a date of this year, or a date with its year', () => {
  assert.equal(since(NOW - HOUR, NOW), 'since 21:13');
  assert.equal(since(NOW - 24 * HOUR, NOW), 'since 13 Nov 22:13');
  assert.equal(since(NOW - 365 * 24 * HOUR, NOW), 'since 14 Nov 2022 22:13');
  assert.equal(when(NOW, NOW), '22:13');
  for (const unknown of [null, undefined, NaN]) assert.equal(since(unknown, NOW), '');
});

test('a sum is exact only where nothing is in doubt', () => {
  assert.deepEqual(exactness({}), { exact: true, words: 'exact', sign: '', why: '' });
  assert.deepEqual(exactness({ lower_bound: false, approximate: null }).exact, true);
  assert.equal(exactness({ lower_bound: true }).words, 'lower bound');
  assert.equal(exactness({ lower_bound: true, incomplete: true }).sign, '≥', 'a sign is said once');
  const both = exactness({ approximate: true, lower_bound: true });
  assert.deepEqual([both.exact, both.words, both.sign], [false, 'lower bound, approximate', '≥≈']);
  assert.match(both.why, /at least this.*about this/);
});

test('who tells only some, or another price, is named, and nobody else', () => {
  const [some, all, about] = [{ lower_bound: true }, {}, { approximate: true }];
  const why = (/** @type {any} */ sum) => exactness(sum).why;
  assert.equal(why({ ...some, venues: { binance: some, hyperliquid: all } }), 'Binance tells only some of its liquidations, so the sum is at least this.');
  assert.match(why({ ...some, venues: { binance: some, bybit: all, okx: some } }), /^Binance and OKX tell only some of their liquidations, /);
  assert.match(why({ ...some, venues: { binance: some, dydx: some, okx: some } }), /^Binance, Dydx and OKX tell /);
  assert.equal(why({ ...some, ...about, venues: { binance: some, bybit: about } }).match(/\. Bybit tells another price/)?.length, 1);
  assert.match(why(some), /^The exchange tells only some/, 'nobody knows whose it is');
  assert.match(why({ ...some, venues: { hyperliquid: all } }), /^The exchange tells only some/, 'it is in none of the venues');
});

test('orders are counted exactly also where prices are not', () => {
  assert.deepEqual([{ lower_bound: true }, { incomplete: true }, { approximate: true }, {}].map(atLeast), ['≥', '≥', '', '']);
});

test('a record says itself what it leaves in doubt', () => {
  assert.deepEqual(doubts({ price_kind: 'fill', coverage: 'all' }), { lower_bound: false, approximate: false });
  assert.deepEqual(doubts({ price_kind: 'bankruptcy', coverage: 'sampled' }), { lower_bound: true, approximate: true });
  assert.deepEqual(doubts({ price_kind: 'limit' }).approximate, true);
  assert.deepEqual(doubts({}), { lower_bound: false, approximate: false });
});

test('sides are words, and unknown ones are shown as they are', () => {
  assert.equal(liquidated('SELL').text, 'Long liquidated');
  assert.equal(liquidated('BUY').text, 'Short liquidated');
  assert.deepEqual(liquidated('<b>'), { text: '<b>', arrow: '', tone: '', why: 'unknown side' });
  assert.equal(traded('BUY').text, 'Buy');
  assert.equal(traded(null).text, '');
});

test('where lines of the configuration belong depends on what they are and on which daemon says so', () => {
  const source = '[sources.force-orders]\nkind = "binance-force-order"';
  const sink = '[sinks.charts]\nkind = "liquidation-websocket"';
  for (const lines of [source, sink, `${source}\n\n${sink}`]) {
    assert.equal(adding(lines, 'it', false), 'These lines in flowd.toml add it:');
    assert.equal(restarting(lines, false), 'Add these lines to the configuration and restart the daemon:');
  }
  assert.equal(adding(source, 'it', true), 'These lines in flowd.toml of the ingest daemon, which this one follows, add it:');
  assert.equal(adding(sink, 'them', true), 'These lines in flowd.toml add them:');
  assert.match(adding(`${source}\n\n${sink}`, 'it', true), /^These lines add it: sources and transforms in flowd.toml of the ingest daemon, .* sinks in this one's:$/);
  assert.match(restarting('[transforms.volume]\nkind = "liquidation-volume"', true), /configuration of the ingest daemon, .* and restart that one:$/);
  assert.match(restarting(`${source}\n\n${sink}`, true), /restart both:$/);
  // Where no page is, as here, nobody follows another one.
  assert.equal(adding(source), 'These lines in flowd.toml add it:');
});
