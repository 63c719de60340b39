/**
 * The rows of the operator's tables.
 *
 * @module operate/rows
 */

import { at, h } from '../dom.js';
import { write } from '../feed/facts.js';
import { NOTHING, count, rate, span } from '../format.js';
import { addressOf, behindOf, bytes, lagOf, peerState, points, processState, stateOf, troubleOf } from './words.js';

/** Points that a small line has: one for each look, about five minutes. */
export const SPARK_POINTS = 150;
const WIDTH = 72;
const HEIGHT = 18;
const SVG = 'http://www.w3.org/2000/svg';

/** @typedef {import('../rows.js').Row} Row */

/** What a number was lately, as a small line; kept in this page's memory only. @param {string} what */
export function spark(what) {
  /** @type {number[]} */
  const values = [];
  const line = document.createElementNS(SVG, 'polyline');
  const picture = document.createElementNS(SVG, 'svg');
  picture.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  picture.setAttribute('class', 'spark');
  picture.setAttribute('role', 'img');
  picture.append(line);
  return {
    picture,
    /** @param {number} value */
    put(value) {
      values.push(Number.isFinite(value) ? value : 0);
      if (values.length > SPARK_POINTS) values.shift();
      line.setAttribute('points', points(values, WIDTH, HEIGHT, SPARK_POINTS));
      picture.setAttribute('aria-label', `${what} since this page is open: ${rate(Math.min(...values))} to ${rate(Math.max(...values))}`);
    },
  };
}

/**
 * The cell that says how something is, in a word with its colour, and why.
 *
 * @param {HTMLElement} why
 */
function stateCell(why = h('span', { class: 'quiet reason' })) {
  const [glyph, word] = [h('span', { class: 'glyph', 'aria-hidden': 'true' }), h('span')];
  const state = h('span', { class: 'state' }, glyph, word);
  return {
    element: h('td', { class: 'state-cell' }, state, why),
    /** @param {{ tone: string, glyph: string, word: string }} found @param {string} reason */
    write(found, reason) {
      state.className = `state ${found.tone}`;
      write(glyph, found.glyph);
      write(word, found.word);
      write(why, reason);
    },
  };
}

/** @param {(name: string) => void} reconnect @returns {(name: string) => Row} */
export function componentRow(reconnect) {
  return (name) => {
    const kind = h('span', { class: 'quiet kind' });
    const why = h('button', { type: 'button', class: 'why', 'aria-expanded': 'false', hidden: true });
    // Two lines of a long one, and all of it for who asks.
    why.addEventListener('click', () => why.setAttribute('aria-expanded', String(why.getAttribute('aria-expanded') === 'false')));
    const state = stateCell(why);
    const line = spark(`records per second of ${name}`);
    const cells = Array.from({ length: 6 }, () => h('td', { class: 'end' }));
    const [rates, lag, behind, newest, published, restarts] = cells;
    const button = h('button', { type: 'button', class: 'text-button again', 'aria-label': `reconnect ${name}` }, 'Reconnect');
    button.addEventListener('click', () => reconnect(name));
    const element = h('tr', {}, h('th', { scope: 'row', class: 'name' }, name, kind), state.element, h('td', {}, line.picture), ...cells, h('td', { class: 'end' }, button));
    return {
      element,
      write(part) {
        const trouble = troubleOf(part);
        state.write(stateOf(part), trouble);
        why.hidden = trouble === '';
        write(kind, part.kind);
        const writes = part.table !== 'sinks';
        button.hidden = !writes;
        line.picture.style.visibility = writes ? 'visible' : 'hidden';
        line.put(part.rate_per_s);
        write(rates, writes ? rate(part.rate_per_s) : '');
        write(lag, writes ? lagOf(part) : '');
        write(behind, behindOf(part));
        const ago = part.last_record_ago_ms;
        write(newest, writes ? (ago === null || ago === undefined ? NOTHING : `${span(ago)} ago`) : '');
        write(published, writes ? count(part.published) : '');
        write(restarts, count(part.restarts));
      },
    };
  };
}

/** @param {string} name @returns {Row} */
export function streamRow(name) {
  const path = encodeURIComponent(name);
  const [carries, position] = [h('td', { class: 'quiet' }), h('td', { class: 'code' })];
  const [records, retains, held] = [h('td', { class: 'end' }), h('td', { class: 'end' }), h('td', { class: 'end' })];
  const newest = h('a', { href: at(`/streams/${path}?limit=20`), 'aria-label': `newest records of ${name}, as JSON for programs` }, 'JSON');
  return {
    element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, name), carries, records, retains, held, position, h('td', {}, newest)),
    write(stream) {
      write(carries, stream.record);
      write(records, count(stream.records));
      write(retains, stream.retain_age_s ? span(stream.retain_age_s * 1000) : count(stream.retain));
      write(held, count(stream.held));
      write(position, stream.position);
    },
  };
}

/** A service's weight budget. @param {string} name @returns {Row} */
export function budgetRow(name) {
  const bar = h('i');
  const meter = h('span', { class: 'meter', role: 'img' }, bar);
  const [used, by, waiting, refused, closed] = [h('span'), h('td', { class: 'quiet' }), h('td', { class: 'end' }), h('td', { class: 'end' }), h('td', { class: 'end' })];
  return {
    element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, name), h('td', {}, h('span', { class: 'distance' }, meter, used)), by, waiting, refused, closed),
    write(budget) {
      const share = budget.limit > 0 ? Math.min(1, budget.used / budget.limit) : 0;
      bar.style.width = `${Math.round(share * 100)}%`;
      meter.setAttribute('aria-label', `${Math.round(share * 100)}% used`);
      write(used, `${count(budget.used)} of ${count(budget.limit)}`);
      write(by, Object.entries(budget.by).map(([who, weight]) => `${who} ${count(weight)}`).join(', ') || 'nobody in the last minute');
      write(waiting, count(budget.waiting));
      write(refused, count(budget.refused));
      write(closed, budget.closed_s > 0 ? `for ${span(budget.closed_s * 1000)}` : 'open');
    },
  };
}

/** One of several processes. @param {string} name @returns {Row} */
export function processRow(name) {
  const role = h('td');
  const state = stateCell();
  const cells = Array.from({ length: 6 }, () => h('td', { class: 'end' }));
  const [lag, clients, memory, up, restarts, pid] = cells;
  return {
    element: h('tr', {}, h('th', { scope: 'row', class: 'name' }, name), role, state.element, ...cells),
    write(row) {
      state.write(processState(row), row.error ?? '');
      write(role, (row.role ?? NOTHING).replaceAll('+', ' and '));
      write(lag, lagOf(row));
      write(clients, count(row.clients));
      write(memory, row.rss_bytes ? bytes(row.rss_bytes) : NOTHING);
      write(up, typeof row.uptime_s === 'number' ? span(row.uptime_s * 1000) : NOTHING);
      write(restarts, count(row.restarts));
      write(pid, String(row.pid ?? NOTHING));
    },
  };
}

/** Another daemon. @param {string} _ @returns {Row} */
export function peerRow(_) {
  const [address, role, version] = [h('th', { scope: 'row', class: 'name' }), h('td'), h('td', { class: 'quiet' })];
  const state = stateCell();
  const cells = Array.from({ length: 5 }, () => h('td', { class: 'end' }));
  const [lag, behind, clients, up, heard] = cells;
  return {
    element: h('tr', {}, address, role, state.element, ...cells, version),
    write(peer) {
      const found = peerState(peer);
      state.write(found, peer.problem ?? '');
      write(address, addressOf(peer));
      write(role, peer.role.replaceAll('+', ' and '));
      const silent = found.word === 'silent';
      write(lag, silent ? NOTHING : lagOf(peer));
      write(behind, silent || peer.behind === null || peer.behind === undefined ? NOTHING : count(peer.behind));
      write(clients, count(peer.clients));
      write(up, span(Math.max(0, peer.now_ms - peer.started_ms)));
      write(heard, `${span(peer.age_ms)} ago`);
      write(version, peer.version);
    },
  };
}

/** One outage. @param {string} _ @returns {Row} */
export function gapRow(_) {
  const [from, who, long, reason, fate] = [h('td', { class: 'quiet' }), h('th', { scope: 'row', class: 'name' }), h('td', { class: 'end' }), h('td', { class: 'reason' }), h('td')];
  return {
    element: h('tr', {}, from, who, long, reason, fate),
    write(gap) {
      write(from, gap.when);
      write(who, gap.component);
      write(long, span(gap.length_ms));
      write(reason, gap.reason);
      write(fate, gap.fate.text);
      fate.className = `state ${gap.fate.tone}`;
    },
  };
}
