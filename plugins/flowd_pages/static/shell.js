/**
 * What all pages have: the theme button, the connection badge and the banner that says when there is none.
 *
 * @module shell
 */

import { ask, live } from './chart/data.js';
import { byId, fill, h, remember, remembered } from './dom.js';
import { clock } from './format.js';
import { Way } from './way.js';

/** @typedef {import('./flowd-client.js').FlowdClient} FlowdClient */

const THEMES = ['system', 'dark', 'light'];
/** What brings live records, in the configuration. */
const LIVE = { kind: 'websocket', lines: '[sinks.websocket]\nkind = "websocket"' };
const NAMES = { system: 'as the system', dark: 'dark', light: 'light' };

/** The button that goes from the system's theme to dark to light. Fires `theme` on the window. */
export function themeButton() {
  const button = byId('theme');
  const show = () => {
    const now = /** @type {keyof typeof NAMES} */ (document.documentElement.dataset.theme ?? 'system');
    button.title = `Theme: ${NAMES[now]}`;
    button.setAttribute('aria-label', button.title);
  };
  const announce = () => window.dispatchEvent(new Event('theme'));
  button.addEventListener('click', () => {
    const now = remembered('theme') ?? 'system';
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    remember('theme', next);
    if (next === 'system') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    show();
    announce();
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', announce);
  show();
}

/**
 * Show whether we are connected, in the bar and, when we are not, in a banner: also which lines the configuration lacks.
 *
 * @param {Pick<FlowdClient, 'status' | 'retryAt' | 'seenAt' | 'latencyMs' | 'reconnect' | 'addEventListener'> & Partial<Pick<FlowdClient, 'follow'>>} client
 * @param {{kind: string, lines: string}} needs the sink that it talks to
 * @param {() => void} changed something is new of the way to the daemon that this one follows
 */
export function connectionBadge(client, needs = LIVE, changed = () => undefined) {
  const badge = byId('connection');
  const text = /** @type {HTMLElement} */ (badge.querySelector('.badge-text'));
  const banner = byId('offline');
  const words = byId('offline-text');
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  /** Whether the daemon answers, but has no WebSocket. */
  let unserved = false;
  /** Why what the page shows is not delivered. @type {string | null} */
  let silent = null;
  const way = new Way(client, document.documentElement.dataset.way, () => {
    show();
    changed();
  });
  const show = () => {
    const { status, retryAt, seenAt } = client;
    const first = status === 'disconnected' && seenAt === null && retryAt === null;
    const why = way.cut ?? silent;
    const down = status === 'connected' && why !== null;
    badge.dataset.status = first ? 'connecting' : down ? 'silent' : status;
    const name = down ? 'Source down' : { connected: 'Live', slow: 'Slow', disconnected: 'Offline' }[status];
    const label = first ? 'Connecting' : name;
    // A screen reader hears changes only.
    if (text.textContent !== label) text.textContent = label;
    badge.title = down ? `Connected, but ${why}` : {
      connected: client.latencyMs === null ? 'Connected' : `Connected, ${client.latencyMs} ms`,
      slow: 'Connected, but this browser or the line to it cannot keep up',
      disconnected: 'Not connected; what is shown may be old',
    }[status];
    if (first) return;
    banner.hidden = status !== 'disconnected';
    document.body.classList.toggle('stale', status === 'disconnected');
    document.body.classList.toggle('unserved', unserved);
    if (unserved) {
      if (!words.querySelector('pre')) fill(words, 'This daemon has no WebSocket, so nothing here is live. Add these lines to the configuration and restart the daemon:', h('pre', { class: 'lines' }, needs.lines));
      return;
    }
    if (status !== 'disconnected') return;
    const since = seenAt === null ? 'No connection to the daemon.' : `Disconnected: this is what was known at ${clock(seenAt)}.`;
    const left = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    words.textContent = `${since} ${left > 1 ? `Trying again in ${left} s.` : 'Trying again.'}`;
  };
  // Whoever was connected knows that there is one.
  const look = async () => {
    const there = await ask('/status').then((said) => live(said, needs.kind), () => true);
    unserved = !there && client.status === 'disconnected';
    show();
  };
  client.addEventListener('status', () => {
    if (client.status !== 'disconnected') unserved = false;
    else if (client.seenAt === null && client.retryAt !== null) look();
    show();
    clearInterval(ticking);
    if (client.status === 'disconnected') ticking = setInterval(show, 1000);
  });
  byId('offline-retry').addEventListener('click', () => client.reconnect());
  show();
  return {
    way,
    /** What the page shows is not delivered, or is again. @param {string | null} why */
    silent(why) {
      silent = why;
      show();
    },
  };
}
