/**
 * What the operator's dashboard says of a daemon's parts, in words.
 *
 * @module operate/words
 */

import { NOTHING, count, span } from '../format.js';

/** @typedef {{glyph: string, tone: 'good' | 'waiting' | 'bad' | 'quiet', word: string}} State */

/** A component's state as a sign, a tone and a word. @param {any} part of `/status` @returns {State} */
export function stateOf(part) {
  if (part.state === 'failed') return { glyph: '✕', tone: 'bad', word: 'failed' };
  if (part.state !== 'running') return { glyph: '◐', tone: 'waiting', word: part.state };
  if (part.delivering === false) return { glyph: '◐', tone: 'waiting', word: part.connected ? 'silent' : 'connecting' };
  if (part.problem || part.overtaken || part.loop_held_s) return { glyph: '◐', tone: 'waiting', word: 'running, but' };
  return { glyph: '●', tone: 'good', word: part.delivering ? 'delivering' : 'running' };
}

/** What is or was wrong with a component, in a sentence; `''` when nothing ever was. @param {any} part */
export function troubleOf(part) {
  const now = part.problem || part.overtaken || (part.loop_held_s ? `held the event loop for ${part.loop_held_s} s` : '');
  const retry = part.retry_in_s ? ` Again in ${span(part.retry_in_s * 1000)}.` : '';
  return now || (part.error ? `${part.state === 'running' ? 'last: ' : ''}${part.error}${retry}` : '');
}

/** Another daemon that was not heard of for so long may be gone. */
const SILENT_MS = 6_000;

/** How another daemon is. @param {any} peer of `/status` @returns {State} */
export function peerState(peer) {
  if (peer.age_ms > SILENT_MS) return { glyph: '✕', tone: 'bad', word: 'silent' };
  return peer.healthy ? { glyph: '●', tone: 'good', word: 'all works' } : { glyph: '◐', tone: 'waiting', word: 'not all works' };
}

/** One of several processes, as far as the parent and it say. @param {any} row of `/status` @returns {State} */
export function processState(row) {
  if (PASSING.includes(row.state)) return { glyph: '◐', tone: 'waiting', word: row.state };
  if (row.state !== 'running') return { glyph: '✕', tone: 'bad', word: row.state };
  if (row.healthy) return { glyph: '●', tone: 'good', word: 'running' };
  return row.role === undefined ? { glyph: '✕', tone: 'bad', word: 'does not answer' } : { glyph: '◐', tone: 'waiting', word: 'not all works' };
}

/** How a process is only for a while. */
const PASSING = ['waiting', 'starting', 'stopping'];

/** How all of it is, in a few words. @param {any} status */
export function verdictOf({ healthy, components, processes = [], snapshot }) {
  if (healthy) return 'All works';
  const away = processes.filter((/** @type {any} */ row) => row.state !== 'running' || processState(row).tone === 'bad');
  if (away.length > 0) return `${away.length} ${away.length === 1 ? 'process' : 'processes'} not working`;
  const unwell = components.filter((/** @type {any} */ part) => ['bad', 'waiting'].includes(stateOf(part).tone));
  if (unwell.length > 0) return `${unwell.length} not working`;
  const partly = processes.filter((/** @type {any} */ row) => !row.healthy).map((/** @type {any} */ row) => row.name);
  if (partly.length > 0) return `Not all works at ${partly.join(', ')}`;
  return snapshot.error || snapshot.journal_error || snapshot.kept_bytes ? 'State is not kept' : 'Not all works';
}

/** Where another daemon is, for people. @param {any} peer */
export function addressOf(peer) {
  const [address] = peer.addresses;
  return address ? address.replace(/^https?:\/\//, '').replace(/\/$/, '') : `${peer.host}, process ${peer.pid}`;
}

/** What this daemon is among others. @param {any} status */
export function placeOf({ role, lag_ms }) {
  const what = role.split('+').map((/** @type {string} */ word) => `an ${word}`.replace(/^an (?![aeiou])/, 'a ')).join(' and ');
  return `This daemon is ${what}${lag_ms === null || lag_ms === undefined ? '' : `, ${lagOf({ lag_ms })} behind`}.`;
}

/** How old the newest record's event was when it was appended. @param {any} part */
export function lagOf(part) {
  if (part.lag_ms === null || part.lag_ms === undefined) return NOTHING;
  return part.lag_ms < 1000 ? `${Math.max(0, part.lag_ms)} ms` : span(part.lag_ms);
}

/** How many records of its inputs it has still to read, and of how many it may have. @param {any} part */
export function behindOf(part) {
  if (part.table === 'sources') return NOTHING;
  return part.behind > 0 && part.behind_max ? `${count(part.behind)} of ${count(part.behind_max)}` : count(part.behind);
}

/** What became of what was told during an outage. @param {{to_ms: number | null, recovered: number | null}} outage */
export function fateOf({ to_ms, recovered }) {
  if (to_ms === null) return { tone: 'bad', text: 'still open' };
  if (recovered === null || recovered === undefined) return { tone: 'waiting', text: 'lost: nothing came later' };
  if (recovered === 0) return { tone: 'good', text: 'nothing was missed' };
  return { tone: 'good', text: `${count(recovered)} ${recovered === 1 ? 'record' : 'records'} came later` };
}

/** `512 B`, `12.3 MiB`. @param {unknown} number */
export function bytes(number) {
  const value = Number(number);
  if (number === null || number === undefined || !Number.isFinite(value)) return NOTHING;
  const step = [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]].find(([, size]) => value >= Number(size));
  if (!step) return `${Math.round(value)} B`;
  const scaled = value / Number(step[1]);
  return `${scaled < 100 ? scaled.toFixed(1) : Math.round(scaled)} ${step[0]}`;
}

/** The points of a small line, `0,10 4,2`, from the oldest to the newest. @param {number[]} values @param {number} width @param {number} height @param {number} room how many points it has room for */
export function points(values, width, height, room) {
  const most = Math.max(...values, 0);
  const step = width / Math.max(1, room - 1);
  const first = width - (values.length - 1) * step;
  return values.map((value, index) => `${round(first + index * step)},${round(height - 1 - (most > 0 ? value / most : 0) * (height - 2))}`).join(' ');
}

/** @param {number} value */
const round = (value) => Math.round(value * 10) / 10;
