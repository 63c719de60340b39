/**
 * The chart as a picture: a file, and what a printer gets.
 *
 * @module chart/picture
 */

import { byId, fill, h } from '../dom.js';
import { colours } from './paint.js';
import { current } from './zone.js';

/** @typedef {import('./view.js').View} View */

const PAD = 12;
const LINE = 18;

/** What stands above the picture: of what it is, and how much of it is known. @param {string} symbol @param {string} frame @param {number} now ms */
function words(symbol, frame, now) {
  const said = (/** @type {Element} */ one) => (one.textContent ?? '').replace(/\s+/g, ' ').trim();
  const facts = [...document.querySelectorAll('#summary .fact')].map((fact) => [...fact.children].map((part) => [...part.childNodes].map((node) => node.textContent).join(' ')).join(': '));
  const doubts = ['sampled', 'approximate'].filter((id) => !byId(id).hidden).map((id) => said(/** @type {Element} */ (byId(id).querySelector('summary'))));
  return [`${symbol} ${frame} liquidations`, facts.join('   '), [`Times ${current().label(now)}`, ...doubts, 'flowd'].join(' · ')];
}

/** The chart with its words above it. @param {View} view @param {string} symbol @param {string} frame @param {number} now ms @returns {HTMLCanvasElement} */
export function picture(view, symbol, frame, now) {
  const shot = view.chart.takeScreenshot(true);
  const scale = shot.width / byId('canvas').clientWidth;
  const lines = words(symbol, frame, now);
  const canvas = h('canvas', { width: shot.width, height: shot.height + Math.round((PAD * 2 + lines.length * LINE) * scale) });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  const found = colours();
  context.fillStyle = found.panel;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(scale, scale);
  for (const [index, line] of lines.entries()) {
    context.fillStyle = index === 1 ? found.text : found.muted;
    if (index === 0) context.fillStyle = found.text;
    context.font = `${index === 0 ? '600 14px' : '12px'} system-ui, sans-serif`;
    context.fillText(line, PAD, PAD + 12 + index * LINE, canvas.width / scale - 2 * PAD);
  }
  context.resetTransform();
  context.drawImage(shot, 0, canvas.height - shot.height);
  return canvas;
}

/** Keep the picture as a file. @param {HTMLCanvasElement} canvas @param {string} name */
export async function save(canvas, name) {
  /** @type {Blob | null} */
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (!blob) return;
  const link = h('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Print the picture. Whatever the theme, paper is white: it is drawn for that. @param {() => HTMLCanvasElement} draw */
export function print(draw) {
  const root = document.documentElement;
  const { theme } = root.dataset;
  const place = byId('print');
  root.dataset.theme = 'light';
  window.dispatchEvent(new Event('theme'));
  fill(place, draw());
  if (theme === undefined) delete root.dataset.theme;
  else root.dataset.theme = theme;
  window.dispatchEvent(new Event('theme'));
  window.addEventListener('afterprint', () => fill(place), { once: true });
  window.print();
}
