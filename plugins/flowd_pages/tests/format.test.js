import assert from 'node:assert/strict';
import { test } from 'node:test';

import * as format from '../static/format.js';

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

test('quantities follow the precision, or three decimals from 1 up and else six', () => {
  assert.equal(format.quantity('0.1', 3), '0.100');
  assert.equal(format.quantity('5', 0), '5.00');
  holds(format.quantity, { '0.1': '0.100000', 1: '1.000', '0.9999999': '1.000000', 1234.5: '1,234.500' });
});

test('prices have two decimals, or five significant digits', () => {
  holds(format.price, { 50000: '50,000.00', '0.0234567': '0.023457', '2.34567': '2.3457', '64231.2': '64,231.20', 0: '0.00', '0.00000123456': '0.0000012346' });
});

test('what is no number is a dash, never a number', () => {
  for (const odd of ['', 'NaN', 'Infinity', '1e9', null, undefined, '<b>1</b>', '0x10', '--1', '1.2.3']) {
    assert.deepEqual([format.short(odd), format.whole(odd), format.quantity(odd), format.price(odd)], ['–', '–', '–', '–']);
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
