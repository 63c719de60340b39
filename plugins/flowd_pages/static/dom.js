/**
 * Making elements. Everything that is shown goes in as text: no string is ever read as HTML.
 *
 * @module dom
 */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * An element with attributes and children.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, string | number | boolean | null | undefined>} [attributes] `true` is an empty one, false none
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...kept(children));
  return element;
}

/** @param {Child[]} children @returns {(Node | string)[]} */
function kept(children) {
  return children
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/** Put these in, instead of what is there. @param {Element} element @param {...Child} children */
export function fill(element, ...children) {
  element.replaceChildren(...kept(children));
}

/** The element with this id, which the template has. @param {string} id @returns {HTMLElement} */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** A table's body. @param {string} id @returns {HTMLTableSectionElement} */
export function bodyOf(id) {
  return /** @type {HTMLTableElement} */ (byId(id)).tBodies[0];
}

/** Where a path of this daemon is: below another one, where a proxy puts it there. @param {string} path */
export function at(path) {
  return `${typeof document === 'undefined' ? '' : document.documentElement.dataset.base ?? ''}${path}`;
}

/** Which path of this daemon is shown. */
export function here() {
  const base = at('');
  return location.pathname.startsWith(`${base}/`) ? location.pathname.slice(base.length) : location.pathname;
}

/** Where this daemon has a page for each address, `''` where it knows no traders. */
export function tradersPath() {
  return document.documentElement.dataset.traders ?? '';
}

/** What a choice on this machine was; null when there is none. @param {string} name */
export function remembered(name) {
  try {
    return localStorage.getItem(`flowd.${name}`);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`flowd.${name}`, value);
  } catch {
    // Storage may be full or forbidden: then the choice holds until the page is left.
  }
}

/**
 * A row of buttons of which one is chosen, as radio buttons are: arrow keys move, Tab passes.
 *
 * @param {HTMLElement} group
 * @param {{value: string, label: string, title?: string}[]} choices `title` is also what a screen reader says
 * @param {string} chosen
 * @param {(value: string) => void} onChoose
 */
export function segments(group, choices, chosen, onChoose) {
  /** @type {HTMLButtonElement[]} */
  let buttons = [];
  const draw = () => {
    buttons = choices.map(({ value, label, title }) =>
      h('button', { type: 'button', role: 'radio', 'data-value': value, title, 'aria-label': title }, label),
    );
    fill(group, ...buttons);
  };
  /** @param {string} value */
  const mark = (value) => {
    for (const button of buttons) {
      const on = button.dataset.value === value;
      button.setAttribute('aria-checked', String(on));
      button.tabIndex = on ? 0 : -1;
    }
  };
  /** @param {HTMLElement | undefined} button */
  const choose = (button) => {
    if (!button || button.getAttribute('aria-disabled') === 'true') return;
    if (button.getAttribute('aria-checked') === 'true') return;
    mark(button.dataset.value ?? '');
    onChoose(button.dataset.value ?? '');
  };
  group.addEventListener('click', (event) => {
    if (event.target instanceof HTMLElement) choose(event.target.closest('button') ?? undefined);
  });
  group.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const open = buttons.filter((button) => button.getAttribute('aria-disabled') !== 'true');
    const at = open.findIndex((button) => button === document.activeElement);
    const next = open[(at + step + open.length) % open.length];
    next?.focus();
    choose(next);
  });
  draw();
  mark(chosen);
  return {
    mark,
    /** Other choices, none of which is chosen yet. @param {{value: string, label: string, title?: string}[]} others */
    offer(others) {
      choices = others;
      draw();
    },
    /** @param {string} value @param {string | null} why null when it can be chosen */
    disable(value, why) {
      const button = buttons.find((one) => one.dataset.value === value);
      if (!button) return;
      button.setAttribute('aria-disabled', String(why !== null));
      button.title = why ?? choices.find((choice) => choice.value === value)?.title ?? '';
    },
  };
}
