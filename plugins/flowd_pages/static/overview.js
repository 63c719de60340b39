/**
 * The page `/`: what is running.
 *
 * @module overview
 */

import { ask, sources, volumeFrames } from './chart/data.js';
import { bodyOf, byId, fill, h } from './dom.js';
import { FlowdClient } from './flowd-client.js';
import { count, rate, short, span } from './format.js';
import { connectionBadge, themeButton } from './shell.js';

/** How often what is running is asked for. */
const EVERY_MS = 2_000;
const SYMBOLS_MAX = 25;

const STATES = {
  good: { glyph: '●', tone: 'good' },
  waiting: { glyph: '◐', tone: 'waiting' },
  bad: { glyph: '✕', tone: 'bad' },
  rest: { glyph: '○', tone: 'quiet' },
};

/** @param {any} part what a component's state is, as a word and a sign */
function stateOf(part) {
  if (part.state === 'failed') return { ...STATES.bad, word: 'failed' };
  if (part.state !== 'running') return { ...STATES.waiting, word: part.state };
  if (part.delivering === false) return { ...STATES.waiting, word: part.connected ? 'silent' : 'connecting' };
  return { ...STATES.good, word: part.delivering ? 'delivering' : 'running' };
}

/** @param {any} part */
function componentRow(part) {
  const { glyph, tone, word } = stateOf(part);
  const state = h('span', { class: `state ${tone}` }, h('span', { class: 'glyph', 'aria-hidden': 'true' }, glyph), word);
  const writes = part.table !== 'sinks';
  const ago = part.last_record_ago_ms;
  return h(
    'tr',
    {},
    h('th', { scope: 'row', class: 'name' }, part.name),
    h('td', { class: 'quiet' }, part.kind),
    h('td', {}, state, part.error && h('span', { class: 'why', title: part.error }, ` ${part.error}`)),
    h('td', { class: 'end' }, writes ? rate(part.rate_per_s) : ''),
    h('td', { class: 'end' }, writes ? (ago === null || ago === undefined ? '–' : `${span(ago)} ago`) : ''),
    h('td', { class: 'end' }, writes ? count(part.published) : ''),
    h('td', { class: 'end' }, count(part.restarts)),
  );
}

/** @param {any} stream */
function streamRow(stream) {
  const path = encodeURIComponent(stream.name);
  const retains = stream.retain_age_s ? span(stream.retain_age_s * 1000) : count(stream.retain);
  return h(
    'tr',
    {},
    h('th', { scope: 'row', class: 'name' }, stream.name),
    h('td', { class: 'quiet' }, stream.record),
    h('td', { class: 'end' }, count(stream.records)),
    h('td', { class: 'end' }, retains),
    h('td', { class: 'code' }, stream.position),
    h('td', {}, h('a', { href: `/streams/${path}?limit=20`, 'aria-label': `newest records of ${stream.name}` }, 'newest')),
  );
}

/** @param {any} status what `/status` says */
function show(status) {
  const broken = status.components.filter((/** @type {any} */ part) => ['bad', 'waiting'].includes(stateOf(part).tone));
  const health = byId('health');
  fill(health, h('span', { class: `state ${status.healthy ? 'good' : 'waiting'}` }, h('span', { class: 'glyph', 'aria-hidden': 'true' }, status.healthy ? '●' : '◐'), status.healthy ? 'All works' : `${broken.length || 'Some'} not working`));
  fill(byId('uptime'), span(status.uptime_s * 1000));
  // Sources only: what transforms make of it would be counted twice.
  const sum = status.components.filter((/** @type {any} */ part) => part.table === 'sources');
  fill(byId('rate'), rate(sum.reduce((/** @type {number} */ total, /** @type {any} */ part) => total + part.rate_per_s, 0)));
  fill(byId('clients'), count(status.clients?.live));
  fill(byId('version'), status.version);
  fill(bodyOf('components'), ...status.components.map(componentRow));
  // A name with a slash is a component's own table, which nobody else can read.
  fill(bodyOf('streams'), ...status.streams.filter((/** @type {any} */ stream) => !stream.name.includes('/')).map(streamRow));
}

/** @type {any} */
let known = null;
const client = new FlowdClient();

async function look() {
  const problem = byId('problem');
  try {
    known = await ask('/status');
    problem.hidden = true;
    show(known);
    follow();
  } catch (error) {
    if (known) return;
    problem.hidden = false;
    fill(problem, h('strong', {}, 'The daemon does not answer. '), error instanceof Error ? error.message : String(error));
  }
}

// -- what was liquidated today

/** @type {Map<string, any>} */
const days = new Map();
let following = false;
/** Whether days are counted. */
let daily = true;
let drawing = false;

function follow() {
  if (following) return;
  following = true;
  const { volume, sampled } = sources(known);
  /** @type {HTMLElement} */ (document.querySelector('#active-title .chip')).hidden = !sampled;
  if (!volume) {
    const lines = '[transforms.volume]\nkind = "liquidation-volume"\ninput = "force-orders"';
    nothing(h('strong', {}, 'Volume is not configured'), h('span', {}, 'These lines add it:'), h('pre', { class: 'lines' }, lines));
    return;
  }
  volumeFrames(volume, document.documentElement.dataset.symbol ?? 'BTCUSDT').then((names) => {
    daily = names.length === 0 || names.includes('1d');
    if (!daily) drawActive();
  });
  client.follow(volume, { filter: { timeframe: '1d' }, limit: 500 }, {
    records: (records, { first }) => {
      if (first) days.clear();
      for (const { value } of records) {
        const before = days.get(String(value.symbol));
        if (!before || before.time_ms <= value.time_ms) days.set(String(value.symbol), value);
      }
      if (!drawing) requestAnimationFrame(drawActive);
      drawing = true;
    },
    error: (mistake) => nothing(h('span', {}, mistake.message)),
  });
}

function drawActive() {
  drawing = false;
  const today = Math.floor(client.now() / 86_400_000) * 86_400_000;
  const rows = [...days.values()]
    .filter((value) => value.time_ms >= today)
    .sort((a, b) => Number(b.buy) + Number(b.sell) - Number(a.buy) - Number(a.sell))
    .slice(0, SYMBOLS_MAX);
  if (!daily) nothing(h('strong', {}, 'Days are not counted'), h('span', {}, 'The timeframes of [transforms.…] liquidation-volume lack "1d".'));
  else if (rows.length === 0) nothing(h('strong', {}, 'Quiet'), h('span', {}, 'No forced order since midnight, UTC. Symbols appear as it happens.'));
  else byId('active-empty').hidden = true;
  fill(
    bodyOf('active'),
    ...rows.map((value) =>
      h(
        'tr',
        {},
        h('th', { scope: 'row', class: 'name' }, h('a', { href: `/chart/${encodeURIComponent(value.symbol)}` }, value.symbol)),
        h('td', { class: 'end buy' }, short(value.buy)),
        h('td', { class: 'end sell' }, short(value.sell)),
        h('td', { class: 'end' }, count(value.count)),
      ),
    ),
  );
}

/** @param {...import('./dom.js').Child} words */
function nothing(...words) {
  fill(bodyOf('active'));
  const empty = byId('active-empty');
  fill(empty, ...words);
  empty.hidden = false;
}

themeButton();
connectionBadge(client);
look();
client.addEventListener('status', () => client.status === 'connected' && look());
setInterval(() => document.visibilityState === 'visible' && client.status !== 'disconnected' && look(), EVERY_MS);
