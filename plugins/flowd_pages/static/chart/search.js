/**
 * The symbol search: a text field with a list of what there is, busiest first.
 *
 * @module chart/search
 */

import { byId, fill, h } from '../dom.js';
import { dollars } from '../format.js';

/** What can be a symbol; not all of them are ASCII. */
export const SYMBOL = /^[\p{L}\p{N}_:@#-]{1,40}$/u;
const TOO_ODD = 'A symbol has 1 to 40 letters, digits and _-:@#.';
const OPTIONS_MAX = 60;

/** A symbol as exchanges write it. Small letters are a shorthand for capital ones, unless both are used, as in kPEPE. @param {string} text */
export function symbolOf(text) {
  return text === text.toLowerCase() ? text.toUpperCase() : text;
}

/**
 * @param {object} options
 * @param {() => Promise<{symbol: string, total: number}[]>} options.load what there is
 * @param {(symbol: string) => void} options.open
 * @param {string} options.symbol the one that is shown
 */
export function symbolSearch({ load, open, symbol }) {
  const input = /** @type {HTMLInputElement} */ (byId('symbol'));
  const list = byId('symbols');
  /** @type {{symbol: string, total: number}[]} */
  let known = [];
  /** @type {string[]} */
  let offered = [];
  let at = -1;
  let shown = symbol;
  let hint = '';
  /** Done when what there is has been asked for. @type {Promise<void>} */
  let loading = Promise.resolve();

  const wanted = () => {
    const text = input.value.trim();
    return text === shown.toLowerCase() ? shown : symbolOf(text);
  };

  const draw = () => {
    const name = wanted() === shown ? '' : wanted();
    const text = name.toUpperCase();
    const found = known.filter((one) => one.symbol.toUpperCase().includes(text)).slice(0, OPTIONS_MAX);
    found.sort((a, b) => Number(b.symbol.toUpperCase().startsWith(text)) - Number(a.symbol.toUpperCase().startsWith(text)));
    const extra = name && SYMBOL.test(name) && !found.some((one) => one.symbol.toUpperCase() === text) ? [name] : [];
    offered = [...found.map((one) => one.symbol), ...extra];
    /** @param {string} name @param {string} note @param {number} index */
    const option = (name, note, index) =>
      h(
        'li',
        { role: 'option', id: `symbol-${index}`, 'data-index': index },
        h('span', {}, name),
        h('span', { class: 'quiet' }, note),
      );
    fill(
      list,
      ...found.map((one, index) => option(one.symbol, one.total ? `${dollars(one.total.toFixed(2))} today` : '', index)),
      ...extra.map((name) => option(name, 'open', found.length)),
      !offered.length && h('li', { class: 'hint' }, hint || (text ? TOO_ODD : 'No symbols are known yet; type one.')),
    );
    move(text && offered.length ? 0 : -1);
  };

  /** @param {number} index */
  const move = (index) => {
    at = index;
    for (const option of list.querySelectorAll('[role=option]')) {
      const on = Number(/** @type {HTMLElement} */ (option).dataset.index) === at;
      option.setAttribute('aria-selected', String(on));
      if (on) option.scrollIntoView({ block: 'nearest' });
    }
    if (at < 0) input.removeAttribute('aria-activedescendant');
    else input.setAttribute('aria-activedescendant', `symbol-${at}`);
  };

  const show = () => {
    if (!list.hidden) return;
    list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    draw();
    loading = load().then(
      (found) => {
        known = found;
        hint = '';
        if (!list.hidden) draw();
      },
      (error) => {
        hint = `The symbols could not be loaded: ${error.message}`;
        if (!list.hidden && !offered.length) draw();
      },
    );
  };

  const hide = () => {
    list.hidden = true;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
    input.removeAttribute('aria-invalid');
    input.value = shown;
  };

  /** @param {string} name */
  const choose = (name) => {
    if (!SYMBOL.test(name)) {
      input.setAttribute('aria-invalid', 'true');
      return;
    }
    if (name !== shown) open(name);
    shown = name;
    hide();
    input.blur();
  };

  input.addEventListener('focus', () => {
    input.select();
    show();
  });
  input.addEventListener('click', show);
  input.addEventListener('input', () => {
    input.removeAttribute('aria-invalid');
    show();
    draw();
  });
  input.addEventListener('blur', hide);
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      show();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      if (offered.length) move((at + step + offered.length + (at < 0 && step < 0 ? 1 : 0)) % offered.length);
    } else if (event.key === 'Enter') {
      event.preventDefault();
      // Who types fast must not be taken by the letter: the list knows how a symbol is written.
      loading.then(() => choose(at >= 0 ? offered[at] : wanted()));
    } else if (event.key === 'Escape') {
      hide();
      input.select();
    }
  });
  // Before the field loses the focus.
  list.addEventListener('pointerdown', (event) => {
    event.preventDefault();
    const option = event.target instanceof Element ? event.target.closest('[role=option]') : null;
    if (option) choose(offered[Number(/** @type {HTMLElement} */ (option).dataset.index)]);
  });
  document.addEventListener('keydown', (event) => {
    const typing = event.target instanceof HTMLInputElement;
    if (event.key === '/' && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      input.focus();
    }
  });

  return {
    /** Another symbol is shown now. @param {string} name */
    set(name) {
      shown = name;
      input.value = name;
    },
  };
}
