/**
 * The rows of the overview's tables.
 *
 * @module overview/tables
 */

import { at, h, tradersPath } from '../dom.js';
import { write } from '../feed/facts.js';
import { NOTHING, change, clock, count, dollars, money, moment, plus, price } from '../format.js';
import { atLeast, exactness, liquidated, since, venueName } from '../words.js';
import { againstUsual, weight } from './model.js';

/** @typedef {import('../rows.js').Row} Row */

/** @param {string} [name] of a class */
const end = (name = '') => h('td', { class: `end ${name}` });

/** An amount, in short, and to the cent for who rests on it. @param {HTMLElement} cell @param {string | undefined} amount @param {string} [sign] */
export function amount(cell, amount, sign = '') {
  write(cell, amount === undefined ? NOTHING : `${sign}${dollars(amount)}`);
  cell.title = amount === undefined ? '' : money(amount);
}

/** Sums of one window, or of one venue in it. @param {string} _ @returns {Row} */
export function sumRow(_) {
  const name = h('th', { scope: 'row', class: 'name' });
  const [shorts, longs, both, orders, usual, known] = [end('buy'), end('sell'), end(), end(), end(), h('td', { class: 'quiet below' })];
  const element = h('tr', {}, name, shorts, longs, both, orders, usual, known);
  return {
    element,
    write({ label, venue, sum, known: words }) {
      element.classList.toggle('of-venue', venue);
      write(name, label);
      const { sign } = exactness(sum);
      amount(shorts, sum.buy, sign);
      amount(longs, sum.sell, sign);
      amount(both, plus(sum.buy, sum.sell), sign);
      write(orders, atLeast(sum) + count(sum.count));
      write(usual, venue ? '' : againstUsual(sum) || NOTHING);
      write(known, words);
    },
  };
}

/** @param {string} symbol @returns {Row} */
export function symbolRow(symbol) {
  const [shorts, longs, both, usual, venues] = [end('buy'), end('sell'), end(), end(), h('td', { class: 'quiet below' })];
  const link = h('a', { href: at(`/chart/${encodeURIComponent(symbol)}`) }, symbol);
  return {
    element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, link), shorts, longs, both, usual, venues),
    write({ sum }) {
      const { sign } = exactness(sum);
      amount(shorts, sum.buy, sign);
      amount(longs, sum.sell, sign);
      amount(both, plus(sum.buy, sum.sell), sign);
      write(usual, againstUsual(sum) || NOTHING);
      write(venues, Object.keys(sum.venues ?? {}).map(venueName).join(', ') || NOTHING);
    },
  };
}

/** @param {string} symbol @returns {Row} */
export function moverRow(symbol) {
  const [now, moved, both, usual] = [end(), end(), end(), end()];
  const link = h('a', { href: at(`/chart/${encodeURIComponent(symbol)}`) }, symbol);
  return {
    element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, link), now, moved, both, usual),
    write({ move, sum }) {
      write(now, move ? price(move.now) : NOTHING);
      write(moved, move ? change(Number(move.now), Number(move.before)) : NOTHING);
      moved.className = `end ${!move ? 'quiet' : Number(move.now) < Number(move.before) ? 'sell' : 'buy'}`;
      amount(both, sum && plus(sum.buy, sum.sell), sum ? exactness(sum).sign : '');
      write(usual, againstUsual(sum) || NOTHING);
    },
  };
}

/** One liquidation. @param {() => number} now @returns {(id: string) => Row} */
export function eventRow(now) {
  return () => {
    const [time, symbol, side, value, paid, venue] = [h('td', { class: 'quiet' }), h('a'), h('td'), end(), end('quiet'), h('td', { class: 'quiet' })];
    const element = h('tr', {}, time, h('th', { scope: 'row', class: 'name' }, symbol), side, value, paid, venue);
    return {
      element,
      write(event) {
        write(time, moment(event.time_ms, now()));
        time.title = `${clock(event.time_ms)} UTC`;
        write(symbol, event.symbol);
        if (event.chart === null) symbol.removeAttribute('href');
        else symbol.href = at(`/chart/${encodeURIComponent(event.chart)}`);
        const { text, arrow, tone } = liquidated(event.side);
        write(side, `${arrow} ${text.replace(' liquidated', '')}`);
        side.className = tone;
        amount(value, event.notional, event.approximate ? '≈' : '');
        write(paid, `${event.averaged ? '≈ ' : ''}${price(event.price)}`);
        write(venue, event.venue);
        if (event.address && tradersPath()) {
          venue.replaceChildren(h('a', { href: `${tradersPath()}${event.address.toLowerCase()}` }, event.venue));
        }
        element.dataset.weight = String(weight(event.notional));
        element.dataset.tone = tone;
      },
    };
  };
}

/** What is known of one source of liquidations. @param {() => number} now @returns {(name: string) => Row} */
export function venueRow(now) {
  return () => {
    const [venue, state, from, tells, lost] = [h('th', { scope: 'row', class: 'name' }), h('td'), h('td', { class: 'quiet' }), h('td', { class: 'quiet wraps below tells' }), h('td', { class: 'quiet wraps below' })];
    return {
      element: h('tr', {}, venue, state, from, tells, lost),
      write(item) {
        write(venue, item.venue);
        write(state, item.down ? `◐ nothing since ${clock(item.down)}` : '● delivers');
        state.className = `state ${item.down ? 'waiting' : 'good'}`;
        write(from, since(item.since_ms, now()) || 'nothing yet');
        write(tells, item.tells);
        write(lost, item.lost);
      },
    };
  };
}
