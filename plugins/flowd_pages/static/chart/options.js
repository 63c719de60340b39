/**
 * What can be chosen of the chart: in the bar where there is room, else behind *Options* as the rest.
 *
 * @module chart/options
 */

import { byId } from '../dom.js';
import { zoneList } from './zone.js';

/** @typedef {import('./drawing.js').Drawing} Drawing */

/** Where there is less room than this, the bar holds the symbol and the timeframes only. */
const NARROW = '(max-width: 1040px)';

/** The panel that a button opens; Escape or a click elsewhere closes it. */
function panel() {
  const [button, found] = [byId('options-button'), byId('options-panel')];
  /** @param {boolean} open */
  const show = (open) => {
    found.hidden = !open;
    button.setAttribute('aria-expanded', String(open));
  };
  button.addEventListener('click', () => show(Boolean(found.hidden)));
  document.addEventListener('click', (event) => {
    // What was clicked may have been taken away by its own click.
    if (event.target instanceof Node && event.target.isConnected && !found.contains(event.target) && !button.contains(event.target)) show(false);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || found.hidden) return;
    show(false);
    button.focus();
  });
  return show;
}

/** Choices that a bar has room for stand in it. */
function place() {
  const narrow = matchMedia(NARROW);
  const [quick, bar, within] = [byId('quick'), byId('quick-place'), byId('quick-within')];
  const move = () => (narrow.matches ? within : bar).append(quick);
  narrow.addEventListener('change', move);
  move();
}

/**
 * Have them work.
 *
 * @param {Drawing} drawing
 * @param {{zone: () => void, png: () => void, print: () => void}} does what a choice does beyond the drawing
 */
export function options(drawing, does) {
  const show = panel();
  place();
  zoneList(/** @type {HTMLSelectElement} */ (byId('zone')), does.zone);
  const least = /** @type {HTMLInputElement} */ (byId('marks'));
  least.value = drawing.marks.typed;
  least.addEventListener('change', () => {
    const good = drawing.marks.choose(least.value);
    least.setAttribute('aria-invalid', String(!good));
    byId('marks-words').textContent = good ? '' : `${least.value} is no amount: write such as 50k or 1.5m, or nothing for no marks.`;
    if (good) drawing.reloadMarks();
  });
  byId('png').addEventListener('click', does.png);
  byId('print-button').addEventListener('click', () => {
    show(false);
    does.print();
  });
  // What cannot be chosen says why, also to who cannot rest on it.
  byId('comparison').addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest('button') : null;
    byId('compare-why').textContent = button?.getAttribute('aria-disabled') === 'true' ? button.title : '';
  });
  return show;
}
