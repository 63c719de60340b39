import assert from 'node:assert/strict';
import { test } from 'node:test';

import { amountOf, fromSearch, isAll, matcher, toSearch } from '../static/feed/filter.js';
import * as forms from '../static/feed/forms.js';
import { Feed } from '../static/feed/model.js';
import { Outages, pulse } from '../static/feed/pulse.js';
import { Ring } from '../static/feed/ring.js';
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

test('age is live below a second, whole seconds then, late from five on', () => {
  assert.deepEqual(forms.age(999), { text: 'Live', late: false });
  assert.deepEqual(forms.age(1000), { text: '1 s', late: false });
  assert.deepEqual(forms.age(4999), { text: '4 s', late: false });
  assert.deepEqual(forms.age(5000), { text: '5 s', late: true });
  assert.deepEqual(forms.age(4_000_000), { text: '4,000 s', late: true });
  assert.deepEqual(forms.age(null), { text: '–', late: false });
});

// -- filters

/** @param {string} symbol @param {string} notional @param {string} [side] @param {string} [address] */
const fill = (symbol, notional, side = 'BUY', address = ADDRESS) => ({ symbol, notional, side, address });

test('amounts are read as people type them', () => {
  const table = { '': 0, ' ': 0, 10000: 10000, '10,000': 10000, '$10k': 10000, '1.5M': 1_500_000, '.5': 0.5, '2b': 2e9, '5.': 5 };
  for (const [text, wanted] of Object.entries(table)) assert.equal(amountOf(text), wanted, text);
  for (const odd of ['ten', '-5', '1e5', '10kk', 'k', '1.2.3']) assert.ok(Number.isNaN(amountOf(odd)), odd);
});

test('text is a part of the coin or the address, in any case', () => {
  const wanted = (/** @type {string} */ text) => matcher({ text, least: '', side: 'ALL' });
  assert.ok(wanted('et')(fill('ETH', '1')));
  assert.ok(wanted(' ABCD ')(fill('ETH', '1')));
  assert.ok(!wanted('btc')(fill('ETH', '1')));
  assert.ok(wanted('')(fill('ETH', '1')));
});

test('the least value is included, and empty or 0 is off', () => {
  const wanted = (/** @type {string} */ least) => matcher({ text: '', least, side: 'ALL' });
  assert.ok(wanted('100')(fill('ETH', '100')));
  assert.ok(!wanted('100.01')(fill('ETH', '100')));
  for (const off of ['', '0', 'ten']) assert.ok(wanted(off)(fill('ETH', '0')), off);
});

test('all three must hold', () => {
  const wanted = matcher({ text: 'eth', least: '10', side: 'SELL' });
  assert.ok(wanted(fill('ETH', '10', 'SELL')));
  assert.ok(!wanted(fill('ETH', '10', 'BUY')));
  assert.ok(!wanted(fill('ETH', '9', 'SELL')));
  assert.ok(!wanted(fill('BTC', '10', 'SELL')));
});

test('filters live in the address, and what else is there stays', () => {
  const filter = fromSearch('?q=eth&min=10k&side=A&theme=x');
  assert.deepEqual(filter, { text: 'eth', least: '10k', side: 'SELL' });
  assert.equal(toSearch(filter, '?theme=x'), '?theme=x&q=eth&min=10k&side=SELL');
  assert.equal(toSearch({ text: ' ', least: '0', side: 'ALL' }, '?q=eth&min=1&side=B'), '');
  assert.ok(isAll(fromSearch('?min=javascript&side=both&q=')));
  assert.deepEqual(fromSearch(toSearch({ text: '&side=A', least: '', side: 'ALL' })), { text: '&side=A', least: '', side: 'ALL' });
});

// -- the rows

test('a ring keeps the newest, and says what had to go', () => {
  const ring = new Ring(3);
  assert.deepEqual([1, 2, 3, 4, 5].map((item) => ring.push(item)), [undefined, undefined, undefined, 1, 2]);
  assert.deepEqual([ring.get(0), ring.get(2), ring.get(3), ring.get(-1)], [5, 3, undefined, undefined]);
  assert.deepEqual([...ring], [3, 4, 5]);
  assert.equal(ring.shift(), 3);
  assert.equal(ring.push(6), undefined);
  assert.deepEqual([...ring], [4, 5, 6]);
  ring.clear();
  assert.deepEqual([ring.size, ring.shift()], [0, undefined]);
});

let seq = 0;
/** @param {number} time_ms @param {object} value */
const record = (time_ms, value) => ({ seq: ++seq, time_ms, value });

/** @param {Feed} feed */
const shown = (feed) => Array.from({ length: feed.size }, (_, index) => feed.at(index)?.value?.notional ?? `hole ${feed.at(index)?.missed}`);

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
  assert.deepEqual([feed.fills, feed.matching, feed.newestMs], [5, 5, 200]);
  assert.deepEqual([feed.at(0)?.arrived, feed.at(4)?.arrived], [7, 0], 'what was there before us is not new');
});

test('places rise with each row, so that a row is known again wherever it moved', () => {
  const feed = feedOf(['1', '2']);
  const place = feed.at(0)?.place;
  feed.put([record(200, fill('ETH', '3'))], false, 200, 1);
  assert.equal(feed.at(1)?.place, place);
  assert.equal(feed.at(0)?.place, feed.head);
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
  const before = feed.generation;
  feed.put([record(300, fill('ETH', '9'))], true, 300, 1);
  assert.deepEqual(shown(feed), ['9']);
  assert.notEqual(feed.generation, before);
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
  feed.choose({ text: '', least: '3', side: 'ALL' });
  feed.hold(true);
  for (const amount of ['1', '2', '3', '4', '1', '1', '1', '1']) feed.put([record(200, fill('ETH', amount))], false, 200, 1);
  assert.equal(feed.waiting, 1, 'the oldest of eight had to go, and only five are kept');
  feed.choose({ text: '', least: '', side: 'ALL' });
  assert.equal(feed.waiting, 5);
});

test('what was missed is a row, which no filter hides', () => {
  const feed = feedOf(['1']);
  feed.choose({ text: 'btc', least: '', side: 'ALL' });
  feed.hole(12, 1);
  assert.deepEqual([shown(feed), feed.fills, feed.matching], [['hole 12'], 1, 0]);
});

test('filtering as rows come is the same as filtering all of them', () => {
  const random = seeded(7);
  const feed = new Feed(50);
  /** @type {{symbol: string, notional: string, side: string, address: string}[]} */
  const model = [];
  let wanted = matcher({ text: '', least: '', side: 'ALL' });
  feed.put([], true, 0, 0);
  for (let step = 0; step < 2000; step++) {
    const chance = random();
    if (chance < 0.01) {
      const filter = { text: random() < 0.5 ? 'e' : '', least: String(Math.floor(random() * 50)), side: /** @type {'ALL'} */ (['ALL', 'BUY', 'SELL'][Math.floor(random() * 3)]) };
      feed.choose(filter);
      wanted = matcher(filter);
    } else if (chance < 0.03) feed.hold(!feed.held);
    else {
      const value = fill(['ETH', 'BTC', 'HYPE'][Math.floor(random() * 3)], String(Math.floor(random() * 100)), random() < 0.5 ? 'BUY' : 'SELL');
      feed.put([record(step + 1, value)], false, step + 1, step);
      model.push(value);
    }
    if (feed.held) continue;
    const expected = model.slice(-50).filter(wanted).reverse();
    assert.equal(feed.size, expected.length);
    assert.equal(feed.at(0)?.value, expected[0]);
    assert.equal(feed.at(feed.size - 1)?.value, expected.at(-1));
    assert.equal(feed.fills, Math.min(50, model.length));
  }
});

// -- whether it is live

/** @param {[string, number | null, string?][]} told component, end, reason */
function outages(...told) {
  const found = new Outages('fills');
  found.put(told.map(([component, to_ms, reason = 'why'], index) => ({ seq: index, time_ms: 0, key: `${component}/1`, value: { component, from_ms: 1, to_ms, reason } })), true);
  return found;
}

test('live is connected, known, and without an open outage', () => {
  const seen = { connected: true, was: true, there: true };
  assert.equal(pulse({ ...seen, outages: outages() }).state, 'live');
  assert.equal(pulse({ ...seen, outages: outages(['fills', 5]) }).state, 'live');
  assert.equal(pulse({ ...seen, outages: outages(['others', null]) }).state, 'live');
  assert.deepEqual(pulse({ ...seen, outages: outages(['fills', null, 'silent for 60s']) }), { state: 'offline', text: 'OFFLINE', why: 'silent for 60s' });
  assert.equal(pulse({ ...seen, outages: outages(), connected: false }).state, 'offline');
  assert.equal(pulse({ ...seen, outages: outages(), there: false }).why, 'not configured');
});

test('nobody says offline before anything was heard', () => {
  const seen = { connected: true, was: true, there: true };
  assert.equal(pulse({ ...seen, outages: new Outages('fills') }).state, 'unknown');
  assert.equal(pulse({ ...seen, outages: outages(), there: null }).state, 'unknown');
  assert.equal(pulse({ ...seen, outages: outages(), connected: false, was: false }).state, 'unknown');
});

test('an outage that ends is over', () => {
  const found = outages(['fills', null]);
  found.put([{ seq: 9, time_ms: 0, key: 'fills/1', value: { component: 'fills', from_ms: 1, to_ms: 2, reason: '' } }], false);
  assert.equal(found.reason, null);
});
