import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../static/format.js';
import { seeded } from './fakes.js';

/** @param {(text: any) => string} form @param {Record<string, string>} table */
function holds(form, table) {
  for (const [text, wanted] of Object.entries(table)) assert.equal(form(text), wanted, text);
}

test('volumes are short, with a suffix from a thousand up', () => {
  holds(format.short, {
    10000: '10K',
    12345: '12.35K',
    999999: '1M',
    1234567: '1.23M',
    '999.999': '1K',
    '999.994': '999.99',
    693: '693.00',
    '-693': '-693.00',
    0: '0.00',
    '-0.001': '0.00',
    '-0': '0.00',
    999994999: '999.99M',
    999995000: '1B',
    '1000000000000': '1000B',
    1000: '1K',
    '5000': '5K',
    '0.005': '0.01',
    '-1234567.5': '-1.23M',
    '123456789012345678901234567890': '123456789012345678901.23B',
  });
});

test('money is whole units, half up, in groups', () => {
  holds(format.whole, { '138.74': '139', 5000000: '5,000,000', '0.05': '0', '0.5': '1', 5000: '5,000', '999.5': '1,000' });
});

test('quantities are as they were sent, and have the decimals of the step where it is known', () => {
  holds(format.quantity, { '0.1': '0.1', 605: '605', '1234.56789': '1,234.56789', '-0.50': '−0.50' });
  assert.equal(format.quantity('0.1', '0.001'), '0.100');
  assert.equal(format.quantity('5', '1'), '5');
  assert.equal(format.quantity('5.00001', '0.001'), '5.00001', 'nothing is cut off');
  assert.equal(format.quantity('5', null), '5');
});

test('prices are as they were sent, and have the decimals of the tick where it is known', () => {
  holds(format.price, { 50000: '50,000', '1.51448': '1.51448', '0.0234567': '0.0234567', '64231.2': '64,231.2', 0: '0' });
  assert.equal(format.price('64231.2', '0.10'), '64,231.2');
  assert.equal(format.price('64231', '0.010'), '64,231.00');
  assert.equal(format.price('0.0043050', '0.000001'), '0.004305', 'what was padded beyond the tick');
  assert.equal(format.price('0.0043050'), '0.0043050', 'as it was sent where no tick is known');
  assert.equal(format.price('64231.23456', '0.1'), '64,231.23456', 'an average has more decimals than a tick');
});

test('price times quantity is the value that is written beside them', () => {
  const random = seeded(7);
  for (let round = 0; round < 500; round++) {
    const [price, quantity] = [random() * 10 ** (random() * 8 - 4), random() * 10 ** (random() * 8 - 4)].map((part) => part.toFixed(8));
    const said = (/** @type {string} */ text) => text.replaceAll(',', '');
    const product = format.times(said(format.price(price)), said(format.quantity(quantity)));
    assert.equal(format.money(product), format.money(format.times(price, quantity)));
  }
});

test('prices that were computed have two decimals, or five significant digits', () => {
  holds(format.level, { 50000: '50,000.00', '0.0234567': '0.023457', '2.34567': '2.3457', '64231.2': '64,231.20', 0: '0.00', '0.00000123456': '0.0000012346' });
});

test('money has cents, its sign stands before the dollar, and a little is not nothing', () => {
  holds(format.money, { 1234.5: '$1,234.50', '0.005': '$0.01', '-3': '−$3.00', 0: '$0.00', '0.001': '<$0.01', '-0.001': '−<$0.01', 1000000: '$1,000,000.00' });
  holds(format.dollars, { 1234567: '$1.23M', 693: '$693.00', '-5000': '−$5K', 0: '$0.00' });
});

test('what is no number is a dash, never a number', () => {
  for (const odd of ['', 'NaN', 'Infinity', '1e9', null, undefined, '<b>1</b>', '0x10', '--1', '1.2.3']) {
    for (const form of [format.short, format.whole, format.quantity, format.price, format.level, format.money, format.dollars]) assert.equal(form(odd), '–');
  }
});

test('sums and differences are exact', () => {
  assert.equal(format.plus('0.1', '0.2'), '0.3');
  assert.equal(format.minus('10000', '5693'), '4307');
  assert.equal(format.minus('0', '693'), '-693');
  assert.equal(format.minus('1', '-1'), '2');
  assert.equal(format.plus('99999999999999999999.99', '0.01'), '100000000000000000000');
  assert.equal(format.minus('5', '5.00'), '0');
});

test('changes are percentages with a sign', () => {
  assert.equal(format.change(112, 100), '+12.0%');
  assert.equal(format.change(96, 100), '−4.00%');
  assert.equal(format.change(2000, 100), '>+999%');
  assert.equal(format.change(1, 0), '–');
});

test('times are UTC', () => {
  assert.equal(format.clock(1700000001000), '22:13:21');
  assert.equal(format.stamp(1700000001000), '14 Nov 22:13');
  assert.equal(format.stamp(1700000001000, true), '14 Nov 2023');
});

test('a time of another day says which', () => {
  const midnight = 1_700_006_400_000;

  assert.equal(format.moment(midnight, midnight + 1), '00:00:00');
  assert.equal(format.moment(midnight - 1, midnight), '14 Nov 23:59:59');
  assert.equal(format.moment(midnight + 1000, midnight - 1), '15 Nov 00:00:01');
});

test('spans are said in two units at most', () => {
  const table = { 400: '0 s', 4000: '4 s', 720000: '12 min', 12000000: '3 h 20 min', 3600000: '1 h', 439200000: '5 d 2 h' };
  for (const [ms, wanted] of Object.entries(table)) assert.equal(format.span(Number(ms)), wanted);
  assert.equal(format.span(null), '–');
});

test('a side is a word, an arrow and a tone', () => {
  assert.deepEqual(format.side('BUY'), { name: 'Short', arrow: '▲', order: 'forced buy', tone: 'buy' });
  assert.deepEqual(format.side('SELL'), { name: 'Long', arrow: '▼', order: 'forced sell', tone: 'sell' });
  assert.equal(format.side('<img>').name, '<img>');
});
