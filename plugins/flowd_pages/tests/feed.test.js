import assert from 'node:assert/strict';
import { test } from 'node:test';

import { amountOf, fromSearch, isAll, matcher, toSearch } from '../static/feed/filter.js';
import * as forms from '../static/feed/forms.js';
import { Fitting, columnsOf } from '../static/feed/columns.js';
import { keyOf, merged, parties } from '../static/feed/groups.js';
import { NEWEST, clicked, sortFrom, sortTo } from '../static/feed/heads.js';
import { Pace, weight } from '../static/feed/large.js';
import { Feed } from '../static/feed/model.js';
import { Outages } from '../static/feed/pulse.js';
import { Sums, together } from '../static/feed/sums.js';
import { seeded } from './fakes.js';

const ADDRESS = `0x${'1234'.padEnd(36, '0')}abcd`;
const HASH = `0x${'9'.repeat(64)}`;

// -- how a fill is written

test('profit says its sign, and nothing is a dash', () => {
  assert.deepEqual(forms.profit('12.3'), { text: '+$12.30', tone: 'buy' });
  assert.deepEqual(forms.profit('-12.3'), { text: '−$12.30', tone: 'sell' });
  assert.deepEqual(forms.profit('0'), { text: '–', tone: '' });
  assert.deepEqual(forms.profit('0.00'), { text: '–', tone: '' });
  assert.deepEqual(forms.profit('0.001'), { text: '+<$0.01', tone: 'buy' });
});

test('fees in another token name it', () => {
  assert.equal(forms.fee('0.5', 'USDC'), '$0.50');
  assert.equal(forms.fee('-0.02', 'USDC'), '−$0.02');
  assert.equal(forms.fee('0.00123', 'HYPE'), '0.00123 HYPE');
});

test('addresses are six and four characters, and link only when they are addresses', () => {
  assert.deepEqual(forms.address(ADDRESS), { text: '0x1234…abcd', full: ADDRESS, href: `https://www.flowscan.xyz/address/${ADDRESS}` });
  for (const odd of ['javascript:alert(1)', `${ADDRESS}/../x`, `${ADDRESS} `, `x${ADDRESS}`, '0x12', HASH, '<b>']) assert.equal(forms.address(odd).href, null, odd);
  assert.deepEqual(forms.address(''), { text: '–', full: '', href: null });
  assert.equal(forms.address(null).text, '–');
});

test('a transaction of zeros is none', () => {
  assert.equal(forms.transaction(HASH).href, `https://www.flowscan.xyz/tx/${HASH}`);
  for (const none of [`0x${'0'.repeat(64)}`, '', '0x', null]) assert.deepEqual(forms.transaction(none), { text: '–', full: '', href: null });
  assert.equal(forms.transaction(ADDRESS).href, null);
});

test('what is no number is a dash, never a number', () => {
  for (const odd of ['', 'NaN', 'Infinity', '1e9', null, undefined, '<b>1</b>']) {
    assert.equal(forms.profit(odd).text, '–', String(odd));
  }
});

test('age is whole seconds, late from five on', () => {
  assert.deepEqual(forms.age(999), { text: '0 s ago', late: false });
  assert.deepEqual(forms.age(1000), { text: '1 s ago', late: false });
  assert.deepEqual(forms.age(4999), { text: '4 s ago', late: false });
  assert.deepEqual(forms.age(5000), { text: '5 s ago', late: true });
  assert.deepEqual(forms.age(4_000_000), { text: '4,000 s ago', late: true });
  assert.deepEqual(forms.age(null), { text: '–', late: false });
});

// -- filters

let made = 0;
/** A fill of its own transaction. @param {string} symbol @param {string} notional @param {string} [side] @param {object} [more] */
const fill = (symbol, notional, side = 'BUY', more = {}) => ({ symbol, notional, quantity: notional, price: '1', side, address: ADDRESS, hash: `0x${(++made).toString(16).padStart(64, '0')}`, time_ms: made, dir: 'Open Long', pnl: '0', fee: '0', fee_token: 'USDC', taker: made % 2 === 0, ...more });

test('amounts are read as people type them', () => {
  const table = { '': 0, ' ': 0, 10000: 10000, '10,000': 10000, '$10k': 10000, '1.5M': 1_500_000, '.5': 0.5, '2b': 2e9, '5.': 5 };
  for (const [text, wanted] of Object.entries(table)) assert.equal(amountOf(text), wanted, text);
  for (const odd of ['ten', '-5', '1e5', '10kk', 'k', '1.2.3']) assert.ok(Number.isNaN(amountOf(odd)), odd);
});

test('text is a part of the coin or the address, in any case', () => {
  const wanted = (/** @type {string} */ text) => matcher({ text, least: '', side: 'ALL', role: 'ALL' });
  assert.ok(wanted('et')(fill('ETH', '1')));
  assert.ok(wanted(' ABCD ')(fill('ETH', '1')));
  assert.ok(!wanted('btc')(fill('ETH', '1')));
  assert.ok(wanted('')(fill('ETH', '1')));
});

test('the least value is included, and empty or 0 is off', () => {
  const wanted = (/** @type {string} */ least) => matcher({ text: '', least, side: 'ALL', role: 'ALL' });
  assert.ok(wanted('100')(fill('ETH', '100')));
  assert.ok(!wanted('100.01')(fill('ETH', '100')));
  for (const off of ['', '0', 'ten']) assert.ok(wanted(off)(fill('ETH', '0')), off);
});

test('a part of an account or of a venue will do, too', () => {
  const wanted = matcher({ text: 'byb', least: '', side: 'ALL', role: 'ALL' });
  assert.ok(wanted({ symbol: 'ETH', notional: '1', side: 'BUY', venue: 'bybit' }));
  assert.ok(!wanted({ symbol: 'ETH', notional: '1', side: 'BUY', buyer: ADDRESS }));
});

test('takers and makers are told apart where records say which they are', () => {
  const takers = matcher({ text: '', least: '', side: 'ALL', role: 'TAKER' });
  assert.deepEqual([{ taker: true }, { taker: false }, {}].map((more) => takers({ symbol: 'ETH', notional: '1', side: 'BUY', ...more })), [true, false, true]);
});

test('all three must hold', () => {
  const wanted = matcher({ text: 'eth', least: '10', side: 'SELL', role: 'ALL' });
  assert.ok(wanted(fill('ETH', '10', 'SELL')));
  assert.ok(!wanted(fill('ETH', '10', 'BUY')));
  assert.ok(!wanted(fill('ETH', '9', 'SELL')));
  assert.ok(!wanted(fill('BTC', '10', 'SELL')));
});

test('filters live in the address, and what else is there stays', () => {
  const filter = fromSearch('?q=eth&min=10k&side=A&theme=x');
  assert.deepEqual(filter, { text: 'eth', least: '10k', side: 'SELL', role: 'ALL' });
  assert.equal(toSearch(filter, '?theme=x'), '?theme=x&q=eth&min=10k&side=SELL');
  assert.equal(toSearch({ text: ' ', least: '0', side: 'ALL', role: 'ALL' }, '?q=eth&min=1&side=B'), '');
  assert.ok(isAll(fromSearch('?min=0&side=both&q=&role=x')));
  assert.equal(fromSearch('?min=much').least, 'much', 'so that the page can say that it is no amount');
  assert.equal(toSearch(fromSearch('?min=much')), '');
  assert.equal(toSearch(fromSearch('?role=TAKER')), '?role=taker');
  assert.deepEqual(fromSearch(toSearch({ text: '&side=A', least: '', side: 'ALL', role: 'ALL' })), { text: '&side=A', least: '', side: 'ALL', role: 'ALL' });
});

// -- the rows

let seq = 0;
/** @param {number} time_ms @param {object} value */
const record = (time_ms, value) => ({ seq: ++seq, time_ms, value });

/** @param {Feed} feed */
function shown(feed) {
  feed.settle();
  return Array.from({ length: feed.size }, (_, index) => feed.at(index)?.value?.notional ?? `hole ${feed.at(index)?.missed}`);
}

/** A feed that has these. @param {string[]} amounts @param {number} [capacity] */
function feedOf(amounts, capacity = 5) {
  const feed = new Feed(capacity);
  feed.put(amounts.map((amount) => record(10, fill('ETH', amount))), true, 100, 1);
  return feed;
}

test('rows are newest first, and the oldest go', () => {
  const feed = feedOf(['1', '2', '3']);
  feed.put(['4', '5', '6'].map((amount) => record(200, fill('ETH', amount))), false, 200, 7);
  assert.deepEqual(shown(feed), ['6', '5', '4', '3', '2']);
  assert.deepEqual([feed.fills, feed.rows, feed.matching, feed.newestMs], [5, 5, 5, 200]);
  assert.deepEqual([feed.at(0)?.arrived, feed.at(4)?.arrived], [7, 0], 'what was there before us is not new');
});

test('rows are in the order of their times, whichever came first', () => {
  const feed = feedOf([]);
  const late = fill('ETH', '1');
  feed.put(['2', '3'].map((amount) => record(200, fill('ETH', amount))), false, 200, 1);
  feed.put([record(201, late)], false, 201, 1);
  assert.deepEqual(shown(feed), ['3', '2', '1']);
  const random = seeded(3);
  const many = Array.from({ length: 200 }, (_, index) => ({ at: random(), value: fill('ETH', String(index)) })).sort((a, b) => a.at - b.at).map(({ value }) => value);
  const whole = new Feed(500);
  whole.put(many.map((value) => record(10, value)), true, 100, 1);
  assert.deepEqual(shown(whole), Array.from({ length: 200 }, (_, index) => String(199 - index)));
});

test('fills of one account in one transaction are one row, which opens to them', () => {
  const feed = new Feed(10);
  const one = { hash: HASH, role: 'liquidated', method: 'market' };
  const fills = [fill('ETH', '10', 'SELL', { ...one, price: '2', quantity: '5', pnl: '-1' }), fill('ETH', '9', 'SELL', { ...one, price: '3', quantity: '3', pnl: '-2', fee: '0.5' })];
  feed.put([record(10, fills[0]), record(10, fill('BTC', '7')), record(10, fills[1])], true, 100, 1);
  assert.deepEqual(shown(feed), ['7', '19']);
  const whole = feed.at(1)?.value;
  assert.deepEqual([whole.quantity, whole.price, whole.averaged, whole.pnl, whole.fee, whole.method], ['8', '2', true, '-3', '0.5', 'market']);
  assert.deepEqual([feed.rows, feed.fills], [2, 3]);

  assert.ok(feed.toggle(/** @type {any} */ (feed.at(1))));
  assert.deepEqual(shown(feed), ['7', '19', '9', '10']);
  assert.equal(feed.matching, 2, 'the fills of a row are no rows of their own');
  assert.ok(feed.toggle(/** @type {any} */ (feed.at(3))), 'closes its whole');
  assert.deepEqual(shown(feed), ['7', '19']);
  assert.ok(!feed.toggle(/** @type {any} */ (feed.at(0))), 'one fill is all there is');
});

test('a fill that comes later joins its row, and one that comes while held joins it when all do', () => {
  const feed = new Feed(10);
  const one = { hash: HASH };
  feed.put([record(10, fill('ETH', '10', 'BUY', one))], true, 100, 1);
  const version = feed.at(0)?.version;
  feed.put([record(200, fill('ETH', '5', 'BUY', one))], false, 200, 1);
  assert.deepEqual(shown(feed), ['15']);
  assert.notEqual(feed.at(0)?.version, version, 'so that it is written again');
  feed.hold(true);
  feed.put([record(201, fill('ETH', '2', 'BUY', one)), record(201, fill('ETH', '1', 'BUY', one))], false, 201, 1);
  assert.deepEqual([shown(feed), feed.waiting], [['15'], 1]);
  feed.hold(false);
  assert.deepEqual([shown(feed), feed.fills, feed.rows], [['18'], 4, 1]);
});

test('what the engine did by itself is one row for each block, and other accounts have rows of their own', () => {
  const zeros = { hash: `0x${'0'.repeat(64)}`, time_ms: 5 };
  const [one, other] = [fill('ETH', '1', 'BUY', zeros), fill('ETH', '1', 'BUY', zeros)];
  assert.equal(keyOf(one), keyOf(other));
  for (const more of [{ time_ms: 6 }, { address: 'x' }, { symbol: 'BTC' }, { side: 'SELL' }, { role: 'counterparty' }, { dir: 'Close Long' }]) assert.notEqual(keyOf({ ...one, ...more }), keyOf(one), JSON.stringify(more));
});

test('public trades of one taker in one block are one row; without accounts each is its own', () => {
  const trade = { symbol: 'ETH', side: 'BUY', time_ms: 5, id: '1', venue: 'hyperliquid', buyer: 'a', seller: 'b', price: '2', quantity: '1', notional: '2' };
  assert.equal(keyOf(trade), keyOf({ ...trade, id: '2', seller: 'c' }));
  assert.notEqual(keyOf(trade), keyOf({ ...trade, id: '2', side: 'SELL' }));
  assert.notEqual(keyOf({ ...trade, buyer: null }), keyOf({ ...trade, buyer: null, id: '2' }));
  assert.deepEqual(parties(trade), { taker: 'a', maker: 'b' });
  assert.deepEqual(parties({ ...trade, side: 'SELL' }), { taker: 'b', maker: 'a' });
});

test('the price of a row is the one that all its fills have, or their average', () => {
  const one = { price: '2.50', quantity: '4', notional: '10' };
  assert.deepEqual(merged(one, one), { price: '2.50', quantity: '8', notional: '20' });
  assert.deepEqual(merged(one, { price: '2.75', quantity: '4', notional: '11' }), { price: '2.63', quantity: '8', notional: '21', averaged: true });
});

test('rows are sorted by any column, and what it does not know comes last', () => {
  const feed = new Feed(10);
  feed.put(['5', '30', '9'].map((amount) => record(10, fill('ETH', amount))), true, 100, 1);
  const key = (/** @type {any} */ value) => (value.notional === '9' ? null : Number(value.notional));
  feed.order({ key, order: 'desc' });
  assert.deepEqual(shown(feed), ['30', '5', '9']);
  feed.order({ key, order: 'asc' });
  feed.hole(3, 1);
  assert.deepEqual(shown(feed), ['5', '30', '9'], 'nothing is missing at a place in this order');
  feed.order(null);
  assert.deepEqual(shown(feed), ['hole 3', '9', '30', '5']);
});

test('each stream has a snapshot of its own', () => {
  const feed = new Feed(10);
  feed.put([record(10, fill('ETH', '1'))], true, 100, 1, 'one');
  feed.put([record(10, fill('ETH', '2'))], true, 100, 1, 'other');
  assert.deepEqual(shown(feed), ['2', '1']);
  feed.put([record(10, fill('ETH', '3'))], true, 200, 1, 'one');
  assert.deepEqual([shown(feed), feed.rows, feed.fills], [['3', '2'], 2, 2]);
});

test('a snapshot in several messages is no news', () => {
  const feed = feedOf(['1', '2']);
  feed.hold(true);
  feed.put([record(50, fill('ETH', '3'))], false, 101, 1);
  assert.deepEqual(shown(feed), ['3', '2', '1']);
  assert.equal(feed.waiting, 0);
});

test('a snapshot replaces everything', () => {
  const feed = feedOf(['1', '2']);
  feed.put([record(300, fill('ETH', '9'))], true, 300, 1);
  assert.deepEqual(shown(feed), ['9']);
  feed.put([], true, 400, 1);
  assert.deepEqual([shown(feed), feed.newestMs], [[], null]);
});

test('held rows wait, and come all at once', () => {
  const feed = feedOf(['1', '2']);
  feed.hold(true);
  feed.put(['3', '4'].map((amount) => record(200, fill('ETH', amount))), false, 200, 1);
  assert.deepEqual([shown(feed), feed.waiting], [['2', '1'], 2]);
  feed.hold(false);
  assert.deepEqual([shown(feed), feed.waiting], [['4', '3', '2', '1'], 0]);
});

test('only waiting rows that would be shown are counted', () => {
  const feed = feedOf([]);
  feed.choose({ text: '', least: '3', side: 'ALL', role: 'ALL' });
  feed.hold(true);
  for (const amount of ['1', '2', '3', '4', '1', '1', '1', '1']) feed.put([record(200, fill('ETH', amount))], false, 200, 1);
  assert.equal(feed.waiting, 1, 'the oldest of eight had to go, and only five are kept');
  feed.choose({ text: '', least: '', side: 'ALL', role: 'ALL' });
  assert.equal(feed.waiting, 5);
});

test('what was missed is a row, which no filter hides', () => {
  const feed = feedOf(['1']);
  feed.choose({ text: 'btc', least: '', side: 'ALL', role: 'ALL' });
  feed.hole(12, 1);
  assert.deepEqual([shown(feed), feed.fills, feed.matching], [['hole 12'], 1, 0]);
});

test('filtering as rows come is the same as filtering all of them', () => {
  const random = seeded(7);
  const feed = new Feed(50);
  /** @type {any[]} */
  const model = [];
  let wanted = matcher({ text: '', least: '', side: 'ALL', role: 'ALL' });
  feed.put([], true, 0, 0);
  for (let step = 0; step < 2000; step++) {
    const chance = random();
    if (chance < 0.01) {
      const filter = { text: random() < 0.5 ? 'e' : '', least: String(Math.floor(random() * 50)), side: /** @type {'ALL'} */ (['ALL', 'BUY', 'SELL'][Math.floor(random() * 3)]), role: /** @type {'ALL'} */ ('ALL') };
      feed.choose(filter);
      wanted = matcher(filter);
    } else if (chance < 0.03) feed.hold(!feed.held);
    else {
      const value = fill(['ETH', 'BTC', 'HYPE'][Math.floor(random() * 3)], String(Math.floor(random() * 100)), random() < 0.5 ? 'BUY' : 'SELL');
      feed.put([record(step + 1, value)], false, step + 1, step);
      model.push(value);
    }
    if (feed.held) continue;
    feed.settle();
    const expected = model.slice(-50).filter(wanted).reverse();
    assert.equal(feed.size, expected.length);
    assert.equal(feed.at(0)?.value, expected[0]);
    assert.equal(feed.at(feed.size - 1)?.value, expected.at(-1));
    assert.equal(feed.fills, Math.min(50, model.length));
  }
});

// -- columns, sorting, weight

test('columns fit the records, and none is all dashes', () => {
  const names = (/** @type {Fitting} */ fitting) => fitting.columns.map(({ name }) => name).join(' ');
  const forced = { symbol: 'BTCUSDT', side: 'SELL', price: '1', quantity: '1', notional: '1', time_ms: 1, id: 'x', venue: 'binance' };
  const binance = new Fitting(columnsOf('liquidations', ['Liquidation']));
  assert.equal(names(binance), 'time coin side price size value venue');
  assert.ok(!binance.see([{ value: forced, missed: 0, arrived: 0, fills: [forced] }]));

  const fitting = new Fitting(columnsOf('liquidations', ['Fill']));
  assert.equal(names(fitting), 'time coin side price markprice size value method pnl fee trader hash');
  const value = fill('ETH', '1', 'SELL', { hash: `0x${'0'.repeat(64)}`, mark_price: '2' });
  assert.ok(fitting.see([{ value, missed: 0, arrived: 0, fills: [value] }]));
  assert.equal(names(fitting), 'time coin side price markprice size value pnl fee trader', 'no method, no transaction');
  assert.ok(fitting.see([{ value: { ...value, method: 'market' }, missed: 0, arrived: 0, fills: [value, value] }]), 'the first that has any brings it back');
  assert.equal(names(fitting), 'time coin side price markprice size value fills method pnl fee trader');
  assert.ok(!fitting.see([]));
});

test('of several streams the columns are those of each, once', () => {
  const names = columnsOf('liquidations', ['Fill', 'Liquidation']).map(({ name }) => name);
  assert.deepEqual(names, [...new Set(names)]);
  assert.ok(names.includes('venue') && names.includes('trader'));
  assert.deepEqual(columnsOf('all-fills', []), columnsOf('all-fills', ['Fill']), 'what is not there yet will be fills');
});

test('a click sorts numbers by the most and words by the first, one more turns round', () => {
  const value = { name: 'value', label: '', end: true, write: () => undefined };
  assert.deepEqual(clicked(NEWEST, value), { name: 'value', order: 'desc' });
  assert.deepEqual(clicked({ name: 'value', order: 'desc' }, value), { name: 'value', order: 'asc' });
  assert.deepEqual(clicked(NEWEST, { ...value, name: 'coin', end: false }), { name: 'coin', order: 'asc' });
  assert.deepEqual(sortFrom(sortTo({ name: 'value', order: 'asc' }, '?q=x')), { name: 'value', order: 'asc' });
  assert.equal(sortTo(NEWEST, '?q=x&sort=value&order=asc'), '?q=x');
  assert.deepEqual(sortFrom('?sort=<b>&order=up'), NEWEST);
});

test('weight follows what is large', () => {
  assert.deepEqual(['999', '1000', '10000', '100000', '1000000', 'x'].map((amount) => weight(amount, 100_000)), [0, 1, 2, 3, 4, 0]);
});

test('it is calm while at most five rows came within a second', () => {
  const pace = new Pace();
  assert.ok(pace.calm);
  pace.add(5, 0);
  assert.ok(pace.calm);
  pace.add(1, 999);
  assert.ok(!pace.calm);
  pace.add(4, 1_000);
  assert.ok(pace.calm);
});

// -- sums

test('a trade counts once, as its taker saw it, and a liquidation once', () => {
  const [trades, forced] = [new Sums(false), new Sums(true)];
  const both = [fill('ETH', '10', 'BUY', { taker: true, time_ms: 5 }), fill('ETH', '10', 'SELL', { taker: false, time_ms: 4 })];
  trades.put(both.map((value) => record(10, value)), true);
  assert.deepEqual([trades.volume, trades.count, trades.since], ['10', 1, 5]);
  const rows = [fill('ETH', '0.1', 'SELL', { role: 'liquidated' }), fill('ETH', '0.1', 'BUY', { role: 'counterparty' })];
  forced.put(rows.map((value) => record(10, value)), true);
  forced.put([record(10, fill('ETH', '0.2', 'SELL', { role: 'liquidated' }))], false);
  assert.deepEqual([forced.volume, forced.count], ['0.3', 2]);
  forced.put([], true);
  assert.deepEqual([forced.volume, forced.count, forced.since], ['0', 0, null]);
});

test('a sum over venues is in doubt as soon as one of them is, and known since the last began', () => {
  const [binance, bybit] = [new Sums(true), new Sums(true)];
  binance.put([record(1, { notional: '1', time_ms: 5, coverage: 'sampled', price_kind: 'fill' })], true);
  bybit.put([record(1, { notional: '2', time_ms: 9, coverage: 'all', price_kind: 'bankruptcy' })], true);
  assert.deepEqual(together([binance, bybit]), { volume: '3', count: 2, since: 9, doubts: { lower_bound: true, approximate: true, incomplete: false } });
  bybit.miss();
  assert.ok(together([binance, bybit]).doubts.incomplete);
  assert.deepEqual(together([]), { volume: '0', count: 0, since: null, doubts: { lower_bound: false, approximate: false, incomplete: false } });
});

// -- whether its source delivers

/** @param {[string, number | null, string?][]} told component, end, reason */
function outages(...told) {
  const found = new Outages('fills');
  found.put(told.map(([component, to_ms, reason = 'why'], index) => ({ seq: index, time_ms: 0, key: `${component}/1`, value: { component, from_ms: 1, to_ms, reason } })), true);
  return found;
}

test('a source delivers unless an outage of its own is open', () => {
  assert.equal(outages().reason, null);
  assert.equal(outages(['fills', 5]).reason, null);
  assert.equal(outages(['others', null]).reason, null);
  assert.equal(outages(['fills', null, 'silent for 60s']).reason, 'silent for 60s');
});

test('an outage that ends is over', () => {
  const found = outages(['fills', null]);
  found.put([{ seq: 9, time_ms: 0, key: 'fills/1', value: { component: 'fills', from_ms: 1, to_ms: 2, reason: '' } }], false);
  assert.equal(found.reason, null);
});
