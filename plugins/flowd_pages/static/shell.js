/**
 * What all pages have: the theme button, the connection badge and the banner that says when there is none.
 *
 * @module shell
 */

import { byId, remember, remembered } from './dom.js';
import { clock } from './format.js';

/** @typedef {import('./flowd-client.js').FlowdClient} FlowdClient */

const THEMES = ['system', 'dark', 'light'];
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

/** Show whether we are connected, in the bar and, when we are not, in a banner. @param {FlowdClient} client */
export function connectionBadge(client) {
  const badge = byId('connection');
  const text = /** @type {HTMLElement} */ (badge.querySelector('.badge-text'));
  const banner = byId('offline');
  const words = byId('offline-text');
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;
  const show = () => {
    const { status, retryAt, seenAt } = client;
    const first = status === 'disconnected' && seenAt === null && retryAt === null;
    badge.dataset.status = first ? 'connecting' : status;
    const name = { connected: 'Live', slow: 'Slow', disconnected: 'Offline' }[status];
    const label = first ? 'Connecting' : name;
    // A screen reader hears changes only.
    if (text.textContent !== label) text.textContent = label;
    badge.title = {
      connected: client.latencyMs === null ? 'Connected' : `Connected, ${client.latencyMs} ms`,
      slow: 'Connected, but this browser or the line to it cannot keep up',
      disconnected: 'Not connected; what is shown may be old',
    }[status];
    if (first) return;
    banner.hidden = status !== 'disconnected';
    document.body.classList.toggle('stale', status === 'disconnected');
    if (status !== 'disconnected') return;
    const since = seenAt === null ? 'No connection to the daemon.' : `Disconnected: this is what was known at ${clock(seenAt)}.`;
    const left = retryAt === null ? 0 : Math.max(0, Math.ceil((retryAt - Date.now()) / 1000));
    words.textContent = `${since} ${left > 1 ? `Trying again in ${left} s.` : 'Trying again.'}`;
  };
  client.addEventListener('status', () => {
    show();
    clearInterval(ticking);
    if (client.status === 'disconnected') ticking = setInterval(show, 1000);
  });
  byId('offline-retry').addEventListener('click', () => client.reconnect());
  show();
}
